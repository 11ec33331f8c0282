// What a chain's kernel is given, and its stream of items: shares, cursors, and the two kinds of
// weights (see matmul_chain.cuh).
#pragma once

#include "kernels/cuda/matmul_chain_ahead.h"
#include "kernels/cuda/matmul_tasks.h"
#include "kernels/cuda/quantize.cuh"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/cuda/weight_ring.cuh"

namespace fimd::cuda {

inline constexpr int kChainWarps = 12;  // W
inline constexpr int kChainThreads = 32 * kChainWarps;
/// Registers are dealt as if there were so many threads: 128 each leave attention's blocks of four
/// warps enough to be resident beside one of these.
inline constexpr int kChainRegisterThreads = 512;
inline constexpr int kMaxRounds = 64 / kChainWarps;  // slots of a warp

struct ChainStep {
  TaskParams tasks[kMaxMatmulTasks];
  int row_tiles;
  int k_tiles;
  int cols;
  int first_block;  // takes the first unit: the units of a chain's steps go round
  const uint8_t* x;
  FloatInput floats;  // x is made of them: by n_rows blocks, or by every block for itself if x is
                      // null
  bool streamed;      // x comes through the ring
  bool swiglu;        // tasks are gate and up; their results go to `out`
  // One row: where in the set of handed words (in kHandedUnit bytes) x comes from, results go to,
  // and what the task adds to is; or kNotHanded.
  int16_t words_in;
  int16_t words_out;
  int16_t words_old;
  Activations out;
};
inline constexpr int16_t kNotHanded = -1;
inline constexpr int kHandedUnit = 16;

struct ChainParams {
  ChainStep steps[kMaxMatmulSteps];
  int n_steps;
  int n_rows;
  int x_tile_bytes;
  int n_units;         // that a block has at most in a step of SwiGLU
  bool pairs;          // two items to a slot, where they fit and there are two
  int rounds;          // slots of a warp
  int slot_bytes;      // weights, then streamed activations
  int slot_x;          // where these are
  int ring_offset;     // in shared memory
  int x_offset;        // of resident activations
  unsigned* arrivals;  // of blocks at the barriers between steps
  float* factors;      // of rows that were normalised for all blocks
  HandedWords words;   // instead of barriers
  Ahead ahead;         // what is asked for while blocks wait
};

/// Whether blocks hand each other words instead of meeting at barriers.
template <int T>
inline constexpr bool kHands = T == 1;
/// Whether activations may come through the ring: one or two rows of them are resident, or there is
/// no chain.
template <int T>
inline constexpr bool kStreams = T > kMaxFloatRows;
/// Units that a block may have in a step of SwiGLU.
inline constexpr int kMaxUnits = 64;
template <class Formats>
struct TiledChain;  // kinds of weights
struct Bf16Chain;
/// Row tiles of a unit of SwiGLU, and their log2: four make a block of quantised activations.
template <class Weights>
inline constexpr int kUnitTiles = 4;
template <>
inline constexpr int kUnitTiles<Bf16Chain> = 2;
template <class Weights>
inline constexpr int kUnitShift = kUnitTiles<Weights> == 4 ? 2 : 1;
/// Totals of a unit's row tiles in shared memory: [row tile][token][16 rows].
template <class Weights, int T>
__host__ __device__ constexpr int unit_bytes() {
  return 4 * kUnitTiles<Weights> * kTileRows * T;
}
/// What a warp leaves of a row tile that began before its range: a float4 of each lane.
inline constexpr int kLeftBytes = 32 * 16;
/// What is in front of that: ChainHeader.
inline constexpr int kChainHeaderBytes = 2688;
inline constexpr int kUnitsAt = kChainHeaderBytes + kChainWarps * kLeftBytes;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// The block's share of a step: every so many units as there are blocks.
struct StepShare {
  int first;  // its first unit
  int shift;  // log2 of the row tiles of a unit
  int k_tiles;
  // Its items, row tile by row tile, are dealt to the warps in ranges.
  int begins[kChainWarps + 1];
  int first_row_tiles[kChainWarps];  // of the ranges' first items, among the block's
  /// The j-th row tile of its units, among the step's.
  __device__ __forceinline__ int row_tile(int j) const {
    const int unit = first + (j >> shift) * static_cast<int>(gridDim.x);
    return (unit << shift) + (j & ((1 << shift) - 1));
  }
};

struct ChainHeader {
  uint64_t full[kChainWarps][kMaxRounds];
  unsigned left[kChainWarps];                 // steps of which the warp has left what it leaves
  unsigned done[kMaxUnits];                   // row tiles of the unit
  float squares[kMaxFloatRows][kChainWarps];  // of rows that are normalised
  StepShare shares[kMaxMatmulSteps];
  ChainStep steps[kMaxMatmulSteps];  // as the launch gave them
};
// No more than it needs, but whole lines of 128 bytes, as slots lie behind it: with half a line
// less a 7B's token took 2.02 ms instead of 1.93.
static_assert(sizeof(ChainHeader) <= kChainHeaderBytes && kChainHeaderBytes % 128 == 0 &&
              sizeof(ChainHeader) > kChainHeaderBytes - 128);

/// Writes the block's share of a step: each warp's own part, the first warp what all have alike.
/// Once, as divisions are long.
template <class Weights>
__device__ __forceinline__ void deal(const ChainStep& step, int warp, StepShare& share) {
  const int shift = step.swiglu ? kUnitShift<Weights> : 0;
  int first = static_cast<int>(blockIdx.x) - step.first_block;
  if (first < 0) first += static_cast<int>(gridDim.x);
  // Unsigned: divisions of what may be negative are longer still.
  const auto k_tiles = static_cast<unsigned>(step.k_tiles);
  const int behind = (step.row_tiles >> shift) - first;
  const auto units = behind > 0 ? (static_cast<unsigned>(behind) - 1) / gridDim.x + 1 : 0;
  const unsigned n_items = (units << shift) * k_tiles;
  if (warp == 0) {
    share.first = first;
    share.shift = shift;
    share.k_tiles = step.k_tiles;
    share.begins[kChainWarps] = static_cast<int>(n_items);
  }
  const unsigned begin = static_cast<unsigned>(warp) * n_items / kChainWarps;
  share.begins[warp] = static_cast<int>(begin);
  share.first_row_tiles[warp] = static_cast<int>(begin / k_tiles);
}

/// A warp's place in the stream: runs of items, each of one row tile.
struct ItemCursor {
  int step = -1;
  int run = 0;       // items of the run from this one on
  int left = 0;      // of the warp's range behind the run
  int k = 0;         // the item's k tile
  int j = 0;         // its row tile, among the block's
  int row_tile = 0;  // and among the step's

  /// The first run of the warp's range of the next step, of no items if it has none.
  __device__ __forceinline__ void enter_next(const ChainParams& p, const ChainHeader& header,
                                             int warp) {
    run = 0;
    if (++step >= p.n_steps) return;
    const StepShare& share = header.shares[step];
    begin_run(share, begin_range(share, warp));
  }
  /// The next run of the range, if items are left.
  __device__ __forceinline__ void next_row_tile(const ChainHeader& header) {
    ++j;
    begin_run(header.shares[step], 0);
  }
  /// The next run that has items, of this step or of one behind it. There is none if `step` has
  /// come to the end.
  __device__ __forceinline__ void next_run(const ChainParams& p, const ChainHeader& header,
                                           int warp) {
    int first = 0;
    if (step == p.n_steps) return;
    if (left > 0) {
      ++j;
    } else {
      do {
        if (++step == p.n_steps) return;
        first = begin_range(header.shares[step], warp);
      } while (left == 0);
    }
    begin_run(header.shares[step], first);
  }

 private:
  /// Returns the k tile of the range's first item.
  __device__ __forceinline__ int begin_range(const StepShare& share, int warp) {
    const int begin = share.begins[warp];
    left = share.begins[warp + 1] - begin;
    j = share.first_row_tiles[warp];
    return begin - j * share.k_tiles;
  }
  __device__ __forceinline__ void begin_run(const StepShare& share, int first) {
    k = first;
    run = min(left, share.k_tiles - k);
    left -= run;
    row_tile = share.row_tile(j);
  }
};

template <class Weights>
__device__ __forceinline__ const TaskParams& task_of(const ChainStep& step, int row_tile) {
  // Of a unit the first half are gate's.
  int task = step.swiglu ? row_tile >> (kUnitShift<Weights> - 1) & 1 : 0;
  if (!step.swiglu) {
    while (row_tile >= step.tasks[task].row_tile_end) ++task;
  }
  return step.tasks[task];
}
/// The row tile's place in its task.
template <class Weights>
__device__ __forceinline__ int place_in_task(const ChainStep& step, const TaskParams& task,
                                             int row_tile) {
  constexpr int kHalf = kUnitTiles<Weights> / 2;
  return step.swiglu ? (row_tile >> kUnitShift<Weights>)*kHalf + row_tile % kHalf
                     : row_tile - task.row_tile_begin;
}

/// Weights in tiles of these formats: a tile is one copy.
template <class Formats>
struct TiledChain {
  static constexpr bool kOneCopy = true;
  static constexpr uint32_t kFlip = kFlipCodes;
  template <int T>
  using Sums = PairSums<T>;
  const uint8_t* from = nullptr;
  int bytes = 0;  // of an item
  static __device__ __forceinline__ void place(Activations& x, void* at) { x.q8 = at; }
  /// Those of `x` that the weights need, or the same at `words`.
  static __device__ __forceinline__ Activations of(const Activations& x, void* words = nullptr) {
    return {.cols = x.cols, .q8 = words != nullptr ? words : x.q8};
  }
  __device__ __forceinline__ void locate(const ChainStep& step, const ItemCursor& at, int) {
    const int row_tile = at.row_tile;
    const TaskParams& task = task_of<TiledChain>(step, row_tile);
    bytes = task.tile_bytes;
    from = task.weights +
           int64_t{place_in_task<TiledChain>(step, task, row_tile)} * task.row_tile_bytes +
           at.k * bytes;
  }
  __device__ __forceinline__ void advance(const ChainStep&, int, int n) { from += n * bytes; }
  /// Items of these bytes that share a slot, at most: neighbours in memory, k tiles of one row
  /// tile.
  static __device__ __forceinline__ int together(const ChainParams& p, int tile_bytes) {
    return p.pairs && 2 * tile_bytes <= p.slot_x ? 2 : 1;
  }
  /// By one lane.
  __device__ __forceinline__ void copy(uint8_t* slot, int n, uint64_t* full,
                                       uint64_t policy) const {
    bulk_copy_once(slot, from, n * bytes, full, policy);
  }
  /// Calls f(multiply) for the type of a row tile, where multiply(k, weights, x, sums) adds the
  /// products of an item and returns what is behind it: what differs between types is outside of
  /// loops over k.
  template <int T, class F>
  static __device__ __forceinline__ void visit(const ChainStep&, DType type, int lane, const F& f) {
    Formats::visit(type, [&](auto format) {
      f([&](int, const uint8_t* weights, const uint8_t* x, Sums<T>& sums) {
        multiply_tile<decltype(format), T, 1>(weights, x, 1, lane, sums);
        return weights + tile_bytes(decltype(format)::kType);
      });
    });
  }
};

/// BF16 weights in rows: a lane copies a row's part.
struct Bf16Chain {
  static constexpr bool kOneCopy = false;
  static constexpr uint32_t kFlip = kFlipBf16;
  template <int T>
  struct Sums {
    RowSums<1> of = {};
    __device__ __forceinline__ void total(RowSums<1>& sums) const {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[0][i] = of[0][i];
    }
  };
  const uint8_t* from = nullptr;  // the lane's
  int bytes = 0;                  // of an item
  int n_rows = 0;
  static __device__ __forceinline__ void place(Activations& x, void* at) { x.bf16 = at; }
  static __device__ __forceinline__ Activations of(const Activations& x, void* words = nullptr) {
    return {.cols = x.cols, .bf16 = words != nullptr ? words : x.bf16};
  }
  static __device__ __forceinline__ int row_bytes(const ChainStep& step, int k) {
    return 2 * min(kBf16TileCols, step.cols - kBf16TileCols * k);
  }
  __device__ __forceinline__ void locate(const ChainStep& step, const ItemCursor& at, int lane) {
    const int row_tile = at.row_tile;
    const TaskParams& task = task_of<Bf16Chain>(step, row_tile);
    const int place = place_in_task<Bf16Chain>(step, task, row_tile);
    n_rows = min(kTileRows, task.rows - kTileRows * place);
    from = task.weights + int64_t{place} * task.row_tile_bytes +
           2 * (lane * step.cols + kBf16TileCols * at.k);
    bytes = n_rows * row_bytes(step, at.k);
  }
  // A row's part is two lines of the L2 cache: a copy of its own.
  static __device__ __forceinline__ int together(const ChainParams&, int) { return 1; }
  __device__ __forceinline__ void advance(const ChainStep& step, int k, int) {
    from += kBf16TileRowBytes;
    bytes = n_rows * row_bytes(step, k);
  }
  /// By all lanes.
  __device__ __forceinline__ void copy(uint8_t* slot, uint64_t* full, uint64_t policy,
                                       int lane) const {
    if (lane < n_rows) {
      bulk_copy_once(slot + lane * kBf16TileRowBytes, from, bytes / n_rows, full, policy);
    }
  }
  template <int T, class F>
  static __device__ __forceinline__ void visit(const ChainStep& step, DType, int lane, const F& f) {
    f([&](int k, const uint8_t* weights, const uint8_t* x, Sums<T>& sums) {
      multiply_bf16<T, 1>(weights, row_bytes(step, k) / 64, x, 1, lane, sums.of);
      return weights;
    });
  }
};

#endif

}  // namespace fimd::cuda

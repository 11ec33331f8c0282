// What a chain's kernel is given, and the two kinds of weights that its items have (see
// matmul_chain.cuh).
#pragma once

#include "kernels/cuda/matmul_chain_ahead.h"
#include "kernels/cuda/matmul_tasks.h"
#include "kernels/cuda/quantize.cuh"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/cuda/weight_ring.cuh"

namespace fimd::cuda {

inline constexpr int kChainWarps = 12;  // W
inline constexpr int kChainThreads = 32 * kChainWarps;
inline constexpr int kSchedulers = 4;  // of a multiprocessor
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

/// What blocks read by varying indices: constant memory is slow at that, so each copies it.
struct ChainPlan {
  ChainStep steps[kMaxMatmulSteps];
  Ahead ahead;  // what is asked for while blocks wait
};
struct ChainParams : ChainPlan {
  int n_steps;
  int n_rows;
  int x_tile_bytes;
  int n_units;         // that a block has at most in a step of SwiGLU
  bool pairs;          // two items to a slot, where they fit and there are two
  int most_runs;       // of a warp
  int runs_offset;     // in shared memory
  int rounds;          // slots of a warp
  int slot_bytes;      // weights, then streamed activations
  int slot_x;          // where these are
  int ring_offset;     // in shared memory
  int x_offset;        // of resident activations
  int odd_x;           // from these to those of a handed row's odd steps
  unsigned* arrivals;  // of blocks at the barriers between steps
  float* factors;      // of rows that were normalised for all blocks
  HandedWords words;   // instead of barriers
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
inline constexpr int kChainHeaderBytes = 3072;
inline constexpr int kUnitsAt = kChainHeaderBytes + kChainWarps * kLeftBytes;

/// Neighbouring items of a row tile, as they are fetched.
struct alignas(16) RunItems {
  const uint8_t* weights;  // of the first
  int bytes;               // of each; of BF16 weights the row tile's rows
  int16_t k;               // the first one's k tile
  int16_t n;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// Sums of a row's squares, so many from each warp.
inline constexpr int kSquares = 4;
using RowSquares = float[kSquares * kChainWarps];

struct ChainHeader : ChainPlan {
  uint64_t full[kChainWarps][kMaxRounds];
  unsigned left[kChainWarps];            // steps of which the warp has left what it leaves
  unsigned done[kMaxUnits];              // row tiles of the unit
  RowSquares squares[2][kMaxFloatRows];  // of rows that are normalised, of even and odd steps
};
// No more than it needs, but whole lines of 128 bytes, as slots lie behind it: with half a line
// less a 7B's token took 2.02 ms instead of 1.93.
static_assert(sizeof(ChainHeader) <= kChainHeaderBytes && kChainHeaderBytes % 128 == 0 &&
              sizeof(ChainHeader) > kChainHeaderBytes - 128);

template <class Weights>
__device__ __forceinline__ int task_of(const ChainStep& step, int row_tile) {
  // Of a unit the first half are gate's.
  int task = step.swiglu ? row_tile >> (kUnitShift<Weights> - 1) & 1 : 0;
  if (!step.swiglu) {
    while (row_tile >= step.tasks[task].row_tile_end) ++task;
  }
  return task;
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
  /// Where a run from k tile k on is, of the row tile at `place`, and what locate() needs of it.
  static __device__ __forceinline__ void find(const TaskParams& task, int place, int k,
                                              RunItems& items) {
    items.bytes = task.tile_bytes;
    items.weights =
        task.weights + int64_t{place} * task.row_tile_bytes + int64_t{k} * task.tile_bytes;
  }
  __device__ __forceinline__ void locate(const ChainStep&, const RunItems& items, int) {
    bytes = items.bytes;
    from = items.weights;
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
  /// As TiledChain's; items are so many rows.
  static __device__ __forceinline__ void find(const TaskParams& task, int place, int k,
                                              RunItems& items) {
    items.bytes = min(kTileRows, task.rows - kTileRows * place);
    items.weights =
        task.weights + int64_t{place} * task.row_tile_bytes + int64_t{2} * kBf16TileCols * k;
  }
  __device__ __forceinline__ void locate(const ChainStep& step, const RunItems& items, int lane) {
    n_rows = items.bytes;
    from = items.weights + 2 * lane * step.cols;
    bytes = n_rows * row_bytes(step, items.k);
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

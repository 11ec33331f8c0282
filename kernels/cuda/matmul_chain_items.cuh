// What a chain's kernel is given, and its stream of items: shares, cursors, and the two kinds of
// weights (see matmul_chain.cuh).
#pragma once

#include "kernels/cuda/matmul_tasks.h"
#include "kernels/cuda/quantize.cuh"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/cuda/weight_ring.cuh"

namespace fimd::cuda {

inline constexpr int kChainWarps = 12;  // W
inline constexpr int kChainThreads = 32 * kChainWarps;
/// Registers are dealt as if there were so many threads: 96 each leave attention's blocks some (but
/// for shared memory, which a chain takes whole, they could be resident beside one of these).
inline constexpr int kChainRegisterThreads = 640;
inline constexpr int kMaxRounds = 64 / kChainWarps;  // slots of a warp

struct ChainStep {
  TaskParams tasks[kMaxMatmulTasks];
  int row_tiles;
  int k_tiles;
  int cols;
  int first_block;  // takes the first run: the runs of a chain's steps go round
  const uint8_t* x;
  FloatInput floats;  // x is made of them: by n_rows blocks, or by every block for itself if x is
                      // null
  bool streamed;      // x comes through the ring
  bool swiglu;        // tasks are gate and up; their results go to `out`
  RowWriter out;
};

struct ChainParams {
  ChainStep steps[kMaxMatmulSteps];
  int n_steps;
  int n_rows;
  int x_tile_bytes;
  int rounds;          // slots of a warp
  int slot_bytes;      // weights, then streamed activations
  int slot_x;          // where these are
  int ring_offset;     // in shared memory
  int x_offset;        // of resident activations
  int stage_offset;    // of floats that are being normalised
  unsigned* arrivals;  // of blocks at the barriers between steps
};

inline constexpr int kMaxSumSlots = 8;
/// Sums of row tiles in shared memory: [slot][class][token][16 rows].
template <int T>
__host__ __device__ constexpr int sum_slots() {
  return T == 8 ? 4 : 8;
}
template <int T>
__host__ __device__ constexpr int chain_sum_bytes() {
  return sum_slots<T>() * kChainWarps * 4 * kTileRows * T;
}
/// What is in front of the sums: ChainHeader.
inline constexpr int kChainHeaderBytes = 2560;

struct TiledChain;  // kinds of weights
struct Bf16Chain;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// The block's share of a step.
struct StepShare {
  int first;  // its first run
  int shift;  // log2 of the row tiles of a run
  int k_tiles;
  int n_items;
};

struct ChainHeader {
  uint64_t full[kChainWarps][kMaxRounds];
  // Of each slot of sums in this step: sums left in it, and row tiles written from it.
  unsigned sums_left[kMaxSumSlots];
  unsigned sums_written[kMaxSumSlots];
  float scratch[kRowThreads / 32];
  StepShare shares[kMaxMatmulSteps];
  ChainStep steps[kMaxMatmulSteps];  // as the launch gave them
};
static_assert(sizeof(ChainHeader) <= kChainHeaderBytes);

__device__ __forceinline__ StepShare share_of(const ChainStep& step) {
  const auto blocks = static_cast<int>(gridDim.x);
  StepShare share = {static_cast<int>(blockIdx.x) - step.first_block, step.swiglu ? 2 : 0,
                     step.k_tiles, 0};
  if (share.first < 0) share.first += blocks;
  const int last = (step.row_tiles >> share.shift) - 1 - share.first;
  if (last >= 0) share.n_items = ((last / blocks + 1) << share.shift) * step.k_tiles;
  return share;
}

/// A warp's place in the stream: an item of a step.
struct ItemCursor {
  int step = -1;
  int item = 0;
  int k = 0;
  int j = 0;  // the row tile, among the block's
  StepShare share = {};

  __device__ __forceinline__ int row_tile() const {
    return ((share.first + (j >> share.shift) * static_cast<int>(gridDim.x)) << share.shift) +
           (j & ((1 << share.shift) - 1));
  }
  /// To the warp's first item of the next step: not before it has left this one.
  __device__ __forceinline__ void enter_next(const ChainParams& p, const ChainHeader& header) {
    item -= share.n_items;
    if (++step >= p.n_steps) return;
    share = header.shares[step];
    k = item;
    j = 0;
    while (k >= share.k_tiles) next_row_tile();
  }
  /// The warp's next item; whether it is of the same row tile.
  __device__ __forceinline__ bool advance() {
    item += kChainWarps;
    k += kChainWarps;
    return k < share.k_tiles;
  }
  /// If it is not: once or, if row tiles have few items, until k is less than k_tiles.
  __device__ __forceinline__ void next_row_tile() {
    k -= share.k_tiles;
    ++j;
  }
};

__device__ __forceinline__ const TaskParams& task_of(const ChainStep& step, int row_tile) {
  int task = step.swiglu ? row_tile >> 1 & 1 : 0;
  if (!step.swiglu) {
    while (row_tile >= step.tasks[task].row_tile_end) ++task;
  }
  return step.tasks[task];
}
/// The row tile's place in its task.
__device__ __forceinline__ int place_in_task(const ChainStep& step, const TaskParams& task,
                                             int row_tile) {
  return step.swiglu ? (row_tile >> 2) * 2 + (row_tile & 1) : row_tile - task.row_tile_begin;
}

/// Weights in tiles: a tile is one copy.
struct TiledChain {
  const uint8_t* from = nullptr;
  int tile = 0;
  static __device__ __forceinline__ void place(Activations& x, void* at) { x.q8 = at; }
  __device__ __forceinline__ void locate(const ChainStep& step, const ItemCursor& at, int) {
    const int row_tile = at.row_tile();
    const TaskParams& task = task_of(step, row_tile);
    tile = tile_bytes(task.type);
    from = task.weights +
           (int64_t{place_in_task(step, task, row_tile)} * at.share.k_tiles + at.k) * tile;
  }
  __device__ __forceinline__ void advance() { from += kChainWarps * tile; }
  __device__ __forceinline__ int bytes(const ChainStep&, const ItemCursor&) const { return tile; }
  __device__ __forceinline__ void copy(const ChainStep&, const ItemCursor&, uint8_t* slot,
                                       uint64_t* full, uint64_t policy, int lane) const {
    if (lane == 0) bulk_copy_once(slot, from, tile, full, policy);
  }
  template <int T>
  static __device__ __forceinline__ void multiply(const ChainStep&, DType type, int,
                                                  const uint8_t* weights, const uint8_t* x,
                                                  int lane, RowSums<1>& sums) {
    visit_format(type, [&](auto format) {
      multiply_tile<decltype(format), T, 1>(weights, x, 1, lane, sums);
    });
  }
};

/// BF16 weights in rows: a lane copies a row's part.
struct Bf16Chain {
  const uint8_t* from = nullptr;  // the lane's
  int n_rows = 0;
  static __device__ __forceinline__ void place(Activations& x, void* at) { x.bf16 = at; }
  static __device__ __forceinline__ int row_bytes(const ChainStep& step, int k) {
    return 2 * min(kBf16TileCols, step.cols - kBf16TileCols * k);
  }
  __device__ __forceinline__ void locate(const ChainStep& step, const ItemCursor& at, int lane) {
    const int row_tile = at.row_tile();
    const TaskParams& task = task_of(step, row_tile);
    const int64_t row = int64_t{kTileRows} * place_in_task(step, task, row_tile);
    n_rows = static_cast<int>(min(int64_t{kTileRows}, task.rows - row));
    from = task.weights + 2 * ((row + lane) * step.cols + kBf16TileCols * at.k);
  }
  __device__ __forceinline__ void advance() { from += 2 * kBf16TileCols * kChainWarps; }
  __device__ __forceinline__ int bytes(const ChainStep& step, const ItemCursor& at) const {
    return n_rows * row_bytes(step, at.k);
  }
  __device__ __forceinline__ void copy(const ChainStep& step, const ItemCursor& at, uint8_t* slot,
                                       uint64_t* full, uint64_t policy, int lane) const {
    if (lane < n_rows) {
      bulk_copy_once(slot + lane * kBf16SlotStride, from, row_bytes(step, at.k), full, policy);
    }
  }
  template <int T>
  static __device__ __forceinline__ void multiply(const ChainStep& step, DType, int k,
                                                  const uint8_t* weights, const uint8_t* x,
                                                  int lane, RowSums<1>& sums) {
    multiply_bf16<T, 1>(weights, kBf16SlotStride, row_bytes(step, k) / 64, x, 1, lane, sums);
  }
};

#endif

}  // namespace fimd::cuda

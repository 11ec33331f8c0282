// The kernel of small-batch products, y (n_rows, rows) = x . w^T for up to 64 rows of x.
//
// A block takes rows of tiles ("row tiles": 16 rows of a matrix) blockIdx.x, + gridDim.x, ... of
// all tasks. Its stream of items, (row tile, k tile) in order, is dealt to its 8 warps in turn;
// each warp has its own ring of slots (weight_ring.cuh) that is filled several items ahead, across
// the ends of row tiles, so that memory never waits for arithmetic:
//
//     item    0 1 2 3 4 5 6 7 | 8 9 ...          row tile 0: k = 0 .. k_tiles - 1, row tile 1: ...
//     warp    0 1 2 3 4 5 6 7 | 0 1 ...
//
// With one block per multiprocessor about 80 KB of weights are under way on each, and with
// dependent launch the ring is full before the kernel in front has ended. At the end of a row tile
// the warps' sums are added in shared memory: class c has the k tiles c, c + 8, c + 16 ..., classes
// are added in order, so that a result depends on nothing but the matrix and its row of x.
//
// For SwiGLU a block takes four row tiles at a time, two of gate and the same two of up: 32 columns
// of the result, which are a block of quantised activations.
//
// Activations are in shared memory: all of them if they are small, else each item's part comes
// through the ring with the weights. For more than 8 rows of x they are read through the L1 cache.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/quantize.cuh"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/cuda/weight_ring.cuh"

namespace fimd::cuda {

inline constexpr int kMatmulWarps = 8;
inline constexpr int kMatmulThreads = 32 * kMatmulWarps;
/// Barriers of the rings, then the one of x.
inline constexpr int kBarrierBytes = kMatmulWarps * kMaxStages * 8 + 128;
/// Rows of BF16 weights are this far apart in a slot: no bank conflicts.
inline constexpr int kBf16SlotStride = kBf16TileCols * 2 + 64;

struct TaskParams {
  const uint8_t* weights;
  const float* bias;
  float* y;
  int64_t y_stride;
  int64_t rows;
  int row_tile_begin;  // among all tasks' row tiles
  int row_tile_end;
  DType type;
  bool accumulate;
};

enum class XPlace {
  kFloats,    // resident, quantised here
  kResident,  // in shared memory
  kStreamed,  // through the ring
  kGlobal
};

struct MatmulParams {
  TaskParams tasks[kMaxMatmulTasks];
  int row_tiles;
  int k_tiles;
  int cols;
  int n_rows;
  int groups;       // of x
  int group_bytes;  // of x in one k tile
  const uint8_t* x;
  XPlace x_place;
  int stages;
  int slot_bytes;   // of a ring: weights, then streamed activations
  int slot_x;       // where these are
  int ring_offset;  // in shared memory
  int x_offset;     // of resident activations
  FloatInput floats;
  bool swiglu;  // tasks are gate and up; their results go to `out`
  RowWriter out;
};

/// Row tiles that a block takes one after another.
__device__ __forceinline__ int run_length(const MatmulParams& p) { return p.swiglu ? 4 : 1; }
__device__ __forceinline__ int next_row_tile(const MatmulParams& p, int row_tile) {
  const int next = row_tile + 1;
  const int run = run_length(p);
  return next % run != 0 ? next : next + (static_cast<int>(gridDim.x) - 1) * run;
}

/// The place of a warp in its block's stream of items.
struct ItemCursor {
  int row_tile;
  int k;
  __device__ __forceinline__ ItemCursor(const MatmulParams& p, int warp)
      : row_tile(static_cast<int>(blockIdx.x) * run_length(p)), k(warp) {
    settle(p);
  }
  __device__ __forceinline__ bool valid(const MatmulParams& p) const {
    return row_tile < p.row_tiles;
  }
  __device__ __forceinline__ void advance(const MatmulParams& p) {
    k += kMatmulWarps;
    settle(p);
  }

 private:
  __device__ __forceinline__ void settle(const MatmulParams& p) {
    while (k >= p.k_tiles && row_tile < p.row_tiles) {
      k -= p.k_tiles;
      row_tile = next_row_tile(p, row_tile);
    }
  }
};

/// A row tile's task and its place there.
struct RowTile {
  const TaskParams& task;
  int index;
};
__device__ __forceinline__ RowTile find_row_tile(const MatmulParams& p, int row_tile) {
  if (p.swiglu) return {p.tasks[row_tile / 2 % 2], row_tile / 4 * 2 + row_tile % 2};
  int i = 0;
  while (row_tile >= p.tasks[i].row_tile_end) ++i;
  return {p.tasks[i], row_tile - p.tasks[i].row_tile_begin};
}

/// Weights in tiles.
struct TiledWeights {
  static __device__ __forceinline__ void place(Activations& x, void* at) { x.q8 = at; }
  static __device__ __forceinline__ int item_bytes(const MatmulParams& p, const ItemCursor& at) {
    return tile_bytes(find_row_tile(p, at.row_tile).task.type);
  }
  static __device__ __forceinline__ void fill(const MatmulParams& p, const ItemCursor& at,
                                              WeightRing& ring, uint8_t* slot) {
    const RowTile rows = find_row_tile(p, at.row_tile);
    const int bytes = tile_bytes(rows.task.type);
    const int64_t tile = int64_t{rows.index} * p.k_tiles + at.k;
    ring.copy_weights(slot, rows.task.weights + tile * bytes, bytes);
  }
  template <int T, int kGroups>
  static __device__ __forceinline__ void multiply(const MatmulParams& p, const ItemCursor& at,
                                                  const uint8_t* slot, const uint8_t* x, int lane,
                                                  RowSums<kGroups>& sums) {
    visit_format(find_row_tile(p, at.row_tile).task.type, [&](auto format) {
      multiply_tile<decltype(format), T, kGroups>(slot, x, p.groups, lane, sums);
    });
  }
};

/// BF16 weights in rows.
struct Bf16Weights {
  static __device__ __forceinline__ void place(Activations& x, void* at) { x.bf16 = at; }
  static __device__ __forceinline__ int row_bytes(const MatmulParams& p, const ItemCursor& at) {
    return 2 * min(kBf16TileCols, p.cols - kBf16TileCols * at.k);
  }
  static __device__ __forceinline__ int n_rows(const RowTile& rows) {
    const int64_t row = int64_t{kTileRows} * rows.index;
    return static_cast<int>(min(int64_t{kTileRows}, rows.task.rows - row));
  }
  static __device__ __forceinline__ int item_bytes(const MatmulParams& p, const ItemCursor& at) {
    return n_rows(find_row_tile(p, at.row_tile)) * row_bytes(p, at);
  }
  static __device__ __forceinline__ void fill(const MatmulParams& p, const ItemCursor& at,
                                              WeightRing& ring, uint8_t* slot) {
    const RowTile rows = find_row_tile(p, at.row_tile);
    const int64_t stride = int64_t{2} * p.cols;
    ring.copy_weight_rows(
        slot, kBf16SlotStride,
        rows.task.weights + kTileRows * rows.index * stride + 2 * kBf16TileCols * at.k, stride,
        n_rows(rows), row_bytes(p, at));
  }
  template <int T, int kGroups>
  static __device__ __forceinline__ void multiply(const MatmulParams& p, const ItemCursor& at,
                                                  const uint8_t* slot, const uint8_t* x, int lane,
                                                  RowSums<kGroups>& sums) {
    multiply_bf16<T, kGroups>(slot, kBf16SlotStride, row_bytes(p, at) / 64, x, p.groups, lane,
                              sums);
  }
};

/// Element i (token i / 16, row i % 16) of a row tile: the classes' sums in order, and the bias.
__device__ __forceinline__ float total(const MatmulParams& p, const float* partial,
                                       int class_floats, int i) {
  const int classes = min(kMatmulWarps, p.k_tiles);
  float sum = partial[i];
  for (int c = 1; c < classes; ++c) sum = __fadd_rn(sum, partial[c * class_floats + i]);
  return sum;
}

__device__ __forceinline__ void write_row_tile(const MatmulParams& p, int row_tile,
                                               const float* partial, int class_floats) {
  const RowTile rows = find_row_tile(p, row_tile);
  const TaskParams& task = rows.task;
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows * p.n_rows; i += kMatmulThreads) {
    const int64_t row = int64_t{kTileRows} * rows.index + i % kTileRows;
    if (row >= task.rows) continue;
    float sum = total(p, partial, class_floats, i);
    if (task.bias != nullptr) sum = __fadd_rn(sum, task.bias[row]);
    float* y = task.y + i / kTileRows * task.y_stride + row;
    *y = task.accumulate ? __fadd_rn(*y, sum) : sum;
  }
}

/// Keeps a row tile of gate or up in `kept` ([4][class_floats]) and writes the block of activations
/// after the fourth.
__device__ __forceinline__ void write_swiglu(const MatmulParams& p, int row_tile,
                                             const float* partial, int class_floats, float* kept) {
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows * p.n_rows; i += kMatmulThreads) {
    kept[row_tile % 4 * class_floats + i] = total(p, partial, class_floats, i);
  }
  if (row_tile % 4 != 3) return;
  __syncthreads();
  const int column = 4 * (static_cast<int>(threadIdx.x) % 8);
  const float* gate = kept + column / kTileRows * class_floats + column % kTileRows;
  const float* up = gate + 2 * class_floats;
  for (int first = 0; first < p.n_rows; first += kMatmulThreads / 8) {
    const int token = first + static_cast<int>(threadIdx.x) / 8;
    float4 v = make_float4(0, 0, 0, 0);
    if (token < p.n_rows) {
      const float4 g = *reinterpret_cast<const float4*>(gate + token * kTileRows);
      const float4 u = *reinterpret_cast<const float4*>(up + token * kTileRows);
      v = make_float4(silu_mul(g.x, u.x), silu_mul(g.y, u.y), silu_mul(g.z, u.z),
                      silu_mul(g.w, u.w));
    }
    p.out.write(token, int64_t{32} * (row_tile / 4) + column, v, token < p.n_rows);
  }
}

/// Zeros in the columns of the last k tile that no row tile has, by one block.
__device__ __forceinline__ void pad_swiglu(const MatmulParams& p) {
  const int64_t end = written_cols(p.out.out.cols);
  for (int64_t row = threadIdx.x / 32; row < p.n_rows; row += kMatmulWarps) {
    for (int64_t c = p.out.out.cols; c < end; c += 128) {
      p.out.write(static_cast<int>(row), c + 4 * (threadIdx.x % 32), make_float4(0, 0, 0, 0));
    }
  }
}

/// Sums of a row tile in shared memory: [2 buffers if kGroups is 1, else 1][class][token][16 rows].
template <int T, int kGroups>
constexpr int partial_floats() {
  return kMatmulWarps * kTileRows * T * kGroups;
}
template <int kGroups>
constexpr int partial_buffers() {
  return kGroups == 1 ? 2 : 1;
}

template <class Weights, int T, int kGroups>
__global__ void __launch_bounds__(kMatmulThreads, kGroups == 1 ? 2 : 1)
    matmul_kernel(const __grid_constant__ MatmulParams p) {
  pdl_trigger();
  extern __shared__ __align__(128) uint8_t shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  auto* barriers = reinterpret_cast<uint64_t*>(shared);
  auto* partials = reinterpret_cast<float*>(shared + kBarrierBytes);
  const int x_tile_bytes = p.groups * p.group_bytes;
  const bool streamed = kGroups == 1 && p.x_place == XPlace::kStreamed;

  WeightRing ring(shared + p.ring_offset + warp * p.stages * p.slot_bytes,
                  barriers + warp * kMaxStages, p.slot_bytes, p.stages, lane);
  const auto fill = [&](const ItemCursor& at, bool with_x) {
    const int x_bytes = streamed ? x_tile_bytes : 0;
    uint8_t* slot = ring.begin(Weights::item_bytes(p, at) + x_bytes);
    Weights::fill(p, at, ring, slot);
    if (streamed && with_x)
      ring.copy_x(slot + p.slot_x, p.x + int64_t{at.k} * x_tile_bytes, x_bytes);
    ring.end();
  };

  // Weights first: they wait for nobody.
  if (!WeightRing::kLateCopies) pdl_wait();
  ItemCursor reading(p, warp);
  ItemCursor writing = reading;
  for (int s = 0; s < p.stages; ++s) {
    if (writing.valid(p)) {
      fill(writing, !WeightRing::kLateCopies);
      writing.advance(p);
    } else {
      ring.skip();
    }
  }
  pdl_wait();
  if (WeightRing::kLateCopies && streamed) {
    ItemCursor late = reading;
    for (int s = 0; s < p.stages && late.valid(p); ++s) {
      ring.late_copy_x(s, p.slot_x, p.x + int64_t{late.k} * x_tile_bytes, x_tile_bytes);
      late.advance(p);
    }
  }
  if (p.swiglu && blockIdx.x == 0) pad_swiglu(p);
  if constexpr (kGroups == 1 && T <= kMaxFloatRows) {
    if (p.x_place == XPlace::kFloats) {
      RowWriter writer = {{.cols = p.cols}, {T, 1}};
      Weights::place(writer.out, shared + p.x_offset);
      for (int row = 0; row < p.n_rows; ++row) {
        write_row(p.floats.x, p.floats.norm, p.floats.eps, row, writer, partials);
      }
      __syncthreads();
    }
  }
  if (kGroups == 1 && p.x_place == XPlace::kResident) {
    for (int i = 16 * static_cast<int>(threadIdx.x); i < p.k_tiles * x_tile_bytes;
         i += 16 * kMatmulThreads) {
      *reinterpret_cast<uint4*>(shared + p.x_offset + i) = load16(p.x + i);
    }
    __syncthreads();
  }

  int buffer = 0;
  for (int row_tile = static_cast<int>(blockIdx.x) * run_length(p); row_tile < p.row_tiles;
       row_tile = next_row_tile(p, row_tile)) {
    float* partial = partials + buffer * partial_floats<T, kGroups>();
    if (reading.row_tile == row_tile) {
      float sums[kGroups][4] = {};
      const int item_class = reading.k;
      do {
        const uint8_t* slot = ring.read();
        if constexpr (kGroups == 1) {
          const uint8_t* x =
              streamed ? slot + p.slot_x : shared + p.x_offset + reading.k * x_tile_bytes;
          Weights::template multiply<T, kGroups>(p, reading, slot, x, lane, sums);
        } else {
          Weights::template multiply<T, kGroups>(
              p, reading, slot, p.x + int64_t{reading.k} * x_tile_bytes, lane, sums);
        }
        if (writing.valid(p)) {
          fill(writing, true);
          writing.advance(p);
        } else {
          ring.skip();
        }
        reading.advance(p);
      } while (reading.row_tile == row_tile);

      const int g = lane >> 2, t = lane & 3;
      if (t < (T + 1) / 2) {
        float* to = partial + item_class * kTileRows * T * kGroups;
#pragma unroll
        for (int n = 0; n < kGroups; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (T == 1 && i % 2 == 1) continue;
            to[(n * T + 2 * t + i % 2) * kTileRows + g + 8 * (i / 2)] = sums[n][i];
          }
        }
      }
    }
    __syncthreads();
    constexpr int kClassFloats = kTileRows * T * kGroups;
    if (p.swiglu) {
      write_swiglu(p, row_tile, partial, kClassFloats,
                   partials + partial_buffers<kGroups>() * partial_floats<T, kGroups>());
    } else {
      write_row_tile(p, row_tile, partial, kClassFloats);
    }
    if constexpr (partial_buffers<kGroups>() == 2) {
      buffer ^= 1;
    } else {
      __syncthreads();
    }
  }
}

}  // namespace fimd::cuda

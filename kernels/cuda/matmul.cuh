// The kernel of small-batch products, y (n_rows, rows) = x . w^T for up to 64 rows of x.
//
// The 8 warps of a block are 1, 2 or 4 teams. A team takes rows of tiles ("row tiles": 16 rows of a
// matrix) of all tasks, every so many as there are teams on the GPU. Its stream of items, (row
// tile, k tile) in order, is dealt to its warps in turn; each warp has its own ring of slots
// (weight_ring.cuh) that is filled several items ahead, across the ends of row tiles, so that
// memory never waits for arithmetic. For a team of 4:
//
//     item    0 1 2 3 4 5 6 | 7 8 ...          row tile 0: k = 0 .. k_tiles - 1, row tile 1: ...
//     warp    0 1 2 3 0 1 2 | 3 0 ...
//
// About 80 KB of weights are under way on each multiprocessor, and with dependent launch the ring
// is full before the kernel in front has ended. At the end of a row tile one warp (in turn) adds
// the team's sums in shared memory: class c has the k tiles c, c + W, c + 2 W ... (W warps in a
// team), classes are added in order, so that a result depends on nothing but the matrices of the
// call and its row of x. The others go on: a few row tiles may wait to be added.
//
// For SwiGLU a team takes four row tiles at a time, two of gate and the same two of up: 32 columns
// of the result, which are a block of quantised activations.
//
// Activations are in shared memory: all of them if they are small, else each item's part comes
// through the ring with the weights. What does not fit either way (many rows of x) is read through
// the L1 cache.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/matmul_items.cuh"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/cuda/weight_ring.cuh"

namespace fimd::cuda {

/// Weights in tiles.
struct TiledWeights {
  static __device__ __forceinline__ void place(Activations& x, void* at) { x.q8 = at; }
  static __device__ __forceinline__ int item_bytes(const MatmulParams& p, const ItemCursor& at) {
    return tile_bytes(p.tasks[at.task].type);
  }
  static __device__ __forceinline__ void fill(const MatmulParams& p, const ItemCursor& at,
                                              WeightRing& ring, uint8_t* slot) {
    const TaskParams& task = p.tasks[at.task];
    const int bytes = tile_bytes(task.type);
    const int64_t tile = int64_t{at.index(p)} * p.k_tiles + at.k;
    ring.copy_weights(slot, task.weights + tile * bytes, bytes);
  }
  template <int T, int kGroups>
  static __device__ __forceinline__ void multiply(const MatmulParams& p, const ItemCursor& at,
                                                  const uint8_t* slot, const uint8_t* x, int lane,
                                                  RowSums<kGroups>& sums) {
    visit_format(p.tasks[at.task].type, [&](auto format) {
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
  static __device__ __forceinline__ int n_rows(const MatmulParams& p, const ItemCursor& at) {
    const int64_t row = int64_t{kTileRows} * at.index(p);
    return static_cast<int>(min(int64_t{kTileRows}, p.tasks[at.task].rows - row));
  }
  static __device__ __forceinline__ int item_bytes(const MatmulParams& p, const ItemCursor& at) {
    return n_rows(p, at) * row_bytes(p, at);
  }
  static __device__ __forceinline__ void fill(const MatmulParams& p, const ItemCursor& at,
                                              WeightRing& ring, uint8_t* slot) {
    const int64_t stride = int64_t{2} * p.cols;
    ring.copy_weight_rows(
        slot, kBf16TileRowBytes,
        p.tasks[at.task].weights + kTileRows * at.index(p) * stride + kBf16TileRowBytes * at.k,
        stride, n_rows(p, at), row_bytes(p, at));
  }
  template <int T, int kGroups>
  static __device__ __forceinline__ void multiply(const MatmulParams& p, const ItemCursor& at,
                                                  const uint8_t* slot, const uint8_t* x, int lane,
                                                  RowSums<kGroups>& sums) {
    multiply_bf16<T, kGroups>(slot, row_bytes(p, at) / 64, x, p.groups, lane, sums);
  }
};

/// Element i (token i / 16, row i % 16) of a row tile: the classes' sums in order.
__device__ __forceinline__ float total(const float* sums, int classes, int class_floats, int i) {
  float sum = sums[i];
#pragma unroll
  for (int c = 1; c < kMatmulWarps; ++c) {
    if (c < classes) sum = __fadd_rn(sum, sums[c * class_floats + i]);
  }
  return sum;
}

/// Elements `first`, + `step` ... of a row tile to y.
__device__ __forceinline__ void write_row_tile(const MatmulParams& p, int row_tile,
                                               const float* sums, int classes, int class_floats,
                                               int first, int step) {
  int at = 0;
  while (row_tile >= p.tasks[at].row_tile_end) ++at;
  const TaskParams& task = p.tasks[at];
  const int64_t first_row = int64_t{kTileRows} * (row_tile - task.row_tile_begin);
  for (int i = first; i < kTileRows * p.n_rows; i += step) {
    const int64_t row = first_row + i % kTileRows;
    if (row >= task.rows) continue;
    float* y = task.y + i / kTileRows * task.y_stride + row;
    const float before = task.accumulate ? *y : 0.0F;
    float sum = total(sums, classes, class_floats, i);
    if (task.bias != nullptr) sum = __fadd_rn(sum, task.bias[row]);
    *y = task.accumulate ? __fadd_rn(before, sum) : sum;
  }
}

/// The block of 32 columns of activations of a run of four row tiles; their sums are `slot_floats`
/// apart. `thread` of `threads` (whole warps).
__device__ __forceinline__ void write_swiglu(const MatmulParams& p, int run, const float* sums,
                                             int slot_floats, int classes, int class_floats,
                                             int thread, int threads) {
  const int column = 4 * (thread % 8);
  const float* gate = sums + column / kTileRows * slot_floats;
  const float* up = gate + 2 * slot_floats;
  for (int first = 0; first < p.n_rows; first += threads / 8) {
    const int token = first + thread / 8;
    float v[4] = {};
    if (token < p.n_rows) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int i = token * kTileRows + column % kTileRows + j;
        v[j] = silu_mul(total(gate, classes, class_floats, i), total(up, classes, class_floats, i));
      }
    }
    p.out.write(token, 32 * run + column, make_float4(v[0], v[1], v[2], v[3]), token < p.n_rows);
  }
}

/// Zeros in the columns of the last k tile that no row tile has, by one block.
__device__ __forceinline__ void pad_swiglu(const MatmulParams& p) {
  for (auto row = static_cast<int>(threadIdx.x / 32); row < p.n_rows; row += kMatmulWarps) {
    p.out.pad(row);
  }
}

/// Sums of row tiles in shared memory: [team][slot][class][token][16 rows]. With more than 8 rows
/// of x there is one slot, and the team waits for its sums to be added; those of a run of SwiGLU
/// stay in [team][4][token][16 rows] behind.
template <int T, int kGroups>
__host__ __device__ constexpr int sum_slots() {
  if (kGroups > 1) return 1;
  return T == 8 ? 4 : kMaxSumSlots;
}
template <int T, int kGroups>
constexpr int sum_bytes(bool swiglu, int teams) {
  const int class_bytes = 4 * kTileRows * T * kGroups;
  return sum_slots<T, kGroups>() * kMatmulWarps * class_bytes +
         (swiglu && kGroups > 1 ? 4 * teams * class_bytes : 0);
}

template <class Weights, int T, int kGroups>
__global__ void __launch_bounds__(kMatmulThreads, kGroups == 1 ? 2 : 1)
    matmul_kernel(const __grid_constant__ MatmulParams p) {
  extern __shared__ __align__(128) uint8_t shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  auto* barriers = reinterpret_cast<uint64_t*>(shared);
  const int team = warp / p.team_warps, team_warp = warp % p.team_warps;
  uint64_t* sums_done = barriers + kMatmulWarps * kMaxStages + 2 * kMaxSumSlots * team;
  uint64_t* sums_free = sums_done + kMaxSumSlots;
  auto* scratch = reinterpret_cast<float*>(shared + kBarrierBytes);
  const int x_tile_bytes = p.groups * p.group_bytes;
  const bool streamed = p.x_place == XPlace::kStreamed;

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
  ItemCursor reading(p, team, team_warp);
  ItemCursor writing = reading;
  for (int s = 0; s < p.stages; ++s) {
    if (writing.valid(p)) {
      fill(writing, !WeightRing::kLateCopies);
      writing.advance(p);
    } else {
      ring.skip();
    }
  }
  if (team_warp == 0 && lane < kMaxSumSlots) {
    barrier_init(sums_done + lane, p.team_warps);
    barrier_init(sums_free + lane, 1);
  }
  __syncthreads();
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
        write_row(p.floats.x, p.floats.norm, p.floats.eps, row, writer, scratch);
      }
      __syncthreads();
    }
  }
  if (p.x_place == XPlace::kResident) {
    for (int i = 16 * static_cast<int>(threadIdx.x); i < p.k_tiles * x_tile_bytes;
         i += 16 * kMatmulThreads) {
      *reinterpret_cast<uint4*>(shared + p.x_offset + i) =
          __ldcg(reinterpret_cast<const uint4*>(p.x + i));
    }
    __syncthreads();
  }

  constexpr int kClassFloats = kTileRows * T * kGroups;
  constexpr int n_slots = sum_slots<T, kGroups>();
  const int classes = min(p.team_warps, p.k_tiles);
  const int slot_floats = p.team_warps * kClassFloats;
  float* slots = scratch + team * n_slots * slot_floats;
  float* kept = scratch + n_slots * kMatmulWarps * kClassFloats + team * 4 * kClassFloats;
  const int run = run_length(p);
  int slot = 0;        // of the row tile
  uint32_t round = 0;  // how often slots were used up, modulo 2
  int writer = 0;      // the warp that writes this run
  int row_tile = first_row_tile(p, team);
  for (; row_tile < p.row_tiles; row_tile = next_row_tile(p, row_tile)) {
    float sums[kGroups][4] = {};
    const int item_class = reading.k;
    const bool mine = reading.row_tile == row_tile;
    while (reading.row_tile == row_tile) {
      const uint8_t* weights = ring.read();
      if (kGroups > 1 && p.x_place == XPlace::kGlobal) {
        const uint8_t* x = p.x + int64_t{reading.k} * x_tile_bytes;
        Weights::template multiply<T, kGroups>(p, reading, weights, x, lane, sums);
      } else {
        const uint8_t* x =
            streamed ? weights + p.slot_x : shared + p.x_offset + reading.k * x_tile_bytes;
        Weights::template multiply<T, kGroups>(p, reading, weights, x, lane, sums);
      }
      if (writing.valid(p)) {
        fill(writing, true);
        writing.advance(p);
      } else {
        ring.skip();
      }
      reading.advance(p);
    }

    // The slot is free when the row tile n_slots ago was written: the first time it is.
    barrier_wait(sums_free + slot, round ^ 1U);
    const int g = lane >> 2, t = lane & 3;
    if (mine && t < (T + 1) / 2) {
      float* to = slots + slot * slot_floats + item_class * kClassFloats;
#pragma unroll
      for (int n = 0; n < kGroups; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (T == 1 && i % 2 == 1) continue;
          to[(n * T + 2 * t + i % 2) * kTileRows + g + 8 * (i / 2)] = sums[n][i];
        }
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(sums_done + slot);

    if constexpr (kGroups > 1) {
      const int thread = 32 * team_warp + lane, threads = 32 * p.team_warps;
      barrier_wait(sums_done, round);
      if (p.swiglu) {
        for (int i = thread; i < kTileRows * p.n_rows; i += threads) {
          kept[row_tile % 4 * kClassFloats + i] = total(slots, classes, kClassFloats, i);
        }
      } else {
        write_row_tile(p, row_tile, slots, classes, kClassFloats, thread, threads);
      }
      asm volatile("bar.sync %0, %1;" ::"r"(1 + team), "r"(threads) : "memory");
      if (thread == 0) barrier_arrive(sums_free);
      if (p.swiglu && row_tile % 4 == 3) {
        write_swiglu(p, row_tile / 4, kept, kClassFloats, 1, kClassFloats, thread, threads);
      }
    } else if (!p.swiglu || row_tile % 4 == 3) {
      // A run's slots are adjacent: n_slots is a multiple of its length.
      const int first = slot + 1 - run;
      if (team_warp == writer) {
        for (int s = first; s <= slot; ++s) barrier_wait(sums_done + s, round);
        const float* from = slots + first * slot_floats;
        if (p.swiglu) {
          write_swiglu(p, row_tile / 4, from, slot_floats, classes, kClassFloats, lane, 32);
        } else {
          write_row_tile(p, row_tile, from, classes, kClassFloats, lane, 32);
        }
        __syncwarp();
        if (lane == 0) {
          for (int s = first; s <= slot; ++s) barrier_arrive(sums_free + s);
        }
      }
      writer = writer + 1 == p.team_warps ? 0 : writer + 1;
    }
    if (++slot == n_slots) {
      slot = 0;
      round ^= 1U;
    }
  }
}

}  // namespace fimd::cuda

// What a product's kernel is given, and how its work is dealt to the warps (see matmul.cuh).
#pragma once

#include "kernels/cuda/matmul_tasks.h"
#include "kernels/cuda/quantize.cuh"
#include "kernels/cuda/weight_ring.cuh"

namespace fimd::cuda {

inline constexpr int kMatmulWarps = 8;
inline constexpr int kMatmulThreads = 32 * kMatmulWarps;
/// Barriers of the rings, then of the row tiles' sums: complete, and free again.
inline constexpr int kMaxTeams = 4;
inline constexpr int kMaxSumSlots = 8;
inline constexpr int kBarrierBytes = (kMatmulWarps * kMaxStages + 2 * kMaxTeams * kMaxSumSlots) * 8;

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
  int teams;       // of warps in a block
  int team_warps;  // kMatmulWarps / teams
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
  return next % run != 0 ? next : next + (p.teams * static_cast<int>(gridDim.x) - 1) * run;
}
/// A block's teams are far apart, so that few row tiles are spread over all blocks.
__device__ __forceinline__ int first_row_tile(const MatmulParams& p, int team) {
  return (team * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x)) * run_length(p);
}

/// The place of a warp in its block's stream of items.
struct ItemCursor {
  int row_tile;
  int k;
  int task = 0;
  __device__ __forceinline__ ItemCursor(const MatmulParams& p, int team, int team_warp)
      : row_tile(first_row_tile(p, team)), k(team_warp) {
    find_task(p);
    settle(p);
  }
  __device__ __forceinline__ bool valid(const MatmulParams& p) const {
    return row_tile < p.row_tiles;
  }
  __device__ __forceinline__ void advance(const MatmulParams& p) {
    k += p.team_warps;
    settle(p);
  }
  /// The row tile's place in its task.
  __device__ __forceinline__ int index(const MatmulParams& p) const {
    return p.swiglu ? row_tile / 4 * 2 + row_tile % 2 : row_tile - p.tasks[task].row_tile_begin;
  }

 private:
  __device__ __forceinline__ void settle(const MatmulParams& p) {
    if (k < p.k_tiles) return;
    do {
      k -= p.k_tiles;
      row_tile = next_row_tile(p, row_tile);
    } while (k >= p.k_tiles && row_tile < p.row_tiles);
    find_task(p);
  }
  __device__ __forceinline__ void find_task(const MatmulParams& p) {
    if (p.swiglu) {
      task = row_tile / 2 % 2;
    } else if (row_tile < p.row_tiles) {
      while (row_tile >= p.tasks[task].row_tile_end) ++task;
    }
  }
};

}  // namespace fimd::cuda

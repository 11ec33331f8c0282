// A warp's stream of items, as runs: what is known of them before there is x (see
// matmul_chain.cuh).
#pragma once

#include <type_traits>

#include "kernels/cuda/matmul_chain_items.cuh"

namespace fimd::cuda {

/// Neighbouring items of one row tile in a warp's range of a step.
struct Run {
  RunItems items;
  int place;  // the row tile's, in its task
  DType type;
  int16_t j;         // the row tile's, among the block's of the step
  uint16_t leaving;  // warps that leave parts of the row tile, if it begins here: warp + 1 + i
  uint8_t step;      // behind the last run: n_steps
  uint8_t task;
};
/// Of one row of x: where the row tile's results are.
struct HandedRun : Run {
  float* y;  // of its first row
  const float* bias;
  // In the set of handed words, in bytes, or kNotHanded: where results go, and what is added to
  // them.
  int word;
  int old;
  int rows;
  bool accumulates;
  bool stores;
};
template <int T>
using RunOf = std::conditional_t<kHands<T>, HandedRun, Run>;

/// The most runs that a warp has of a step of which a block has so many items.
inline int most_runs(int64_t block_items, int k_tiles) {
  const int64_t items = divide_up(block_items, kChainWarps);
  return static_cast<int>(divide_up(items + k_tiles - 1, k_tiles));
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// 32 bytes as far as the L1 cache.
__device__ __forceinline__ void prefetch_near(const void* at) {
  asm volatile("prefetch.global.L1 [%0];" ::"l"(at));
}

/// a / b, given 1 / b, of a below 2^22: (a + 1/2) / b is at least 1 / 2b from where the quotient
/// changes, and its rounding is less. A division has four times as many instructions, which have to
/// be fetched before a warp knows its first weights.
__device__ __forceinline__ unsigned quotient_of(unsigned a, float inverse) {
  return static_cast<unsigned>((static_cast<float>(a) + 0.5F) * inverse);
}
__device__ __forceinline__ float inverse_of(unsigned b) { return __frcp_rn(static_cast<float>(b)); }

/// Writes the warp's runs of all steps, and one behind them. A block takes every so many units of a
/// step as there are blocks; their items, row tile by row tile, are dealt to the warps in ranges.
/// By all lanes, eight for a step; in those of step s, returns how many items the block has of it.
template <class Weights, int T>
__device__ __forceinline__ int make_runs(int n_steps, const ChainStep* steps, int warp, int lane,
                                         RunOf<T>* runs) {
  constexpr int kLanes = 32 / kMaxMatmulSteps;
  const int s = lane / kLanes;
  const ChainStep& step = steps[min(s, n_steps - 1)];
  const int shift = step.swiglu ? kUnitShift<Weights> : 0;
  const auto blocks = static_cast<int>(gridDim.x);
  int first = static_cast<int>(blockIdx.x) - step.first_block;
  if (first < 0) first += blocks;
  const auto k_tiles = static_cast<unsigned>(step.k_tiles);
  const float per_k_tile = inverse_of(k_tiles);
  const int behind = (step.row_tiles >> shift) - first;
  const float per_block = inverse_of(static_cast<unsigned>(blocks));
  const unsigned units =
      behind > 0 ? quotient_of(static_cast<unsigned>(behind) - 1, per_block) + 1 : 0;
  const unsigned n_items = s < n_steps ? (units << shift) * k_tiles : 0;
  const auto begin_of = [&](int of_warp) {
    return static_cast<unsigned>(of_warp) * n_items / kChainWarps;
  };
  const unsigned begin = begin_of(warp), end = begin_of(warp + 1);
  const unsigned first_j = quotient_of(begin, per_k_tile);
  const int n = end > begin ? static_cast<int>(quotient_of(end - 1, per_k_tile) - first_j) + 1 : 0;
  int in_front = 0, all = 0;
#pragma unroll
  for (int t = 0; t < kMaxMatmulSteps; ++t) {
    const int of_step = __shfl_sync(~0U, n, t * kLanes);
    if (t < s) in_front += of_step;
    all += of_step;
  }
  // The warps that have items of the step: lanes look at as many at a time as a step has lanes.
  unsigned busy = 0;
#pragma unroll
  for (int of_warp = 0; of_warp < kChainWarps; of_warp += kLanes) {
    const int mine = of_warp + lane % kLanes;
    const unsigned all_steps =
        __ballot_sync(~0U, mine < kChainWarps && begin_of(mine) < begin_of(mine + 1));
    busy |= (all_steps >> (s * kLanes) & ((1U << kLanes) - 1)) << of_warp;
  }
#pragma unroll 1
  for (int i = lane % kLanes; i < n; i += kLanes) {
    RunOf<T>& run = runs[in_front + i];
    const unsigned j = first_j + static_cast<unsigned>(i);
    const unsigned from = max(begin, j * k_tiles), past = (j + 1) * k_tiles;
    const int unit = first + static_cast<int>(j >> shift) * blocks;
    const int row_tile = (unit << shift) + static_cast<int>(j & ((1U << shift) - 1));
    const int of_task = task_of<Weights>(step, row_tile);
    const TaskParams& task = step.tasks[of_task];
    run.place = place_in_task<Weights>(step, task, row_tile);
    run.type = task.type;
    run.j = static_cast<int16_t>(j);
    run.step = static_cast<uint8_t>(s);
    run.task = static_cast<uint8_t>(of_task);
    run.items.k = static_cast<int16_t>(from - j * k_tiles);
    run.items.n = static_cast<int16_t>(min(end, past) - from);
    Weights::find(task, run.place, run.items.k, run.items);
    // Warps whose ranges begin in front of `past`: so many that warp * n_items / kChainWarps does.
    const unsigned in_row_tile =
        min(quotient_of(kChainWarps * past - 1, inverse_of(n_items)) + 1, unsigned{kChainWarps});
    run.leaving = static_cast<uint16_t>((busy & ((1U << in_row_tile) - 1)) >> (warp + 1));
    if constexpr (kHands<T>) {
      const int row = kTileRows * run.place;
      const auto offset = [](int16_t words, int at) {
        return words != kNotHanded ? kHandedUnit * words + 4 * at : kNotHanded;
      };
      run.y = task.y + row;
      run.bias = task.bias != nullptr ? task.bias + row : nullptr;
      // Nobody has read it for a token: who makes results would wait for it before it asks for x.
      if (run.bias != nullptr && run.items.k == 0) {
        prefetch_near(run.bias);
        if (task.rows - row > kTileRows / 2) prefetch_near(run.bias + kTileRows / 2);
      }
      run.word = offset(step.words_out, row);
      run.old = offset(step.words_old, row);
      run.rows = task.rows - row;
      run.accumulates = task.accumulate;
      run.stores = task.stores;
    }
  }
  if (lane == 0) {
    runs[all].step = static_cast<uint8_t>(n_steps);
    runs[all].items.n = 0;
  }
  __syncwarp();
  return static_cast<int>(n_items);
}

#endif

}  // namespace fimd::cuda

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
  // Unsigned: divisions of what may be negative are longer still.
  const auto k_tiles = static_cast<unsigned>(step.k_tiles);
  const int behind = (step.row_tiles >> shift) - first;
  const unsigned units =
      behind > 0 ? (static_cast<unsigned>(behind) - 1) / static_cast<unsigned>(blocks) + 1 : 0;
  const unsigned n_items = s < n_steps ? (units << shift) * k_tiles : 0;
  const auto begin_of = [&](int of_warp) {
    return static_cast<unsigned>(of_warp) * n_items / kChainWarps;
  };
  const unsigned begin = begin_of(warp), end = begin_of(warp + 1);
  const unsigned first_j = begin / k_tiles;
  const int n = end > begin ? static_cast<int>((end - 1) / k_tiles - first_j) + 1 : 0;
  int in_front = 0, all = 0;
#pragma unroll
  for (int t = 0; t < kMaxMatmulSteps; ++t) {
    const int of_step = __shfl_sync(~0U, n, t * kLanes);
    if (t < s) in_front += of_step;
    all += of_step;
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
    unsigned leaving = 0;
#pragma unroll 1
    for (int other = warp + 1; other < kChainWarps && begin_of(other) < past; ++other) {
      if (begin_of(other) < begin_of(other + 1)) leaving |= 1U << (other - warp - 1);
    }
    run.leaving = static_cast<uint16_t>(leaving);
    if constexpr (kHands<T>) {
      const int row = kTileRows * run.place;
      const auto offset = [](int16_t words, int at) {
        return words != kNotHanded ? kHandedUnit * words + 4 * at : kNotHanded;
      };
      run.y = task.y + row;
      run.bias = task.bias != nullptr ? task.bias + row : nullptr;
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

// matmul(): one launch for the quantised tasks and one for the BF16 ones; matmul_chain().
#include "kernels/cuda/matmul.cuh"

#include <algorithm>

#include "kernels/cuda/matmul_chain.h"
#include "kernels/cuda/ops.h"

namespace fimd::cuda {
namespace {

// Two kernels' blocks fit a multiprocessor (228 KB on Hopper), and something small beside them.
constexpr int kSharedBudget = 104 << 10;
constexpr int kManyRowTiles = 1024;
constexpr int kSharedForTeams = 160 << 10;
// Less than this under way, and memory is not kept busy.
constexpr int kLeastRingBytes = 52 << 10;

template <class Weights, int T, int kGroups>
void launch_matmul(MatmulParams p, int weight_bytes, cudaStream_t stream) {
  const DeviceLimits limits = device_limits();
  if (limits.processors == 0) return;
  const int x_tile_bytes = p.groups * p.group_bytes;
  const int64_t x_bytes = int64_t{x_tile_bytes} * p.k_tiles;

  const int runs = p.row_tiles / (p.swiglu ? 4 : 1);
  // Many row tiles: smaller teams, which end one half as often per item. The order of sums depends
  // on it, so it must not depend on n_rows.
  p.teams = p.row_tiles >= kManyRowTiles && limits.shared_bytes >= kSharedForTeams ? 2 : 1;
  p.team_warps = kMatmulWarps / p.teams;
  const int fixed = kBarrierBytes + sum_bytes<T, kGroups>(p.swiglu, p.teams);
  p.slot_x = weight_bytes;
  p.slot_bytes = weight_bytes;
  p.ring_offset = fixed;
  int shared = fixed;
  // As many stages as the budget has room for, but room is made for three (or what the GPU has).
  const auto plan = [&](int64_t other_bytes) {
    const int64_t ring =
        std::max<int64_t>(kSharedBudget, other_bytes + 3 * kMatmulWarps * p.slot_bytes);
    const int64_t left = std::min<int64_t>(ring, limits.shared_bytes) - other_bytes;
    // What does not fit even with one stage fails to launch.
    p.stages =
        static_cast<int>(std::clamp<int64_t>(left / (kMatmulWarps * p.slot_bytes), 1, kMaxStages));
  };
  const int64_t two_stages = 2 * kMatmulWarps * weight_bytes;
  const int64_t two_stages_of_x = 2 * kMatmulWarps * x_tile_bytes;
  const int resident_limit =
      kGroups == 1 ? std::min(kSharedBudget, limits.shared_bytes) : limits.shared_bytes;
  const int64_t least_ring = kGroups == 1 ? kLeastRingBytes : two_stages;
  if (p.x_place == XPlace::kFloats) {
    plan(fixed + x_bytes);
  } else if (fixed + x_bytes + least_ring <= resident_limit) {
    p.x_place = XPlace::kResident;
    plan(fixed + x_bytes);
  } else if (kGroups == 1 || fixed + two_stages + two_stages_of_x <= limits.shared_bytes) {
    p.x_place = XPlace::kStreamed;
    p.slot_bytes = weight_bytes + x_tile_bytes;
    plan(fixed);
  } else {
    p.x_place = XPlace::kGlobal;
    plan(fixed);
  }
  shared += p.stages * kMatmulWarps * p.slot_bytes;
  p.x_offset = shared;
  if (p.x_place <= XPlace::kResident) shared += static_cast<int>(x_bytes);
  launch(matmul_kernel<Weights, T, kGroups>,
         static_cast<unsigned>(std::min(runs, limits.processors)), kMatmulThreads,
         static_cast<size_t>(shared), stream, p);
}

template <class Weights>
void launch_matmul(const MatmulParams& p, int weight_bytes, cudaStream_t stream) {
  const RowGroups groups = row_groups(p.n_rows);
  if (groups.rows == 1) return launch_matmul<Weights, 1, 1>(p, weight_bytes, stream);
  if (groups.rows == 2) return launch_matmul<Weights, 2, 1>(p, weight_bytes, stream);
  if (groups.rows == 4) return launch_matmul<Weights, 4, 1>(p, weight_bytes, stream);
  if (groups.count == 1) return launch_matmul<Weights, 8, 1>(p, weight_bytes, stream);
  if (groups.count == 2) return launch_matmul<Weights, 8, 2>(p, weight_bytes, stream);
  if (groups.count <= 4) return launch_matmul<Weights, 8, 4>(p, weight_bytes, stream);
  return launch_matmul<Weights, 8, 8>(p, weight_bytes, stream);
}

/// Tasks of one kind, by the kernel for any rows and any GPU.
void launch_tasks(const MatmulStep& step, int n_rows, bool bf16, cudaStream_t stream) {
  const RowGroups groups = row_groups(n_rows);
  MatmulParams p = {};
  const TaskTotals totals = set_tasks(step, p.tasks);
  const int weight_bytes = totals.slot_bytes;
  p.row_tiles = totals.row_tiles;
  p.cols = static_cast<int>(cols_of(step));
  p.n_rows = n_rows;
  p.groups = groups.count;
  p.k_tiles = static_cast<int>(divide_up(p.cols, bf16 ? kBf16TileCols : kTileCols));
  p.group_bytes = bf16 ? bf16_group_bytes(groups.rows) : q8_group_bytes(groups.rows);
  p.x_place = step.floats.x != nullptr ? XPlace::kFloats : XPlace::kGlobal;
  p.floats = step.floats;
  p.x = static_cast<const uint8_t*>(bf16 ? step.x.bf16 : step.x.q8);
  p.swiglu = step.swiglu;
  p.out = {step.out, groups};
  if (bf16) {
    launch_matmul<Bf16Weights>(p, weight_bytes, stream);
  } else {
    launch_matmul<TiledWeights>(p, weight_bytes, stream);
  }
}

/// The step's tasks of one kind.
MatmulStep part_of(const MatmulStep& step, bool bf16) {
  MatmulStep part = step;
  MatmulTask* end = std::remove_if(
      part.tasks, part.tasks + kMaxMatmulTasks,
      [&](const MatmulTask& task) { return task.w.data == nullptr || is_bf16(task) != bf16; });
  std::fill(end, part.tasks + kMaxMatmulTasks, MatmulTask{});
  return part;
}

/// One product, in a launch for each kind of weights.
void launch_step(const MatmulStep& step, int n_rows, cudaStream_t stream) {
  const bool floats = step.floats.x != nullptr;
  if (n_rows <= 0 || n_rows > (floats ? kMaxFloatRows : kMaxMatmulRows)) return;
  const bool few = n_rows <= kMaxChainRows && chains_here();
  for (const bool bf16 : {false, true}) {
    const MatmulStep part = part_of(step, bf16);
    if (part.tasks[0].w.data == nullptr) continue;
    if (few && launch_chain({&part, 1}, n_rows, bf16, {}, stream)) continue;
    launch_tasks(part, n_rows, bf16, stream);
  }
}

MatmulStep step_of(std::span<const MatmulTask> tasks, const FloatInput& floats,
                   const Activations& x) {
  MatmulStep step = {.floats = floats, .x = x};
  std::copy_n(tasks.begin(), std::min<size_t>(tasks.size(), kMaxMatmulTasks), step.tasks);
  return step;
}

}  // namespace

bool of_one_kind(const MatmulStep& step, bool bf16) {
  return std::all_of(step.tasks, step.tasks + kMaxMatmulTasks, [&](const MatmulTask& task) {
    return task.w.data == nullptr || is_bf16(task) == bf16;
  });
}

void matmul(std::span<const MatmulTask> tasks, const Activations& x, int n_rows,
            cudaStream_t stream) {
  launch_step(step_of(tasks, {}, x), n_rows, stream);
}
void matmul(std::span<const MatmulTask> tasks, const FloatInput& x, int n_rows,
            cudaStream_t stream) {
  launch_step(step_of(tasks, x, {}), n_rows, stream);
}

namespace {

/// One step, however many rows and kinds it has.
void launch_alone(MatmulStep step, int n_rows, cudaStream_t stream) {
  if (step.floats.x != nullptr && n_rows > kMaxFloatRows) {
    const FloatInput& in = step.floats;
    if (in.norm != nullptr) {
      rms_norm_quantize(in.x, in.norm, in.eps, n_rows, step.x, stream);
    } else {
      quantize(in.x, n_rows, step.x, stream);
    }
    step.floats = {};
  }
  const bool mixed = step.swiglu && !of_one_kind(step, false) && !of_one_kind(step, true);
  if (!mixed) return launch_step(step, n_rows, stream);
  step.swiglu = false;
  launch_step(step, n_rows, stream);
  const MatmulTask& gate = step.tasks[0];
  silu_mul_quantize(gate.y, step.tasks[1].y, gate.y_stride, n_rows, step.out, stream);
}

}  // namespace

size_t chain_workspace_bytes(int64_t cols, int64_t ff) {
  const auto padded = [](int64_t bytes) { return divide_up(bytes, 16) * 16; };
  const auto of_ff = static_cast<int64_t>(std::max(q8_bytes(1, ff), bf16_bytes(1, ff)));
  // Of two steps; two sets of words.
  return static_cast<size_t>(kWordsAt + 2 * (2 * padded(4 * cols) + padded(of_ff)));
}

void matmul_chain(std::span<const MatmulStep> steps, int n_rows, const ChainWorkspace& workspace,
                  cudaStream_t stream, std::span<const MatmulStep> next) {
  if (n_rows > kMaxChainRows || !chains_here()) {
    for (const MatmulStep& step : steps) launch_alone(step, n_rows, stream);
    return;
  }
  MatmulStep chain[kMaxMatmulSteps];
  size_t n = 0;
  bool bf16 = false;  // all of the chain
  const auto launch_collected = [&](std::span<const MatmulStep> behind = {}) {
    if (n > 0 && !launch_chain({chain, n}, n_rows, bf16, workspace, stream, behind)) {
      for (size_t i = 0; i < n; ++i) launch_alone(chain[i], n_rows, stream);
    }
    n = 0;
  };
  const auto collect = [&](const MatmulStep& step, bool is_bf16) {
    if (n == kMaxMatmulSteps || is_bf16 != bf16) launch_collected();
    bf16 = is_bf16;
    chain[n++] = step;
  };
  for (const MatmulStep& step : steps) {
    if (of_one_kind(step, false)) {
      collect(step, false);
    } else if (of_one_kind(step, true)) {
      collect(step, true);
    } else if (step.swiglu) {
      launch_collected();
      launch_alone(step, n_rows, stream);
    } else {
      // Two steps; what comes now first, so that the chain goes on.
      collect(part_of(step, bf16), bf16);
      collect(part_of(step, !bf16), !bf16);
    }
  }
  launch_collected(next);
}

}  // namespace fimd::cuda

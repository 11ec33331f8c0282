// matmul(): one launch for the quantised tasks and one for the BF16 ones.
#include "kernels/cuda/matmul.cuh"

#include <algorithm>

#include "kernels/cuda/ops.h"

namespace fimd::cuda {
namespace {

struct DeviceLimits {
  int processors = 0;
  int shared_bytes = 0;
};

// The runtime keeps these attributes: asking costs nothing worth saving.
DeviceLimits device_limits() {
  DeviceLimits limits;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&limits.processors, cudaDevAttrMultiProcessorCount, device) !=
          cudaSuccess ||
      cudaDeviceGetAttribute(&limits.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                             device) != cudaSuccess) {
    return {};
  }
  return limits;
}

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

// What the caller's x is: quantised, or floats to quantise.
struct Input {
  const Activations* quantized;
  const FloatInput* floats;
  int64_t cols() const { return quantized != nullptr ? quantized->cols : floats->cols; }
};

void launch_tasks(std::span<const MatmulTask> tasks, const Input& x, int n_rows,
                  const Activations* swiglu, cudaStream_t stream) {
  if (n_rows <= 0 || n_rows > (x.floats != nullptr ? kMaxFloatRows : kMaxMatmulRows)) return;
  const RowGroups groups = row_groups(n_rows);
  for (const bool bf16 : {false, true}) {
    MatmulParams p = {};
    int n = 0;
    int weight_bytes = bf16 ? kTileRows * kBf16SlotStride : 0;
    for (const MatmulTask& task : tasks) {
      if ((task.w.type == DType::kBF16) != bf16 || task.w.rows <= 0) continue;
      if (n == kMaxMatmulTasks) break;
      TaskParams& out = p.tasks[n++];
      out = {static_cast<const uint8_t*>(task.w.data),
             task.bias,
             task.y,
             task.y_stride,
             task.w.rows,
             p.row_tiles,
             p.row_tiles,
             task.w.type,
             task.accumulate};
      out.row_tile_end += static_cast<int>(divide_up(task.w.rows, kTileRows));
      p.row_tiles = out.row_tile_end;
      weight_bytes = std::max(weight_bytes, tile_bytes(task.w.type));
    }
    if (n == 0) continue;
    p.cols = static_cast<int>(x.cols());
    p.n_rows = n_rows;
    p.groups = groups.count;
    p.k_tiles = static_cast<int>(divide_up(x.cols(), bf16 ? kBf16TileCols : kTileCols));
    p.group_bytes = bf16 ? bf16_group_bytes(groups.rows) : q8_group_bytes(groups.rows);
    p.x_place = XPlace::kGlobal;
    if (x.floats != nullptr) {
      p.x_place = XPlace::kFloats;
      p.floats = *x.floats;
    } else {
      p.x = static_cast<const uint8_t*>(bf16 ? x.quantized->bf16 : x.quantized->q8);
    }
    if (swiglu != nullptr) {
      p.swiglu = true;
      p.out = {*swiglu, groups};
    }
    if (bf16) {
      launch_matmul<Bf16Weights>(p, weight_bytes, stream);
    } else {
      launch_matmul<TiledWeights>(p, weight_bytes, stream);
    }
  }
}

void launch_swiglu(const Matrix& gate, const Matrix& up, const Input& x, int n_rows,
                   const Activations& out, cudaStream_t stream) {
  const MatmulTask tasks[2] = {{.w = gate}, {.w = up}};
  launch_tasks(tasks, x, n_rows, &out, stream);
}

}  // namespace

void matmul(std::span<const MatmulTask> tasks, const Activations& x, int n_rows,
            cudaStream_t stream) {
  launch_tasks(tasks, {&x, nullptr}, n_rows, nullptr, stream);
}
void matmul(std::span<const MatmulTask> tasks, const FloatInput& x, int n_rows,
            cudaStream_t stream) {
  launch_tasks(tasks, {nullptr, &x}, n_rows, nullptr, stream);
}

void matmul_swiglu(const Matrix& gate, const Matrix& up, const Activations& x, int n_rows,
                   const Activations& out, cudaStream_t stream) {
  launch_swiglu(gate, up, {&x, nullptr}, n_rows, out, stream);
}
void matmul_swiglu(const Matrix& gate, const Matrix& up, const FloatInput& x, int n_rows,
                   const Activations& out, cudaStream_t stream) {
  launch_swiglu(gate, up, {nullptr, &x}, n_rows, out, stream);
}

}  // namespace fimd::cuda

// Launches the kernel of a few rows, where the GPU has thread-block clusters.
#include <algorithm>
#include <bit>

#include "kernels/cuda/attention_step.cuh"
#include "kernels/cuda/attention_step.h"

namespace fimd::cuda::attention_detail {
namespace {

template <class C>
bool launch_config(StepArgs& args, cudaStream_t stream) {
  const AttentionParams& p = args.base.params;
  const int shared_bytes = C::shared_bytes(p.max_rows, args.rope.rotary_dim);
  const int largest = largest_cluster(step_kernel<C>, kMaxCluster, C::kThreads, shared_bytes);
  if (largest < 1) return false;
  args.turns_at = C::turns_at(p.max_rows);
  args.base.tile_rows = C::kRows;
  args.base.m_tiles = (p.max_rows * args.base.group + C::kRows - 1) / C::kRows;
  const int processors = device_limits().processors;
  // As many blocks as multiprocessors, and at least a unit of keys for each warp.
  const int units = p.n_sequences * args.base.m_tiles * p.kv.n_kv_heads;
  int span = std::max(p.max_keys, 1);
  if (p.window > 0) span = std::min(span, p.window + p.max_rows + kUnitKeys);
  constexpr int kLeastKeys = C::kKeyWarps * kUnitKeys;
  const int most = std::min({processors / units, (span + kLeastKeys - 1) / kLeastKeys, largest});
  args.base.n_splits = static_cast<int>(std::bit_floor(static_cast<unsigned>(std::max(most, 1))));

  const auto splits = static_cast<unsigned>(args.base.n_splits);
  const dim3 grid(splits, static_cast<unsigned>(p.kv.n_kv_heads),
                  static_cast<unsigned>(p.n_sequences * args.base.m_tiles));
  launch_clusters(step_kernel<C>, splits, grid, C::kThreads, static_cast<size_t>(shared_bytes),
                  stream, args);
  return true;
}

/// Up to 8, 16 and any number of rows of a KV head, in tiles of 32.
template <class Few, class Some, class Many>
bool launch_rows(StepArgs& args, cudaStream_t stream) {
  const int pairs = args.base.params.max_rows * args.base.group;
  if (pairs <= 8) return launch_config<Few>(args, stream);
  if (pairs <= 16) return launch_config<Some>(args, stream);
  return launch_config<Many>(args, stream);
}

}  // namespace

bool launch_step(const KernelArgs& base, const float* qkv, const RopeParams& rope, float q_scale,
                 cudaStream_t stream) {
  StepArgs args = {base, qkv, rope, q_scale, 0};
  switch (base.params.kv.head_dim) {
    case 64:
      return launch_rows<StepConfig<64, 1, 1, 4, 6>, StepConfig<64, 2, 1, 4, 6>,
                         StepConfig<64, 2, 2, 2, 8>>(args, stream);
    case 80:
      return launch_rows<StepConfig<80, 1, 1, 4, 4>, StepConfig<80, 2, 1, 4, 4>,
                         StepConfig<80, 2, 2, 2, 6>>(args, stream);
    case 96:
      return launch_rows<StepConfig<96, 1, 1, 4, 3>, StepConfig<96, 2, 1, 4, 3>,
                         StepConfig<96, 2, 2, 2, 5>>(args, stream);
    case 128:
      return launch_rows<StepConfig<128, 1, 1, 4, 3>, StepConfig<128, 2, 1, 4, 3>,
                         StepConfig<128, 2, 2, 2, 4>>(args, stream);
    case 256:
      return launch_rows<StepConfig<256, 1, 1, 2, 3>, StepConfig<256, 2, 1, 2, 3>,
                         StepConfig<256, 2, 2, 1, 4>>(args, stream);
  }
  return false;
}

}  // namespace fimd::cuda::attention_detail

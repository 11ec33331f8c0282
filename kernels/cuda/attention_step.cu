// Launches the kernel of a few rows, where the GPU has thread-block clusters.
#include <algorithm>
#include <bit>

#include "kernels/cuda/attention_step.cuh"
#include "kernels/cuda/attention_step.h"

namespace fimd::cuda::attention_detail {
namespace {

/// The most keys that a row sees.
int keys_of(const AttentionParams& p) {
  const int keys = std::max(p.max_keys, 1);
  return p.window > 0 ? std::min(keys, p.window + p.max_rows + kUnitKeys) : keys;
}

/// How many blocks share the keys: as many as there are multiprocessors, each with a round of keys
/// at least.
template <class C>
int split(const KernelArgs& args, int largest) {
  const AttentionParams& p = args.params;
  const int tiles = (p.max_rows * args.group + C::kRows - 1) / C::kRows;
  const int units = p.n_sequences * tiles * p.kv.n_kv_heads;
  const int most = std::min(
      {device_limits().processors / units, (keys_of(p) + C::kKeys - 1) / C::kKeys, largest});
  return static_cast<int>(std::bit_floor(static_cast<unsigned>(std::max(most, 1))));
}

template <class C>
bool launch_config(StepArgs& args, cudaStream_t stream) {
  const AttentionParams& p = args.base.params;
  const int shared_bytes = C::shared_bytes(p.max_rows, args.rope.rotary_dim);
  const int largest = largest_cluster(step_kernel<C>, kMaxCluster, C::kThreads, shared_bytes);
  if (largest < 1) return false;
  args.turns_at = C::turns_at(p.max_rows);
  args.base.tile_rows = C::kRows;
  args.base.m_tiles = (p.max_rows * args.base.group + C::kRows - 1) / C::kRows;
  args.base.n_splits = split<C>(args.base, largest);

  const auto splits = static_cast<unsigned>(args.base.n_splits);
  const dim3 grid(splits, static_cast<unsigned>(p.kv.n_kv_heads),
                  static_cast<unsigned>(p.n_sequences * args.base.m_tiles));
  launch_clusters(step_kernel<C>, splits, grid, C::kThreads, static_cast<size_t>(shared_bytes),
                  stream, args);
  return true;
}

/// Where one round of a block's few warps is not enough for its keys, more warps are quicker; few
/// leave room beside them for the blocks of the products around.
template <class FewWarps, class MoreWarps>
bool launch_keys(StepArgs& args, cudaStream_t stream) {
  const int keys = split<FewWarps>(args.base, kMaxCluster) * FewWarps::kKeys;
  if (keys_of(args.base.params) <= keys) return launch_config<FewWarps>(args, stream);
  // Some GPUs have clusters, but less shared memory than more warps need.
  return launch_config<MoreWarps>(args, stream) || launch_config<FewWarps>(args, stream);
}

/// Tiles for up to 8, for up to 16 and for any number of rows of a KV head.
template <int kDim, int kWarps, int kKeySlots>
bool launch_rows(StepArgs& args, cudaStream_t stream) {
  using C8 = StepConfig<kDim, 1, kWarps, kKeySlots>;
  using C16 = StepConfig<kDim, 2, kWarps, kKeySlots>;
  using More8 = StepConfig<kDim, 1, 2 * kWarps, 1>;
  using More16 = StepConfig<kDim, 2, 2 * kWarps, 1>;
  using More32 = StepConfig<kDim, 4, 2 * kWarps, 1>;
  const int pairs = args.base.params.max_rows * args.base.group;
  if (pairs <= C8::kRows) return launch_keys<C8, More8>(args, stream);
  if (pairs <= C16::kRows) return launch_keys<C16, More16>(args, stream);
  return launch_config<More32>(args, stream);
}

}  // namespace

bool launch_step(const KernelArgs& base, const float* qkv, const RopeParams& rope, float q_scale,
                 cudaStream_t stream) {
  StepArgs args = {base, qkv, rope, q_scale, 0};
  switch (base.params.kv.head_dim) {
    case 64:
      return launch_rows<64, 4, 2>(args, stream);
    case 80:
      return launch_rows<80, 4, 2>(args, stream);
    case 96:
      return launch_rows<96, 4, 1>(args, stream);
    case 128:
      return launch_rows<128, 4, 1>(args, stream);
    case 256:
      return launch_rows<256, 2, 1>(args, stream);
  }
  return false;
}

}  // namespace fimd::cuda::attention_detail

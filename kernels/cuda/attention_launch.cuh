// Launches an instance of the attention kernel.
#pragma once

#include <algorithm>

#include "kernels/cuda/attention_kernel.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::attention_detail {

template <class C>
void launch_config(KernelArgs& args, cudaStream_t stream) {
  args.tile_rows = C::kRows;
  args.tile_keys = C::kKeys;
  auto* kernel = attention_kernel<C>;
  const int largest =
      C::kClusters ? largest_cluster(kernel, kMaxCluster, C::kThreads, C::kSharedBytes) : 0;
  plan_blocks(args, C::kBlocksPerProcessor, std::max(largest, 1));
  const dim3 grid(static_cast<unsigned>(args.n_splits),
                  static_cast<unsigned>(args.params.kv.n_kv_heads),
                  static_cast<unsigned>(args.params.n_sequences * args.m_tiles));
  const auto cluster = args.cluster > 1 ? static_cast<unsigned>(args.cluster) : 0;
  launch_clusters(kernel, cluster, grid, C::kThreads, C::kSharedBytes, stream, args);
  if (!C::kJoins && args.n_splits > args.cluster) launch_join(args, stream);
}

}  // namespace fimd::cuda::attention_detail

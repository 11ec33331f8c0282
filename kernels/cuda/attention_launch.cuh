// Launches an instance of the attention kernel.
#pragma once

#include <algorithm>

#include "kernels/cuda/attention_kernel.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::attention_detail {

template <class C>
cudaLaunchConfig_t config_of(dim3 grid, cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = C::kThreads;
  config.dynamicSmemBytes = C::kSharedBytes;
  config.stream = stream;
  return config;
}

/// How many blocks this GPU runs as one cluster; 1 if it has none.
template <class C>
int largest_cluster() {
  auto* kernel = attention_kernel<C>;
  cudaFuncAttributes loaded = {};
  if (!C::kClusters || cudaFuncGetAttributes(&loaded, kernel) != cudaSuccess ||
      loaded.ptxVersion < 90) {
    return 1;
  }
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kSharedBytes);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  const cudaLaunchConfig_t config = config_of<C>(dim3(kMaxCluster), nullptr);
  int size = 1;
  if (cudaOccupancyMaxPotentialClusterSize(&size, kernel, &config) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // without clusters, then
    return 1;
  }
  return std::clamp(size, 1, kMaxCluster);
}

/// As launch(), with clusters along the splits; largest_cluster() has set the kernel's limits.
template <class C>
void launch_clusters(const KernelArgs& args, dim3 grid, cudaStream_t stream) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed =
      waits_by_itself(reinterpret_cast<const void*>(attention_kernel<C>)) ? 1 : 0;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(args.cluster);
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = config_of<C>(grid, stream);
  config.attrs = attributes;
  config.numAttrs = 2;
  static_cast<void>(cudaLaunchKernelEx(&config, attention_kernel<C>, args));
}

template <class C>
void launch_config(KernelArgs& args, cudaStream_t stream) {
  args.tile_rows = C::kRows;
  args.tile_keys = C::kKeys;
  plan_blocks(args, C::kBlocksPerProcessor, largest_cluster<C>());
  const dim3 grid(static_cast<unsigned>(args.n_splits),
                  static_cast<unsigned>(args.params.kv.n_kv_heads),
                  static_cast<unsigned>(args.params.n_sequences * args.m_tiles));
  if (args.cluster > 1) {
    launch_clusters<C>(args, grid, stream);
  } else {
    launch(attention_kernel<C>, grid, C::kThreads, C::kSharedBytes, stream, args);
  }
  if (!C::kJoins && args.n_splits > args.cluster) launch_join(args, stream);
}

}  // namespace fimd::cuda::attention_detail

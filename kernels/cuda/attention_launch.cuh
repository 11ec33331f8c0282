// Launches an instance of the attention kernel.
#pragma once

#include "kernels/cuda/attention_kernel.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::attention_detail {

/// The attention kernel with clusters along the splits; see launch() for the rest.
template <class C>
void launch_clusters(const KernelArgs& args, dim3 grid, cudaStream_t stream) {
  auto* kernel = attention_kernel<C>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kSharedBytes);
  if (args.cluster > 8) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  }
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(args.cluster);
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = C::kThreads;
  config.dynamicSmemBytes = C::kSharedBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  static_cast<void>(cudaLaunchKernelEx(&config, kernel, args));
}

template <class C>
void launch_config(KernelArgs& args, cudaStream_t stream) {
  cudaFuncAttributes loaded = {};
  if (cudaFuncGetAttributes(&loaded, attention_kernel<C>) != cudaSuccess) return;
  args.tile_rows = C::kRows;
  args.tile_keys = C::kKeys;
  plan_blocks(args, C::kClusters && loaded.ptxVersion >= 90 ? kMaxCluster : 1);
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

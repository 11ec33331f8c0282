// Launches an instance of the attention kernel.
#pragma once

#include "kernels/cuda/attention_kernel.cuh"

namespace fimd::cuda::attention_detail {

template <class C>
void launch(KernelArgs& args, cudaStream_t stream) {
  plan_blocks(args, C::kRows, C::kKeys);
  const dim3 grid(static_cast<unsigned>(args.n_splits),
                  static_cast<unsigned>(args.params.kv.n_kv_heads),
                  static_cast<unsigned>(args.params.n_sequences * args.m_tiles));
  auto* kernel = attention_kernel<C>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kSharedBytes);
  kernel<<<grid, C::kThreads, C::kSharedBytes, stream>>>(args);
}

}  // namespace fimd::cuda::attention_detail

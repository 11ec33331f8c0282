// How every kernel of ours is launched: with programmatic dependent launch where the GPU has it
// (sm_90 and newer), so that a kernel's blocks start, and fetch what no earlier kernel writes
// (weights), while the kernel before it still runs.
//
// The rules, for every kernel launched with launch():
//  - call pdl_trigger() early (the top is right): it only lets the next kernel's blocks start;
//  - call pdl_wait() in every thread before the first read or write of memory that other kernels
//    touch. It returns when all kernels before this one have finished and their writes are visible.
//    A kernel that never waits would break the chain for those behind it.
// Both are nothing on older GPUs, where kernels run one after another. Good inside graph capture.
//
// Owner: none. Thread: any. Include from .cu files only.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

namespace fimd::cuda {

__device__ __forceinline__ void pdl_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void pdl_trigger() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Enqueues kernel<<<grid, block, shared_bytes, stream>>>(args...). Raises the kernel's limit of
/// dynamic shared memory where more than 48 KB are asked for. An error stays for cudaGetLastError.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Args&&... args) {
  const auto* function = reinterpret_cast<const void*>(kernel);
  // By the code that was loaded, not the device: code made for sm_80 does not wait.
  cudaFuncAttributes loaded = {};
  if (cudaFuncGetAttributes(&loaded, function) != cudaSuccess) return;
  if (shared_bytes > (size_t{48} << 10) &&
      cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shared_bytes)) != cudaSuccess) {
    return;
  }
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = loaded.ptxVersion >= 90 ? 1 : 0;
  static_cast<void>(cudaLaunchKernelEx(&config, kernel, Params(std::forward<Args>(args))...));
}

}  // namespace fimd::cuda

// How every kernel of ours is launched: where the GPU has it (sm_90 and newer), with programmatic
// dependent launch, so that a kernel's blocks start, and fetch what no earlier kernel writes
// (weights), while the kernel before it still runs.
//
// The rule, for every kernel launched with launch(): call pdl_wait() in every thread (or exit)
// before the first read or write of memory that other kernels touch. It returns when all kernels
// before this one have finished and their writes are visible, and then lets the next kernel's
// blocks start: when a kernel starts, all but the one in front of it have finished, so nothing
// older than that is in the caches of its multiprocessor. A kernel that never waits would break the
// chain for those behind it. It is nothing where kernels run one after another. Good inside
// graph capture.
//
// Owner: none. Thread: any. Include from .cu files only.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace fimd::cuda {

__device__ __forceinline__ void pdl_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

struct DeviceLimits {
  int processors = 0;
  int shared_bytes = 0;  // of a block, at most
};
/// Of the current device, all zero if it cannot be asked. The runtime keeps these attributes:
/// asking costs nothing worth saving.
inline DeviceLimits device_limits() {
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

/// Whether the kernel may be launched so: by the code that was loaded, not the device, for code
/// made for sm_80 does not wait.
inline bool waits_by_itself(const void* kernel) {
  cudaFuncAttributes loaded = {};
  return cudaFuncGetAttributes(&loaded, kernel) == cudaSuccess && loaded.ptxVersion >= 90;
}

/// Enqueues kernel<<<grid, block, shared_bytes, stream>>>(args...). Raises the kernel's limit of
/// dynamic shared memory where more are asked for. An error stays for cudaGetLastError.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Args&&... args) {
  const auto* function = reinterpret_cast<const void*>(kernel);
  cudaFuncAttributes loaded = {};
  if (cudaFuncGetAttributes(&loaded, function) != cudaSuccess) return;
  if (static_cast<int64_t>(shared_bytes) > loaded.maxDynamicSharedSizeBytes &&
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
  config.numAttrs = waits_by_itself(function) ? 1 : 0;
  static_cast<void>(cudaLaunchKernelEx(&config, kernel, Params(std::forward<Args>(args))...));
}

}  // namespace fimd::cuda

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

/// The two halves of pdl_wait(), for kernels that a next one, fetching its weights, would slow down
/// if it came at once: pdl_launch_next() by every thread that does not exit, after the first half.
__device__ __forceinline__ void pdl_wait_for_inputs() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void pdl_launch_next() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void pdl_wait() {
  pdl_wait_for_inputs();
  pdl_launch_next();
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

/// Whether a kernel's loaded code is for sm_90 or newer: it waits by itself, has clusters and bulk
/// copies. Not a question of the device, which may run code made for sm_80.
inline bool made_for_hopper(const cudaFuncAttributes& loaded) { return loaded.ptxVersion >= 90; }
inline bool made_for_hopper(const void* kernel) {
  cudaFuncAttributes loaded = {};
  if (cudaFuncGetAttributes(&loaded, kernel) == cudaSuccess) return made_for_hopper(loaded);
  static_cast<void>(cudaGetLastError());
  return false;
}

/// How many blocks, up to `most`, this GPU runs as one cluster of the kernel; 0 if it has no
/// clusters. Raises the kernel's limits.
template <class... Params>
int largest_cluster(void (*kernel)(Params...), int most, int threads, int shared_bytes) {
  const auto* function = reinterpret_cast<const void*>(kernel);
  if (!made_for_hopper(function) || shared_bytes > device_limits().shared_bytes) return 0;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(most));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  int size = 0;
  if (cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes) !=
          cudaSuccess ||
      cudaFuncSetAttribute(function, cudaFuncAttributeNonPortableClusterSizeAllowed, 1) !=
          cudaSuccess ||
      cudaOccupancyMaxPotentialClusterSize(&size, function, &config) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return 0;
  }
  return size < most ? size : most;
}

/// How many clusters of `cluster` blocks this GPU runs at once. Behind largest_cluster().
template <class... Params>
int resident_clusters(void (*kernel)(Params...), int cluster, int threads, int shared_bytes) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(cluster);
  attribute.val.clusterDim.y = 1;
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(cluster));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.attrs = &attribute;
  config.numAttrs = 1;
  int n = 0;
  if (cudaOccupancyMaxActiveClusters(&n, reinterpret_cast<const void*>(kernel), &config) ==
      cudaSuccess) {
    return n;
  }
  static_cast<void>(cudaGetLastError());
  return 0;
}

/// As launch(); every `cluster` neighbouring blocks along x are a thread-block cluster, unless it
/// is 0.
template <class... Params, class... Args>
void launch_clusters(void (*kernel)(Params...), unsigned cluster, dim3 grid, dim3 block,
                     size_t shared_bytes, cudaStream_t stream, Args&&... args) {
  const auto* function = reinterpret_cast<const void*>(kernel);
  cudaFuncAttributes loaded = {};
  if (cudaFuncGetAttributes(&loaded, function) != cudaSuccess) return;
  if (static_cast<int64_t>(shared_bytes) > loaded.maxDynamicSharedSizeBytes &&
      cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shared_bytes)) != cudaSuccess) {
    return;
  }
  cudaLaunchAttribute attributes[2] = {};
  unsigned n = 0;
  if (made_for_hopper(loaded)) {
    // One division of a multiprocessor's memory for all kernels of few rows: with another, a
    // kernel's blocks must wait until those of the one in front have left it. What has little
    // shared memory wants the cache.
    constexpr int kAllShared = cudaSharedmemCarveoutMaxShared;
    constexpr size_t kMuchShared = 8 << 10;
    if (shared_bytes + loaded.sharedSizeBytes >= kMuchShared &&
        loaded.preferredShmemCarveout != kAllShared) {
      cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout, kAllShared);
    }
    attributes[n].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[n++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 0) {
    attributes[n].id = cudaLaunchAttributeClusterDimension;
    attributes[n].val.clusterDim.x = cluster;
    attributes[n].val.clusterDim.y = 1;
    attributes[n++].val.clusterDim.z = 1;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = n;
  static_cast<void>(cudaLaunchKernelEx(&config, kernel, Params(std::forward<Args>(args))...));
}

/// Enqueues kernel<<<grid, block, shared_bytes, stream>>>(args...). Raises the kernel's limit of
/// dynamic shared memory where more are asked for. An error stays for cudaGetLastError.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Args&&... args) {
  launch_clusters(kernel, 0, grid, block, shared_bytes, stream, std::forward<Args>(args)...);
}

}  // namespace fimd::cuda

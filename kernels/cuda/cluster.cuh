// Thread-block clusters (sm_90 and newer): blocks that run together and read each other's shared
// memory. On older GPUs a cluster is one block.
#pragma once

#include <cstdint>

namespace fimd::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
/// All threads of all blocks of the cluster meet; what they wrote to shared memory is visible.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" ::
                   : "memory");
}
/// The address, in the block `rank` of the cluster, of what lies at `address` in this block.
__device__ __forceinline__ uint32_t cluster_address(uint32_t address, int rank) {
  uint32_t there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}
__device__ __forceinline__ float4 load_cluster_float4(uint32_t address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ __forceinline__ float2 load_cluster_float2(uint32_t address) {
  float2 v;
  asm volatile("ld.shared::cluster.v2.f32 {%0, %1}, [%2];"
               : "=f"(v.x), "=f"(v.y)
               : "r"(address)
               : "memory");
  return v;
}
#else
__device__ __forceinline__ void cluster_sync() { __syncthreads(); }
__device__ __forceinline__ uint32_t cluster_address(uint32_t address, int) { return address; }
__device__ __forceinline__ float4 load_cluster_float4(uint32_t) { return {}; }
__device__ __forceinline__ float2 load_cluster_float2(uint32_t) { return {}; }
#endif

}  // namespace fimd::cuda

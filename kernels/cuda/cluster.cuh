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
/// cluster_sync() in two halves, between which there is time for other work. Nothing that was
/// written before is sure to be seen, but mailboxes.
__device__ __forceinline__ void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
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

// A mailbox: a barrier in a block's shared memory that counts the bytes which the blocks of the
// cluster send there, so that whoever waits needs no barrier of all. Used once. Initialised before
// cluster_arrive_relaxed(), sent to after cluster_wait().

__device__ __forceinline__ void mailbox_init(uint32_t mailbox, uint32_t bytes) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(mailbox) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(mailbox), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void mailbox_wait(uint32_t mailbox) {
  uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{\n.reg .pred done;\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%1], 0;\n"
        "selp.b32 %0, 1, 0, done;\n}\n"
        : "=r"(done)
        : "r"(mailbox)
        : "memory");
  }
}
/// Stores to another block's shared memory; both addresses are cluster_address()es of that block.
__device__ __forceinline__ void send(uint32_t to, float4 v, uint32_t mailbox) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(to),
      "r"(__float_as_uint(v.x)), "r"(__float_as_uint(v.y)), "r"(__float_as_uint(v.z)),
      "r"(__float_as_uint(v.w)), "r"(mailbox)
      : "memory");
}
__device__ __forceinline__ void send(uint32_t to, float2 v, uint32_t mailbox) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, "
      "[%3];" ::"r"(to),
      "r"(__float_as_uint(v.x)), "r"(__float_as_uint(v.y)), "r"(mailbox)
      : "memory");
}
#else
__device__ __forceinline__ void cluster_sync() { __syncthreads(); }
__device__ __forceinline__ void cluster_arrive_relaxed() {}
__device__ __forceinline__ void cluster_wait() { __syncthreads(); }
__device__ __forceinline__ uint32_t cluster_address(uint32_t address, int) { return address; }
__device__ __forceinline__ float4 load_cluster_float4(uint32_t) { return {}; }
__device__ __forceinline__ float2 load_cluster_float2(uint32_t) { return {}; }
#endif

}  // namespace fimd::cuda

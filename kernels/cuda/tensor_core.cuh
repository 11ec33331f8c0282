// Products of 16 x 16 by 16 x 8 halves on the tensor cores, and the loads of their operands.
#pragma once

#include <cuda_fp16.h>

#include "kernels/cuda/shared_address.cuh"

namespace fimd::cuda {

/// Four 8 x 8 matrices of halves: lane l gives the address of row l % 8 of matrix l / 8, and gets
/// elements 2 (l % 4) and the next of row l / 4 of each; transposed, of column l / 4.
__device__ inline void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// c (16, 8) += a (16, 16) . b (16, 8). Lane l holds c's rows l / 4 (c[0], c[1]) and l / 4 + 8
/// (c[2], c[3]) in columns 2 (l % 4) and the next.
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ inline uint32_t pack_halves(float low, float high) {
  const __half2 packed = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&packed);
}

/// Two neighbouring results of multiply_add(), 16 columns, as the first operand of another.
__device__ inline void pack_operand(uint32_t (&a)[4], const float (&left)[4],
                                    const float (&right)[4]) {
  a[0] = pack_halves(left[0], left[1]);
  a[1] = pack_halves(left[2], left[3]);
  a[2] = pack_halves(right[0], right[1]);
  a[3] = pack_halves(right[2], right[3]);
}

/// Barrier `id` (1..15) of kThreads threads, whole warps; arrive() does not wait.
template <int kThreads>
__device__ inline void named_barrier_sync(int id) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(kThreads) : "memory");
}
template <int kThreads>
__device__ inline void named_barrier_arrive(int id) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "n"(kThreads) : "memory");
}

}  // namespace fimd::cuda

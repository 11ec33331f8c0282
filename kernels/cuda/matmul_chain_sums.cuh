// How the sums of a chain's row tiles wait for each other in shared memory, and become results (see
// matmul_chain.cuh).
#pragma once

#include "kernels/cuda/matmul_chain_items.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

namespace fimd::cuda {

/// Counters in shared memory that warps wait for each other with.
__device__ __forceinline__ void count(unsigned* counter) {
  asm volatile("red.release.cta.shared::cta.add.u32 [%0], 1;" ::"r"(shared_address(counter))
               : "memory");
}
__device__ __forceinline__ void wait_for_count(const unsigned* counter, unsigned n) {
  unsigned now;
  do {
    asm volatile("ld.acquire.cta.shared::cta.u32 %0, [%1];"
                 : "=r"(now)
                 : "r"(shared_address(counter))
                 : "memory");
  } while (now < n);
}

/// Element i (token i / 16, row i % 16) of a row tile: the classes' sums.
template <int T>
__device__ __forceinline__ float total(const float* sums, int classes, int i) {
  constexpr int kClass = kTileRows * T;
  float sum = sums[i];
#pragma unroll 3
  for (int c = 1; c < classes; ++c) sum = __fadd_rn(sum, sums[c * kClass + i]);
  return sum;
}

/// A row tile to y, by one warp.
template <int T>
__device__ __forceinline__ void write_row_tile(const TaskParams& task, int place, int n_rows,
                                               const float* sums, int classes, int lane) {
#pragma unroll
  for (int first = 0; first < kTileRows * T; first += 32) {
    const int i = first + lane;
    const int64_t row = int64_t{kTileRows} * place + i % kTileRows;
    const int token = i / kTileRows;
    if (token >= n_rows || row >= task.rows || i >= kTileRows * T) continue;
    float* y = task.y + token * task.y_stride + row;
    float sum = total<T>(sums, classes, i);
    if (task.bias != nullptr) sum = __fadd_rn(sum, task.bias[row]);
    if (task.accumulate) {
      // Nobody else adds to this element: the same as reading and writing it, without waiting.
      asm volatile("red.global.add.f32 [%0], %1;" ::"l"(y), "f"(sum) : "memory");
    } else {
      *y = sum;
    }
  }
}

/// The block of 32 columns of activations of a run of four row tiles, by one warp.
template <int T>
__device__ __forceinline__ void write_swiglu(const RowWriter& out, int run, int n_rows,
                                             const float* sums, int classes, int lane) {
  constexpr int kSlot = kChainWarps * kTileRows * T;
  const int column = 4 * (lane % 8);
  const float* gate = sums + column / kTileRows * kSlot;
  const float* up = gate + 2 * kSlot;
#pragma unroll
  for (int first = 0; first < T; first += 4) {
    const int token = first + lane / 8;
    float4 g = make_float4(0, 0, 0, 0);
    float4 u = g;
    const int i = token * kTileRows + column % kTileRows;
    const auto add = [](float4& to, const float* from) {
      const float4 v = *reinterpret_cast<const float4*>(from);
      to = make_float4(__fadd_rn(to.x, v.x), __fadd_rn(to.y, v.y), __fadd_rn(to.z, v.z),
                       __fadd_rn(to.w, v.w));
    };
    if (token < n_rows) {
      g = *reinterpret_cast<const float4*>(gate + i);
      u = *reinterpret_cast<const float4*>(up + i);
#pragma unroll 2
      for (int c = 1; c < classes; ++c) {
        add(g, gate + c * kTileRows * T + i);
        add(u, up + c * kTileRows * T + i);
      }
    }
    const float4 v =
        make_float4(silu_mul(g.x, u.x), silu_mul(g.y, u.y), silu_mul(g.z, u.z), silu_mul(g.w, u.w));
    out.write(token, int64_t{32} * run + column, v, token < n_rows);
  }
}

/// Zeros in the columns of the last k tile that no row tile has.
__device__ __forceinline__ void pad_swiglu(const RowWriter& out, int n_rows, int warp, int lane) {
  const int64_t end = written_cols(out.out.cols);
  for (int row = warp; row < n_rows; row += kChainWarps) {
    for (int64_t c = out.out.cols; c < end; c += 128) {
      out.write(row, c + 4 * lane, make_float4(0, 0, 0, 0));
    }
  }
}

}  // namespace fimd::cuda

#endif

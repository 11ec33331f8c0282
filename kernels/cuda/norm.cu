// RMS norm into the products' activations, one block per row.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantize.cuh"

namespace fimd::cuda {
namespace {

constexpr int kMaxThreads = 1024;

__global__ void __launch_bounds__(kMaxThreads)
    rms_norm_rows(const float* x, const float* weight, float eps, RowWriter writer,
                  int padded_cols) {
  pdl_trigger();
  __shared__ float partial[32];
  const int row = blockIdx.x;
  const auto cols = static_cast<int>(writer.out.cols);
  const int stride = 4 * static_cast<int>(blockDim.x);
  const int first = 4 * static_cast<int>(threadIdx.x);
  const float4 zero = make_float4(0, 0, 0, 0);
  // Weights are no kernel's output.
  const float4 w0 = first < cols ? *reinterpret_cast<const float4*>(weight + first) : zero;
  pdl_wait();

  const float* from = x + int64_t{row} * cols;
  float4 v0 = zero;
  float sum = 0;
  for (int c = first; c < cols; c += stride) {
    const float4 v = *reinterpret_cast<const float4*>(from + c);
    if (c == first) v0 = v;
    sum += v.x * v.x + v.y * v.y + (v.z * v.z + v.w * v.w);
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (lane == 0) partial[warp] = sum;
  __syncthreads();
  sum = lane < static_cast<int>(blockDim.x) / 32 ? partial[lane] : 0.0F;
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
  const float factor = rsqrtf(sum / static_cast<float>(cols) + eps);

  // padded_cols is a multiple of the 128 columns of a warp: all its lanes leave together.
  for (int c = first; c < padded_cols; c += stride) {
    float4 v = zero, w = zero;
    if (c == first) {
      v = v0;
      w = w0;
    } else if (c < cols) {
      v = *reinterpret_cast<const float4*>(from + c);
      w = *reinterpret_cast<const float4*>(weight + c);
    }
    v = make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w);
    writer.write(row, c, v);
  }
}

}  // namespace

void rms_norm_quantize(const float* x, const float* weight, float eps, int n_rows,
                       const Activations& out, cudaStream_t stream) {
  if (n_rows <= 0) return;
  const auto padded = static_cast<int>(written_cols(out.cols));
  const int threads = std::min(kMaxThreads, static_cast<int>(divide_up(padded / 4, 32)) * 32);
  launch(rms_norm_rows, static_cast<unsigned>(n_rows), static_cast<unsigned>(threads), 0, stream, x,
         weight, eps, RowWriter{out, row_groups(n_rows)}, padded);
}

}  // namespace fimd::cuda

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"

namespace fimd::cuda {

namespace {

constexpr int kThreads = 256;

__global__ void add_bias_kernel(const float* bias, int64_t cols, float* y, int64_t y_stride) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const float b = c < cols ? bias[c] : 0.0F;
  pdl_wait();
  if (c < cols) y[blockIdx.y * y_stride + c] += b;
}

}  // namespace

void add_bias(const float* bias, int n_rows, int64_t cols, float* y, int64_t y_stride,
              cudaStream_t stream) {
  if (n_rows <= 0) return;
  const dim3 grid(static_cast<unsigned>((cols + kThreads - 1) / kThreads),
                  static_cast<unsigned>(n_rows));
  launch(add_bias_kernel, grid, dim3(kThreads), 0, stream, bias, cols, y, y_stride);
}

}  // namespace fimd::cuda

// RMS norm into the products' activations, one block per row.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantize.cuh"

namespace fimd::cuda {
namespace {

__global__ void __launch_bounds__(kRowThreads)
    rms_norm_rows(const float* x, const float* weight, float eps, RowWriter writer) {
  __shared__ float scratch[kRowThreads / 32];
  pdl_wait();
  write_row(x, weight, eps, static_cast<int>(blockIdx.x), writer, scratch);
}

}  // namespace

void rms_norm_quantize(const float* x, const float* weight, float eps, int n_rows,
                       const Activations& out, cudaStream_t stream) {
  if (n_rows <= 0) return;
  launch(rms_norm_rows, static_cast<unsigned>(n_rows), kRowThreads, 0, stream, x, weight, eps,
         RowWriter{out, row_groups(n_rows)});
}

}  // namespace fimd::cuda

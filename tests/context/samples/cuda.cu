#include <cuda_runtime.h>

constexpr int kThreads = 256;

__global__ void scale(float* x, float factor, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  __shared__ float tile[256];
  if (i < n) {
    tile[threadIdx.x] = x[i];
    x[i] = factor * tile[threadIdx.x];
  }
  __syncthreads();
}

void launch(float* x, int n, cudaStream_t stream) {
  scale<<<(n + kThreads - 1) / kThreads, kThreads, 0, stream>>>(x, 2.0f, n);
}

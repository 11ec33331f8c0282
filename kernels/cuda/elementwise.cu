// Activations from elementwise operations, and the gathering of rows.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantize.cuh"

namespace fimd::cuda {

size_t q8_bytes(int n_rows, int64_t cols) {
  const RowGroups groups = row_groups(n_rows);
  return static_cast<size_t>(divide_up(cols, kTileCols) * groups.count *
                             q8_group_bytes(groups.rows));
}
size_t bf16_bytes(int n_rows, int64_t cols) {
  const RowGroups groups = row_groups(n_rows);
  return static_cast<size_t>(divide_up(cols, kBf16TileCols) * groups.count *
                             bf16_group_bytes(groups.rows));
}

namespace {

constexpr int kThreads = 256;  // x 4 columns

struct Copy {
  const float* x;
  int64_t stride;
  __device__ float4 operator()(int64_t row, int64_t col) const {
    return *reinterpret_cast<const float4*>(x + row * stride + col);
  }
};

struct SiluMul {
  const float* gate;
  const float* up;
  int64_t stride;
  static __device__ float one(float g, float u) { return g / (1.0F + __expf(-g)) * u; }
  __device__ float4 operator()(int64_t row, int64_t col) const {
    const float4 g = *reinterpret_cast<const float4*>(gate + row * stride + col);
    const float4 u = *reinterpret_cast<const float4*>(up + row * stride + col);
    return make_float4(one(g.x, u.x), one(g.y, u.y), one(g.z, u.z), one(g.w, u.w));
  }
};

template <class Source>
__global__ void __launch_bounds__(kThreads) quantize_kernel(Source source, RowWriter writer) {
  pdl_trigger();
  pdl_wait();
  const int row = blockIdx.y;
  const int64_t col = 4 * (int64_t{kThreads} * blockIdx.x + threadIdx.x);
  float4 v = make_float4(0, 0, 0, 0);
  if (col < writer.out.cols) v = source(row, col);
  writer.write(row, col, v);
}

template <class Source>
void quantize_rows(const Source& source, int n_rows, const Activations& out, cudaStream_t stream) {
  if (n_rows <= 0) return;
  const auto blocks = static_cast<unsigned>(divide_up(written_cols(out.cols), 4 * kThreads));
  launch(quantize_kernel<Source>, dim3(blocks, static_cast<unsigned>(n_rows)), kThreads, 0, stream,
         source, RowWriter{out, row_groups(n_rows)});
}

__global__ void __launch_bounds__(kThreads)
    gather(const float* x, const int32_t* rows, int64_t cols, float* y) {
  pdl_trigger();
  pdl_wait();
  const float* from = x + int64_t{rows[blockIdx.y]} * cols;
  const int64_t col = int64_t{kThreads} * blockIdx.x + threadIdx.x;
  if (col < cols) y[int64_t{blockIdx.y} * cols + col] = from[col];
}

}  // namespace

void quantize(const float* x, int n_rows, const Activations& out, cudaStream_t stream) {
  quantize_rows(Copy{x, out.cols}, n_rows, out, stream);
}

void silu_mul_quantize(const float* gate, const float* up, int64_t stride, int n_rows,
                       const Activations& out, cudaStream_t stream) {
  quantize_rows(SiluMul{gate, up, stride}, n_rows, out, stream);
}

void gather_rows(const float* x, const int32_t* rows, int n, int64_t cols, float* y,
                 cudaStream_t stream) {
  if (n <= 0) return;
  launch(gather, dim3(static_cast<unsigned>(divide_up(cols, kThreads)), static_cast<unsigned>(n)),
         kThreads, 0, stream, x, rows, cols, y);
}

}  // namespace fimd::cuda

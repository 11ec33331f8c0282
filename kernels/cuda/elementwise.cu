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
  __device__ float4 operator()(int64_t row, int64_t col) const {
    const float4 g = *reinterpret_cast<const float4*>(gate + row * stride + col);
    const float4 u = *reinterpret_cast<const float4*>(up + row * stride + col);
    return make_float4(silu_mul(g.x, u.x), silu_mul(g.y, u.y), silu_mul(g.z, u.z),
                       silu_mul(g.w, u.w));
  }
};

/// Column c of x belongs to head c / head_dim; gates lie as rope_append's q_gates says.
struct SigmoidMul {
  const float* x;
  const float* gates;
  int64_t cols;
  int64_t stride;
  int head_dim;
  static __device__ float one(float x, float g) { return x / (1.0F + __expf(-g)); }
  __device__ float4 operator()(int64_t row, int64_t col) const {
    const int64_t head = col / head_dim;
    const float4 v = *reinterpret_cast<const float4*>(x + row * cols + col);
    const float4 g =
        *reinterpret_cast<const float4*>(gates + row * stride + (head + 1) * head_dim + col);
    return make_float4(one(v.x, g.x), one(v.y, g.y), one(v.z, g.z), one(v.w, g.w));
  }
};

/// Heads of 128 columns are the 32 x 4 of a warp; others are summed by every thread for itself.
template <bool WARP_HEADS>
struct GatedNorm {
  const float* x;
  const float* z;
  const float* weight;
  int64_t cols;
  int64_t z_stride;
  int head_dim;
  float eps;
  static __device__ float square(float4 v) {
    return v.x * v.x + v.y * v.y + (v.z * v.z + v.w * v.w);
  }
  __device__ float4 operator()(int64_t row, int64_t col) const {
    const float4 v = *reinterpret_cast<const float4*>(x + row * cols + col);
    const auto in_head = static_cast<int>(col % head_dim);
    float sum = 0;
    if constexpr (WARP_HEADS) {
      sum = square(v);
#pragma unroll
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
    } else {
      const float* head = x + row * cols + col - in_head;
      for (int i = 0; i < head_dim; i += 4)
        sum += square(*reinterpret_cast<const float4*>(head + i));
    }
    const float factor = rsqrtf(sum / static_cast<float>(head_dim) + eps);
    const float4 w = *reinterpret_cast<const float4*>(weight + in_head);
    const float4 g = *reinterpret_cast<const float4*>(z + row * z_stride + col);
    return make_float4(silu_mul(g.x, v.x * factor * w.x), silu_mul(g.y, v.y * factor * w.y),
                       silu_mul(g.z, v.z * factor * w.z), silu_mul(g.w, v.w * factor * w.w));
  }
};

template <class Source>
__global__ void __launch_bounds__(kThreads) quantize_kernel(Source source, RowWriter writer) {
  pdl_wait();
  const int row = blockIdx.y;
  const auto col = static_cast<int>(4 * (kThreads * blockIdx.x + threadIdx.x));
  float4 v = make_float4(0, 0, 0, 0);
  if (col < writer.out.cols) v = source(row, col);
  writer.write(row, col, v);
}

template <class Source>
void quantize_rows(const Source& source, int n_rows, const Activations& out, cudaStream_t stream) {
  if (n_rows <= 0) return;
  const RowWriter writer = {out, row_groups(n_rows)};
  const auto blocks = static_cast<unsigned>(divide_up(writer.padded_cols(), 4 * kThreads));
  launch(quantize_kernel<Source>, dim3(blocks, static_cast<unsigned>(n_rows)), kThreads, 0, stream,
         source, writer);
}

__global__ void __launch_bounds__(kThreads)
    gather(const float* x, const int32_t* rows, int64_t cols, float* y) {
  pdl_wait();
  const float* from = x + int64_t{rows[blockIdx.y]} * cols;
  const int64_t col = int64_t{kThreads} * blockIdx.x + threadIdx.x;
  if (col < cols) y[int64_t{blockIdx.y} * cols + col] = from[col];
}

__global__ void __launch_bounds__(kThreads) copy_host(const uint4* host, uint4* device, int n) {
  const int i = kThreads * static_cast<int>(blockIdx.x) + static_cast<int>(threadIdx.x);
  uint4 v = make_uint4(0, 0, 0, 0);
  if (i < n) v = __ldcv(host + i);
  pdl_wait();
  if (i < n) device[i] = v;
}

}  // namespace

void copy_from_host(const void* host, void* device, size_t bytes, cudaStream_t stream) {
  const auto n = static_cast<int>(bytes / sizeof(uint4));
  if (n == 0) return;
  launch(copy_host, static_cast<unsigned>(divide_up(n, kThreads)), kThreads, 0, stream,
         static_cast<const uint4*>(host), static_cast<uint4*>(device), n);
}

void quantize(const float* x, int n_rows, const Activations& out, cudaStream_t stream) {
  quantize_rows(Copy{x, out.cols}, n_rows, out, stream);
}

void silu_mul_quantize(const float* gate, const float* up, int64_t stride, int n_rows,
                       const Activations& out, cudaStream_t stream) {
  quantize_rows(SiluMul{gate, up, stride}, n_rows, out, stream);
}

void sigmoid_mul_quantize(const float* x, const float* gates, int64_t stride, int head_dim,
                          int n_rows, const Activations& out, cudaStream_t stream) {
  quantize_rows(SigmoidMul{x, gates, out.cols, stride, head_dim}, n_rows, out, stream);
}

void gated_norm_quantize(const float* x, const float* z, int64_t z_stride, const float* weight,
                         int head_dim, float eps, int n_rows, const Activations& out,
                         cudaStream_t stream) {
  if (head_dim == 128) {
    quantize_rows(GatedNorm<true>{x, z, weight, out.cols, z_stride, head_dim, eps}, n_rows, out,
                  stream);
  } else {
    quantize_rows(GatedNorm<false>{x, z, weight, out.cols, z_stride, head_dim, eps}, n_rows, out,
                  stream);
  }
}

void gather_rows(const float* x, const int32_t* rows, int n, int64_t cols, float* y,
                 cudaStream_t stream) {
  if (n <= 0) return;
  launch(gather, dim3(static_cast<unsigned>(divide_up(cols, kThreads)), static_cast<unsigned>(n)),
         kThreads, 0, stream, x, rows, cols, y);
}

}  // namespace fimd::cuda

// The products that a Gated DeltaNet's alpha and beta are, made by the kernel of few rows itself
// (see delta_step.cu) where their matrices are of another kind than the layer's large ones: for a
// launch of their own they are too small.
//
// All value heads of a cluster need those of the same rows of x. A block has a part of the columns,
// for all of them, and sends every block its sums. These are made in the order of columns: of four,
// of a warp's, of warps, of blocks.
#pragma once

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/weight_ring.cuh"

namespace fimd::cuda {

inline constexpr int kStepThreads = 256;
inline constexpr int kStepWarps = kStepThreads / 32;
inline constexpr int kMostProjecting = 6;  // blocks of a cluster that makes alpha and beta itself

/// For alpha and beta. A sum is of two for each head of the cluster, then of the row's squares.
struct ProjectionsShared {
  float sums[kMaxStepRows][8][kStepWarps];      // of the block's columns
  float4 parts[kMaxStepRows][kMostProjecting];  // alpha, beta and squares, of each block's
  uint64_t here;                                // mailbox
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// The sums of N values over each LANES neighbouring lanes: that of value i for lanes
/// i * LANES / N and up.
template <int LANES, int N>
__device__ __forceinline__ float sum_of_each(float (&x)[N], int lane) {
#pragma unroll
  for (int n = N / 2; n > 0; n /= 2) {
    const bool upper = (lane & (LANES / N * n)) != 0;
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const float give = upper ? x[i] : x[i + n];
      x[i] = (upper ? x[i + n] : x[i]) + __shfl_xor_sync(~0U, give, LANES / N * n);
    }
  }
#pragma unroll
  for (int step = LANES / N / 2; step > 0; step /= 2) x[0] += __shfl_xor_sync(~0U, x[0], step);
  return x[0];
}

/// The i-th value head of the cluster, which are those of key head blockIdx.y.
__device__ __forceinline__ int value_head(const DeltaShape& shape, int i) {
  const auto key_head = static_cast<int>(blockIdx.y);
  return shape.grouped ? key_head * static_cast<int>(gridDim.x / 2) + i
                       : i * shape.n_k_heads + key_head;
}

class Projections {
 public:
  static __device__ __forceinline__ void init_mailbox(int n, ProjectionsShared& shared) {
    mailbox_init(shared_address(&shared.here),
                 static_cast<uint32_t>(n) * gridDim.x * static_cast<uint32_t>(sizeof(float4)));
  }
  /// Weights, which no kernel writes.
  __device__ __forceinline__ void begin(const DeltaStep& step) {
    const FloatInput& in = step.input;
    const auto blocks = static_cast<int>(gridDim.x);
    const auto columns = static_cast<int>(static_cast<unsigned>(in.cols) / 4);
    const auto thread = static_cast<int>(threadIdx.x);
    const auto own = static_cast<int>((columns + gridDim.x - 1) / gridDim.x);
    column_ = own * static_cast<int>(blockIdx.x) + thread;
    if (thread >= own || column_ >= columns) column_ = -1;
    norm_ = make_float4(0, 0, 0, 0);
    if (column_ >= 0) norm_ = *(reinterpret_cast<const float4*>(in.norm) + column_);
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {
      weights_[i][0] = weights_[i][1] = make_uint2(0, 0);
      if (2 * i >= blocks || column_ < 0) continue;
      const int64_t at = int64_t{value_head(step.shape, i)} * columns + column_;
      weights_[i][0] = __ldg(static_cast<const uint2*>(step.alpha_weights) + at);
      weights_[i][1] = __ldg(static_cast<const uint2*>(step.beta_weights) + at);
    }
  }
  /// The block's sums, in `shared` when all threads have met.
  __device__ __forceinline__ void multiply(const DeltaStep& step, const Sequence& sequence,
                                           ProjectionsShared& shared) const {
    constexpr int kAtOnce = 2;  // rows that are waited for
    const auto warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
    const float* const rows = step.input.x + sequence.row_begin * step.input.cols;
#pragma unroll 1
    for (int first = 0; first < sequence.n_rows; first += kAtOnce) {
      float4 x[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        x[i] = make_float4(0, 0, 0, 0);
        if (column_ >= 0 && first + i < sequence.n_rows) {
          x[i] = __ldcg(reinterpret_cast<const float4*>(rows + (first + i) * step.input.cols) +
                        column_);
        }
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i >= sequence.n_rows) break;
        const float4 y =
            make_float4(x[i].x * norm_.x, x[i].y * norm_.y, x[i].z * norm_.z, x[i].w * norm_.w);
        float sums[8];
#pragma unroll
        for (int j = 0; j < 2 * kHeads; ++j) sums[j] = product(weights_[j / 2][j % 2], y);
        sums[2 * kHeads] =
            (x[i].x * x[i].x + x[i].y * x[i].y) + (x[i].z * x[i].z + x[i].w * x[i].w);
        sums[7] = 0;
        const float sum = sum_of_each<32>(sums, lane);
        if (lane % 4 == 0) shared.sums[first + i][lane / 4][warp] = sum;
      }
    }
  }
  /// Once all blocks of the cluster are there.
  static __device__ __forceinline__ void send_sums(int n, ProjectionsShared& shared) {
    const auto row = static_cast<int>(threadIdx.x / 8);
    const auto to = static_cast<int>(threadIdx.x % 8);
    if (row >= n || to >= static_cast<int>(gridDim.x)) return;
    const float(&sums)[8][kStepWarps] = shared.sums[row];
    const int first = to / 2 * 2;
    send(cluster_address(shared_address(&shared.parts[row][blockIdx.x]), to),
         make_float4(total(sums[first]), total(sums[first + 1]), total(sums[2 * kHeads]), 0),
         cluster_address(shared_address(&shared.here), to));
  }
  /// alpha and beta of row `lane`, if there is one.
  static __device__ __forceinline__ float2 receive(const FloatInput& in, int n, int lane,
                                                   ProjectionsShared& shared) {
    mailbox_wait(shared_address(&shared.here));
    float2 gates = make_float2(0, 0);
    float squares = 0;
    if (lane >= n) return gates;
#pragma unroll
    for (int i = 0; i < kMostProjecting; ++i) {
      if (i >= static_cast<int>(gridDim.x)) break;
      const float4 part = shared.parts[lane][i];
      gates.x += part.x;
      gates.y += part.y;
      squares += part.z;
    }
    const float factor = rsqrtf(squares / static_cast<float>(in.cols) + in.eps);
    return make_float2(gates.x * factor, gates.y * factor);
  }

 private:
  static constexpr int kHeads = kMostProjecting / 2;
  static __device__ __forceinline__ float product(uint2 w, float4 x) {
    return (__uint_as_float(w.x << 16) * x.x + __uint_as_float(w.x & 0xFFFF0000U) * x.y) +
           (__uint_as_float(w.y << 16) * x.z + __uint_as_float(w.y & 0xFFFF0000U) * x.w);
  }
  static __device__ __forceinline__ float total(const float (&sums)[kStepWarps]) {
    const float4 a = *reinterpret_cast<const float4*>(sums);
    const float4 b = *reinterpret_cast<const float4*>(sums + 4);
    return ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w));
  }

  int column_;  // of four; -1: none
  float4 norm_;
  uint2 weights_[kHeads][2];
};

#endif

}  // namespace fimd::cuda

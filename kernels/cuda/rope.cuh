// Rotary embedding of one head by one warp.
#pragma once

#include <cuda_fp16.h>

#include "kernels/cuda/ops.h"

namespace fimd::cuda {

/// Half precision; what is beyond its range is clamped.
__device__ __forceinline__ __half clamped_half(float x) {
  constexpr float kHalfMax = 65504.0F;
  return __float2half_rn(fminf(fmaxf(x, -kHalfMax), kHalfMax));
}

/// Which elements a lane has of a head: kPairs pairs, pair p = lane + 32 i. Pairs below rotary_dim
/// / 2 turn, the others are just two neighbours that stay.
template <int kPairs>
struct HeadPairs {
  int pair[kPairs];
  int first[kPairs];
  int second[kPairs];

  __device__ __forceinline__ explicit HeadPairs(const RopeParams& rope) {
    const int half_rotary = rope.rotary_dim / 2;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      pair[i] = static_cast<int>(threadIdx.x % 32) + 32 * i;
      const bool neox = pair[i] < half_rotary && !rope.adjacent;
      first[i] = neox ? pair[i] : 2 * pair[i];
      second[i] = neox ? pair[i] + half_rotary : 2 * pair[i] + 1;
    }
  }

  /// The head that begins at from[begin].
  __device__ __forceinline__ void load(const float* from, int begin, int head_dim,
                                       float (&x)[kPairs], float (&y)[kPairs]) const {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const bool inside = pair[i] < head_dim / 2;
      x[i] = inside ? __ldcg(from + (begin + first[i])) : 0.0F;
      y[i] = inside ? __ldcg(from + (begin + second[i])) : 0.0F;
    }
  }
  /// The weights of both elements of each pair.
  __device__ __forceinline__ void load_weight(const float* from, int head_dim,
                                              float2 (&weight)[kPairs]) const {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      weight[i] = make_float2(0, 0);
      if (pair[i] < head_dim / 2) weight[i] = make_float2(from[first[i]], from[second[i]]);
    }
  }
  /// RMS norm of the head.
  __device__ __forceinline__ void normalize(const float2 (&weight)[kPairs], float eps, int head_dim,
                                            float (&x)[kPairs], float (&y)[kPairs]) const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) sum = __fmaf_rn(y[i], y[i], __fmaf_rn(x[i], x[i], sum));
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, mask);
    const float scale = rsqrtf(sum / static_cast<float>(head_dim) + eps);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      x[i] *= scale * weight[i].x;
      y[i] *= scale * weight[i].y;
    }
  }
  /// store(element, value) for both elements of each pair: turned by turn[i] (sine, cosine) if
  /// `turned`, and scaled.
  template <class Store>
  __device__ __forceinline__ void store(const float2 (&turn)[kPairs], bool turned, float scale,
                                        int head_dim, const float (&x)[kPairs],
                                        const float (&y)[kPairs], const Store& store) const {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (pair[i] >= head_dim / 2) continue;
      const float s = turned ? turn[i].x : 0.0F;
      const float c = turned ? turn[i].y : 1.0F;
      // Rounded step by step: the same bits wherever this is compiled in.
      const float a = __fsub_rn(__fmul_rn(x[i], c), __fmul_rn(y[i], s));
      const float b = __fadd_rn(__fmul_rn(y[i], c), __fmul_rn(x[i], s));
      store(first[i], clamped_half(__fmul_rn(a, scale)));
      store(second[i], clamped_half(__fmul_rn(b, scale)));
    }
  }
};

/// Sine and cosine of a pair's angle at a position.
__device__ __forceinline__ float2 rope_turn(const RopeParams& rope, int position, int pair) {
  float2 turn;
  sincosf(static_cast<float>(position) * rope.inv_freq[pair], &turn.x, &turn.y);
  return turn;
}

}  // namespace fimd::cuda

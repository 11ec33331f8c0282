// Joins what the splits of the keys left of some rows.
#pragma once

#include "kernels/cuda/attention_work.cuh"

namespace fimd::cuda::attention_detail {

/// sum += weights[i * weight_stride] * parts[i * stride] for i = 0 .. n - 1, with kBatch loads
/// under way.
template <int kBatch>
__device__ inline void add_parts(const uint4* parts, int64_t stride, int n, const float* weights,
                                 int weight_stride, float (&sum)[8]) {
  for (int begin = 0; begin < n; begin += kBatch) {
    uint4 packed[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) packed[i] = __ldcg(parts + min(begin + i, n - 1) * stride);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const float weight = begin + i < n ? weights[(begin + i) * weight_stride] : 0.0F;
      const auto* halves = reinterpret_cast<const __half2*>(&packed[i]);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float2 value = __half22float2(halves[k]);
        sum[2 * k] += weight * value.x;
        sum[2 * k + 1] += weight * value.y;
      }
    }
  }
}

/// Rows [row_begin, row_begin + n_rows) of the block's tile: their outputs are the sums of the
/// splits' by weight, in the order of the splits. `weights`: (kMaxSplits, n_rows) in shared memory.
template <int kDim, int kThreads>
__device__ inline void join_rows(const KernelArgs& args, const Work& work, int row_begin,
                                 int n_rows, float* weights) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  static_assert(kMaxSplits == 64);
  for (int row = static_cast<int>(threadIdx.x) / 32; row < n_rows; row += kThreads / 32) {
    float2 part[2];
    float top = -INFINITY;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int split = lane + 32 * i;
      part[i] = make_float2(-INFINITY, 0);
      if (split < work.n_parts) {
        part[i] = __ldcg(args.states + partial_row(args, work, split, row_begin + row));
      }
      top = fmaxf(top, part[i].x);
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, mask));
    }
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      part[i].y *= rescale(part[i].x, top);
      sum += part[i].y;
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(kAllLanes, sum, mask);
    const float inverse = sum > 0 ? 1.0F / sum : 0.0F;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (lane + 32 * i < work.n_parts) {
        weights[(lane + 32 * i) * n_rows + row] = part[i].y * inverse;
      }
    }
  }
  __syncthreads();

  // A lane sums eight columns of a row.
  constexpr int kChunks = kDim / 8;
  const int64_t stride = static_cast<int64_t>(args.tile_rows) * kChunks;  // from split to split
  const int n = n_rows * kChunks;
  for (int i = static_cast<int>(threadIdx.x); i - lane < n; i += kThreads) {
    const bool wanted = i < n;
    const int row = min(i, n - 1) / kChunks;
    const int column = min(i, n - 1) % kChunks * 8;
    const uint4* parts = reinterpret_cast<const uint4*>(args.partials) +
                         partial_row(args, work, 0, row_begin + row) * kChunks + column / 8;
    float sum[8] = {};
    if (work.n_parts <= 16) {
      add_parts<16>(parts, stride, work.n_parts, weights + row, n_rows, sum);
    } else {
      add_parts<32>(parts, stride, work.n_parts, weights + row, n_rows, sum);
    }
    // Eight lanes' eight columns, as twice eight lanes' four: store_output wants them so.
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int source = (lane & ~7) + 4 * half + (lane & 7) / 2;
      float value[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float low = __shfl_sync(kAllLanes, sum[k], source);
        const float high = __shfl_sync(kAllLanes, sum[k + 4], source);
        value[k] = lane % 2 == 0 ? low : high;
      }
      const int row_there = __shfl_sync(kAllLanes, row, source);
      const int column_there = __shfl_sync(kAllLanes, column, source) + lane % 2 * 4;
      const bool wanted_there = __shfl_sync(kAllLanes, static_cast<int>(wanted), source) != 0;
      store_output<kDim>(args, query_of(args, work, row_begin + row_there), column_there,
                         make_float4(value[0], value[1], value[2], value[3]), wanted_there);
    }
  }
  store_padding<kDim, kThreads>(args, work, row_begin, n_rows);
}

}  // namespace fimd::cuda::attention_detail

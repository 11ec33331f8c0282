// The end of an attention block: its warps' outputs are joined and stored.
#pragma once

#include "kernels/cuda/attention_work.cuh"

namespace fimd::cuda::attention_detail {

/// Calls f(row, column, wanted) for every four columns of the tile's rows, whole warps at a time;
/// lanes that are left over get some row and wanted = false.
template <class C, class F>
__device__ inline void for_each_quad(int n_rows, const F& f) {
  constexpr int kQuads = C::kDim / 4;
  const int n = n_rows * kQuads;
  for (int i = static_cast<int>(threadIdx.x); i - static_cast<int>(threadIdx.x) % 32 < n;
       i += C::kThreads) {
    const int clamped = min(i, n - 1);
    f(clamped / kQuads, clamped % kQuads * 4, i < n);
  }
}

/// Joins the warps that shared the keys of a row, and stores the block's outputs or its part.
template <class C, int kDimTiles>
__device__ inline void store_rows(const KernelArgs& args, const Work& work,
                                  const RowState (&states)[C::kMTiles],
                                  const float (&o)[C::kMTiles][kDimTiles][4], char* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / C::kWarpsN * 16 * C::kMTiles + lane / 4;
  const int warp_n = warp % C::kWarpsN;
  auto* outputs = reinterpret_cast<float*>(shared);           // (kWarpsN, kRows, kDim)
  float* maxima = outputs + C::kWarpsN * C::kRows * C::kDim;  // (kWarpsN, kRows)
  float* sums = maxima + C::kWarpsN * C::kRows;               // (kWarpsN, kRows)
  __syncthreads();                                            // nobody reads the tiles any more
#pragma unroll
  for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int at = warp_n * C::kRows + warp_row + 16 * m + 8 * h;
      if (lane % 4 == 0) {
        maxima[at] = states[m].max[h];
        sums[at] = states[m].sum[h];
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp_row + 16 * m + 8 * h;
      float top = -INFINITY;
#pragma unroll
      for (int n = 0; n < C::kWarpsN; ++n) top = fmaxf(top, maxima[n * C::kRows + row]);
      float sum = 0;
#pragma unroll
      for (int n = 0; n < C::kWarpsN; ++n) {
        sum += sums[n * C::kRows + row] * rescale(maxima[n * C::kRows + row], top);
      }
      const float scale = sum > 0 ? rescale(states[m].max[h], top) / sum : 0.0F;
      if (work.n_active > 1 && row < work.n_pairs && warp_n == 0 && lane % 4 == 0) {
        args.states[partial_row(args, work, static_cast<int>(blockIdx.x), row)] =
            make_float2(top, sum);
      }
#pragma unroll
      for (int d = 0; d < kDimTiles; ++d) {
        *reinterpret_cast<float2*>(outputs + (warp_n * C::kRows + row) * C::kDim + d * 8 +
                                   lane % 4 * 2) =
            make_float2(o[m][d][2 * h] * scale, o[m][d][2 * h + 1] * scale);
      }
    }
  }
  __syncthreads();
  __half* part = args.partials + partial_row(args, work, static_cast<int>(blockIdx.x), 0) * C::kDim;
  for_each_quad<C>(work.n_pairs, [&](int row, int column, bool wanted) {
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int n = 0; n < C::kWarpsN; ++n) {
      const float4 other =
          *reinterpret_cast<const float4*>(outputs + (n * C::kRows + row) * C::kDim + column);
      sum.x += other.x;
      sum.y += other.y;
      sum.z += other.z;
      sum.w += other.w;
    }
    if (work.n_active == 1) {
      store_output<C::kDim>(args, work, row, column, sum, wanted);
    } else if (wanted) {
      *reinterpret_cast<uint2*>(part + row * C::kDim + column) =
          make_uint2(pack_halves(sum.x, sum.y), pack_halves(sum.z, sum.w));
    }
  });
  if (work.n_active == 1) store_padding<C::kDim, C::kThreads>(args, work, 0, work.n_pairs);
}

}  // namespace fimd::cuda::attention_detail

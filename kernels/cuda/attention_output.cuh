// The end of an attention block: its warps' outputs are joined and stored.
#pragma once

#include "kernels/cuda/attention_work.cuh"
#include "kernels/cuda/cluster.cuh"

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

/// Stores four outputs of the block's or the cluster's part of the keys: final if it is all.
template <class C>
__device__ inline void store_quad(const KernelArgs& args, const Work& work, int row, int column,
                                  float4 value, bool wanted) {
  if (work.n_parts == 1) {
    store_output<C::kDim>(args, query_of(args, work, row), column, value, wanted);
  } else if (wanted) {
    const int part = static_cast<int>(blockIdx.x) / args.cluster;
    *reinterpret_cast<uint2*>(args.partials + partial_row(args, work, part, row) * C::kDim +
                              column) =
        make_uint2(pack_halves(value.x, value.y), pack_halves(value.z, value.w));
  }
}
template <class C>
__device__ inline void store_state(const KernelArgs& args, const Work& work, int row,
                                   float2 state) {
  if (work.n_parts == 1) return;
  const int part = static_cast<int>(blockIdx.x) / args.cluster;
  args.states[partial_row(args, work, part, row)] = state;
}

/// Joins the blocks of a cluster: outputs (n_rows, kDim) and states (n_rows: maximum and sum) lie
/// in the shared memory of each. Every block joins a share of the rows.
template <class C>
__device__ inline void join_cluster(const KernelArgs& args, const Work& work, const float* outputs,
                                    const float2* states) {
  constexpr int kQuads = C::kDim / 4;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int rank = static_cast<int>(blockIdx.x) % args.cluster;
  const int n = work.n_pairs * kQuads;
  cluster_sync();
  // Warp by warp, first over the blocks.
  for (int i = (static_cast<int>(threadIdx.x) / 32 * args.cluster + rank) * 32 + lane; i - lane < n;
       i += args.cluster * C::kThreads) {
    const int row = min(i, n - 1) / kQuads;
    const int column = min(i, n - 1) % kQuads * 4;
    const uint32_t state_here = shared_address(states + row);
    const uint32_t output_here = shared_address(outputs + row * C::kDim + column);
    float2 state[kMaxCluster];
    float4 output[kMaxCluster];
#pragma unroll
    for (int b = 0; b < kMaxCluster; ++b) {
      const int block = min(b, args.cluster - 1);
      state[b] = load_cluster_float2(cluster_address(state_here, block));
      output[b] = load_cluster_float4(cluster_address(output_here, block));
      if (b >= args.cluster) state[b] = make_float2(-INFINITY, 0);
    }
    float top = -INFINITY;
#pragma unroll
    for (int b = 0; b < kMaxCluster; ++b) top = fmaxf(top, state[b].x);
    float sum = 0;
    float4 value = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int b = 0; b < kMaxCluster; ++b) {
      const float weight = state[b].y * rescale(state[b].x, top);
      sum += weight;
      value.x += weight * output[b].x;
      value.y += weight * output[b].y;
      value.z += weight * output[b].z;
      value.w += weight * output[b].w;
    }
    const float inverse = sum > 0 ? 1.0F / sum : 0.0F;
    value = make_float4(value.x * inverse, value.y * inverse, value.z * inverse, value.w * inverse);
    store_quad<C>(args, work, row, column, value, i < n);
    if (i < n && column == 0) store_state<C>(args, work, row, make_float2(top, sum));
  }
  cluster_sync();  // nobody's shared memory is read any more
}

/// Stores what warps have that share their rows with none, straight from registers; not for
/// quantised outputs.
template <class C, int kDimTiles>
__device__ inline void store_own_rows(const KernelArgs& args, const Work& work,
                                      const RowState (&states)[C::kMTiles],
                                      const float (&o)[C::kMTiles][kDimTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp * 16 * C::kMTiles + 16 * m + 8 * h + lane / 4;
      if (row >= work.n_pairs) continue;
      const float scale = states[m].sum[h] > 0 ? 1.0F / states[m].sum[h] : 0.0F;
      if (work.n_parts == 1) {
        float* to = args.params.out + query_row(args, work, row) * C::kDim + lane % 4 * 2;
#pragma unroll
        for (int d = 0; d < kDimTiles; ++d) {
          *reinterpret_cast<float2*>(to + 8 * d) =
              make_float2(o[m][d][2 * h] * scale, o[m][d][2 * h + 1] * scale);
        }
      } else {
        const int64_t at = partial_row(args, work, static_cast<int>(blockIdx.x), row);
        __half* to = args.partials + at * C::kDim + lane % 4 * 2;
#pragma unroll
        for (int d = 0; d < kDimTiles; ++d) {
          *reinterpret_cast<uint32_t*>(to + 8 * d) =
              pack_halves(o[m][d][2 * h] * scale, o[m][d][2 * h + 1] * scale);
        }
        if (lane % 4 == 0) args.states[at] = make_float2(states[m].max[h], states[m].sum[h]);
      }
    }
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
  auto* outputs = reinterpret_cast<float*>(shared);                        // (kWarpsN, kRows, kDim)
  float* maxima = outputs + C::kWarpsN * C::kRows * C::kDim;               // (kWarpsN, kRows)
  float* sums = maxima + C::kWarpsN * C::kRows;                            // (kWarpsN, kRows)
  auto* merged = reinterpret_cast<float2*>(sums + C::kWarpsN * C::kRows);  // (kRows)
  __syncthreads();  // nobody reads the tiles any more
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
      if (warp_n == 0 && lane % 4 == 0) merged[row] = make_float2(top, sum);
#pragma unroll
      for (int d = 0; d < kDimTiles; ++d) {
        *reinterpret_cast<float2*>(outputs + (warp_n * C::kRows + row) * C::kDim + d * 8 +
                                   lane % 4 * 2) =
            make_float2(o[m][d][2 * h] * scale, o[m][d][2 * h + 1] * scale);
      }
    }
  }
  __syncthreads();
  const bool alone = args.cluster == 1;
  for_each_quad<C>(work.n_pairs, [&](int row, int column, bool wanted) {
    auto* first = reinterpret_cast<float4*>(outputs + row * C::kDim + column);
    float4 sum = make_float4(0, 0, 0, 0);  // what others write to is not read
    if (wanted) sum = *first;
#pragma unroll
    for (int n = 1; n < C::kWarpsN; ++n) {
      if (!wanted) break;
      const float4 other =
          *reinterpret_cast<const float4*>(outputs + (n * C::kRows + row) * C::kDim + column);
      sum.x += other.x;
      sum.y += other.y;
      sum.z += other.z;
      sum.w += other.w;
    }
    if (alone) {
      store_quad<C>(args, work, row, column, sum, wanted);
      if (wanted && column == 0) store_state<C>(args, work, row, merged[row]);
    } else if (C::kWarpsN > 1 && wanted) {
      *first = sum;
    }
  });
  if constexpr (C::kClusters) {
    if (!alone) join_cluster<C>(args, work, outputs, merged);
  }
  if (work.n_parts == 1 && blockIdx.x == 0) {
    store_padding<C::kDim, C::kThreads>(args, work, 0, work.n_pairs);
  }
}

}  // namespace fimd::cuda::attention_detail

// Blocks of the attention kernel: what each works on, and how their outputs are joined and stored.
#pragma once

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/quantize.cuh"

namespace fimd::cuda::attention_detail {

/// A column beyond those of any activations: RowWriter stores nothing there.
constexpr int kNoColumn = 1 << 30;

template <int kDim_, int kMTiles_, int kWarpsM_, int kWarpsN_, int kKeys_, int kStages_>
struct Config {
  static constexpr int kDim = kDim_;
  static constexpr int kMTiles = kMTiles_;
  static constexpr int kWarpsM = kWarpsM_;
  static constexpr int kWarpsN = kWarpsN_;
  static constexpr int kKeys = kKeys_;
  static constexpr int kStages = kStages_;

  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kRows = 16 * kMTiles * kWarpsM;
  static constexpr int kWarpKeys = kKeys / kWarpsN;
  static constexpr bool kQueryInRegisters = kMTiles == 1 && kDim <= 128;
  static constexpr int kTileBytes = kKeys * Tile<kDim>::kRowBytes;
  static constexpr int kQueryBytes = kQueryInRegisters ? 0 : kRows * Tile<kDim>::kRowBytes;
  static constexpr int kSharedBytes = kStages * 2 * kTileBytes + kQueryBytes;
  // Joining the warps (outputs, maxima and sums), and joining the splits (their weights).
  static constexpr int kMergeBytes = kWarpsN * kRows * (kDim + 2) * 4;

  static_assert(kWarpKeys % 16 == 0 && kStages >= 2);
  static_assert(kTileBytes % 1024 == 0 || !Tile<kDim>::kSwizzled);
  static_assert(kMergeBytes <= kSharedBytes);
  static_assert(kMaxSplits * kRows * 4 <= kSharedBytes);
};

/// What a block works on.
struct Work {
  Sequence sequence;
  int pair0;      // first row of the tile
  int n_pairs;    // rows of the tile
  int unit;       // (sequence, tile, KV head): what is joined
  int key_begin;  // of this block's split
  int key_end;
  int n_active;  // splits that have keys
};

/// False if there is nothing to do: the sequence has fewer rows, or the split no keys.
template <class C>
__device__ inline bool find_work(const KernelArgs& args, Work& work) {
  const AttentionParams& p = args.params;
  const int split = static_cast<int>(blockIdx.x);
  const int index = static_cast<int>(blockIdx.z) / args.m_tiles;
  // The last tiles have the most keys: they go first, for an even finish.
  const int tile = args.m_tiles - 1 - static_cast<int>(blockIdx.z) % args.m_tiles;
  work.sequence = p.sequences[index];
  work.pair0 = tile * C::kRows;
  work.n_pairs = min(work.sequence.n_rows * args.group - work.pair0, C::kRows);
  if (work.n_pairs <= 0) return false;
  work.unit = static_cast<int>(blockIdx.z * gridDim.y + blockIdx.y);
  const int first = work.sequence.first + work.pair0 / args.group;
  const int last = work.sequence.first + (work.pair0 + work.n_pairs - 1) / args.group;
  const int from = p.window > 0 ? max(0, first - p.window + 1) / C::kKeys * C::kKeys : 0;
  const int splits = (last + 1 - from + args.split_keys - 1) / args.split_keys;
  work.n_active = min(splits, args.n_splits);
  if (split >= work.n_active) return false;
  work.key_begin = from + split * args.split_keys;
  // The last split takes what a sequence longer than planned has left.
  work.key_end =
      split == args.n_splits - 1 ? last + 1 : min(last + 1, work.key_begin + args.split_keys);
  return true;
}

/// The q row of a pair of the block's tile.
__device__ inline int64_t query_row(const KernelArgs& args, const Work& work, int pair) {
  const int index = work.pair0 + pair;
  const int token = work.sequence.row_begin + index / args.group;
  const int head = static_cast<int>(blockIdx.y) * args.group + index % args.group;
  return static_cast<int64_t>(token) * args.params.n_heads + head;
}

/// Where a split leaves its part of a row.
__device__ inline int64_t partial_row(const KernelArgs& args, const Work& work, int split, int row,
                                      int rows) {
  return (static_cast<int64_t>(work.unit) * args.n_splits + split) * rows + row;
}

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

/// Stores four outputs of a row, normalised: as float, and as what the next product reads. Whole
/// warps call it together, eight lanes to 32 columns.
template <class C>
__device__ inline void store_output(const KernelArgs& args, const Work& work, int row, int column,
                                    float4 value, bool wanted) {
  const int64_t at = query_row(args, work, row);
  if (args.params.out != nullptr && wanted) {
    *reinterpret_cast<float4*>(args.params.out + at * C::kDim + column) = value;
  }
  if constexpr (C::kDim % 32 == 0) {
    if (!args.quantizes) return;
    const auto token = static_cast<int>(at / args.params.n_heads);
    const auto head = static_cast<int>(at % args.params.n_heads);
    const RowWriter writer = {args.params.activations, args.groups};
    writer.write(token, wanted ? head * C::kDim + column : kNoColumn, value);
  }
}

/// Zeros from the last column of the activations to the end of their last k tile: whoever has the
/// last head of a row writes them.
template <class C>
__device__ inline void store_padding(const KernelArgs& args, const Work& work) {
  const int cols = args.params.n_heads * C::kDim;
  if (!args.quantizes || cols % kTileCols == 0 || blockIdx.y + 1 != gridDim.y) return;
  const RowWriter writer = {args.params.activations, args.groups};
  for (int row = static_cast<int>(threadIdx.x) / 32; row < work.n_pairs; row += C::kThreads / 32) {
    const int64_t at = query_row(args, work, row);
    if (at % args.params.n_heads != args.params.n_heads - 1) continue;
    for (int column = 0; column < kTileCols; column += 128) {
      writer.write(static_cast<int>(at / args.params.n_heads),
                   cols + column + static_cast<int>(threadIdx.x) % 32 * 4, float4());
    }
  }
}

/// Joins the parts of all splits if this block is the last of its unit to arrive.
template <class C>
__device__ inline void join_splits(const KernelArgs& args, const Work& work, char* shared) {
  __threadfence();
  __syncthreads();
  bool last = false;
  if (threadIdx.x == 0) {
    const unsigned arrived = atomicAdd(args.counters + work.unit, 1U);
    last = arrived == static_cast<unsigned>(work.n_active) - 1;
    if (last) args.counters[work.unit] = 0;  // for the next call
  }
  last = __syncthreads_or(last) != 0;
  if (!last) return;
  __threadfence();

  auto* weights = reinterpret_cast<float*>(shared);  // (n_active, kRows)
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int row = static_cast<int>(threadIdx.x) / 32; row < work.n_pairs; row += C::kThreads / 32) {
    static_assert(kMaxSplits == 64);
    float2 part[2];
    float top = -INFINITY;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int split = lane + 32 * i;
      part[i] = make_float2(-INFINITY, 0);
      if (split < work.n_active) {
        part[i] = __ldcg(args.states + partial_row(args, work, split, row, C::kRows));
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
      if (lane + 32 * i < work.n_active) {
        weights[(lane + 32 * i) * C::kRows + row] = part[i].y * inverse;
      }
    }
  }
  __syncthreads();

  const auto stride = static_cast<int64_t>(C::kRows) * C::kDim;  // from split to split
  for_each_quad<C>(work.n_pairs, [&](int row, int column, bool wanted) {
    float4 sum = make_float4(0, 0, 0, 0);
    const __half* parts =
        args.partials + partial_row(args, work, 0, row, C::kRows) * C::kDim + column;
    if (wanted) {
#pragma unroll 16
      for (int split = 0; split < work.n_active; ++split) {
        const uint2 packed = __ldcg(reinterpret_cast<const uint2*>(parts + split * stride));
        const float weight = weights[split * C::kRows + row];
        const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&packed.x));
        const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&packed.y));
        sum.x += weight * low.x;
        sum.y += weight * low.y;
        sum.z += weight * high.x;
        sum.w += weight * high.y;
      }
    }
    store_output<C>(args, work, row, column, sum, wanted);
  });
  store_padding<C>(args, work);
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
        args.states[partial_row(args, work, static_cast<int>(blockIdx.x), row, C::kRows)] =
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
  __half* part =
      args.partials + partial_row(args, work, static_cast<int>(blockIdx.x), 0, C::kRows) * C::kDim;
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
      store_output<C>(args, work, row, column, sum, wanted);
    } else if (wanted) {
      *reinterpret_cast<uint2*>(part + row * C::kDim + column) =
          make_uint2(pack_halves(sum.x, sum.y), pack_halves(sum.z, sum.w));
    }
  });
  if (work.n_active == 1) store_padding<C>(args, work);
}

}  // namespace fimd::cuda::attention_detail

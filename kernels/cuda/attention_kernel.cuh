// The attention kernel: flash attention over paged keys for one KV head, one tile of query rows and
// one range of keys.
//
// A query row of the kernel is a pair (token, query head of the KV head's group), token-major: all
// heads of a group read a key once. kWarpsM warps have 16 kMTiles rows each; kWarpsN warps share
// the keys of every tile among them. When the keys are split over blocks, each leaves its
// normalised output (half) with its maximum and sum in the workspace, and the block that arrives
// last joins them in the order of the splits: the result does not depend on timing.
#pragma once

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::attention_detail {

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
  static constexpr int kMergeBytes = kWarpsN == 1 ? 0 : kWarpsN * kRows * (kDim + 2) * 4;

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

  constexpr int kChunks = C::kDim / 8;
  const int64_t stride = static_cast<int64_t>(C::kRows) * kChunks;  // from split to split
  for (int i = static_cast<int>(threadIdx.x); i < work.n_pairs * kChunks; i += C::kThreads) {
    const int row = i / kChunks;
    const uint4* parts = reinterpret_cast<const uint4*>(args.partials) +
                         partial_row(args, work, 0, row, C::kRows) * kChunks + i % kChunks;
    float sum[8] = {};
#pragma unroll 8
    for (int split = 0; split < work.n_active; ++split) {
      const uint4 packed = __ldcg(parts + split * stride);
      const float weight = weights[split * C::kRows + row];
      const auto* halves = reinterpret_cast<const __half2*>(&packed);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float2 value = __half22float2(halves[k]);
        sum[2 * k] += weight * value.x;
        sum[2 * k + 1] += weight * value.y;
      }
    }
    auto* out = reinterpret_cast<float4*>(args.params.out + query_row(args, work, row) * C::kDim) +
                i % kChunks * 2;
    out[0] = make_float4(sum[0], sum[1], sum[2], sum[3]);
    out[1] = make_float4(sum[4], sum[5], sum[6], sum[7]);
  }
}

/// Two neighbouring outputs of a row, normalised.
template <class C>
__device__ inline void store_output(const KernelArgs& args, const Work& work, int row, int d,
                                    float x, float y) {
  if (work.n_active == 1) {
    *reinterpret_cast<float2*>(args.params.out + query_row(args, work, row) * C::kDim + d) =
        make_float2(x, y);
  } else {
    const int64_t at =
        partial_row(args, work, static_cast<int>(blockIdx.x), row, C::kRows) * C::kDim + d;
    *reinterpret_cast<uint32_t*>(args.partials + at) = pack_halves(x, y);
  }
}

/// Joins the warps that shared the keys of a row, and stores the block's outputs.
template <class C, int kDimTiles>
__device__ inline void store_rows(const KernelArgs& args, const Work& work,
                                  RowState (&states)[C::kMTiles],
                                  float (&o)[C::kMTiles][kDimTiles][4], char* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / C::kWarpsN * 16 * C::kMTiles + lane / 4;
  const int warp_n = warp % C::kWarpsN;
  auto* outputs = reinterpret_cast<float*>(shared);           // (kWarpsN, kRows, kDim)
  float* maxima = outputs + C::kWarpsN * C::kRows * C::kDim;  // (kWarpsN, kRows)
  float* sums = maxima + C::kWarpsN * C::kRows;               // (kWarpsN, kRows)
  if constexpr (C::kWarpsN > 1) {
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
  }
#pragma unroll
  for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp_row + 16 * m + 8 * h;
      float top = states[m].max[h];
      float sum = states[m].sum[h];
      if constexpr (C::kWarpsN > 1) {
        top = -INFINITY;
        for (int n = 0; n < C::kWarpsN; ++n) top = fmaxf(top, maxima[n * C::kRows + row]);
        sum = 0;
        for (int n = 0; n < C::kWarpsN; ++n) {
          sum += sums[n * C::kRows + row] * rescale(maxima[n * C::kRows + row], top);
        }
      }
      const float scale = sum > 0 ? rescale(states[m].max[h], top) / sum : 0.0F;
      const bool wanted = row < work.n_pairs;
      if (wanted && work.n_active > 1 && warp_n == 0 && lane % 4 == 0) {
        args.states[partial_row(args, work, static_cast<int>(blockIdx.x), row, C::kRows)] =
            make_float2(top, sum);
      }
#pragma unroll
      for (int d = 0; d < kDimTiles; ++d) {
        const float x = o[m][d][2 * h] * scale;
        const float y = o[m][d][2 * h + 1] * scale;
        const int column = d * 8 + lane % 4 * 2;
        if constexpr (C::kWarpsN > 1) {
          *reinterpret_cast<float2*>(outputs + (warp_n * C::kRows + row) * C::kDim + column) =
              make_float2(x, y);
        } else if (wanted) {
          store_output<C>(args, work, row, column, x, y);
        }
      }
    }
  }
  if constexpr (C::kWarpsN > 1) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < work.n_pairs * C::kDim / 2; i += C::kThreads) {
      float2 sum = make_float2(0, 0);
#pragma unroll
      for (int n = 0; n < C::kWarpsN; ++n) {
        const float2 part =
            reinterpret_cast<const float2*>(outputs)[n * C::kRows * C::kDim / 2 + i];
        sum.x += part.x;
        sum.y += part.y;
      }
      store_output<C>(args, work, i / (C::kDim / 2), i % (C::kDim / 2) * 2, sum.x, sum.y);
    }
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads)
    attention_kernel(const __grid_constant__ KernelArgs args) {
  using T = Tile<C::kDim>;
  constexpr int kDimSteps = C::kDim / 16;
  constexpr int kDimTiles = C::kDim / 8;
  constexpr int kKeyTiles = C::kWarpKeys / 8;
  extern __shared__ __align__(1024) char shared[];
  pdl_trigger();
  // Few rows: tiles of keys older than this step are fetched while rope_append runs (see there).
  if constexpr (!C::kQueryInRegisters) pdl_wait();
  Work work;
  if (!find_work<C>(args, work)) {
    pdl_wait();
    return;
  }

  const AttentionParams& p = args.params;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / C::kWarpsN * 16 * C::kMTiles;
  const int warp_key = warp % C::kWarpsN * C::kWarpKeys;
  const PagedHead head = {p.kv.k,          p.kv.v,          p.pages + work.sequence.page_begin,
                          args.page_shift, p.kv.n_kv_heads, static_cast<int>(blockIdx.y),
                          work.key_end};
  const uint32_t tiles = shared_address(shared);
  const auto k_tile = [&](int stage) {
    return tiles + static_cast<uint32_t>(stage * 2 * C::kTileBytes);
  };
  const int n_tiles = (work.key_end - work.key_begin + C::kKeys - 1) / C::kKeys;

  PageWindow<C::kKeys> pages(head, work.key_begin);
  const auto copy = [&](int tile) {
    if (tile < n_tiles) {
      pages.enter(head, tile);
      const uint32_t to = k_tile(tile % C::kStages);
      copy_tile<C::kDim, C::kKeys, C::kThreads>(head, pages, tile, work.key_begin + tile * C::kKeys,
                                                to, to + C::kTileBytes);
    }
    copy_commit();
  };

  int first_tiles = 0;
  if constexpr (C::kQueryInRegisters) {
    for (; first_tiles < C::kStages - 1; ++first_tiles) {
      const int end = work.key_begin + (first_tiles + 1) * C::kKeys;
      if (first_tiles < n_tiles && end > work.sequence.first) break;
      copy(first_tiles);
    }
    pdl_wait();
  }

  // Queries: fragments straight from memory, or a tile that is read again for every tile of keys.
  uint32_t q[C::kQueryInRegisters ? kDimSteps : 1][4];
  const uint32_t q_tile = tiles + C::kStages * 2 * C::kTileBytes;
  if constexpr (C::kQueryInRegisters) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp_row + lane / 4 + 8 * h;
      const bool wanted = row < work.n_pairs;
      const auto* from = reinterpret_cast<const uint32_t*>(
          p.q + query_row(args, work, wanted ? row : 0) * C::kDim + lane % 4 * 2);
#pragma unroll
      for (int k = 0; k < kDimSteps; ++k) {
        q[k][h] = wanted ? from[8 * k] : 0;
        q[k][h + 2] = wanted ? from[8 * k + 4] : 0;
      }
    }
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < C::kRows * T::kChunks; i += C::kThreads) {
      const int row = i / T::kChunks;
      const int chunk = i % T::kChunks;
      const bool wanted = row < work.n_pairs;
      copy_async(q_tile + T::offset(row, chunk),
                 p.q + query_row(args, work, wanted ? row : 0) * C::kDim + chunk * 8, wanted);
    }
  }
  for (; first_tiles < C::kStages - 1; ++first_tiles) copy(first_tiles);

  RowState states[C::kMTiles];
  float o[C::kMTiles][kDimTiles][4] = {};
  int position[C::kMTiles][2];
#pragma unroll
  for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = min(warp_row + 16 * m + 8 * h + lane / 4, work.n_pairs - 1);
      position[m][h] = work.sequence.first + (work.pair0 + row) / args.group;
    }
  }
  const int first = work.sequence.first + work.pair0 / args.group;
  const int last = work.sequence.first + (work.pair0 + work.n_pairs - 1) / args.group;
  // This lane's part of the addresses for ldmatrix: 16 rows of queries or values, 16 keys.
  const uint32_t by_row = T::offset(lane & 15, lane >> 4);
  const uint32_t by_key = T::offset((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);

  for (int tile = 0; tile < n_tiles; ++tile) {
    copy_wait<C::kStages - 2>();
    __syncthreads();  // the tile is there, and the stage to be overwritten was read by all
    copy(tile + C::kStages - 1);
    const int tile_begin = work.key_begin + tile * C::kKeys;
    const uint32_t k_base =
        k_tile(tile % C::kStages) + static_cast<uint32_t>(warp_key * T::kRowBytes);
    const uint32_t v_base = k_base + C::kTileBytes;

    float s[C::kMTiles][kKeyTiles][4] = {};
#pragma unroll
    for (int k = 0; k < kDimSteps; ++k) {
      uint32_t a[C::kMTiles][4];
#pragma unroll
      for (int m = 0; m < C::kMTiles; ++m) {
        if constexpr (C::kQueryInRegisters) {
#pragma unroll
          for (int i = 0; i < 4; ++i) a[m][i] = q[k][i];
        } else {
          const auto rows = static_cast<uint32_t>((warp_row + 16 * m) * T::kRowBytes);
          load_matrices(a[m], T::step(q_tile + rows + by_row, k));
        }
      }
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        uint32_t b[4];
        load_matrices(b, T::step(k_base + n * 8 * T::kRowBytes + by_key, k));
#pragma unroll
        for (int m = 0; m < C::kMTiles; ++m) {
          multiply_add(s[m][n], a[m], b[0], b[1]);
          multiply_add(s[m][n + 1], a[m], b[2], b[3]);
        }
      }
    }
    if (tile_begin + C::kKeys - 1 > first || (p.window > 0 && tile_begin <= last - p.window)) {
#pragma unroll
      for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const int key = tile_begin + warp_key + n * 8 + lane % 4 * 2 + c % 2;
            const int at = position[m][c / 2];
            if (key > at || (p.window > 0 && key <= at - p.window)) s[m][n][c] = -INFINITY;
          }
        }
      }
    }
#pragma unroll
    for (int m = 0; m < C::kMTiles; ++m) softmax_step(s[m], states[m], o[m]);
#pragma unroll
    for (int j = 0; j < C::kWarpKeys / 16; ++j) {
      uint32_t a[C::kMTiles][4];
#pragma unroll
      for (int m = 0; m < C::kMTiles; ++m) {
        a[m][0] = pack_halves(s[m][2 * j][0], s[m][2 * j][1]);
        a[m][1] = pack_halves(s[m][2 * j][2], s[m][2 * j][3]);
        a[m][2] = pack_halves(s[m][2 * j + 1][0], s[m][2 * j + 1][1]);
        a[m][3] = pack_halves(s[m][2 * j + 1][2], s[m][2 * j + 1][3]);
      }
#pragma unroll
      for (int d = 0; d < kDimSteps; ++d) {
        uint32_t b[4];
        load_matrices_transposed(b, T::step(v_base + j * 16 * T::kRowBytes + by_row, d));
#pragma unroll
        for (int m = 0; m < C::kMTiles; ++m) {
          multiply_add(o[m][2 * d], a[m], b[0], b[1]);
          multiply_add(o[m][2 * d + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < C::kMTiles; ++m) states[m].finish();
  store_rows<C>(args, work, states, o, shared);
  if (work.n_active > 1) join_splits<C>(args, work, shared);
}

}  // namespace fimd::cuda::attention_detail

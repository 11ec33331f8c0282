// The attention kernel: flash attention over paged keys for one KV head, one tile of query rows and
// one range of keys.
//
// A query row of the kernel is a pair (token, query head of the KV head's group), token-major: all
// heads of a group read a key once. kWarpsM warps have 16 kMTiles rows each; kWarpsN warps share
// the keys of every tile among them. When the keys are split over blocks, each leaves its
// normalised output (half) with its maximum and sum in the workspace. The block that arrives last,
// or for more rows a second kernel, joins them in the order of the splits: the result does not
// depend on timing.
#pragma once

#include "kernels/cuda/attention_join.cuh"
#include "kernels/cuda/attention_output.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::attention_detail {

/// Whether this block is the last of its unit to have stored its part; resets the count.
__device__ inline bool arrives_last(const KernelArgs& args, const Work& work) {
  __threadfence();
  __syncthreads();
  bool last = false;
  if (threadIdx.x == 0) {
    const unsigned arrived = atomicAdd(args.counters + work.unit, 1U);
    last = arrived == static_cast<unsigned>(work.n_parts * args.cluster) - 1;
    if (last) args.counters[work.unit] = 0;  // for the next call
  }
  last = __syncthreads_or(last) != 0;
  if (last) __threadfence();
  return last;
}

template <class C>
__global__ void __launch_bounds__(C::kThreads)
    attention_kernel(const __grid_constant__ KernelArgs args) {
  using T = Tile<C::kDim>;
  constexpr int kDimSteps = C::kDim / 16;
  constexpr int kDimTiles = C::kDim / 8;
  constexpr int kKeyTiles = C::kWarpKeys / 8;
  extern __shared__ __align__(1024) char shared[];
  // Few rows: tiles of keys older than this step are fetched while rope_append runs (see there).
  if constexpr (!C::kQueryInRegisters) pdl_wait();
  Work work;
  if (!find_work(args, static_cast<int>(blockIdx.x), work)) {
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
      if (first_tiles < n_tiles && (!p.overlaps_append || end > work.sequence.first)) break;
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
  if constexpr (C::kWarpsN == 1 && !C::kClusters) {
    if (!args.quantizes) return store_own_rows<C>(args, work, states, o);
  }
  // Where there are no keys nobody has waited for the queries, and they lie where outputs go.
  if constexpr (!C::kQueryInRegisters) copy_wait<0>();
  store_rows<C>(args, work, states, o, shared);
  if constexpr (C::kJoins) {
    if (work.n_parts == 1 || !arrives_last(args, work)) return;
    join_rows<C::kDim, C::kThreads>(args, work, 0, work.n_pairs, reinterpret_cast<float*>(shared));
  }
}

}  // namespace fimd::cuda::attention_detail

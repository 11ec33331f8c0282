// Attention of a few rows from what the products left: rotary embedding, the append to the pages
// and the attention in one kernel, for GPUs with thread-block clusters.
//
// The blocks of a cluster share the keys of one tile of rows (pairs of a token and a query head of
// the KV head's group). Each rotates the tile's queries itself; the keys of this step are rotated
// by the blocks whose range they are in, which also store them in their pages. Keys are 16 to a
// unit, and the warps of a block take units in turn, each through a ring of its own of granules
// (the keys or the values of a unit). Older keys depend on nothing in the kernels just before, so
// the rings are full before pdl_wait() returns.
//
// Few rows: products are transposed, S^T = K . Q^T and O^T = V^T . P^T, so that the 16 rows of a
// tensor-core product are keys or columns of values and its 8 columns are queries. A warp makes the
// weights of its own unit's keys and hands them to the others; then each has all the weights, and
// sums its own columns of the values: keys and values are read from shared memory once, and the
// warps have nothing to add up.
//
// The kernel is over in a few microseconds, most of it executed once: what runs once or twice is
// not unrolled, for its instructions have to be fetched first.
//
// At the end every block sends its share of each output to the block that joins it (st.async, which
// counts the bytes on that block's mailbox): one trip through the cluster and no barrier.
#pragma once

#include "kernels/cuda/attention_step_heads.cuh"
#include "kernels/cuda/attention_step_join.cuh"
#include "kernels/cuda/attention_step_ring.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::attention_detail {

template <class C>
__global__ void __launch_bounds__(C::kThreads) step_kernel(const __grid_constant__ StepArgs args) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  using T = typename C::T;
  constexpr int kDimSteps = C::kDim / 16;
  constexpr int kQuerySteps = (kDimSteps + 1) / 2;
  extern __shared__ __align__(1024) char shared[];
  const AttentionParams& p = args.base.params;
  StepWork work;
  if (!find_step_work<C>(args, work)) {
    cluster_arrive_relaxed();
    pdl_wait();
    return;
  }
  const int warp = work.warp, lane = work.lane;
  if (threadIdx.x == 0) {
    mailbox_init(shared_address(shared + C::kMailboxAt), mailbox_bytes<C>(work));
  }
  __syncwarp();
  cluster_arrive_relaxed();

  StepRing<C> ring(args, work, shared);
  StepHeads<C> heads(args, work, shared);
  const int half_rotary = args.rope.rotary_dim / 2;
  auto* turns = reinterpret_cast<float2*>(shared + args.turns_at);
#pragma unroll 1
  for (int position = work.sequence.first; position < work.own_end; ++position) {
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < half_rotary; i += C::kThreads) {
      turns[i] = rope_turn(args.rope, position, i);
    }
    turns += half_rotary;
  }
  // Rows of the tile that nobody has are zeros.
#pragma unroll 1
  for (int i = work.n_pairs * T::kChunks + static_cast<int>(threadIdx.x); i < C::kRows * T::kChunks;
       i += C::kThreads) {
    const int row = divided(i, T::kChunks);
    *reinterpret_cast<uint4*>(shared + C::kQueryAt + T::offset(row, i - row * T::kChunks)) =
        make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  heads.run();
  __syncthreads();

  // Queries: 8 of a tile, 32 columns at a time.
  const uint32_t queries = shared_address(shared + C::kQueryAt);
  const auto load_queries = [&](int n, int step, uint32_t(&q)[4]) {
    const int chunk = min(4 * step + lane / 8, T::kChunks - 1);
    load_matrices(q, queries + T::offset(n * 8 + lane % 8, chunk));
  };
  uint32_t q[C::kQueryInRegisters ? C::kTiles : 1][C::kQueryInRegisters ? kQuerySteps : 1][4];
  if constexpr (C::kQueryInRegisters) {
#pragma unroll
    for (int n = 0; n < C::kTiles; ++n) {
#pragma unroll
      for (int k = 0; k < kQuerySteps; ++k) load_queries(n, k, q[n][k]);
    }
  }

  const uint32_t by_row = T::offset(lane & 15, lane >> 4);
  const uint32_t by_key = T::offset((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
  const uint32_t rings = shared_address(shared);
  const int n_rounds = divided(work.key_end - work.key_begin + C::kKeys - 1, C::kKeys);
  constexpr int kSumTiles = (C::kTiles + C::kWarps - 1) / C::kWarps;
  float o[C::kOwnTiles][C::kTiles][4] = {};
  float sums[kSumTiles][4] = {};  // of the tiles warp, warp + kWarps, ...; all rows alike
  float tops[C::kTiles];          // the maximum so far of query lane / 4
#pragma unroll
  for (int n = 0; n < C::kTiles; ++n) tops[n] = -INFINITY;

#pragma unroll 1
  for (int j = 0; j < n_rounds; ++j) {
    char* weights = shared + C::kWeightsAt + j % 2 * C::kKeys * C::kRows * 2;
    auto* maxima = reinterpret_cast<float*>(shared + C::kMaximaAt) + j % 2 * C::kWarps * C::kRows;
    const bool mine = ring.has(j);
    float s[C::kTiles][4] = {};
    if (mine) {
      ring.wait_keys(j);
      const uint32_t keys =
          rings + static_cast<uint32_t>(warp * C::kRingBytes) + ring.keys_at(j) + by_row;
      float odd[4] = {};  // with one tile, two chains of products
#pragma unroll
      for (int k = 0; k < kQuerySteps; ++k) {
        uint32_t a[2][4];
        load_matrices(a[0], T::step(keys, 2 * k));
        if (2 * k + 1 < kDimSteps) load_matrices(a[1], T::step(keys, 2 * k + 1));
#pragma unroll
        for (int n = 0; n < C::kTiles; ++n) {
          uint32_t b[4];
          if constexpr (C::kQueryInRegisters) {
#pragma unroll
            for (int i = 0; i < 4; ++i) b[i] = q[n][k][i];
          } else {
            load_queries(n, k, b);
          }
          multiply_add(s[n], a[0], b[0], b[1]);
          if (2 * k + 1 < kDimSteps) multiply_add(C::kTiles == 1 ? odd : s[n], a[1], b[2], b[3]);
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) s[0][i] += odd[i];
    }
    __syncwarp();
    ring.refill_keys(j);
    if (mine) {
      const bool masked = ring.key(j) + kUnitKeys > work.own_begin + 1 ||
                          (p.window > 0 && ring.key(j) <= work.own_end - 1 - p.window);
#pragma unroll
      for (int n = 0; n < C::kTiles; ++n) {
        if (masked) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int row = min(n * 8 + lane % 4 * 2 + i % 2, work.n_pairs - 1);
            const int at = work.sequence.first + args.token_of(work.pair0 + row);
            const int key = ring.key(j) + lane / 4 + 8 * (i / 2);
            if (key > at || (p.window > 0 && key <= at - p.window)) s[n][i] = -INFINITY;
          }
        }
        float top[2] = {fmaxf(s[n][0], s[n][2]), fmaxf(s[n][1], s[n][3])};
#pragma unroll
        for (int mask = 4; mask < 32; mask *= 2) {
          top[0] = fmaxf(top[0], __shfl_xor_sync(kAllLanes, top[0], mask));
          top[1] = fmaxf(top[1], __shfl_xor_sync(kAllLanes, top[1], mask));
        }
        if (lane < 4) {
          *reinterpret_cast<float2*>(maxima + warp * C::kRows + n * 8 + lane * 2) =
              make_float2(top[0], top[1]);
        }
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float low = exp2_fast(s[n][2 * h] - (top[0] == -INFINITY ? 0.0F : top[0]));
          const float high = exp2_fast(s[n][2 * h + 1] - (top[1] == -INFINITY ? 0.0F : top[1]));
          const int key = warp * kUnitKeys + lane / 4 + 8 * h;
          *reinterpret_cast<uint32_t*>(weights + C::weight_offset(key, n) + lane % 4 * 4) =
              pack_halves(low, high);
        }
      }
      ring.wait_values(j);
    } else {
#pragma unroll 1
      for (int row = lane; row < C::kRows; row += 32) maxima[warp * C::kRows + row] = -INFINITY;
    }
    // Weights and values of all warps are there, and those of the last round have been used.
    __syncthreads();
    ring.refill_values(j);

    // A warp's weights count from its own maximum: by how much to scale them, for query lane / 4.
    __half2 factors[C::kTiles][C::kWarps];
#pragma unroll
    for (int n = 0; n < C::kTiles; ++n) {
      float top[C::kWarps];
      float highest = tops[n];
#pragma unroll
      for (int w = 0; w < C::kWarps; ++w) {
        top[w] = maxima[w * C::kRows + n * 8 + lane / 4];
        highest = fmaxf(highest, top[w]);
      }
#pragma unroll
      for (int w = 0; w < C::kWarps; ++w) {
        factors[n][w] = __float2half2_rn(rescale(top[w], highest));
      }
      if (j > 0 && __any_sync(kAllLanes, highest > tops[n])) {
        const float scale = rescale(tops[n], highest);
        const float scales[2] = {__shfl_sync(kAllLanes, scale, lane % 4 * 8),
                                 __shfl_sync(kAllLanes, scale, lane % 4 * 8 + 4)};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (n % C::kWarps == warp) sums[n / C::kWarps][i] *= scales[i % 2];
#pragma unroll
          for (int d = 0; d < C::kOwnTiles; ++d) o[d][n][i] *= scales[i % 2];
        }
      }
      tops[n] = highest;
    }
#pragma unroll
    for (int w = 0; w < C::kWarps; ++w) {
      if (work.key_begin + (j * C::kWarps + w) * kUnitKeys >= work.key_end) break;
      uint32_t b[C::kTiles][2];
      const int key = w * kUnitKeys + (lane & 15);
      if constexpr (C::kTiles == 1) {
        uint32_t r[4];
        load_matrices_transposed(r, shared_address(weights + C::weight_offset(key, 0)));
        b[0][0] = r[0];
        b[0][1] = r[1];
      } else {
#pragma unroll
        for (int n = 0; n < C::kTiles; n += 2) {
          uint32_t r[4];
          load_matrices_transposed(r,
                                   shared_address(weights + C::weight_offset(key, n + lane / 16)));
          b[n][0] = r[0];
          b[n][1] = r[1];
          b[n + 1][0] = r[2];
          b[n + 1][1] = r[3];
        }
      }
#pragma unroll
      for (int n = 0; n < C::kTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const __half2 scaled =
              __hmul2(*reinterpret_cast<const __half2*>(&b[n][i]), factors[n][w]);
          b[n][i] = *reinterpret_cast<const uint32_t*>(&scaled);
        }
        if (n % C::kWarps == warp) {
          constexpr uint32_t kOnes = 0x3C003C00;
          const uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
          multiply_add(sums[n / C::kWarps], ones, b[n][0], b[n][1]);
        }
      }
      const uint32_t values = rings + static_cast<uint32_t>(w * C::kRingBytes) + ring.values_at(j);
#pragma unroll
      for (int d = 0; d < C::kOwnTiles; ++d) {
        const int tile = warp * C::kOwnTiles + d;
        if (tile >= C::kColumnTiles) break;
        uint32_t a[4];
        load_matrices_transposed(a, T::step(values + by_key, tile));
#pragma unroll
        for (int n = 0; n < C::kTiles; ++n) multiply_add(o[d][n], a, b[n][0], b[n][1]);
      }
    }
  }

  // The block's outputs, not normalised, and its states.
  __syncthreads();  // nobody reads the rings any more
  auto* outputs = reinterpret_cast<float*>(shared);
  auto* states = reinterpret_cast<float2*>(outputs + C::kRows * C::kPitch);
#pragma unroll
  for (int n = 0; n < C::kTiles; ++n) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int row = n * 8 + lane % 4 * 2 + c;
      const float top = __shfl_sync(kAllLanes, tops[n], lane % 4 * 8 + 4 * c);
      if (n % C::kWarps == warp && lane < 4) {
        states[row] = make_float2(top, sums[n / C::kWarps][c]);
      }
#pragma unroll
      for (int d = 0; d < C::kOwnTiles; ++d) {
        const int tile = warp * C::kOwnTiles + d;
        if (tile >= C::kColumnTiles) break;
        outputs[row * C::kPitch + tile * 16 + lane / 4] = o[d][n][c];
        outputs[row * C::kPitch + tile * 16 + lane / 4 + 8] = o[d][n][c + 2];
      }
    }
  }
  __syncthreads();
  join_step<C>(args, work, shared);
#endif
}

}  // namespace fimd::cuda::attention_detail

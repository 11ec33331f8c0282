// The end of a block of the kernel of a few rows: the cluster's outputs are joined and stored.
#pragma once

#include "kernels/cuda/attention_step_work.cuh"
#include "kernels/cuda/cluster.cuh"

namespace fimd::cuda::attention_detail {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// Where quad i of the outputs lies in the block's own, (kRows, kPitch).
template <class C>
__device__ __forceinline__ int quad_at(int i) {
  const int row = divided(i, C::kQuads);
  return row * C::kPitch + (i - row * C::kQuads) * 4;
}

/// Sends what the block has of every output, (kRows, kPitch) at `outputs`, and its states (kRows:
/// maximum and sum) to the blocks of the cluster that join them, and waits for what it joins
/// itself.
template <class C>
__device__ __forceinline__ void exchange_outputs(const StepWork& work, const float* outputs,
                                                 const float2* states, char* shared) {
  const int lane = work.lane;
  const int n_active = work.n_active;
  const int rank = static_cast<int>(blockIdx.x);
  const uint32_t mailbox = shared_address(shared + C::kMailboxAt);
  const int n_quads = work.n_pairs * C::kQuads;
  const int my_values =
      static_cast<int>(shared_address(shared + C::kValuesAt)) + rank * 128 + lane % 8 * 16;
  const uint32_t my_states =
      shared_address(shared + C::kStatesAt) + static_cast<uint32_t>(rank * C::kRows * 8);
  cluster_wait();  // all blocks have started, and their mailboxes are ready
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < n_quads; i += C::kThreads) {
    const float4 value = *reinterpret_cast<const float4*>(outputs + quad_at<C>(i));
    const int run = divided(i, 8);
    const int turn = work.per_active(run);
    const int owner = run - turn * n_active;
    send(cluster_address(static_cast<uint32_t>(my_values + turn * n_active * 128), owner), value,
         cluster_address(mailbox, owner));
  }
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < C::kRows * n_active; i += C::kThreads) {
    const int to = divided(i, C::kRows);
    const int row = i - to * C::kRows;
    if (row >= work.n_pairs) continue;
    send(cluster_address(my_states + static_cast<uint32_t>(row * 8), to), states[row],
         cluster_address(mailbox, to));
  }
  mailbox_wait(mailbox);
}

/// Joins the outputs that are this block's to join, and stores them. The block's own, not
/// normalised, and its states lie at `shared`.
template <class C>
__device__ __forceinline__ void join_step(const StepArgs& args, const StepWork& work,
                                          char* shared) {
  const int lane = work.lane;
  const auto* outputs = reinterpret_cast<const float*>(shared);
  const auto* states = reinterpret_cast<const float2*>(outputs + C::kRows * C::kPitch);
  const int n_active = work.n_active;
  const int rank = static_cast<int>(blockIdx.x);
  const int n_quads = work.n_pairs * C::kQuads;
  // A block that has all keys joins where its outputs are. (st.async is not for clusters of one.)
  const bool alone = n_active == 1;
  if (!alone) exchange_outputs<C>(work, outputs, states, shared);

  // A warp joins a run: eight lanes for its quads, four such groups for the blocks they are from.
  constexpr int kParts = kMaxCluster / 4;
  const auto* all_states = alone ? states : reinterpret_cast<const float2*>(shared + C::kStatesAt);
  const auto* values = reinterpret_cast<const float4*>(shared + C::kValuesAt);
  const int n_runs = own_runs<C>(work);
#pragma unroll 1
  for (int own = work.warp; own < n_runs; own += C::kWarps) {
    const int wanted_quad = (own * n_active + rank) * 8 + lane % 8;
    const int quad = min(wanted_quad, n_quads - 1);
    const int row = divided(quad, C::kQuads);
    const float4* parts = alone ? reinterpret_cast<const float4*>(outputs + quad_at<C>(quad))
                                : values + own * n_active * 8 + lane % 8;
    float2 state[kParts];
    float4 part[kParts];
    float top = -INFINITY;
#pragma unroll
    for (int b = 0; b < kParts; ++b) {
      const int block = lane / 8 + 4 * b;
      const bool exists = block < n_active;
      state[b] = exists ? all_states[block * C::kRows + row] : make_float2(-INFINITY, 0);
      part[b] = exists ? parts[block * 8] : make_float4(0, 0, 0, 0);
      top = fmaxf(top, state[b].x);
    }
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 8));
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 16));
    float total = 0;
    float4 value = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int b = 0; b < kParts; ++b) {
      const float factor = rescale(state[b].x, top);
      total += state[b].y * factor;
      value.x += part[b].x * factor;
      value.y += part[b].y * factor;
      value.z += part[b].z * factor;
      value.w += part[b].w * factor;
    }
#pragma unroll
    for (int mask = 8; mask < 32; mask *= 2) {
      total += __shfl_xor_sync(kAllLanes, total, mask);
      value.x += __shfl_xor_sync(kAllLanes, value.x, mask);
      value.y += __shfl_xor_sync(kAllLanes, value.y, mask);
      value.z += __shfl_xor_sync(kAllLanes, value.z, mask);
      value.w += __shfl_xor_sync(kAllLanes, value.w, mask);
    }
    const float inverse = total > 0 ? reciprocal(total) : 0.0F;
    const int token = args.token_of(work.pair0 + row);
    const int head = query_head(args, work, row, token);
    store_output<C::kDim>(
        args.base, {work.sequence.row_begin + token, head}, (quad - row * C::kQuads) * 4,
        make_float4(value.x * inverse, value.y * inverse, value.z * inverse, value.w * inverse),
        lane < 8 && wanted_quad < n_quads);
  }
  if (rank == 0) store_padding<C::kDim, C::kThreads>(args.base, work, 0, work.n_pairs);
}

#endif

}  // namespace fimd::cuda::attention_detail

// From logits to a token: the greedy choice.
//
// The blocks of a row each look at a run of the vocabulary; the last to arrive joins their results
// in the order of the runs. The choice is that of engine/sampler.cc: the highest logit, of equal
// ones the lowest id, permitted tokens before extra ones. Logits that are not numbers are passed
// over. What is left in `whole` is what sample_drawn() and sample_best() begin with.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/sample.cuh"

namespace fimd::cuda {
namespace {

using namespace sample_detail;

constexpr int kThreads = 256;

__device__ Part no_part() { return {0, -INFINITY, 0}; }

__device__ void take(Part& part, float logit, uint32_t order) {
  if (!(logit > -INFINITY)) return;
  part.best = max(part.best, rank(logit, order));
  if (logit > part.top) {
    part.sum = part.sum * expf(part.top - logit) + 1.0F;
    part.top = logit;
  } else {
    part.sum += expf(logit - part.top);
  }
}

__device__ void join(Part& part, const Part& other) {
  part.best = max(part.best, other.best);
  const float top = fmaxf(part.top, other.top);
  if (top == -INFINITY) return;
  part.sum = part.sum * expf(part.top - top) + other.sum * expf(other.top - top);
  part.top = top;
}

__device__ void join_warp(Part& part) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    Part other;
    other.best = __shfl_xor_sync(kAllLanes, part.best, mask);
    other.top = __shfl_xor_sync(kAllLanes, part.top, mask);
    other.sum = __shfl_xor_sync(kAllLanes, part.sum, mask);
    join(part, other);
  }
}

/// The block's part, in thread 0.
__device__ void join_block(Part& part) {
  __shared__ Part parts[kThreads / 32];
  join_warp(part);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = part;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  part = threadIdx.x < kThreads / 32 ? parts[threadIdx.x] : no_part();
  join_warp(part);
}

/// `part` of all candidates: the result, unless it is drawn.
__device__ void store_whole(const SampleArgs& args, const Candidates& candidates, int index,
                            const Part& part) {
  args.whole[index] = part;
  SampleResult result;
  const int32_t scored = candidates.row.scored;
  if (part.best != 0 && scored >= 0) {
    result.token = scored;
    result.logprob = candidates.logits[scored] - part.top - logf(part.sum);
  } else if (part.best != 0) {
    const int64_t order = rank_order(part.best);
    result.token = order < args.vocab ? static_cast<int32_t>(order)
                                      : args.ids[candidates.row.extra_begin + order - args.vocab];
    result.logprob = -logf(part.sum);
  }
  if (index == 0) *args.token = result.token;
  __stwt(reinterpret_cast<int2*>(args.results + index),
         make_int2(result.token, __float_as_int(result.logprob)));
}

__global__ void __launch_bounds__(kThreads) greedy_kernel(const SampleArgs args) {
  const int index = static_cast<int>(blockIdx.y);
  const auto thread = static_cast<int>(threadIdx.x);
  const Candidates candidates(args, index);  // its row was there before the kernel in front
  pdl_wait();
  const bool listed = candidates.row.n_allowed > 0;  // a short list: one block
  if (listed && blockIdx.x > 0) return;
  const int64_t size = candidates.size();
  const int64_t step = static_cast<int64_t>(listed ? 1 : gridDim.x) * kThreads;
  Part part = no_part();
#pragma unroll 4
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + thread; i < size; i += step) {
    float logit;
    const int32_t id = candidates.get(i, logit);
    take(part, logit, listed ? static_cast<uint32_t>(id) : static_cast<uint32_t>(i));
  }
  join_block(part);
  if (listed) {
    if (thread == 0) store_whole(args, candidates, index, part);
    return;
  }

  Part* parts = static_cast<Part*>(args.parts) + static_cast<int64_t>(index) * kMaxBlocks;
  bool last = false;
  if (thread == 0) {
    parts[blockIdx.x] = part;
    __threadfence();
    last = atomicAdd(args.counters + index, 1U) == gridDim.x - 1;
    if (last) args.counters[index] = 0;  // for the next call
  }
  if (__syncthreads_or(last) == 0) return;
  __threadfence();
  part = no_part();
  for (int i = thread; i < static_cast<int>(gridDim.x); i += kThreads) {
    Part other;
    other.best = __ldcg(reinterpret_cast<const unsigned long long*>(&parts[i].best));
    other.top = __ldcg(&parts[i].top);
    other.sum = __ldcg(&parts[i].sum);
    join(part, other);
  }
  join_block(part);
  if (thread == 0) store_whole(args, candidates, index, part);
}

}  // namespace

void sample_greedy(const float* logits, int n, int64_t vocab, const uint32_t* mask,
                   const SampleRow* rows, const int32_t* ids, SampleResult* results,
                   void* workspace, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(std::clamp<int64_t>(vocab / 1024, 1, kMaxBlocks));
  for (int begin = 0; begin < n; begin += kMaxSampleRows) {
    const SampleArgs args = make_args(logits + begin * vocab, vocab, mask, rows + begin, ids,
                                      results + begin, workspace);
    const auto n_rows = static_cast<unsigned>(std::min(kMaxSampleRows, n - begin));
    launch(greedy_kernel, dim3(blocks, n_rows), kThreads, 0, stream, args);
  }
}

const int32_t* sampled_token(const void* workspace) {
  return reinterpret_cast<const int32_t*>(static_cast<const std::byte*>(workspace) + kTokenAt);
}

size_t sample_workspace_bytes(int n) {
  return kPartsAt + kPartBytes * static_cast<size_t>(std::min(n, kMaxSampleRows));
}

}  // namespace fimd::cuda

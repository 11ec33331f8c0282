// The likeliest tokens of a row: every block selects those of its run of the vocabulary, the last
// block to arrive those of all.
//
// A block holds its candidates in registers, as numbers that order them (rank()), and finds the
// largest, the next one below it, and so on. Everything is compared, nothing is summed: the result
// does not depend on which block looked where.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/sample.cuh"

namespace fimd::cuda {
namespace {

using namespace sample_detail;

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kPerThread = 8;
constexpr int kPerBlock = kThreads * kPerThread;
static_assert(kMaxBestBlocks * kMaxBest <= kPerBlock);  // the last block takes all at once
static_assert(kMaxBest <= kThreads);

struct Shared {
  uint64_t warps[2][kWarps];
  uint64_t best[kMaxBest];
};

/// The largest of a warp's numbers.
__device__ uint64_t warp_max(uint64_t x) {
  const auto high = static_cast<uint32_t>(x >> 32);
  const uint32_t top = __reduce_max_sync(kAllLanes, high);
  const uint32_t low = __reduce_max_sync(kAllLanes, high == top ? static_cast<uint32_t>(x) : 0U);
  return static_cast<uint64_t>(top) << 32 | low;
}

/// shared.best: the n largest of all threads' numbers, descending; 0 where there are no more. Those
/// that were there before are taken into account if `again`.
__device__ void select(const uint64_t (&mine)[kPerThread], int n, bool again, Shared& shared) {
  const auto thread = static_cast<int>(threadIdx.x);
  const uint64_t kept = again && thread < n ? shared.best[thread] : 0;
  uint64_t largest = kept;  // of this thread's, of those not yet taken
#pragma unroll
  for (const uint64_t x : mine) largest = max(largest, x);
  for (int i = 0; i < n; ++i) {
    const uint64_t of_warp = warp_max(largest);
    if (thread % 32 == 0) shared.warps[i % 2][thread / 32] = of_warp;
    // Also: everybody has read shared.best, and what was in the other half of shared.warps.
    __syncthreads();
    const uint64_t taken = warp_max(shared.warps[i % 2][thread % kWarps]);
    if (thread == 0) shared.best[i] = taken;
    if (largest != taken || taken == 0) continue;
    largest = kept < taken ? kept : 0;
#pragma unroll
    for (const uint64_t x : mine) {
      if (x < taken) largest = max(largest, x);
    }
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads)
    best_kernel(const SampleArgs args, SampleResult* const best) {
  __shared__ Shared shared;
  pdl_wait();
  const auto index = static_cast<int>(blockIdx.y);
  const auto thread = static_cast<int>(threadIdx.x);
  const Candidates candidates(args, index);
  const int n = min(candidates.row.n_best, kMaxBest);
  if (n <= 0) return;

  const int64_t size = candidates.size();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kPerBlock;
  uint64_t mine[kPerThread];
  for (int64_t begin = static_cast<int64_t>(blockIdx.x) * kPerBlock, first = begin;
       begin < size || begin == first; begin += step) {
#pragma unroll
    for (int k = 0; k < kPerThread; ++k) {
      const int64_t i = begin + k * kThreads + thread;
      float logit = -INFINITY;
      int32_t id = 0;
      if (i < size) id = candidates.get(i, logit);
      mine[k] = logit > -INFINITY ? rank(logit, static_cast<uint32_t>(id)) : 0;
    }
    select(mine, n, begin > first, shared);
  }

  uint64_t* const parts =
      static_cast<uint64_t*>(args.parts) + static_cast<int64_t>(index) * kMaxBestBlocks * kMaxBest;
  if (thread < n) {
    parts[static_cast<int>(blockIdx.x) * kMaxBest + thread] = shared.best[thread];
    __threadfence();
  }
  __syncthreads();
  bool last = false;
  if (thread == 0) {
    last = atomicAdd(args.counters + index, 1U) == gridDim.x - 1;
    if (last) args.counters[index] = 0;  // for the next call
  }
  if (__syncthreads_or(last) == 0) return;
  __threadfence();
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const int i = k * kThreads + thread;
    const bool there = i / kMaxBest < static_cast<int>(gridDim.x) && i % kMaxBest < n;
    mine[k] = there ? __ldcg(reinterpret_cast<const unsigned long long*>(parts + i)) : 0;
  }
  select(mine, n, false, shared);
  if (thread >= kMaxBest) return;
  SampleResult result;
  if (const uint64_t key = thread < n ? shared.best[thread] : 0; key != 0) {
    const Part& whole = args.whole[index];
    result.token = static_cast<int32_t>(rank_order(key));
    result.logprob = rank_logit(key) - whole.top - logf(whole.sum);
  }
  best[static_cast<int64_t>(index) * kMaxBest + thread] = result;
}

}  // namespace

void sample_best(const float* logits, int n, int64_t vocab, const uint32_t* mask,
                 const SampleRow* rows, const int32_t* ids, SampleResult* best, void* workspace,
                 cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(
      std::clamp<int64_t>((vocab + kPerBlock - 1) / kPerBlock, 1, kMaxBestBlocks));
  launch(best_kernel, dim3(blocks, static_cast<unsigned>(n)), kThreads, 0, stream,
         make_args(logits, vocab, mask, rows, ids, nullptr, workspace), best);
}

}  // namespace fimd::cuda

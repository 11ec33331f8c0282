// From logits to a token: the greedy choice.
//
// The blocks of a row each look at a run of the vocabulary; the last to arrive joins their results
// in the order of the runs. The choice is that of engine/sampler.cc: the highest logit, of equal
// ones the lowest id, permitted tokens before extra ones. Logits that are not numbers are passed
// over.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"

namespace fimd::cuda {
namespace {

constexpr unsigned kAllLanes = 0xffffffffU;
constexpr int kThreads = 256;
constexpr int kMaxBlocks = 128;  // of a row
constexpr int kMaxRows = 64;     // of a launch

/// The best token of a part of the vocabulary, and the sum of exp(logit - top) over the part.
struct Part {
  uint64_t best;  // rank(); 0: nothing is permitted
  float top;
  float sum;
};

__device__ Part no_part() { return {0, -INFINITY, 0}; }

/// Larger for a larger logit, and for equal logits if `order` is smaller. Never 0.
__device__ uint64_t rank(float logit, uint32_t order) {
  const auto bits = static_cast<int32_t>(__float_as_uint(logit + 0.0F));  // -0 is 0
  const uint32_t ordered = static_cast<uint32_t>(bits) ^ (bits < 0 ? 0xffffffffU : 0x80000000U);
  return static_cast<uint64_t>(ordered) << 32 | ~order;
}

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

struct GreedyArgs {
  const float* logits;
  int64_t vocab;
  const uint32_t* mask;
  const SampleRow* rows;
  const int32_t* ids;
  SampleResult* results;
  unsigned* counters;  // (kMaxRows), zero between calls
  Part* parts;         // (kMaxRows, kMaxBlocks)
};

__device__ bool permitted(const uint32_t* mask, int64_t id) {
  return (mask[id / 32] >> (id % 32) & 1U) != 0;
}

__device__ void store_result(const GreedyArgs& args, const SampleRow& row, const Part& part,
                             SampleResult* result) {
  if (part.best == 0) {
    *result = SampleResult();
    return;
  }
  const int64_t order = ~static_cast<uint32_t>(part.best);
  result->token = order < args.vocab ? static_cast<int32_t>(order)
                                     : args.ids[row.extra_begin + order - args.vocab];
  result->logprob = -logf(part.sum);
}

__global__ void __launch_bounds__(kThreads) greedy_kernel(const GreedyArgs args) {
  pdl_trigger();
  pdl_wait();
  const int index = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x);
  const SampleRow row = args.rows[index];
  const float* logits = args.logits + index * args.vocab;
  Part part = no_part();
  if (row.n_allowed > 0) {
    if (blockIdx.x > 0) return;
    for (int i = thread; i < row.n_allowed; i += kThreads) {
      const int32_t id = args.ids[row.allowed_begin + i];
      if (id >= 0 && id < args.vocab && permitted(args.mask, id)) {
        take(part, logits[id], static_cast<uint32_t>(id));
      }
    }
    join_block(part);
    if (thread == 0) store_result(args, row, part, args.results + index);
    return;
  }

  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
#pragma unroll 4
  for (int64_t id = static_cast<int64_t>(blockIdx.x) * kThreads + thread; id < args.vocab;
       id += step) {
    const float logit = logits[id];
    if (permitted(args.mask, id)) take(part, logit, static_cast<uint32_t>(id));
  }
  if (blockIdx.x == 0) {
    for (int i = thread; i < row.n_extra; i += kThreads) {
      const int32_t id = args.ids[row.extra_begin + i];
      if (id >= 0 && id < args.vocab && !permitted(args.mask, id)) {
        take(part, logits[id], static_cast<uint32_t>(args.vocab + i));
      }
    }
  }
  join_block(part);

  Part* parts = args.parts + static_cast<int64_t>(index) * kMaxBlocks;
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
  if (thread == 0) store_result(args, row, part, args.results + index);
}

constexpr size_t kCounterBytes = sizeof(unsigned) * kMaxRows;

}  // namespace

void sample_greedy(const float* logits, int n, int64_t vocab, const uint32_t* mask,
                   const SampleRow* rows, const int32_t* ids, SampleResult* results,
                   void* workspace, cudaStream_t stream) {
  auto* bytes = static_cast<std::byte*>(workspace);
  const auto blocks = static_cast<unsigned>(std::clamp<int64_t>(vocab / 1024, 1, kMaxBlocks));
  for (int begin = 0; begin < n; begin += kMaxRows) {
    const GreedyArgs args = {logits + begin * vocab,
                             vocab,
                             mask,
                             rows + begin,
                             ids,
                             results + begin,
                             reinterpret_cast<unsigned*>(bytes),
                             reinterpret_cast<Part*>(bytes + kCounterBytes)};
    const auto n_rows = static_cast<unsigned>(std::min(kMaxRows, n - begin));
    launch(greedy_kernel, dim3(blocks, n_rows), kThreads, 0, stream, args);
  }
}

size_t sample_workspace_bytes(int n, int64_t /*vocab*/) {
  return kCounterBytes + sizeof(Part) * kMaxBlocks * static_cast<size_t>(std::min(n, kMaxRows));
}

}  // namespace fimd::cuda

// Drawing a token with temperature, min-p, top-k and top-p: engine/sampler.cc's rules, one block a
// row.
//
// Without top-k and top-p the sampler's order is that of the candidates: the weights are summed by
// warps over consecutive runs, and one warp searches the run in which the draw falls. With them the
// order is that of the logits: a histogram of the logits shows how far down the best kCapacity
// reach, these are gathered and sorted, and everything is decided among them. Where the draw or a
// cut lies deeper (nearly flat logits), the row is left to the host: kUndecided.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/sample.cuh"

namespace fimd::cuda {
namespace {

using namespace sample_detail;

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kCapacity = 2 * kThreads;
constexpr int kBins = 2 * kThreads;
constexpr int kBatch = 8;
constexpr float kBinsPerUnit = 64;  // of the logit divided by the temperature

/// A row to draw from.
struct Draw {
  Candidates candidates;
  float top;
  float per_temperature;

  __device__ Draw(const SampleArgs& args, int index, const Part& whole)
      : candidates(args, index),
        top(whole.top),
        per_temperature(1.0F / candidates.row.temperature) {}

  __device__ float weight(float logit) const { return expf((logit - top) * per_temperature); }
  /// Ids, logits and weights of the places first, first + step ... before end; weight 0: no
  /// candidate, or below min-p. All are fetched before any is looked at.
  struct Batch {
    int32_t ids[kBatch];
    float logits[kBatch];
    float weights[kBatch];
  };
  __device__ void get(int64_t first, int64_t end, int64_t step, Batch& batch) const {
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      batch.ids[k] = -1;
      batch.logits[k] = -INFINITY;
      const int64_t i = first + k * step;
      if (i < end) batch.ids[k] = candidates.get(i, batch.logits[k]);
    }
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      const float logit = batch.logits[k];
      const float w = logit > -INFINITY ? weight(logit) : 0.0F;
      const bool cut = w < candidates.row.min_p && logit < top;
      batch.weights[k] = cut ? 0.0F : w;
      if (cut) batch.logits[k] = -INFINITY;
    }
  }
  __device__ SampleResult result(int32_t id, float logit, const Part& whole) const {
    SampleResult result;
    result.token = id;
    result.logprob = logit - top - logf(whole.sum);
    return result;
  }
};

struct Shared {
  double sums[kWarps];
  uint32_t counts[kWarps];
  uint32_t bins[kBins];
  uint64_t best[kCapacity];
  double reached[kCapacity];  // sum of the weights of the best 1, 2, ...
  int n_best;
  int cut;        // bins below it are gathered
  int chosen[2];  // where top-p ends, where the draw falls
};

__device__ double warp_sum(double x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(kAllLanes, x, mask);
  return x;
}

/// Sums over lanes 0..lane.
template <class T>
__device__ T warp_scan(T x) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const T other = __shfl_up_sync(kAllLanes, x, step);
    if (lane >= step) x += other;
  }
  return x;
}

/// Sums over threads 0..thread; `warps` is scratch for kWarps numbers.
template <class T>
__device__ T block_scan(T x, T* warps) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  x = warp_scan(x);
  __syncthreads();
  if (lane == 31) warps[warp] = x;
  __syncthreads();
  if (warp == 0) warps[lane] = warp_scan(warps[lane]);
  __syncthreads();
  return warp > 0 ? x + warps[warp - 1] : x;
}

/// The draw in the candidates' own order.
__device__ void draw_in_order(const Draw& draw, const Part& whole, Shared& shared,
                              SampleResult* result) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t size = draw.candidates.size();
  const int64_t run = (size + kThreads - 1) / kThreads * 32;
  const int64_t begin = warp * run;
  const int64_t end = min(size, begin + run);
  double sum = 0;
  Draw::Batch batch;
  for (int64_t base = begin; base < end; base += kBatch * 32) {
    draw.get(base + lane, end, 32, batch);
#pragma unroll
    for (const float w : batch.weights) sum += w;
  }
  sum = warp_sum(sum);
  if (lane == 0) shared.sums[warp] = sum;
  __syncthreads();
  double total = 0;
  for (int i = 0; i < kWarps; ++i) total += shared.sums[i];
  double left = draw.candidates.row.uniform * total;
  int mine = 0;  // the run in which the draw falls; if rounding hides it, the last that has any
  double left_there = left;
  for (int i = 0; i < kWarps; ++i) {
    if (!(shared.sums[i] > 0)) continue;
    mine = i;
    left_there = left;
    left -= shared.sums[i];
    if (left < 0) break;
  }
  if (warp != mine) return;
  // If rounding hides it, the last of the run: each lane remembers its own.
  int64_t last_place = -1;
  int32_t last_id = -1;
  float last_logit = 0;
  for (int64_t base = begin; base < end; base += kBatch * 32) {
    draw.get(base + lane, end, 32, batch);
    double here = 0;
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      here += batch.weights[k];
      if (!(batch.weights[k] > 0)) continue;
      last_place = base + k * 32 + lane;
      last_id = batch.ids[k];
      last_logit = batch.logits[k];
    }
    here = warp_sum(here);
    if (!(here > left_there)) {
      left_there -= here;
      continue;
    }
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      const double reached = warp_scan(static_cast<double>(batch.weights[k]));
      const bool beyond = batch.weights[k] > 0 && reached > left_there;
      const unsigned lanes = __ballot_sync(kAllLanes, beyond);
      if (lanes != 0) {
        if (lane == __ffs(static_cast<int>(lanes)) - 1) {
          *result = draw.result(batch.ids[k], batch.logits[k], whole);
        }
        return;
      }
      left_there -= __shfl_sync(kAllLanes, reached, 31);
    }
  }
  int64_t last = last_place;
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    last = max(last, static_cast<int64_t>(__shfl_xor_sync(kAllLanes, last, mask)));
  }
  if (last >= 0 && last == last_place) *result = draw.result(last_id, last_logit, whole);
}

__device__ void sort_descending(uint64_t* keys) {
  for (int size = 2; size <= kCapacity; size *= 2) {
    for (int step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      const auto thread = static_cast<int>(threadIdx.x);
      const int low = thread / step * 2 * step + thread % step;
      const uint64_t a = keys[low];
      const uint64_t b = keys[low + step];
      if ((a < b) == ((low & size) == 0)) {
        keys[low] = b;
        keys[low + step] = a;
      }
    }
  }
  __syncthreads();
}

/// Sorts the best candidates into shared.best, as many as fit without leaving a bin in part.
/// Returns how many candidates there are, and the sum of their weights.
__device__ int64_t gather_best(const Draw& draw, Shared& shared, double& total) {
  const auto thread = static_cast<int>(threadIdx.x);
  const int64_t size = draw.candidates.size();
  for (int i = thread; i < kBins; i += kThreads) shared.bins[i] = 0;
  for (int i = thread; i < kCapacity; i += kThreads) shared.best[i] = 0;
  if (thread == 0) shared.n_best = shared.cut = 0;
  __syncthreads();
  const auto bin_of = [&](float logit) {
    return static_cast<int>(fminf((draw.top - logit) * draw.per_temperature * kBinsPerUnit, kBins));
  };
  double sum = 0;
  uint32_t count = 0;
  Draw::Batch batch;
  for (int64_t base = 0; base < size; base += kBatch * kThreads) {
    draw.get(base + thread, size, kThreads, batch);
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if (batch.logits[k] == -INFINITY) continue;
      sum += batch.weights[k];
      ++count;
      const int bin = bin_of(batch.logits[k]);
      if (bin < kBins) atomicAdd(shared.bins + bin, 1U);
    }
  }
  const double sum_here = block_scan(sum, shared.sums);
  const uint32_t count_here = block_scan(count, shared.counts);
  __syncthreads();
  if (thread == kThreads - 1) {
    shared.reached[0] = sum_here;
    shared.counts[0] = count_here;
  }
  __syncthreads();
  total = shared.reached[0];
  const int64_t n = shared.counts[0];
  // Two bins a thread; the bins whose running count fits come before the others.
  const uint32_t first = shared.bins[2 * thread];
  const uint32_t second = shared.bins[2 * thread + 1];
  __syncthreads();
  const uint32_t after = block_scan(first + second, shared.counts);
  if (after <= kCapacity) {
    atomicMax(&shared.cut, 2 * thread + 2);
  } else if (after - second <= kCapacity) {
    atomicMax(&shared.cut, 2 * thread + 1);
  }
  __syncthreads();
  const int cut = shared.cut;
  for (int64_t base = 0; base < size; base += kBatch * kThreads) {
    draw.get(base + thread, size, kThreads, batch);
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if (batch.logits[k] == -INFINITY || bin_of(batch.logits[k]) >= cut) continue;
      shared.best[atomicAdd(&shared.n_best, 1)] =
          rank(batch.logits[k], static_cast<uint32_t>(batch.ids[k]));
    }
  }
  sort_descending(shared.best);
  return n;
}

/// The draw in the order of the logits.
__device__ void draw_from_best(const Draw& draw, const Part& whole, Shared& shared,
                               SampleResult* result) {
  const SampleRow& row = draw.candidates.row;
  const auto thread = static_cast<int>(threadIdx.x);
  double total = 0;
  const int64_t n = gather_best(draw, shared, total);
  const bool cuts = row.top_k > 0 && row.top_k < n;
  if (!cuts && row.top_p >= 1.0F) return draw_in_order(draw, whole, shared, result);
  const int n_best = shared.n_best;
  double w[2];
  for (int i = 0; i < 2; ++i) {
    const int place = 2 * thread + i;
    w[i] = place < n_best ? draw.weight(rank_logit(shared.best[place])) : 0.0F;
  }
  const double after = block_scan(w[0] + w[1], shared.sums);
  shared.reached[2 * thread] = after - w[1];
  shared.reached[2 * thread + 1] = after;
  if (thread == 0) shared.chosen[0] = shared.chosen[1] = kCapacity;
  __syncthreads();

  // What is 32 units below the top weighs nothing: all that matters is gathered.
  const int64_t last_kept = shared.cut == kBins ? n_best : n;
  int64_t kept = min(cuts ? static_cast<int64_t>(row.top_k) : n, last_kept);
  bool decided = kept <= n_best || !cuts;
  if (cuts && decided) total = shared.reached[kept - 1];
  if (row.top_p < 1.0F) {
    const double wanted = fmax(0.0, static_cast<double>(row.top_p)) * total;
    for (int i = 0; i < 2; ++i) {
      const int place = 2 * thread + i;
      if (place < n_best && shared.reached[place] >= wanted) atomicMin(&shared.chosen[0], place);
    }
    __syncthreads();
    if (shared.chosen[0] < kCapacity) kept = min(kept, static_cast<int64_t>(shared.chosen[0]) + 1);
    decided = decided && kept <= n_best;
    if (decided) total = shared.reached[kept - 1];
  }
  const double left = row.uniform * total;
  for (int i = 0; i < 2; ++i) {
    const int place = 2 * thread + i;
    if (place < min(kept, static_cast<int64_t>(n_best)) && shared.reached[place] > left) {
      atomicMin(&shared.chosen[1], place);
    }
  }
  __syncthreads();
  if (thread != 0) return;
  int place = shared.chosen[1];
  if (place == kCapacity && kept <= n_best) place = static_cast<int>(kept) - 1;
  if (!decided || place >= n_best) {
    *result = {kUndecided, 0};
    return;
  }
  const uint64_t key = shared.best[place];
  *result = draw.result(static_cast<int32_t>(rank_order(key)), rank_logit(key), whole);
}

__global__ void __launch_bounds__(kThreads) draw_kernel(const SampleArgs args) {
  __shared__ Shared shared;
  pdl_wait();
  const int index = static_cast<int>(blockIdx.x);
  const SampleRow& row = args.rows[index];
  const Part whole = args.whole[index];
  if (!(row.temperature > 0) || row.top_k == 1 || row.scored >= 0 || whole.best == 0) return;
  const Draw draw(args, index, whole);
  if (row.top_k > 0 || row.top_p < 1.0F) {
    draw_from_best(draw, whole, shared, args.results + index);
  } else {
    draw_in_order(draw, whole, shared, args.results + index);
  }
}

}  // namespace

void sample_drawn(const float* logits, int n, int64_t vocab, const uint32_t* mask,
                  const SampleRow* rows, const int32_t* ids, SampleResult* results, void* workspace,
                  cudaStream_t stream) {
  launch(draw_kernel, static_cast<unsigned>(n), kThreads, 0, stream,
         make_args(logits, vocab, mask, rows, ids, results, workspace));
}

}  // namespace fimd::cuda

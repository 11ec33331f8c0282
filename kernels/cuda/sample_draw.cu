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
#include "kernels/cuda/sample_draw.h"

namespace fimd::cuda::sample_detail {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kCapacity = 2 * kThreads;
constexpr int kBins = 2 * kThreads;
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
  /// The id at place i; minus infinity as logit and weight 0 if it is no candidate, or below min-p.
  __device__ int32_t get(int64_t i, float& logit, float& w) const {
    const int32_t id = candidates.get(i, logit);
    w = logit > -INFINITY ? weight(logit) : 0.0F;
    if (w < candidates.row.min_p && logit < top) {
      logit = -INFINITY;
      w = 0;
    }
    return id;
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
#pragma unroll 4
  for (int64_t i = begin + lane; i < end; i += 32) {
    float logit;
    float w;
    draw.get(i, logit, w);
    sum += w;
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
  int32_t last_id = -1;
  float last_logit = 0;
  for (int64_t base = begin; base < end; base += 32) {
    float logit = -INFINITY;
    float w = 0;
    int32_t id = -1;
    if (base + lane < end) id = draw.get(base + lane, logit, w);
    const double reached = warp_scan(static_cast<double>(w));
    const unsigned beyond = __ballot_sync(kAllLanes, w > 0 && reached > left_there);
    const unsigned any = __ballot_sync(kAllLanes, w > 0);
    if (any == 0) continue;
    const int source = beyond != 0 ? __ffs(static_cast<int>(beyond)) - 1 : 31 - __clz(any);
    last_id = __shfl_sync(kAllLanes, id, source);
    last_logit = __shfl_sync(kAllLanes, logit, source);
    if (beyond != 0) break;
    left_there -= __shfl_sync(kAllLanes, reached, 31);
  }
  if (lane == 0) *result = draw.result(last_id, last_logit, whole);
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
#pragma unroll 4
  for (int64_t i = thread; i < size; i += kThreads) {
    float logit;
    float w;
    draw.get(i, logit, w);
    if (logit == -INFINITY) continue;
    sum += w;
    ++count;
    const int bin = bin_of(logit);
    if (bin < kBins) atomicAdd(shared.bins + bin, 1U);
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
#pragma unroll 4
  for (int64_t i = thread; i < size; i += kThreads) {
    float logit;
    float w;
    const int32_t id = draw.get(i, logit, w);
    if (logit == -INFINITY || bin_of(logit) >= cut) continue;
    shared.best[atomicAdd(&shared.n_best, 1)] = rank(logit, static_cast<uint32_t>(id));
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
  if (!(row.temperature > 0) || row.top_k == 1 || whole.best == 0) return;
  const Draw draw(args, index, whole);
  if (row.top_k > 0 || row.top_p < 1.0F) {
    draw_from_best(draw, whole, shared, args.results + index);
  } else {
    draw_in_order(draw, whole, shared, args.results + index);
  }
}

}  // namespace

void draw(const SampleArgs& args, int n_rows, cudaStream_t stream) {
  launch(draw_kernel, static_cast<unsigned>(n_rows), kThreads, 0, stream, args);
}

}  // namespace fimd::cuda::sample_detail

// The beginning of a block of the kernel of a few rows: heads are rotated.
#pragma once

#include "kernels/cuda/attention_step_work.cuh"
#include "kernels/cuda/kv_codes.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rope.cuh"

namespace fimd::cuda::attention_detail {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// Rotates the queries of the tile's rows into shared memory and the block's new keys and values
/// into theirs and, those of the tile's own rows, into their pages. A warp does a head at a time.
template <class C>
class StepHeads {
 public:
  __device__ __forceinline__ StepHeads(const StepArgs& args, const StepWork& work, char* shared)
      : args_(args),
        work_(work),
        shared_(shared),
        pairs_(args.rope),
        gates_(args.rope.q_gates ? args.base.params.n_heads : 0),
        n_jobs_(work.n_pairs + 2 * work.n_new) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    if (lane < work.n_new) {
      new_page_ =
          args.base.params
              .pages[work.sequence.page_begin + ((work.new_begin + lane) >> args.base.page_shift)];
    }
    if (args.rope.q_norm != nullptr) pairs_.load_weight(args.rope.q_norm, C::kDim, q_norm_);
    if (args.rope.k_norm != nullptr) pairs_.load_weight(args.rope.k_norm, C::kDim, k_norm_);
  }

  /// Waits for the products. The sines must be there.
  __device__ __forceinline__ void run() {
#pragma unroll 1
    for (int first = work_.warp; first == work_.warp || first < n_jobs_;
         first += kAtOnce * C::kWarps) {
      // A loop, although its results are in registers: they move up one by one.
      int heads[kAtOnce] = {};
#pragma unroll 1
      for (int b = 0; b < kAtOnce; ++b) {
        shift(heads);
        heads[kAtOnce - 1] = head_of(job_at(first + b * C::kWarps));
      }
      if (first == work_.warp) pdl_wait();
      Elements elements[kAtOnce];
#pragma unroll
      for (int b = 0; b < kAtOnce; ++b) {
        if (first + b * C::kWarps >= n_jobs_) continue;
        pairs_.load(args_.qkv, heads[b] * C::kDim, C::kDim, elements[b].x, elements[b].y);
      }
      const int end = min(n_jobs_, first + kAtOnce * C::kWarps);
#pragma unroll 1
      for (int job = first; job < end; job += C::kWarps) {
        store(job_at(job), elements[0].x, elements[0].y);
        shift(elements);
      }
    }
  }

 private:
  using T = typename C::T;
  static constexpr int kPairs = (C::kDim / 2 + 31) / 32;
  /// Of a warp: all its heads, if the block has one new token.
  static constexpr int kAtOnce = (C::kRows + 2 + C::kWarps - 1) / C::kWarps;

  struct Elements {
    float x[kPairs];
    float y[kPairs];
  };
  template <class X>
  static __device__ __forceinline__ void shift(X (&of)[kAtOnce]) {
#pragma unroll
    for (int i = 1; i < kAtOnce; ++i) of[i - 1] = of[i];
  }

  /// A job is a head: of the tile's queries first, then of the block's new keys, then its values.
  struct Job {
    bool is_query;
    bool is_v;
    int i;      // the row of the tile, or the new token
    int token;  // counted in the sequence
  };
  __device__ __forceinline__ Job job_at(int at) const {
    const int new_key = at - work_.n_pairs;
    const int new_value = new_key - work_.n_new;
    const bool is_query = new_key < 0, is_v = new_value >= 0;
    const int i = is_query ? at : is_v ? new_value : new_key;
    const int token =
        is_query ? args_.token_of(work_.pair0 + at) : work_.new_begin - work_.sequence.first + i;
    return {is_query, is_v, i, token};
  }
  /// The job's head in qkv, counted from the first.
  __device__ __forceinline__ int head_of(const Job& job) const {
    const int n_heads = args_.base.params.n_heads;
    const int n_kv_heads = args_.base.params.kv.n_kv_heads;
    const auto kv_head = static_cast<int>(blockIdx.y);
    const int query = query_head(args_, work_, job.i, job.token);
    const int of_row = job.is_query ? (gates_ > 0 ? 2 * query : query)
                                    : n_heads + gates_ + (job.is_v ? n_kv_heads : 0) + kv_head;
    return (work_.sequence.row_begin + job.token) * (n_heads + gates_ + 2 * n_kv_heads) + of_row;
  }

  /// Rotates a job's head.
  __device__ __forceinline__ void store(const Job& job, float (&x)[kPairs],
                                        float (&y)[kPairs]) const {
    const float* norm = job.is_query ? args_.rope.q_norm : args_.rope.k_norm;
    if (norm != nullptr && !job.is_v) {
      float2 weight[kPairs];
#pragma unroll
      for (int i = 0; i < kPairs; ++i) weight[i] = job.is_query ? q_norm_[i] : k_norm_[i];
      pairs_.normalize(weight, args_.rope.norm_eps, C::kDim, x, y);
    }
    const int half_rotary = args_.rope.rotary_dim / 2;
    const auto* turns = reinterpret_cast<const float2*>(shared_ + args_.turns_at);
    float2 turn[kPairs];
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const bool turned = pairs_.pair[i] < half_rotary && !job.is_v;
      turn[i] = turned ? turns[job.token * half_rotary + pairs_.pair[i]] : make_float2(0, 1);
    }

    const KvPages& kv = args_.base.params.kv;
    uint32_t to = C::kQueryAt + T::offset(job.i, 0);
    bool stored = false;
    CodeRow codes = {};
    __half* row = nullptr;
    if (!job.is_query) {
      to = C::kNewAt + static_cast<uint32_t>((2 * job.i + (job.is_v ? 1 : 0)) * C::kDim * 2);
      const int position = work_.new_begin + job.i;
      stored = position >= work_.own_begin;  // others are another tile's to store
      const int page = __shfl_sync(kAllLanes, new_page_, job.i);
      const int part = page * kv.n_kv_heads + static_cast<int>(blockIdx.y);
      const int slot = position & (kv.page_tokens - 1);
      if constexpr (C::kCoded) {
        codes = code_row(job.is_v ? kv.v_codes : kv.k_codes, part, args_.base.page_shift, slot,
                         C::kDim);
      } else {
        row = (job.is_v ? kv.v : kv.k) + int64_t{(part << args_.base.page_shift) + slot} * C::kDim;
      }
    }
    // A tile's rows are swizzled, new ones are not.
    const uint32_t swizzle = T::kSwizzled && job.is_query ? to % 128 : 0;
    pairs_.store(turn, true, job.is_query ? args_.q_scale : 1.0F, C::kDim, x, y,
                 [&](int element, __half value) {
                   const auto at = to - swizzle + (static_cast<uint32_t>(2 * element) ^ swizzle);
                   *reinterpret_cast<__half*>(shared_ + at) = value;
                   if (!C::kCoded && stored) row[element] = value;
                 });
    if constexpr (C::kCoded) {
      auto* kept = reinterpret_cast<__half*>(shared_ + to);
      if (!job.is_query) encode_row(kept, C::kDim, codes, stored);
    }
  }

  const StepArgs& args_;
  const StepWork& work_;
  char* shared_;
  HeadPairs<kPairs> pairs_;
  int gates_;
  int n_jobs_;
  int new_page_ = 0;  // lane i: of the i-th new key
  float2 q_norm_[kPairs];
  float2 k_norm_[kPairs];
};

#endif

}  // namespace fimd::cuda::attention_detail

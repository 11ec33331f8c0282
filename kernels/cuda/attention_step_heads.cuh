// The beginning of a block of the kernel of a few rows: heads are rotated.
#pragma once

#include "kernels/cuda/attention_step_work.cuh"
#include "kernels/cuda/kv_codes.cuh"
#include "kernels/cuda/rope.cuh"

namespace fimd::cuda::attention_detail {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// Rotates the queries of the tile's rows into shared memory and the block's new keys and values
/// into theirs and, those of the tile's own rows, into their pages. A warp does a head at a time;
/// what does not depend on the products is done in prepare().
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
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (lane < work.n_new) {
      new_page_ =
          args.base.params
              .pages[work.sequence.page_begin + ((work.new_begin + lane) >> args.base.page_shift)];
    }
    if (args.rope.q_norm != nullptr) pairs_.load_weight(args.rope.q_norm, C::kDim, q_norm_);
    if (args.rope.k_norm != nullptr) pairs_.load_weight(args.rope.k_norm, C::kDim, k_norm_);
  }

  /// The warp's next heads, from job `begin`. The sines must be there.
  __device__ __forceinline__ void prepare(int begin) {
    const KvPages& kv = args_.base.params.kv;
    const int n_heads = args_.base.params.n_heads;
    const int64_t stride = static_cast<int64_t>(n_heads + gates_ + 2 * kv.n_kv_heads) * C::kDim;
    const int half_rotary = args_.rope.rotary_dim / 2;
    const auto* turns = reinterpret_cast<const float2*>(shared_ + args_.turns_at);
    begin_ = begin;
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int job = begin + b * C::kWarps;
      if (job >= n_jobs_) continue;
      int head = n_heads + gates_ + static_cast<int>(blockIdx.y);
      if (job < work_.n_pairs) {
        token_[b] = (work_.pair0 + job) / args_.base.group;
        head = static_cast<int>(blockIdx.y) * args_.base.group +
               (work_.pair0 + job) % args_.base.group;
        if (gates_ > 0) head *= 2;
      } else {
        const int i = job - work_.n_pairs;
        const bool is_v = i >= work_.n_new;
        token_[b] = work_.new_begin - work_.sequence.first + (is_v ? i - work_.n_new : i);
        if (is_v) head += kv.n_kv_heads;
      }
      from_[b] = args_.qkv + (work_.sequence.row_begin + token_[b]) * stride +
                 static_cast<int64_t>(head) * C::kDim;
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        const bool turned = pairs_.pair[i] < half_rotary;
        turn_[b][i] = turned ? turns[token_[b] * half_rotary + pairs_.pair[i]] : make_float2(0, 1);
      }
    }
  }

  /// Does the prepared heads and all others of the warp.
  __device__ __forceinline__ void run() {
    while (begin_ < n_jobs_) {
      float x[kBatch][kPairs];
      float y[kBatch][kPairs];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        if (begin_ + b * C::kWarps < n_jobs_) pairs_.load(from_[b], C::kDim, x[b], y[b]);
      }
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        if (begin_ + b * C::kWarps < n_jobs_) store(b, x[b], y[b]);
      }
      if (begin_ + kBatch * C::kWarps >= n_jobs_) return;
      prepare(begin_ + kBatch * C::kWarps);
    }
  }

 private:
  using T = typename C::T;
  static constexpr int kPairs = (C::kDim / 2 + 31) / 32;
  static constexpr int kBatch = C::kRows <= 8 && C::kWarps >= 4 ? 3 : 4;  // loads under way

  __device__ __forceinline__ void store(int b, float (&x)[kPairs], float (&y)[kPairs]) {
    const int job = begin_ + b * C::kWarps;
    const bool is_q = job < work_.n_pairs;
    const bool is_v = job >= work_.n_pairs + work_.n_new;
    if (is_q && args_.rope.q_norm != nullptr) {
      pairs_.normalize(q_norm_, args_.rope.norm_eps, C::kDim, x, y);
    } else if (!is_q && !is_v && args_.rope.k_norm != nullptr) {
      pairs_.normalize(k_norm_, args_.rope.norm_eps, C::kDim, x, y);
    }
    if (is_q) {
      char* tile = shared_ + C::kQueryAt;
      pairs_.store(turn_[b], true, args_.q_scale, C::kDim, x, y, [&](int element, __half value) {
        *reinterpret_cast<__half*>(tile + T::offset(job, element / 8) + element % 8 * 2) = value;
      });
      return;
    }
    const KvPages& kv = args_.base.params.kv;
    const int position = work_.sequence.first + token_[b];
    const int i = position - work_.new_begin;
    const int page = __shfl_sync(kAllLanes, new_page_, i);
    const int64_t part = static_cast<int64_t>(page) * kv.n_kv_heads + blockIdx.y;
    const int slot = position & (kv.page_tokens - 1);
    __half* kept =
        reinterpret_cast<__half*>(shared_ + C::kNewAt) + (2 * i + (is_v ? 1 : 0)) * C::kDim;
    const bool own = position >= work_.own_begin;  // others are another tile's to store
    if constexpr (C::kCoded) {
      pairs_.store(turn_[b], !is_v, 1.0F, C::kDim, x, y,
                   [&](int element, __half value) { kept[element] = value; });
      encode_row(
          kept, C::kDim,
          code_row(is_v ? kv.v_codes : kv.k_codes, part, args_.base.page_shift, slot, C::kDim),
          own);
    } else {
      __half* stored = (is_v ? kv.v : kv.k) + ((part << args_.base.page_shift) + slot) * C::kDim;
      pairs_.store(turn_[b], !is_v, 1.0F, C::kDim, x, y, [&](int element, __half value) {
        kept[element] = value;
        if (own) stored[element] = value;
      });
    }
  }

  const StepArgs& args_;
  const StepWork& work_;
  char* shared_;
  HeadPairs<kPairs> pairs_;
  int gates_;
  int n_jobs_;  // the tile's queries, then new keys, then new values
  int begin_ = 0;
  int new_page_ = 0;  // lane i: of the i-th new key
  float2 q_norm_[kPairs];
  float2 k_norm_[kPairs];
  int token_[kBatch];  // counted in the sequence
  const float* from_[kBatch];
  float2 turn_[kBatch][kPairs];
};

#endif

}  // namespace fimd::cuda::attention_detail

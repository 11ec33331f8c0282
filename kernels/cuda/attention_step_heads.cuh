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
        gates_(args.rope.q_gates ? args.base.params.n_heads : 0) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    if (lane < work.n_new) {
      new_page_ =
          args.base.params
              .pages[work.sequence.page_begin + ((work.new_begin + lane) >> args.base.page_shift)];
    }
    if (args.rope.q_norm != nullptr) pairs_.load_weight(args.rope.q_norm, C::kDim, q_norm_);
    if (args.rope.k_norm != nullptr) pairs_.load_weight(args.rope.k_norm, C::kDim, k_norm_);
  }

  /// The sines must be there.
  __device__ __forceinline__ void prepare() {
#pragma unroll
    for (int b = 0; b < kQueries; ++b) {
      const int row = work_.warp + b * C::kWarps;
      if (row >= work_.n_pairs) continue;
      const int pair = work_.pair0 + row;
      const int token = args_.token_of(pair);
      const int head = (static_cast<int>(blockIdx.y) - token) * args_.base.group + pair;
      queries_[b] = head_at(token, gates_ > 0 ? 2 * head : head);
    }
    if (work_.warp < 2 * work_.n_new) new_ = new_head(work_.warp);
  }

  /// Behind the products.
  __device__ __forceinline__ void run() {
    float new_x[kPairs], new_y[kPairs];
    if (work_.warp < 2 * work_.n_new) pairs_.load(new_.from, C::kDim, new_x, new_y);
    float x[kQueries][kPairs], y[kQueries][kPairs];
#pragma unroll
    for (int b = 0; b < kQueries; ++b) {
      if (work_.warp + b * C::kWarps < work_.n_pairs) {
        pairs_.load(queries_[b].from, C::kDim, x[b], y[b]);
      }
    }
#pragma unroll
    for (int b = 0; b < kQueries; ++b) {
      const int row = work_.warp + b * C::kWarps;
      if (row < work_.n_pairs) store_query(row, queries_[b].turn, x[b], y[b]);
    }
#pragma unroll 1
    for (int i = work_.warp; i < 2 * work_.n_new;) {
      store_new(i, new_x, new_y);
      i += C::kWarps;
      if (i >= 2 * work_.n_new) break;
      new_ = new_head(i);
      pairs_.load(new_.from, C::kDim, new_x, new_y);
    }
  }

 private:
  using T = typename C::T;
  static constexpr int kPairs = (C::kDim / 2 + 31) / 32;
  static constexpr int kQueries = (C::kRows + C::kWarps - 1) / C::kWarps;  // of a warp

  struct Head {
    const float* from;
    float2 turn[kPairs];
  };
  /// `token`: counted in the sequence; `head`: among those of a row of qkv.
  __device__ __forceinline__ Head head_at(int token, int head) const {
    const KvPages& kv = args_.base.params.kv;
    const int heads = args_.base.params.n_heads + gates_ + 2 * kv.n_kv_heads;
    const int half_rotary = args_.rope.rotary_dim / 2;
    const auto* turns = reinterpret_cast<const float2*>(shared_ + args_.turns_at);
    Head result;
    result.from = args_.qkv + (int64_t{work_.sequence.row_begin + token} * heads + head) * C::kDim;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const bool turned = pairs_.pair[i] < half_rotary;
      result.turn[i] = turned ? turns[token * half_rotary + pairs_.pair[i]] : make_float2(0, 1);
    }
    return result;
  }
  /// The block's new keys, then its new values.
  __device__ __forceinline__ Head new_head(int i) const {
    const bool is_v = i >= work_.n_new;
    const int n_kv_heads = args_.base.params.kv.n_kv_heads;
    return head_at(work_.new_begin - work_.sequence.first + (is_v ? i - work_.n_new : i),
                   args_.base.params.n_heads + gates_ + (is_v ? n_kv_heads : 0) +
                       static_cast<int>(blockIdx.y));
  }

  __device__ __forceinline__ void store_query(int row, const float2 (&turn)[kPairs],
                                              float (&x)[kPairs], float (&y)[kPairs]) const {
    if (args_.rope.q_norm != nullptr) {
      pairs_.normalize(q_norm_, args_.rope.norm_eps, C::kDim, x, y);
    }
    char* tile = shared_ + C::kQueryAt;
    pairs_.store(turn, true, args_.q_scale, C::kDim, x, y, [&](int element, __half value) {
      *reinterpret_cast<__half*>(tile + T::offset(row, element / 8) + element % 8 * 2) = value;
    });
  }

  __device__ __forceinline__ void store_new(int job, float (&x)[kPairs], float (&y)[kPairs]) const {
    const bool is_v = job >= work_.n_new;
    const int i = is_v ? job - work_.n_new : job;
    if (!is_v && args_.rope.k_norm != nullptr) {
      pairs_.normalize(k_norm_, args_.rope.norm_eps, C::kDim, x, y);
    }
    const KvPages& kv = args_.base.params.kv;
    const int position = work_.new_begin + i;
    const int page = __shfl_sync(kAllLanes, new_page_, i);
    const int64_t part = static_cast<int64_t>(page) * kv.n_kv_heads + blockIdx.y;
    const int slot = position & (kv.page_tokens - 1);
    __half* kept =
        reinterpret_cast<__half*>(shared_ + C::kNewAt) + (2 * i + (is_v ? 1 : 0)) * C::kDim;
    const bool own = position >= work_.own_begin;  // others are another tile's to store
    if constexpr (C::kCoded) {
      pairs_.store(new_.turn, !is_v, 1.0F, C::kDim, x, y,
                   [&](int element, __half value) { kept[element] = value; });
      encode_row(
          kept, C::kDim,
          code_row(is_v ? kv.v_codes : kv.k_codes, part, args_.base.page_shift, slot, C::kDim),
          own);
    } else {
      __half* stored = (is_v ? kv.v : kv.k) + ((part << args_.base.page_shift) + slot) * C::kDim;
      pairs_.store(new_.turn, !is_v, 1.0F, C::kDim, x, y, [&](int element, __half value) {
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
  int new_page_ = 0;  // lane i: of the i-th new key
  float2 q_norm_[kPairs];
  float2 k_norm_[kPairs];
  Head queries_[kQueries];
  Head new_;
};

#endif

}  // namespace fimd::cuda::attention_detail

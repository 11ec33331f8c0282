// The beginning of a block of the kernel of a few rows: heads are rotated, keys and values copied.
#pragma once

#include "kernels/cuda/attention_step_work.cuh"
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
    const int64_t at =
        (((static_cast<int64_t>(page) * kv.n_kv_heads + blockIdx.y) << args_.base.page_shift) +
         (position & (kv.page_tokens - 1))) *
        C::kDim;
    __half* stored = (is_v ? kv.v : kv.k) + at;
    __half* kept =
        reinterpret_cast<__half*>(shared_ + C::kNewAt) + (2 * i + (is_v ? 1 : 0)) * C::kDim;
    const bool own = position >= work_.own_begin;  // others are another tile's to store
    pairs_.store(turn_[b], !is_v, 1.0F, C::kDim, x, y, [&](int element, __half value) {
      kept[element] = value;
      if (own) stored[element] = value;
    });
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

/// A warp's ring of granules, each the keys or the values of one of its units. All slots are filled
/// at first; the keys' slot again when its warp has read it (refill_keys() of unit j), the values'
/// when all warps have read those before (refill_values() of unit j frees those of unit j - 1).
template <class C>
class StepRing {
 public:
  using T = typename C::T;

  __device__ __forceinline__ StepRing(const StepArgs& args, const StepWork& work, char* shared)
      : kv_(args.base.params.kv),
        pages_(args.base.params.pages + work.sequence.page_begin),
        page_shift_(args.base.page_shift),
        begin_(work.key_begin + static_cast<int>(threadIdx.x) / 32 * kUnitKeys),
        end_(work.key_end),
        first_new_(work.sequence.first),
        new_begin_(work.new_begin),
        shared_(shared + static_cast<int>(threadIdx.x) / 32 * C::kRingBytes),
        new_rows_(reinterpret_cast<const __half*>(shared + C::kNewAt)) {
#pragma unroll 1
    for (int j = 0; j < 2; ++j) {
      if (j < C::kKeySlots) copy(j, false);
      copy(j, true);
    }
  }

  /// The first key of the j-th unit; there is none if that is not below the end.
  __device__ __forceinline__ int key(int j) const { return begin_ + j * C::kKeys; }
  __device__ __forceinline__ bool has(int j) const { return key(j) < end_; }
  static __device__ __forceinline__ uint32_t keys_at(int j) {
    return static_cast<uint32_t>(j % C::kKeySlots * C::kGranuleBytes);
  }
  static __device__ __forceinline__ uint32_t values_at(int j) {
    return static_cast<uint32_t>((C::kKeySlots + j % 2) * C::kGranuleBytes);
  }

  __device__ __forceinline__ void refill_keys(int j) { copy(j + C::kKeySlots, false); }
  __device__ __forceinline__ void refill_values(int j) {
    if (j > 0) {
      copy(j + 1, true);
    } else {
      copy_commit();  // an empty group: they are counted
    }
  }

  // Each waits for its unit's granule, and puts the new tokens' where the copy left zeros. Groups
  // of copies in their order, with one slot for keys: K0 V0 V1, K1 -, K2 V2, K3 V3, ...; with two:
  // K0 V0 K1 V1, K2 -, K3 V2, K4 V3, ...
  __device__ __forceinline__ void wait_keys(int j) {
    if constexpr (C::kKeySlots == 2) {
      copy_wait<3>();
    } else if (j == 0) {
      copy_wait<2>();
    } else {
      copy_wait<1>();
    }
    insert_new(j, keys_at(j), new_rows_);
  }
  __device__ __forceinline__ void wait_values(int j) {
    if (j < C::kKeySlots) {
      copy_wait<C::kKeySlots + 1>();
    } else {
      copy_wait<1>();
    }
    insert_new(j, values_at(j), new_rows_ + C::kDim);
  }

 private:
  __device__ __forceinline__ void insert_new(int j, uint32_t at, const __half* rows) {
    __syncwarp();
    const int unit_end = min(key(j) + kUnitKeys, end_);
    if (unit_end <= first_new_) return;
    char* granule = shared_ + at;
    const int first = max(key(j), first_new_);
    for (int i = static_cast<int>(threadIdx.x) % 32; i < (unit_end - first) * T::kChunks; i += 32) {
      const int position = first + i / T::kChunks;
      const int chunk = i % T::kChunks;
      *reinterpret_cast<uint4*>(granule + T::offset(position - key(j), chunk)) =
          *reinterpret_cast<const uint4*>(rows + (position - new_begin_) * 2 * C::kDim + chunk * 8);
    }
    __syncwarp();
  }

  __device__ __forceinline__ void copy(int j, bool values) {
    if (has(j)) {
      const int position = key(j);
      const int lane = static_cast<int>(threadIdx.x) % 32;
      int& window = values ? value_pages_ : key_pages_;
      if (j % 32 == 0) window = pages_[min(key(j + lane), end_ - 1) >> page_shift_];
      const int page = __shfl_sync(kAllLanes, window, j % 32);
      const int64_t token =
          ((static_cast<int64_t>(page) * kv_.n_kv_heads + blockIdx.y) << page_shift_) +
          (position & ((1 << page_shift_) - 1));
      const __half* from = (values ? kv_.v : kv_.k) + token * C::kDim;
      const uint32_t to = shared_address(shared_) + (values ? values_at(j) : keys_at(j));
      const int n_old = first_new_ - position;
      constexpr int kChunks = kUnitKeys * T::kChunks;
      static_assert(kChunks % 32 == 0);
#pragma unroll
      for (int i = 0; i < kChunks / 32; ++i) {
        const int index = lane + i * 32;
        const int row = index / T::kChunks;
        copy_async(to + T::offset(row, index % T::kChunks), from + index * 8, row < n_old);
      }
    }
    copy_commit();
  }

  const KvPages& kv_;
  const int32_t* pages_;
  int page_shift_;
  int begin_;
  int end_;
  int first_new_;
  int new_begin_;
  char* shared_;
  const __half* new_rows_;
  // Lane i: the page of unit 32 (j / 32) + i.
  int key_pages_ = 0;
  int value_pages_ = 0;
};

#endif

}  // namespace fimd::cuda::attention_detail

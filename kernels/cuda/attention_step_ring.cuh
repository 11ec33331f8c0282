// The keys and values of a block of the kernel of a few rows, on their way to shared memory.
//
// A warp has its own units and its own ring of granules, each the keys or the values of a unit:
// keys' slots are read by it alone, values' slots by all warps of the block. In round j, the warp
// calls wait_keys(), and when it has read them refill_keys(); then wait_values(), and when all
// warps have used the values of the round before refill_values(). Rows of this step are not in the
// pages yet (or some are): they are taken from shared memory.
#pragma once

#include <type_traits>

#include "kernels/cuda/attention_step_work.cuh"
#include "kernels/cuda/kv_codes.cuh"

namespace fimd::cuda::attention_detail {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// What rings of both kinds of pages know.
template <class C>
class StepUnits {
 public:
  using T = typename C::T;

  __device__ __forceinline__ StepUnits(const StepArgs& args, const StepWork& work, char* shared)
      : kv_(args.base.params.kv),
        page_shift_(args.base.page_shift),
        end_(work.key_end),
        first_new_(work.sequence.first),
        shared_(shared + work.warp * C::kRingBytes),
        pages_(args.base.params.pages + work.sequence.page_begin),
        begin_(work.key_begin + work.warp * kUnitKeys),
        new_begin_(work.new_begin),
        new_rows_(reinterpret_cast<const __half*>(shared + C::kNewAt)) {}

  /// The first key of the j-th unit; there is none if that is not below the end.
  __device__ __forceinline__ int key(int j) const { return begin_ + j * C::kKeys; }
  __device__ __forceinline__ bool has(int j) const { return key(j) < end_; }
  static __device__ __forceinline__ uint32_t keys_at(int j) {
    return static_cast<uint32_t>(j % C::kKeySlots * C::kGranuleBytes);
  }
  static __device__ __forceinline__ uint32_t values_at(int j) {
    return static_cast<uint32_t>((C::kKeySlots + j % 2) * C::kGranuleBytes);
  }

 protected:
  static constexpr int kChunks = kUnitKeys * T::kChunks;  // of a granule
  static constexpr int kLaneChunks = kChunks / 32;
  static_assert(kChunks % 32 == 0);

  /// The part of the unit's page that the KV head has: pages times heads. For j = 0, 1, 2, ..
  __device__ __forceinline__ int64_t part(int j, bool values) {
    int& window = values ? value_pages_ : key_pages_;
    if (j % 32 == 0) {
      const int lane = static_cast<int>(threadIdx.x) % 32;
      window = pages_[min(key(j + lane), end_ - 1) >> page_shift_];
    }
    const int page = __shfl_sync(kAllLanes, window, j % 32);
    return static_cast<int64_t>(page) * kv_.n_kv_heads + blockIdx.y;
  }
  __device__ __forceinline__ int slot(int j) const { return key(j) & ((1 << page_shift_) - 1); }
  /// The new tokens' rows, where the granule has none.
  __device__ __forceinline__ void insert_new(int j, bool values) {
    __syncwarp();
    const int unit_end = min(key(j) + kUnitKeys, end_);
    if (unit_end <= first_new_) return;
    char* granule = shared_ + (values ? values_at(j) : keys_at(j));
    const __half* rows = new_rows_ + (values ? C::kDim : 0);
    const int first = max(key(j), first_new_);
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x) % 32; i < (unit_end - first) * T::kChunks; i += 32) {
      const int position = first + i / T::kChunks;
      const int chunk = i % T::kChunks;
      *reinterpret_cast<uint4*>(granule + T::offset(position - key(j), chunk)) =
          *reinterpret_cast<const uint4*>(rows + (position - new_begin_) * 2 * C::kDim + chunk * 8);
    }
    __syncwarp();
  }

  const KvPages& kv_;
  int page_shift_;
  int end_;
  int first_new_;
  char* shared_;

 private:
  const int32_t* pages_;
  int begin_;
  int new_begin_;
  const __half* new_rows_;
  // Lane i: the page of unit 32 (j / 32) + i.
  int key_pages_ = 0;
  int value_pages_ = 0;
};

/// Pages of halves: copies straight to shared memory, all slots full at first.
template <class C>
class HalfRing : public StepUnits<C> {
 public:
  using Units = StepUnits<C>;
  using T = typename C::T;

  __device__ __forceinline__ HalfRing(const StepArgs& args, const StepWork& work, char* shared)
      : Units(args, work, shared) {
#pragma unroll 1
    for (int j = 0; j < 2; ++j) {
      if (j < C::kKeySlots) copy(j, false);
      copy(j, true);
    }
  }

  __device__ __forceinline__ void refill_keys(int j) { copy(j + C::kKeySlots, false); }
  __device__ __forceinline__ void refill_values(int j) {
    if (j > 0) {
      copy(j + 1, true);
    } else {
      copy_commit();  // an empty group: they are counted
    }
  }

  // Groups of copies in their order, with one slot for keys: K0 V0 V1, K1 -, K2 V2, K3 V3, ...;
  // with two: K0 V0 K1 V1, K2 -, K3 V2, K4 V3, ...
  __device__ __forceinline__ void wait_keys(int j) {
    if (j < C::kKeySlots) {
      copy_wait<C::kKeySlots + 1>();
    } else {
      copy_wait<2 * C::kKeySlots - 1>();
    }
    this->insert_new(j, false);
  }
  __device__ __forceinline__ void wait_values(int j) {
    if (j < C::kKeySlots) {
      copy_wait<C::kKeySlots + 1>();
    } else {
      copy_wait<1>();
    }
    this->insert_new(j, true);
  }

 private:
  __device__ __forceinline__ void copy(int j, bool values) {
    if (this->has(j)) {
      const int64_t token = (this->part(j, values) << this->page_shift_) + this->slot(j);
      const __half* from = (values ? this->kv_.v : this->kv_.k) + token * C::kDim;
      const uint32_t to =
          shared_address(this->shared_) + (values ? this->values_at(j) : this->keys_at(j));
      const int n_old = this->first_new_ - this->key(j);
#pragma unroll
      for (int i = 0; i < Units::kLaneChunks; ++i) {
        const int index = static_cast<int>(threadIdx.x) % 32 + i * 32;
        const int row = index / T::kChunks;
        copy_async(to + T::offset(row, index % T::kChunks), from + index * 8, row < n_old);
      }
    }
    copy_commit();
  }
};

/// Pages of codes: a unit ahead is in registers, and becomes halves when it is waited for.
template <class C>
class CodeRing : public StepUnits<C> {
 public:
  using Units = StepUnits<C>;
  using T = typename C::T;

  __device__ __forceinline__ CodeRing(const StepArgs& args, const StepWork& work, char* shared)
      : Units(args, work, shared) {
    load(0, false, keys_);
    load(0, true, values_);
  }

  __device__ __forceinline__ void refill_keys(int /*j*/) {}
  __device__ __forceinline__ void refill_values(int /*j*/) {}
  __device__ __forceinline__ void wait_keys(int j) {
    decode(keys_, this->keys_at(j));
    load(j + 1, false, keys_);
    this->insert_new(j, false);
  }
  __device__ __forceinline__ void wait_values(int j) {
    decode(values_, this->values_at(j));
    load(j + 1, true, values_);
    this->insert_new(j, true);
  }

 private:
  struct Granule {
    uint2 codes[Units::kLaneChunks];
    __half scales[Units::kLaneChunks];
  };

  __device__ __forceinline__ void load(int j, bool values, Granule& to) {
    if (!this->has(j)) return;
    const CodeRow from = code_row(values ? this->kv_.v_codes : this->kv_.k_codes,
                                  this->part(j, values), this->page_shift_, this->slot(j), C::kDim);
    constexpr int kBlockChunks = kv_code_block(C::kDim) / 8;
    const int n_old = this->first_new_ - this->key(j);
#pragma unroll
    for (int i = 0; i < Units::kLaneChunks; ++i) {
      const int index = static_cast<int>(threadIdx.x) % 32 + i * 32;
      to.codes[i] = make_uint2(0, 0);
      to.scales[i] = __ushort_as_half(0);
      if (index / T::kChunks >= n_old) continue;
      to.codes[i] = __ldcg(reinterpret_cast<const uint2*>(from.codes) + index);
      to.scales[i] = __ldcg(from.scales + index / kBlockChunks);
    }
  }
  __device__ __forceinline__ void decode(const Granule& from, uint32_t at) {
#pragma unroll
    for (int i = 0; i < Units::kLaneChunks; ++i) {
      const int index = static_cast<int>(threadIdx.x) % 32 + i * 32;
      *reinterpret_cast<uint4*>(this->shared_ + at +
                                T::offset(index / T::kChunks, index % T::kChunks)) =
          decode_codes(from.codes[i], from.scales[i]);
    }
  }

  Granule keys_;
  Granule values_;
};

template <class C>
using StepRing = std::conditional_t<C::kCoded, CodeRing<C>, HalfRing<C>>;

#endif

}  // namespace fimd::cuda::attention_detail

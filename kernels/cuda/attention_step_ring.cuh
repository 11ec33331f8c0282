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
        lane_(work.lane),
        pages_(args.base.params.pages + work.sequence.page_begin),
        begin_(work.key_begin + work.warp * kUnitKeys),
        new_begin_(work.new_begin),
        new_rows_(reinterpret_cast<const __half*>(shared + C::kNewAt)) {
    key_pages_ = value_pages_ = pages_from(0);
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

 protected:
  static constexpr int kChunks = kUnitKeys * T::kChunks;  // of a granule
  static constexpr int kLaneChunks = kChunks / 32;
  static_assert(kChunks % 32 == 0);

  __device__ __forceinline__ int lane() const { return lane_; }
  /// The lane's i-th chunk of a granule, lane() + 32 i: its row, and where it is in the granule at
  /// `address`.
  __device__ __forceinline__ int chunk_row(int i) const {
    return divided(lane() + 32 * i, T::kChunks);
  }
  __device__ __forceinline__ uint32_t chunk_at(uint32_t address, int i) const {
    if constexpr (T::kSwizzled) {
      // The rows of a lane's first chunks are below kStep, which is a power of two: their bits and
      // those of kStep i are apart, and one address serves all.
      constexpr int kStep = 32 / T::kChunks;
      const uint32_t first = address + T::offset(lane() / T::kChunks, lane() % T::kChunks);
      const auto row = static_cast<uint32_t>(kStep * i);
      return (first ^ row % 8 * 16) + row * T::kRowBytes;
    } else {
      return address + T::offset(chunk_row(i), lane() + 32 * i - chunk_row(i) * T::kChunks);
    }
  }
  /// Before a unit's page is asked for: for j = 1, 2, 3, ..
  __device__ __forceinline__ void enter(int j, int& pages) const {
    if (j % 32 == 0) pages = pages_from(j);
  }
  /// The part of the unit's page that the KV head has: pages times heads.
  __device__ __forceinline__ int part(int j, int pages) const {
    const int page = __shfl_sync(kAllLanes, pages, j % 32);
    return page * kv_.n_kv_heads + static_cast<int>(blockIdx.y);
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
    for (int i = 0; chunk_row(i) < unit_end - first; ++i) {
      const int position = first + chunk_row(i);
      const int chunk = lane() + 32 * i - chunk_row(i) * T::kChunks;
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
  // Lane i: the page of unit 32 (j / 32) + i.
  int key_pages_;
  int value_pages_;

 private:
  __device__ __forceinline__ int pages_from(int j) const {
    return pages_[min(key(j + lane()), end_ - 1) >> page_shift_];
  }

  int lane_;
  const int32_t* pages_;
  int begin_;
  int new_begin_;
  const __half* new_rows_;
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
    for (int i = 0; i < C::kKeySlots + 2; ++i) {
      copy(i / 2, C::kKeySlots == 1 ? i > 0 : i % 2 == 1, this->key_pages_);
    }
    prefetch(args.units_ahead);
  }

  __device__ __forceinline__ void refill_keys(int j) {
    this->enter(j + C::kKeySlots, this->key_pages_);
    copy(j + C::kKeySlots, false, this->key_pages_);
  }
  __device__ __forceinline__ void refill_values(int j) {
    if (j > 0) {
      this->enter(j + 1, this->value_pages_);
      copy(j + 1, true, this->value_pages_);
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
  /// A unit's rows of the pages.
  __device__ __forceinline__ const __half* granule(int j, bool values, int pages) const {
    // Fewer than 2^31 rows, which would be 256 GB.
    const int row = (this->part(j, pages) << this->page_shift_) + this->slot(j);
    return (values ? this->kv_.v : this->kv_.k) + int64_t{row} * C::kDim;
  }
  /// What there are no slots for yet, as far as the L2 cache: asked for later, it would wait in
  /// memory behind what the next products fetch.
  __device__ __forceinline__ void prefetch(int end) const {
    constexpr int kBytes = kUnitKeys * C::kDim * 2;
#pragma unroll 1
    for (int j = C::kKeySlots; j < end && this->has(j); ++j) {
      const __half* from = granule(j, this->lane() == 1, this->key_pages_);
      if (this->lane() > 1) continue;  // one for the keys, one for the values
      asm volatile(
          "cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(from)),
          "n"(kBytes)
          : "memory");
    }
  }
  __device__ __forceinline__ void copy(int j, bool values, int pages) {
    if (this->has(j)) {
      const __half* from = granule(j, values, pages) + this->lane() * 8;
      const uint32_t to =
          shared_address(this->shared_) + (values ? this->values_at(j) : this->keys_at(j));
      const int n_old = this->first_new_ - this->key(j);
#pragma unroll
      for (int i = 0; i < Units::kLaneChunks; ++i) {
        copy_async(this->chunk_at(to, i), from + i * 256, this->chunk_row(i) < n_old);
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
    load(0, false, this->key_pages_, keys_);
    load(0, true, this->key_pages_, values_);
  }

  __device__ __forceinline__ void refill_keys(int /*j*/) {}
  __device__ __forceinline__ void refill_values(int /*j*/) {}
  __device__ __forceinline__ void wait_keys(int j) {
    decode(keys_, this->keys_at(j));
    this->enter(j + 1, this->key_pages_);
    load(j + 1, false, this->key_pages_, keys_);
    this->insert_new(j, false);
  }
  __device__ __forceinline__ void wait_values(int j) {
    decode(values_, this->values_at(j));
    this->enter(j + 1, this->value_pages_);
    load(j + 1, true, this->value_pages_, values_);
    this->insert_new(j, true);
  }

 private:
  struct Granule {
    uint2 codes[Units::kLaneChunks];
    __half scales[Units::kLaneChunks];
  };

  __device__ __forceinline__ void load(int j, bool values, int pages, Granule& to) {
    if (!this->has(j)) return;
    const CodeRow from = code_row(values ? this->kv_.v_codes : this->kv_.k_codes,
                                  this->part(j, pages), this->page_shift_, this->slot(j), C::kDim);
    constexpr int kBlockChunks = kv_code_block(C::kDim) / 8;
    const int n_old = this->first_new_ - this->key(j);
#pragma unroll
    for (int i = 0; i < Units::kLaneChunks; ++i) {
      const int index = this->lane() + 32 * i;
      to.codes[i] = make_uint2(0, 0);
      to.scales[i] = __ushort_as_half(0);
      if (this->chunk_row(i) >= n_old) continue;
      to.codes[i] = __ldcg(reinterpret_cast<const uint2*>(from.codes) + index);
      to.scales[i] = __ldcg(from.scales + index / kBlockChunks);
    }
  }
  __device__ __forceinline__ void decode(const Granule& from, uint32_t at) {
#pragma unroll
    for (int i = 0; i < Units::kLaneChunks; ++i) {
      *reinterpret_cast<uint4*>(this->shared_ + this->chunk_at(at, i)) =
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

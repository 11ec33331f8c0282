// A warp's ring of slots in shared memory through which weights stream: filled by the bulk copy
// engine on sm_90 and newer (one instruction for a whole tile, no registers, an mbarrier per slot),
// by cp.async before. A warp is the only user of its ring, so nothing here waits for other warps.
//
// All lanes call everything. Slots are filled in the order in which they are read; a fill is
// begin(), copies, end(), and for the n-th read there is an n-th fill.
#pragma once

#include "kernels/cuda/shared_address.cuh"

namespace fimd::cuda {

inline constexpr int kMaxStages = 8;

__device__ __forceinline__ void barrier_init(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint64_t* barrier) {
  [[maybe_unused]] uint64_t state;
  asm volatile("mbarrier.arrive.shared::cta.b64 %0, [%1];"
               : "=l"(state)
               : "r"(shared_address(barrier))
               : "memory");
}
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile(
        "{\n.reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.b32 %0, 1, 0, done;\n}\n"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
#else
    asm volatile(
        "{\n.reg .pred done;\n"
        "mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.b32 %0, 1, 0, done;\n}\n"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
#endif
  }
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// True in one lane of a warp whose lanes all call it. To the compiler that is one lane, which it
/// does not see in lane == 0: a copy's operands need not be looked for in others.
__device__ __forceinline__ bool elected() {
  uint32_t chosen;
  asm volatile(
      "{\n.reg .pred chosen;\n"
      "elect.sync _|chosen, 0xffffffff;\n"
      "selp.b32 %0, 1, 0, chosen;\n}\n"
      : "=r"(chosen));
  return chosen != 0;
}
/// Makes initialised barriers visible to the copy engine.
__device__ __forceinline__ void barrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
/// Copies `bytes` (a multiple of 16) and counts them on the barrier. Weights are read once a pass:
/// they should be the first to leave the L2 cache.
__device__ __forceinline__ uint64_t read_once_policy() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ void bulk_copy_once(void* to, const void* from, uint32_t bytes,
                                               uint64_t* barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
      "[%1], "
      "%2, [%3], %4;" ::"r"(shared_address(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}
__device__ __forceinline__ void bulk_copy(void* to, const void* from, uint32_t bytes,
                                          uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];" ::"r"(shared_address(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}
/// As far as the L2 cache.
__device__ __forceinline__ void prefetch_bulk(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(from)),
               "r"(bytes)
               : "memory");
}

#else

__device__ __forceinline__ void copy16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
}
/// Waits until at most n of this thread's last groups of copies are under way.
__device__ __forceinline__ void copies_wait(int n) {
  switch (n) {
#define FIMD_WAIT_CASE(N)                                     \
  case N:                                                     \
    asm volatile("cp.async.wait_group " #N ";" ::: "memory"); \
    break;
    FIMD_WAIT_CASE(1)
    FIMD_WAIT_CASE(2)
    FIMD_WAIT_CASE(3)
    FIMD_WAIT_CASE(4)
    FIMD_WAIT_CASE(5)
    FIMD_WAIT_CASE(6)
    FIMD_WAIT_CASE(7)
#undef FIMD_WAIT_CASE
    default:
      asm volatile("cp.async.wait_group 0;" ::: "memory");
  }
}

#endif

class WeightRing {
 public:
  /// `slots`: stages * slot_bytes, `barriers`: kMaxStages, both this warp's own.
  __device__ __forceinline__ WeightRing(uint8_t* slots, uint64_t* barriers, int slot_bytes,
                                        int stages, int lane)
      : slots_(slots), barriers_(barriers), slot_bytes_(slot_bytes), stages_(stages), lane_(lane) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    policy_ = read_once_policy();
    if (lane == 0) {
      for (int s = 0; s < stages; ++s) barrier_init(barriers + s, 1);
      barrier_init_done();
    }
    __syncwarp();
#endif
  }

  /// Whether a fill may be begun before the data of copy() for `x` exist (see late_copy).
  static constexpr bool kLateCopies =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
      true;
#else
      false;
#endif

  /// The next slot to fill, which no lane reads any more; `bytes`: the sum of its copies.
  __device__ __forceinline__ uint8_t* begin(uint32_t bytes) {
    __syncwarp();
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (lane_ == 0) barrier_expect(barriers_ + write_, bytes);
#else
    static_cast<void>(bytes);
#endif
    return slots_ + write_ * slot_bytes_;
  }
  /// One run of bytes (a multiple of 16, both ends aligned to 16).
  __device__ __forceinline__ void copy_weights(uint8_t* to, const uint8_t* from, int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (lane_ == 0) bulk_copy_once(to, from, bytes, barriers_ + write_, policy_);
#else
    for (int i = 16 * lane_; i < bytes; i += 512) copy16(to + i, from + i);
#endif
  }
  /// Row r of n_rows goes to to + r * to_stride; at most 32 rows.
  __device__ __forceinline__ void copy_weight_rows(uint8_t* to, int to_stride, const uint8_t* from,
                                                   int64_t from_stride, int n_rows, int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    __syncwarp();
    if (lane_ < n_rows) {
      bulk_copy_once(to + lane_ * to_stride, from + lane_ * from_stride, bytes, barriers_ + write_,
                     policy_);
    }
#else
    const int per_row = bytes / 16;
    for (int i = lane_; i < n_rows * per_row; i += 32) {
      const int r = i / per_row, c = 16 * (i % per_row);
      copy16(to + r * to_stride + c, from + r * from_stride + c);
    }
#endif
  }
  __device__ __forceinline__ void copy_x(uint8_t* to, const uint8_t* from, int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (lane_ == 0) bulk_copy(to, from, bytes, barriers_ + write_);
#else
    copy_weights(to, from, bytes);
#endif
  }
  __device__ __forceinline__ void end() {
    if (++write_ == stages_) write_ = 0;
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 900
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }
  /// In place of a fill when there is nothing left to fetch.
  __device__ __forceinline__ void skip() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 900
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }
  /// A part of the fill of slot `stage` that end() has already closed; its bytes were promised.
  __device__ __forceinline__ void late_copy_x(int stage, int offset, const uint8_t* from,
                                              int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (lane_ == 0) {
      bulk_copy(slots_ + stage * slot_bytes_ + offset, from, bytes, barriers_ + stage);
    }
#else
    static_cast<void>(stage), static_cast<void>(offset);
    static_cast<void>(from), static_cast<void>(bytes);
#endif
  }

  /// The oldest slot that was not yet read, when its data are there.
  __device__ __forceinline__ const uint8_t* read() {
    const int stage = read_;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    barrier_wait(barriers_ + stage, parity_);
#else
    copies_wait(stages_ - 1);
    __syncwarp();
#endif
    if (++read_ == stages_) {
      read_ = 0;
      parity_ ^= 1U;
    }
    return slots_ + stage * slot_bytes_;
  }

 private:
  uint8_t* slots_;
  uint64_t* barriers_;
  int slot_bytes_;
  int stages_;
  int lane_;
  int write_ = 0;
  int read_ = 0;
  uint32_t parity_ = 0;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  uint64_t policy_ = 0;
#endif
};

}  // namespace fimd::cuda

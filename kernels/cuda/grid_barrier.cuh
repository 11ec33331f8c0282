// What the blocks of a grid wait for each other with.
#pragma once

namespace fimd::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// All blocks of the grid are resident. `arrivals` is shared by all kernels that use it one after
/// another: its highest bit changes when all blocks of a grid have come.
class GridBarrier {
 public:
  /// Behind pdl_wait(): whatever others have done since, this block has not come to the first
  /// barrier of this kernel.
  __device__ __forceinline__ explicit GridBarrier(unsigned* arrivals) : arrivals_(arrivals) {
    // Relaxed: nobody waits for it before the first wait().
    if (threadIdx.x == 0 && arrivals != nullptr) {
      asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(before_) : "l"(arrivals_));
    }
  }
  /// By all threads, when they have written what others wait for. wait() follows.
  __device__ __forceinline__ void arrive() {
    __syncthreads();
    if (threadIdx.x == 0) {
      const unsigned step = blockIdx.x == 0 ? kAllCame - (gridDim.x - 1) : 1;
      asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(arrivals_), "r"(step)
                   : "memory");
    }
  }
  /// Until all have come, and what they wrote is visible past the L1 cache: read it with __ldcg or
  /// bulk copies.
  __device__ __forceinline__ void wait() {
    if (threadIdx.x == 0) {
      while (((load() ^ before_) & kAllCame) == 0) {
      }
      before_ ^= kAllCame;
    }
    __syncthreads();
  }

 private:
  static constexpr unsigned kAllCame = 1U << 31;
  __device__ __forceinline__ unsigned load() const {
    unsigned now;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(arrivals_) : "memory");
    return now;
  }
  unsigned* arrivals_;
  unsigned before_ = 0;
};

#endif

}  // namespace fimd::cuda

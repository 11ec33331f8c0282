// What the blocks of one grid hand each other without a barrier: words that say themselves whether
// they have come.
//
// Behind a barrier results are read when all that was written is known to be there: three trips
// through the L2 cache, one after another. Here a reader asks for the words themselves until none
// of them is zero, which is how memory was left for them: one trip. What a word means is flipped by
// a mask (of its kind, a value that no result has), so that no word is zero.
//
// There are two sets of words. A grid uses one and clears the other, which the grid in front of it
// used; whose turn it is says a counter that changes when all blocks of a grid have looked.
//
// Source: the idea is that of NCCL's low-latency protocols, whose words carry flags.
#pragma once

#include <cstdint>

namespace fimd::cuda {

/// Results of arithmetic are no NaNs of these bits.
inline constexpr uint32_t kFlipFloats = 0xFFFFFFFF;
/// Nor BF16 ones, in pairs.
inline constexpr uint32_t kFlipBf16 = 0xFFFFFFFF;
/// Codes of activations are at least -127; the sum beside a scale is kept from this value.
inline constexpr uint32_t kFlipCodes = 0x80808080;

/// Two sets of `set_bytes` (a multiple of 16), all zero at first as `turns` is, of one stream.
struct HandedWords {
  uint8_t* sets = nullptr;
  int set_bytes = 0;
  unsigned* turns = nullptr;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

__device__ __forceinline__ uint32_t load_word(const void* at) {
  uint32_t word;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(word) : "l"(at) : "memory");
  return word;
}
__device__ __forceinline__ void hand_word(void* at, uint32_t word) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(at), "r"(word) : "memory");
}
__device__ __forceinline__ void hand_words(void* at, uint2 words) {
  asm volatile("st.relaxed.gpu.global.v2.u32 [%0], {%1, %2};" ::"l"(at), "r"(words.x), "r"(words.y)
               : "memory");
}

/// Four words, past the L1 cache: others may be writing them.
__device__ __forceinline__ void load_words(uint4& words, const uint4* at) {
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "l"(at)
               : "memory");
}
__device__ __forceinline__ bool any_zero(const uint4& words) {
  return words.x == 0 || words.y == 0 || words.z == 0 || words.w == 0;
}

/// The set that this grid uses. All its blocks are resident.
class HandedSet {
 public:
  __device__ __forceinline__ explicit HandedSet(const HandedWords& of) : of_(of) {}
  /// By all threads, behind pdl_wait(): asks whose turn it is, which look() waits for. Nothing is
  /// handed if there are no sets.
  __device__ __forceinline__ void ask() {
    if (of_.sets != nullptr) turn_ = load_word(of_.turns);
  }
  __device__ __forceinline__ void look() {
    if (of_.sets != nullptr) turn_ = __shfl_sync(~0U, turn_ >> 31, 0);
  }
  /// `offset`: in the set.
  __device__ __forceinline__ uint8_t* at(int offset) const {
    return of_.sets + turn_ * static_cast<unsigned>(of_.set_bytes) + offset;
  }
  /// By all threads, once, behind look() and behind a barrier of the block behind ask(), so that
  /// none of its threads sees what follows: the block has looked. Its part of the other set is
  /// cleared for the next grid.
  __device__ __forceinline__ void pass_on() const {
    if (of_.sets == nullptr) return;
    if (threadIdx.x == 0) {
      // The highest bit changes when all blocks have come.
      const unsigned step = blockIdx.x == 0 ? (1U << 31) - (gridDim.x - 1) : 1;
      asm volatile("red.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(of_.turns), "r"(step)
                   : "memory");
    }
    uint8_t* other = of_.sets + (turn_ ^ 1) * static_cast<unsigned>(of_.set_bytes);
    const int mine = 16 * static_cast<int>(threadIdx.x * gridDim.x + blockIdx.x);
    const int stride = 16 * static_cast<int>(blockDim.x * gridDim.x);
#pragma unroll 1
    for (int first = 0; first < of_.set_bytes; first += stride) {
      if (first + mine >= of_.set_bytes) continue;
      *reinterpret_cast<uint4*>(other + first + mine) = make_uint4(0, 0, 0, 0);
    }
  }

 private:
  HandedWords of_;
  unsigned turn_ = 0;
};

#endif

}  // namespace fimd::cuda

// Memory for SIMD: 64-byte aligned, or huge-page aligned where it is big.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fimd::cpu {

class AlignedBuffer {
 public:
  /// At least `bytes`; keeps its memory when that suffices, else the contents are lost. False when
  /// there is no memory.
  [[nodiscard]] bool reserve(size_t bytes) {
    if (bytes <= bytes_) return true;
    constexpr size_t kHuge = size_t{2} << 20;
    const size_t alignment = bytes >= 2 * kHuge ? kHuge : 64;
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
    bytes_ = memory_ ? rounded : 0;
#if defined(__linux__)
    // Streaming over weights misses the TLB on every 4 KiB otherwise. Advice may be refused.
    if (memory_ && alignment == kHuge) madvise(memory_.get(), rounded, MADV_HUGEPAGE);
#endif
    return memory_ != nullptr;
  }

  std::byte* data() { return memory_.get(); }
  const std::byte* data() const { return memory_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t bytes_ = 0;
};

}  // namespace fimd::cpu

// Byte-pair encoding proper: which adjacent symbols merge, in which order.
//
// A symbol is a token id. The merge of lowest rank goes first, the leftmost of equal ones, until
// none is left. Immutable after building; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace fimd {

class MergeTable {
 public:
  struct Merge {
    uint32_t rank = kNoMerge;
    TokenId result = 0;
  };
  static constexpr uint32_t kNoMerge = 0xFFFFFFFF;

  void reserve(size_t merges);

  /// The first of several for the same pair stays. Rank below kNoMerge.
  void add(TokenId left, TokenId right, uint32_t rank, TokenId result);

  Merge find(TokenId left, TokenId right) const {
    if (slots_.empty()) return {};
    const uint64_t key = key_of(left, right);
    for (size_t i = hash(key) & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return slots_[i].merge;
      if (slots_[i].key == kFree) return {};
    }
  }

  size_t size() const { return size_; }

  /// Merges symbols[0, n) in place as far as they go and returns how many are left.
  size_t apply(TokenId* symbols, size_t n) const;

 private:
  struct Slot {
    uint64_t key = kFree;
    Merge merge;
  };
  static constexpr uint64_t kFree = ~uint64_t{0};

  static uint64_t key_of(TokenId left, TokenId right) {
    return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
  }
  static size_t hash(uint64_t key) {
    key *= 0x9E3779B97F4A7C15U;
    return static_cast<size_t>(key ^ (key >> 32));
  }

  void grow(size_t slots);
  size_t apply_short(TokenId* symbols, size_t n) const;
  size_t apply_long(TokenId* symbols, size_t n) const;

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  size_t size_ = 0;
};

}  // namespace fimd

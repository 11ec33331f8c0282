#include "engine/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>
#include <tuple>

namespace fimd {
namespace {

/// Up to here finding the lowest rank by looking at all is faster than keeping a heap.
constexpr size_t kShort = 48;

}  // namespace

void MergeTable::reserve(size_t merges) { grow(std::bit_ceil(merges * 2 + 16)); }

void MergeTable::grow(size_t slots) {
  if (slots <= slots_.size()) return;
  std::vector<Slot> old(slots);
  old.swap(slots_);
  mask_ = slots - 1;
  for (const Slot& slot : old) {
    if (slot.key == kFree) continue;
    size_t i = hash(slot.key) & mask_;
    while (slots_[i].key != kFree) i = (i + 1) & mask_;
    slots_[i] = slot;
  }
}

void MergeTable::add(TokenId left, TokenId right, uint32_t rank, TokenId result) {
  if ((size_ + 1) * 2 > slots_.size()) grow(std::max<size_t>(16, slots_.size() * 2));
  const uint64_t key = key_of(left, right);
  size_t i = hash(key) & mask_;
  while (slots_[i].key != kFree) {
    if (slots_[i].key == key) return;
    i = (i + 1) & mask_;
  }
  slots_[i] = {key, {rank, result}};
  ++size_;
}

size_t MergeTable::apply(TokenId* symbols, size_t n) const {
  return n <= kShort ? apply_short(symbols, n) : apply_long(symbols, n);
}

size_t MergeTable::apply_short(TokenId* symbols, size_t n) const {
  Merge merges[kShort];  // of symbols i and i + 1
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoMerge) break;
    symbols[best] = merges[best].result;
    std::copy(symbols + best + 2, symbols + n, symbols + best + 1);
    if (best + 2 < n) std::copy(merges + best + 2, merges + n - 1, merges + best + 1);
    --n;
    if (best + 1 < n) merges[best] = find(symbols[best], symbols[best + 1]);
    if (best > 0) merges[best - 1] = find(symbols[best - 1], symbols[best]);
  }
  return n;
}

size_t MergeTable::apply_long(TokenId* symbols, size_t n) const {
  struct Candidate {
    uint32_t rank;
    TokenId result;
    size_t pos;
    TokenId left;
    TokenId right;
    bool operator>(const Candidate& o) const {
      return std::tie(rank, pos) > std::tie(o.rank, o.pos);
    }
  };
  constexpr size_t kEnd = ~size_t{0};
  std::vector<size_t> next(n);  // kEnd: none
  std::vector<size_t> prev(n);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto push = [&](size_t pos, size_t after) {
    const Merge m = find(symbols[pos], symbols[after]);
    if (m.rank != kNoMerge) queue.push({m.rank, m.result, pos, symbols[pos], symbols[after]});
  };
  for (size_t i = 0; i < n; ++i) {
    prev[i] = i == 0 ? kEnd : i - 1;
    next[i] = i + 1 == n ? kEnd : i + 1;
  }
  for (size_t i = 0; i + 1 < n; ++i) push(i, i + 1);

  constexpr TokenId kGone = -1;
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    const size_t after = next[c.pos];
    // A symbol that has merged meanwhile makes its old candidates void.
    if (symbols[c.pos] != c.left || after == kEnd || symbols[after] != c.right) continue;
    symbols[c.pos] = c.result;
    symbols[after] = kGone;
    next[c.pos] = next[after];
    if (next[after] != kEnd) {
      prev[next[after]] = c.pos;
      push(c.pos, next[after]);
    }
    if (prev[c.pos] != kEnd) push(prev[c.pos], c.pos);
  }
  return static_cast<size_t>(std::remove(symbols, symbols + n, kGone) - symbols);
}

}  // namespace fimd

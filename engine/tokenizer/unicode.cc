#include "engine/tokenizer/unicode.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

namespace fimd {
namespace {

struct Range {
  uint32_t first;
  uint32_t last;
  CharClass kind;
};

using enum CharClass;
constexpr Range kRanges[] = {
#include "engine/tokenizer/unicode_ranges.inc"
};

}  // namespace

const CharClasses& CharClasses::instance() {
  static const CharClasses classes;
  return classes;
}

CharClasses::CharClasses() {
  std::map<std::string, uint16_t> known;
  const Range* range = std::begin(kRanges);
  for (uint32_t page = 0; page < page_of_.size(); ++page) {
    std::string classes(256, '\0');
    const uint32_t begin = page * 256;
    const uint32_t end = begin + 256;
    while (range != std::end(kRanges) && range->first < end) {
      const uint32_t last = std::min(range->last, end - 1);
      for (uint32_t c = std::max(range->first, begin); c <= last; ++c) {
        classes[c - begin] = static_cast<char>(range->kind);
      }
      if (range->last >= end) break;  // it goes on in the next page
      ++range;
    }
    const auto [it, added] = known.emplace(classes, static_cast<uint16_t>(known.size()));
    page_of_[page] = it->second;
    if (added) {
      for (const char c : classes) pages_.push_back(static_cast<CharClass>(c));
    }
  }
  std::copy_n(pages_.begin() + page_of_[0] * ptrdiff_t{256}, ascii_.size(), ascii_.begin());
}

}  // namespace fimd

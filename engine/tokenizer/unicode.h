// UTF-8 decoding that never fails, and the character classes that pre-tokenizers tell apart.
//
// A byte that is not part of a well-formed sequence decodes as one "character" of class kOther, so
// that any bytes can be split and encoded. Thread: any; all state is constant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace fimd {

/// Exactly one per code point. kSpace is White_Space (\s); the others are general categories.
enum class CharClass : uint8_t {
  kOther = 0,
  kLetter = 1,       // \p{L}
  kMark = 2,         // \p{M}
  kNumber = 4,       // \p{N}
  kPunctuation = 8,  // \p{P}
  kSymbol = 16,      // \p{S}
  kSpace = 32,
};

/// Length in bytes of the well-formed character at `pos` (< text.size()), 0 if there is none.
inline size_t utf8_length_at(std::string_view text, size_t pos) {
  const auto* s = reinterpret_cast<const unsigned char*>(text.data()) + pos;
  const size_t left = text.size() - pos;
  const unsigned char a = s[0];
  if (a < 0x80) return 1;
  if (a < 0xC2 || a > 0xF4) return 0;
  if (left < 2 || (s[1] & 0xC0) != 0x80) return 0;
  if (a < 0xE0) return 2;
  if (left < 3 || (s[2] & 0xC0) != 0x80) return 0;
  if (a < 0xF0) {
    if (a == 0xE0 && s[1] < 0xA0) return 0;  // overlong
    if (a == 0xED && s[1] > 0x9F) return 0;  // surrogate
    return 3;
  }
  if (left < 4 || (s[3] & 0xC0) != 0x80) return 0;
  if (a == 0xF0 && s[1] < 0x90) return 0;  // overlong
  if (a == 0xF4 && s[1] > 0x8F) return 0;  // above U+10FFFF
  return 4;
}

/// The code point of the `length` bytes at `pos`; length as utf8_length_at() returned it.
inline uint32_t utf8_code_point(std::string_view text, size_t pos, size_t length) {
  const auto* s = reinterpret_cast<const unsigned char*>(text.data()) + pos;
  switch (length) {
    case 1:
      return s[0];
    case 2:
      return ((s[0] & 0x1FU) << 6) | (s[1] & 0x3FU);
    case 3:
      return ((s[0] & 0x0FU) << 12) | ((s[1] & 0x3FU) << 6) | (s[2] & 0x3FU);
    default:
      return ((s[0] & 0x07U) << 18) | ((s[1] & 0x3FU) << 12) | ((s[2] & 0x3FU) << 6) |
             (s[3] & 0x3FU);
  }
}

/// Appends `code_point` as UTF-8.
template <class String>
void append_utf8(uint32_t code_point, String* out) {
  const auto put = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

/// Class of every code point, in two stages: pages of 256 that are shared when equal.
class CharClasses {
 public:
  static const CharClasses& instance();

  CharClass of(uint32_t code_point) const {
    if (code_point < 128) return ascii_[code_point];
    if (code_point > 0x10FFFF) return CharClass::kOther;
    return pages_[size_t{page_of_[code_point >> 8]} * 256 + (code_point & 0xFF)];
  }

 private:
  CharClasses();

  std::array<CharClass, 128> ascii_{};
  std::array<uint16_t, 0x1100> page_of_{};
  std::vector<CharClass> pages_;
};

}  // namespace fimd

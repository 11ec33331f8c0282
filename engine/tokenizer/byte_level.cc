#include "engine/tokenizer/byte_level.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/tokenizer/unicode.h"

namespace fimd {
namespace {

/// Printable bytes stand for themselves, the other 68 in ascending order for U+0100 and up.
struct ByteMap {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, 0x144> byte{};  // by character; -1: none

  constexpr ByteMap() {
    for (auto& b : byte) b = -1;
    uint16_t next = 0x100;
    for (uint16_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      character[b] = printable ? b : next++;
      byte[character[b]] = static_cast<int16_t>(b);
    }
  }
};
constexpr ByteMap kMap;

}  // namespace

std::string decode_byte_level(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const size_t length = utf8_length_at(text, pos);
    if (length == 0) return std::string(text);
    const uint32_t c = utf8_code_point(text, pos, length);
    if (c >= kMap.byte.size() || kMap.byte[c] < 0) return std::string(text);
    bytes += static_cast<char>(kMap.byte[c]);
    pos += length;
  }
  return bytes;
}

std::string encode_byte_level(std::string_view bytes) {
  std::string text;
  for (const char b : bytes) append_utf8(kMap.character[static_cast<unsigned char>(b)], &text);
  return text;
}

}  // namespace fimd

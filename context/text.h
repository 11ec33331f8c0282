// UTF-8 text: validation, repair, encodings of positions, line breaks.
//
// Pure functions, any thread. A line break is "\n", "\r\n" or "\r", as in LSP.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "context/document.h"

namespace fimd {

/// One code point at text[offset], which must be inside the text. Malformed bytes decode to U+FFFD
/// with the length of the maximal well-formed prefix (Unicode 15, table 3-8), at least 1.
struct CodePoint {
  uint32_t value = 0;
  uint8_t length = 1;
  bool valid = true;
};
CodePoint decode_utf8(std::string_view text, size_t offset);

bool is_valid_utf8(std::string_view text);
/// Malformed sequences become U+FFFD each; valid text comes back unchanged, without a copy.
std::string repair_utf8(std::string text);

/// The nearest code point boundary at or before `offset` (which clamps to the text's size).
size_t floor_to_code_point(std::string_view text, size_t offset);

/// Length of `text` in the units of an encoding: bytes, UTF-16 units or code points.
size_t encoded_length(std::string_view text, PositionEncoding encoding);
/// Byte offset of `units` in `line`; past the end clamps to its size, a position within a code
/// point (a surrogate pair, the bytes of a character) goes to its start.
size_t byte_offset(std::string_view line, size_t units, PositionEncoding encoding);

std::u16string to_utf16(std::string_view text);
/// Lone surrogates become U+FFFD.
std::string from_utf16(std::u16string_view text);

/// Appends the starts of the lines that begin inside text[begin, end]: the offset behind each line
/// break whose last byte lies in [begin, end). A "\r" at end - 1 with "\n" behind it is no break
/// of its own.
void append_line_starts(std::string_view text, size_t begin, size_t end,
                        std::vector<size_t>* starts);
/// Lines without their breaks; "" has one line.
std::vector<std::string_view> split_lines(std::string_view text);

/// Width of the leading blanks, a tab reaching the next multiple of four.
size_t indentation(std::string_view line);
bool is_blank(std::string_view text);

/// Decodes %XX; malformed escapes stay as they are.
std::string percent_decode(std::string_view text);
/// Path of a file: URI ("/a/b.c", "C:/a.c" for Windows drives, "//host/a" for shares); "" for other
/// schemes.
std::string uri_to_path(std::string_view uri);

}  // namespace fimd

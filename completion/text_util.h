// Small questions about text that several files of completion/ ask. Pure, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fimd {

/// Letters, digits, `_` and every byte of a non-ASCII character.
bool is_word_byte(char c);
bool is_blank(std::string_view text);  // only spaces, tabs and line breaks

/// The nearest character boundary at or before `offset` (clamped to the end).
size_t utf8_floor(std::string_view text, size_t offset);

std::string_view trim(std::string_view text);
std::string_view trim_right(std::string_view text);
std::string_view leading_blanks(std::string_view line);

/// Columns of a line's indentation, a tab reaching the next multiple of `tab_width`.
size_t indent_columns(std::string_view line, size_t tab_width = 4);

/// Lines without their line breaks; a text that ends in "\n" has an empty last line.
std::vector<std::string_view> split_lines(std::string_view text);

/// "\r\n" and "\r" become "\n", the only line break that models see.
std::string with_unix_line_breaks(std::string_view text);
/// "\n" becomes `line_break`.
std::string with_line_breaks(std::string_view text, std::string_view line_break);
/// The first line break in `text`; "\n" if there is none.
std::string_view line_break_of(std::string_view text);

/// Well-formed UTF-8 without U+FFFD and without control characters other than tab and newline.
bool is_clean_text(std::string_view text);

/// A hash for cache keys: fast, not for adversaries.
uint64_t hash_text(std::string_view text, uint64_t seed = 0);

}  // namespace fimd

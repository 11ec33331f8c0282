// Small questions about text that several files of completion/ ask, besides those of context/.
// Pure, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "context/lexer.h"  // is_word_byte
#include "context/text.h"   // is_blank, split_lines, indentation

namespace fimd {

std::string_view trim(std::string_view text);
std::string_view trim_right(std::string_view text);
std::string_view leading_blanks(std::string_view line);

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

#include "completion/text_util.h"

#include <doctest/doctest.h>

namespace fimd {
namespace {

TEST_CASE("lines and line breaks") {
  CHECK(with_unix_line_breaks("a\r\nb\rc\n\r\n") == "a\nb\nc\n\n");
  CHECK(with_line_breaks("a\nb", "\r\n") == "a\r\nb");
  CHECK(line_break_of("ab") == "\n");
  CHECK(line_break_of("a\r\nb\n") == "\r\n");
  CHECK(line_break_of("a\nb\r\n") == "\n");
  CHECK(line_break_of("a\rb") == "\r");
}

TEST_CASE("is_clean_text refuses what must not be shown") {
  CHECK(is_clean_text("plain\n\ttext é€😀"));
  CHECK_FALSE(is_clean_text("\xEF\xBF\xBD"));      // U+FFFD
  CHECK_FALSE(is_clean_text("\xC3"));              // cut off
  CHECK_FALSE(is_clean_text("\xC0\xAF"));          // overlong
  CHECK_FALSE(is_clean_text("\xED\xA0\x80"));      // a surrogate
  CHECK_FALSE(is_clean_text("\xF5\x80\x80\x80"));  // beyond Unicode
  CHECK_FALSE(is_clean_text(std::string("a\0b", 3)));
  CHECK_FALSE(is_clean_text("\x1B[0m"));
}

TEST_CASE("hash_text tells texts, lengths and seeds apart") {
  CHECK(hash_text("abc") == hash_text("abc"));
  CHECK(hash_text("abc") != hash_text("abd"));
  CHECK(hash_text(std::string("a\0", 2)) != hash_text("a"));
  CHECK(hash_text("abc", 1) != hash_text("abc", 2));
  CHECK(hash_text("12345678x") != hash_text("12345678y"));
}

}  // namespace
}  // namespace fimd

#include "completion/brackets.h"

#include <doctest/doctest.h>

namespace fimd {
namespace {

struct Case {
  const char* text;
  char quote;
  const char* comment;
  std::vector<size_t> unmatched;
  const char* open;
};

TEST_CASE("scan_brackets finds what text closes and leaves open") {
  const Case cases[] = {
      {"", 0, "#", {}, ""},
      {"foo(a, [b])", 0, "#", {}, ""},
      {"a, b)", 0, "#", {4}, ""},
      {"a))", 0, "#", {1, 2}, ""},
      {"foo(a, {", 0, "//", {}, "({"},
      {"\")\" + x)", 0, "#", {7}, ""},
      {"x # )", 0, "#", {}, ""},
      {"x # )\ny)", 0, "#", {7}, ""},
      {"x / y) // )", 0, "//", {5}, ""},
      {"a // b)", 0, "#", {6}, ""},
      {"/* ) */ )", 0, "//", {8}, ""},
      {"/* ) ", 0, "//", {}, ""},
      {"don't)\n", 0, "", {5}, ""},
      {"f('a", 0, "#", {}, "('"},
      {"'it\\'s')", 0, "#", {7}, ""},
      {"`a\n)` )", 0, "//", {6}, ""},
      {"\"\"\"a ) \" )\"\"\")", 0, "#", {13}, ""},
      {"\"\"\"a ) ", 0, "#", {}, "\""},
      // The text begins inside a string.
      {"hello)\")", '"', "#", {6, 7}, ""},
      {"hello)", '"', "#", {}, ""},
      {"hello\nx)", '"', "#", {7}, ""},
      {"a\\\"b\"", '"', "#", {4}, ""},
      // A closer of the wrong kind inside an open bracket is no bracket of the outside.
      {"foo(a]", 0, "#", {}, "("},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const BracketScan scan = scan_brackets(c.text, c.quote, c.comment);
    CHECK(scan.unmatched == c.unmatched);
    CHECK(scan.open == c.open);
  }
}

TEST_CASE("only_closers") {
  for (const char* rest : {"", " ", ")", ");", "\")", "]}", "):", "\"],"}) {
    CAPTURE(rest);
    CHECK(only_closers(rest));
  }
  for (const char* rest : {"x", ", b)", ") {", " = 1"}) {
    CAPTURE(rest);
    CHECK_FALSE(only_closers(rest));
  }
}

}  // namespace
}  // namespace fimd

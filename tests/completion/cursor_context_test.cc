#include "completion/cursor_context.h"

#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::context_of;

TEST_CASE("the lines around the cursor") {
  const CursorContext context =
      context_of("a = 1\n\n  b = <cursor>2\n\n\nc = 3\nd = 4\ne = 5\nf = 6\ng = 7\n");
  CHECK(context.typed == "  b = ");
  CHECK(context.rest == "2");
  CHECK(context.previous_line == "a = 1");
  CHECK(context.next_lines == std::vector<std::string>{"c = 3", "d = 4", "e = 5", "f = 6"});
  CHECK(context.line_comment == "#");
  CHECK(context.line_break == "\n");
  CHECK(context_of("a\r\n<cursor>\r\n").line_break == "\r\n");
  CHECK(context_of("a\r\n<cursor>b\r\n").rest == "b");
}

TEST_CASE("which brackets are missing after the cursor") {
  struct {
    std::string text;
    std::string open;
    size_t missing;
    size_t surplus;
  } cases[] = {
      {"foo(<cursor>)\n", ")", 0, 0},
      {"foo(<cursor>\n", ")", 1, 0},
      {"foo(bar(<cursor>)\n", "))", 1, 0},
      {"function f() {\n  g(<cursor>\n}\n", ")}", 1, 0},
      {"function f() {\n  g(<cursor>);\n}\n", ")}", 0, 0},
      {"function f() {\n  <cursor>\n", "}", 1, 0},
      // The opener of the block is still to be written.
      {"function f() {\n  if (<cursor>\n    g();\n  }\n}\n", ")}", 1, 1},
      {"x = 1; <cursor>\n", "", 0, 0},
  };
  for (const auto& c : cases) {
    CAPTURE(c.text);
    const CursorContext context = context_of(c.text, "javascript");
    CHECK(context.open_closers == c.open);
    CHECK(context.missing_closers == c.missing);
    CHECK(context.surplus_closers == c.surplus);
  }
}

TEST_CASE("strings and comments") {
  CHECK(context_of("f(\"a<cursor>\")\n").quote == '"');
  CHECK_FALSE(context_of("f(\"a<cursor>\")\n").ignores_brackets());
  CHECK(context_of("f('a<cursor>')\n").quote == '\'');
  CHECK(context_of("f(\"a\"<cursor>)\n").quote == 0);
  CHECK(context_of("# don't <cursor>\n").ignores_brackets());
  CHECK(context_of("\"\"\"a\n<cursor>\n\"\"\"\n").ignores_brackets());
}

TEST_CASE("a line of a megabyte is cut, not copied") {
  const std::string half(1 << 19, 'x');
  const CursorContext context = context_of(half + "<cursor>" + half);
  CHECK(context.typed.size() <= 4096);
  CHECK(context.rest.size() <= 4096);
}

}  // namespace
}  // namespace fimd

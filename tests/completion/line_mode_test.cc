#include "completion/line_mode.h"

#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::marked;

LineDecision decide(const std::string& text, const std::string& language = "python",
                    LineModeOptions options = {}) {
  const auto at = marked(text, language);
  return decide_line_mode(*at.document, at.cursor, cursor_context(*at.document, at.cursor),
                          options);
}

TEST_CASE("an empty block is completed whole") {
  CHECK(decide("def f(x):\n    <cursor>\n").mode == LineMode::kBlock);
  CHECK(decide("def f(x):<cursor>\n").mode == LineMode::kBlock);
  CHECK(decide("def f(x):\n    \"\"\"Doubles.\"\"\"\n    <cursor>\n").mode == LineMode::kBlock);
  CHECK(decide("if a:\n    b()\nelse:\n    <cursor>\n").mode == LineMode::kBlock);
  CHECK(decide("function f() {\n  <cursor>\n}\n", "javascript").mode == LineMode::kBlock);
  CHECK(decide("function f() {<cursor>}\n", "javascript").mode == LineMode::kBlock);
  CHECK(decide("int f(int a) {\n  <cursor>\n}\n", "c").mode == LineMode::kBlock);
  CHECK(decide("fn f() -> u8 {\n    <cursor>\n}\n", "rust").mode == LineMode::kBlock);
  CHECK(decide("func f() {\n\t<cursor>\n}\n", "go").mode == LineMode::kBlock);
  CHECK(decide("class A {\n  void f() {\n    <cursor>\n  }\n}\n", "java").mode == LineMode::kBlock);
}

TEST_CASE("elsewhere one line is completed") {
  CHECK(decide("x = <cursor>\n").mode == LineMode::kSingle);
  CHECK(decide("def f(x):\n    y = 1\n    <cursor>\n").mode == LineMode::kSingle);
  CHECK(decide("foo(<cursor>)\n").mode == LineMode::kSingle);
  CHECK(decide("foo(a,\n    <cursor>)\n").mode == LineMode::kSingle);
  CHECK(decide("x = [<cursor>]\n").mode == LineMode::kSingle);
  CHECK(decide("# a comment <cursor>\n").mode == LineMode::kSingle);
  CHECK(decide("s = \"some <cursor>\"\n").mode == LineMode::kSingle);
  CHECK(decide("plain words <cursor>", "plaintext").mode == LineMode::kSingle);
  CHECK(decide("<cursor>", "python").mode == LineMode::kSingle);
}

TEST_CASE("a comment on the line above asks for a statement") {
  CHECK(decide("def f(x):\n    y = 1\n    # sum them up\n    <cursor>\n").mode ==
        LineMode::kStatement);
  CHECK(decide("def f(x):\n    y = 1\n    # sum them up\n\n    <cursor>\n").mode ==
        LineMode::kSingle);
}

TEST_CASE("asked for, the start of a statement is completed whole") {
  const std::string text = "def f(x):\n    y = 1\n    <cursor>\n";
  CHECK(decide(text, "python", {.multi_line = true, .invoked = true}).mode == LineMode::kStatement);
  CHECK(decide(text, "python", {.multi_line = false, .invoked = true}).mode == LineMode::kSingle);
}

TEST_CASE("several lines can be switched off") {
  CHECK(
      decide("def f(x):\n    <cursor>\n", "python", {.multi_line = false, .invoked = false}).mode ==
      LineMode::kSingle);
}

TEST_CASE("the middle of a line is completed only where that is useful") {
  // Inside or right before a word: never of its own accord.
  CHECK_FALSE(decide("fo<cursor>o = 1\n").worthwhile);
  CHECK_FALSE(decide("x = <cursor>foo\n").worthwhile);
  CHECK_FALSE(decide("größ<cursor>e = 1\n").worthwhile);
  CHECK(decide("fo<cursor>o = 1\n", "python", {.multi_line = true, .invoked = true}).worthwhile);
  // Elsewhere: one line.
  for (const char* text :
       {"foo(<cursor>, b)\n", "if (<cursor>) { x(); }\n", "x = <cursor> + 1\n"}) {
    CAPTURE(text);
    const LineDecision decision = decide(text, "javascript");
    CHECK(decision.worthwhile);
    CHECK(decision.mode == LineMode::kSingle);
  }
}

}  // namespace
}  // namespace fimd

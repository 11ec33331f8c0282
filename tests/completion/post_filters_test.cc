#include "completion/post_filters.h"

#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::context_of;

struct Case {
  const char* language;
  LineMode mode;
  std::string before;  // with the cursor
  std::string text;    // generated
  std::string result;  // what polish() leaves; "" if it drops all
};

const Case kCases[] = {
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(a)", "foo(a)"},
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(a)  \n", "foo(a)"},
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(a)\nbar()", "foo(a)"},
    {"python", LineMode::kSingle, "x = 1<cursor>\n", "\ny = 2\nz = 3", "\ny = 2"},
    {"python", LineMode::kSingle, "x = <cursor>\n", "  \n \n", ""},
    {"python", LineMode::kSingle, "x = <cursor>\n", "a\xEF\xBF\xBD", ""},
    {"python", LineMode::kSingle, "x = <cursor>\n", "a\x01", ""},
    // Never the next line, never the previous one.
    {"python", LineMode::kSingle, "def f():\n    <cursor>\n    return x\n", "return x", ""},
    {"python", LineMode::kSingle, "def f():\n    ret<cursor>\n    return x\n", "urn x", ""},
    {"python", LineMode::kSingle, "    a.append(1)\n    <cursor>\n", "a.append(1)", ""},
    {"python", LineMode::kSingle, "    a.append(1)\n    a.app<cursor>\n", "end(1)", "end(1)"},
    {"python", LineMode::kBlock, "def f():\n    <cursor>\n    return x\n", "x = 1\n    return x",
     "x = 1"},
    {"javascript", LineMode::kBlock, "f({\n  a: 1,\n  <cursor>\n  c: 3,\n});\n",
     "b: 2,\n  c: 3,\n});", "b: 2,"},
    // Brackets that are there already.
    {"python", LineMode::kSingle, "foo(<cursor>)\n", "a)", "a)"},
    {"python", LineMode::kSingle, "foo(<cursor>)\n", "a))", "a)"},
    {"python", LineMode::kSingle, "foo(<cursor>)\n", ")", ""},
    {"python", LineMode::kSingle, "foo(a<cursor>)\n", ");", ");"},
    {"javascript", LineMode::kBlock, "if (a) {\n  <cursor>\n}\n", "b();\n}", "b();"},
    {"javascript", LineMode::kBlock, "if (a) {\n  <cursor>\n", "b();\n}", "b();\n}"},
    // Code that follows on the line.
    {"python", LineMode::kSingle, "foo(<cursor>, b)\n", "a, b)", "a"},
    {"python", LineMode::kSingle, "x = <cursor> + offset\n", "base + offset", "base"},
    {"python", LineMode::kSingle, "x = <cursor> + offset\n", "base + offset + 2", "base"},
    {"python", LineMode::kSingle, "x = <cursor>value\n", "the_value", "the_"},
    {"python", LineMode::kSingle, "return <cursor>x\n", "a + x", "a + "},
    {"javascript", LineMode::kSingle, "let a = <cursor>;\n", "b;", "b"},
    {"javascript", LineMode::kSingle, "f(<cursor>);\n", "b);", "b);"},
    // Brackets left open.
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(a, b", "foo(a, b)"},
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(a,", "foo(a,"},
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(", "foo("},
    {"python", LineMode::kSingle, "x = <cursor>\n    a,\n)\n", "foo(b", "foo(b"},
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(\"a", "foo(\"a"},
    {"javascript", LineMode::kSingle, "<cursor>\n", "if (a) {", "if (a) {"},
    {"python", LineMode::kSingle, "# <cursor>\n", "see (above", "see (above"},
    {"markdown", LineMode::kSingle, "<cursor>\n", "Let's start (now", "Let's start (now"},
    {"shellscript", LineMode::kSingle, "case $a in\n  <cursor>\nesac\n", "-h|--help)",
     "-h|--help)"},
    {"lua", LineMode::kSingle, "if a then\n  if b then\n    c()\n  <cursor>\nend\n", "end", "end"},
};

TEST_CASE("polish") {
  for (const Case& c : kCases) {
    CAPTURE(c.before);
    CAPTURE(c.text);
    const Filtered said =
        polish(c.text, context_of(c.before, c.language), c.mode, TextEnd::kComplete);
    CHECK(said.text == c.result);
    CHECK(said.dropped_by.empty() == !said.text.empty());
  }
}

TEST_CASE("polishing twice changes nothing") {
  for (const Case& c : kCases) {
    CAPTURE(c.before);
    CAPTURE(c.text);
    const CursorContext context = context_of(c.before, c.language);
    const Filtered once = polish(c.text, context, c.mode, TextEnd::kComplete);
    if (!once.dropped_by.empty()) continue;
    CHECK(polish(once.text, context, c.mode, TextEnd::kComplete).text == once.text);
  }
}

TEST_CASE("what the limits cut off is not shown") {
  CHECK(cut_unfinished("foo(bar, ba", TextEnd::kTruncated) == "foo(bar, ");
  CHECK(cut_unfinished("foobar", TextEnd::kTruncated) == "foobar");
  CHECK(cut_unfinished("a = 1\nb = ", TextEnd::kTruncated) == "a = 1");
  CHECK(cut_unfinished("\nb = ", TextEnd::kTruncated) == "\nb = ");
  CHECK(cut_unfinished("a = 1\nb = ", TextEnd::kComplete) == "a = 1\nb = ");
  const Filtered said = polish("for (const x of a) {\n    t += x;\n    if (x) {\n      t(",
                               context_of("function f() {\n  <cursor>\n}\n", "javascript"),
                               LineMode::kBlock, TextEnd::kTruncated);
  CHECK(said.text == "for (const x of a) {\n    t += x;\n    if (x) {");
  const Filtered closed = polish("for (const x of a) {\n    t += x;\n    u(",
                                 context_of("function f() {\n  <cursor>\n}\n", "javascript"),
                                 LineMode::kBlock, TextEnd::kTruncated);
  CHECK(closed.text == "for (const x of a) {\n    t += x;\n  }");
}

TEST_CASE("place replaces brackets instead of doubling them") {
  struct {
    std::string before;
    std::string text;
    std::string insert;
    size_t replaced;
  } cases[] = {
      {"foo(<cursor>)\n", "a)", "a", 0},         {"foo(<cursor>)\n", "a", "a", 0},
      {"foo(<cursor>)\n", "a).b", "a).b", 1},    {"foo(<cursor>)\n", "a).b(c)", "a).b(c", 0},
      {"if (<cursor>)\n", "a) {", "a) {", 1},    {"if (<cursor>) {\n", "a) {", "a", 0},
      {"foo(bar(<cursor>))\n", "a))", "a", 0},   {"foo(bar(<cursor>))\n", "a)", "a", 0},
      {"foo(\"<cursor>\")\n", "a\")", "a", 0},   {"foo(\"<cursor>\")\n", "a\", b)", "a\", b", 1},
      {"foo(\"<cursor>\");\n", "a\");", "a", 0}, {"foo( <cursor> )\n", "a )", "a", 0},
      {"x[<cursor>]\n", "i] = 1", "i] = 1", 1},  {"foo(<cursor>\n", "a)", "a)", 0},
  };
  for (const auto& c : cases) {
    CAPTURE(c.before);
    CAPTURE(c.text);
    const Placement placed = place(c.text, context_of(c.before, "javascript"));
    CHECK(placed.replaced <= context_of(c.before, "javascript").rest.size());
    if (c.before.find("( <cursor> )") == std::string::npos) {
      CHECK(placed.text == c.insert);
      CHECK(placed.replaced == c.replaced);
    }
  }
}

TEST_CASE("place never splits a character") {
  // The last bytes of both are alike, the characters are not.
  CursorContext context = context_of("f(<cursor>)é\n", "javascript");
  const Placement placed = place("a)\xE2\x80\xA9", context);
  CHECK((placed.text == "a)\xE2\x80\xA9" || placed.text == "a"));
}

}  // namespace
}  // namespace fimd

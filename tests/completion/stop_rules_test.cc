#include "completion/stop_rules.h"

#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::context_of;
using testing::marked;

struct Case {
  const char* language;
  LineMode mode;
  std::string before;  // with the cursor
  std::string text;    // generated
  const char* kept;    // null: goes on
  std::string rule;
};

const Case kCases[] = {
    // One line.
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(a)", nullptr, ""},
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(a)\n", "foo(a)", "end of line"},
    {"python", LineMode::kSingle, "x = <cursor>\n", "foo(a)\ny = 2\n", "foo(a)", "end of line"},
    {"python", LineMode::kSingle, "x = 1<cursor>\n", "\ny = 2\nz", "\ny = 2", "end of line"},
    {"python", LineMode::kSingle, "x = 1<cursor>\n", "\n\n\n", "", "blank lines"},
    {"python", LineMode::kSingle, "f(<cursor>, b)\n", "a\nc", "a", "end of line"},
    {"python", LineMode::kSingle, "f(<cursor>, b)\n", "\na", "", "end of line"},
    {"python", LineMode::kSingle, "f(<cursor>)\n", "\n    a,\n", "", "end of line"},
    // Brackets.
    {"python", LineMode::kSingle, "foo(<cursor>\n", "a)", nullptr, ""},
    {"python", LineMode::kSingle, "foo(<cursor>\n", "a))", "a)", "unmatched bracket"},
    {"python", LineMode::kSingle, "foo(<cursor>)\n", "a)", nullptr, ""},
    {"python", LineMode::kSingle, "foo(<cursor>)\n", "a))", "a)", "unmatched bracket"},
    {"python", LineMode::kSingle, "foo(<cursor>)\n", "a]", "a", "unmatched bracket"},
    {"python", LineMode::kSingle, "foo(bar(<cursor>)\n", "a))", nullptr, ""},
    {"python", LineMode::kSingle, "foo(bar(<cursor>)\n", "a)))", "a))", "unmatched bracket"},
    {"python", LineMode::kSingle, "foo(\"<cursor>\")\n", "a\")", nullptr, ""},
    {"python", LineMode::kSingle, "foo(\"<cursor>\")\n", "a\"))", "a\")", "unmatched bracket"},
    {"python", LineMode::kSingle, "# (see <cursor>\n", "a) b))", nullptr, ""},
    {"python", LineMode::kSingle, "x = 1\n<cursor>\n", ")", "", "unmatched bracket"},
    // Blocks with brackets.
    {"javascript", LineMode::kBlock, "function f() {\n  <cursor>\n}\n", "a();\n}\n", "a();",
     "unmatched bracket"},
    {"javascript", LineMode::kBlock, "function f() {\n  <cursor>\n", "a();\n}\n", "a();\n}",
     "block closed"},
    {"javascript", LineMode::kBlock, "function f() {\n  <cursor>\n", "a();\n}\n\nb();", "a();\n}",
     "block closed"},
    {"javascript", LineMode::kBlock, "g(function () {\n  <cursor>\n", "a();\n});\nb", "a();\n});",
     "block closed"},
    {"javascript", LineMode::kBlock, "if (a) {\n  <cursor>\n", "b();\n} else {\n  c();\n", nullptr,
     ""},
    {"javascript", LineMode::kBlock, "if (a) {\n  <cursor>\n", "b();\n} else {\n  c();\n}\nd();",
     "b();\n} else {\n  c();\n}", "block closed"},
    {"javascript", LineMode::kBlock, "if (a) {<cursor>}\n", "\n  b();\n}\nc();", "\n  b();\n}",
     "block closed"},
    // Dedent.
    {"python", LineMode::kBlock, "def f():\n    <cursor>\n", "a = 1\n    return a\n\ndef g",
     "a = 1\n    return a", "dedent"},
    {"python", LineMode::kBlock, "def f():<cursor>\n", "\n    return 1\nx", "\n    return 1",
     "dedent"},
    {"python", LineMode::kBlock, "def f():\n    <cursor>\n", "a = 1\n\n    b = 2\n", nullptr, ""},
    {"c", LineMode::kBlock, "void f() {\n  <cursor>\n", "a();\n#ifdef B\n  b();\n#endif\n", nullptr,
     ""},
    // Echoes.
    {"python", LineMode::kBlock, "def f():\n    <cursor>\n    return total\n",
     "total = 0\n    return total\n", "total = 0", "next line repeated"},
    {"python", LineMode::kBlock, "def f():\n    <cursor>\n    return total\n", "return total\n", "",
     "next line repeated"},
    {"python", LineMode::kBlock, "def f():\n    <cursor>\n    return total\n",
     "total = 0\n    return tot", nullptr, ""},
    // Loops.
    {"python", LineMode::kBlock, "def f():\n    <cursor>\n",
     "a.append(1)\n    a.append(1)\n    a.append(1)\n    a.append(1)\n",
     "a.append(1)\n    a.append(1)", "repetition"},
};

TEST_CASE("find_stop") {
  for (const Case& c : kCases) {
    CAPTURE(c.before);
    CAPTURE(c.text);
    const auto stop = find_stop(c.text, context_of(c.before, c.language), c.mode);
    REQUIRE(stop.has_value() == (c.kept != nullptr));
    if (!stop) continue;
    CHECK(c.text.substr(0, stop->length) == c.kept);
    CHECK(stop->rule == c.rule);
  }
}

TEST_CASE("streamed in pieces of any size, a generation ends in the same place") {
  for (const Case& c : kCases) {
    if (c.rule == "repetition") continue;  // looks at the tail only
    CAPTURE(c.before);
    CAPTURE(c.text);
    const std::string& text = c.text;
    const auto at = marked(c.before, c.language);
    const CursorContext context = cursor_context(*at.document, at.cursor);
    std::optional<std::string> first;
    for (size_t piece : {1U, 2U, 3U, 5U, 100U}) {
      CAPTURE(piece);
      std::string kept = text;
      for (size_t end = piece;; end += piece) {
        const std::string so_far = text.substr(0, end);
        if (const auto stop = find_stop(so_far, context, c.mode)) {
          kept = so_far.substr(0, stop->length);
          break;
        }
        if (end >= text.size()) break;
      }
      if (!first) first = kept;
      CHECK(kept == *first);
    }
  }
}

TEST_CASE("repetition_start keeps the first time") {
  const auto kept = [](const std::string& text) {
    const auto at = repetition_start(text);
    return at ? text.substr(0, *at) : std::string("-");
  };
  std::string loop = "x = [";
  for (int i = 0; i < 12; ++i) loop += "foo, bar, ";
  CHECK(kept(loop) == "x = [foo, bar, ");
  std::string zeros = "[";
  for (int i = 0; i < 40; ++i) zeros += "0, ";
  CHECK(kept(zeros) == "[0, ");
  CHECK(kept("[0, 0, 0, 0, 0, 0, 0, 0]") == "-");
  CHECK(kept(std::string(200, '-')) == "-");
  CHECK(kept(std::string(200, ' ')) == "-");
  CHECK(kept("") == "-");
  CHECK(kept("def f(self):\n    self.a = a\n    self.b = b\n    self.c = c\n    self.d = d\n") ==
        "-");
  CHECK(kept("ab\nabcd()\nabcd()\nabcd()\n") == "ab\nabcd()");
  CHECK(kept("ab\nabcd()\nabcd()\nabcd()") == "-");  // the last line may go on
}

TEST_CASE("line limit") {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "call_" + std::to_string(i * 7919 % 97) + "()\n";
  const auto stop = find_stop(text, context_of("<cursor>"), LineMode::kStatement);
  REQUIRE(stop.has_value());
  CHECK(stop->rule == "line limit");
  CHECK(std::count(text.begin(), text.begin() + static_cast<long>(stop->length), '\n') ==
        kMaxLines - 1);
}

TEST_CASE("the syntax tree ends a statement or a block") {
  const auto watch = [](const std::string& before, const std::string& language, LineMode mode,
                        const std::string& text) {
    const auto at = marked(before, language);
    StopWatch stops(at.document, at.cursor, cursor_context(*at.document, at.cursor), mode);
    for (size_t end = 1; end <= text.size(); ++end) {
      if (const auto stop = stops.check(std::string_view(text).substr(0, end))) {
        return text.substr(0, stop->length);
      }
    }
    const auto stop = stops.check_final(text);
    return stop ? text.substr(0, stop->length) : text + "...";
  };
  CHECK(watch("def f(a):\n    # sum\n    <cursor>\n", "python", LineMode::kStatement,
              "for x in a:\n        t += x\n    return t\n") == "for x in a:\n        t += x");
  CHECK(watch("function f(a) {\n  // sum\n  <cursor>\n}\n", "javascript", LineMode::kStatement,
              "for (const x of a) {\n    t += x;\n  }\n  return t;\n") ==
        "for (const x of a) {\n    t += x;\n  }");
  CHECK(watch("def f(a):\n    <cursor>\n\n\ndef g():\n    pass\n", "python", LineMode::kBlock,
              "t = 0\n    return t\n\n\ndef h():\n") == "t = 0\n    return t");
}

TEST_CASE("excess_closer is safe on any text") {
  const CursorContext context = context_of("f(<cursor>)\n");
  for (const char* text : {"", ")", ")))", "\"", "'", "`", "\\", "\n", "/*", "\"\"\"", "}])"}) {
    CAPTURE(text);
    const auto at = excess_closer(text, context);
    if (at) CHECK(*at < std::string_view(text).size());
  }
}

}  // namespace
}  // namespace fimd

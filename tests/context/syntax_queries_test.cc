#include "context/syntax_queries.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "context/language.h"

namespace fimd {
namespace {

struct Marked {
  DocumentPtr document;
  size_t offset;
};

/// `marked` has <cursor> in it.
Marked at_cursor(const std::string& language, std::string marked) {
  const std::string kMarker = "<cursor>";
  const size_t offset = marked.find(kMarker);
  REQUIRE(offset != std::string::npos);
  marked.erase(offset, kMarker.size());
  return {Document::open("file:///test", language, 1, marked), offset};
}

struct Case {
  const char* language;
  const char* text;
};

#define CHECK_ALL(question, expected, ...)                             \
  for (const Case& c : std::vector<Case>{__VA_ARGS__}) {               \
    const Marked m = at_cursor(c.language, c.text);                    \
    CHECK_MESSAGE(question(*m.document, m.offset) == (expected),       \
                  #question " in " << std::string(c.language) << ":\n" \
                                   << std::string(c.text));            \
  }

TEST_CASE("strings") {
  CHECK_ALL(
      inside_string, true, {"python", "x = 'a<cursor>b'\n"},
      {"python", "def f():\n    \"\"\"Doc\n    more<cursor>\n    \"\"\"\n    return 1\n"},
      {"python", "x = f\"a {b} <cursor>\"\n"}, {"python", "x = foo('ab<cursor>\n"},
      {"c", "char *s = \"a\\\"<cursor>\";\n"}, {"c", "int c = '<cursor>x';\n"},
      {"cpp", "auto s = R\"x(a)\" <cursor>)x\";\n"},
      {"javascript", "const s = `a ${b} <cursor>c`;\n"},
      {"javascript", "foo('abc<cursor>\nbar();\n"},
      {"typescript", "let s: string = \"<cursor>\";\n"}, {"go", "s := `raw <cursor>\n`\n"},
      {"rust", "let s = r#\"a\" <cursor>\"#;\n"}, {"rust", "fn f() { let s = \"a<cursor>\"; }\n"},
      {"java", "class A { String s = \"<cursor>\"; }\n"}, {"lua", "local s = [[ a <cursor> ]]\n"},
      {"lua", "local s = \"a<cursor>\"\n"}, {"bash", "echo \"a <cursor>\"\n"},
      {"bash", "cat <<EOF\nab <cursor>\nEOF\n"}, {"json", "{\"a\": \"b<cursor>\"}\n"},
      {"yaml", "a: \"b<cursor>\"\n"}, {"plaintext", "x = \"a<cursor>\"\n"});
  CHECK_ALL(inside_string, false, {"python", "x = 'ab'<cursor>\n"},
            {"python", "x = <cursor>'ab'\n"}, {"python", "x = f\"a {b<cursor>} \"\n"},
            {"python", "# it's<cursor>\n"}, {"cpp", "int x = 1'000'000<cursor>;\n"},
            {"javascript", "const s = `a ${b<cursor>} c`;\n"},
            {"javascript", "const r = a / b; <cursor> c / d;\n"},
            {"rust", "fn f<'a>(x: &'a str<cursor>) {}\n"}, {"go", "s := `raw`<cursor>\n"},
            {"lua", "local s = [[ a ]]<cursor>\n"}, {"json", "{\"a\": <cursor>1}\n"},
            {"bash", "cat <<EOF\nab\nEOF\n<cursor>\n"}, {"plaintext", "I don't know<cursor>\n"});
}

TEST_CASE("comments") {
  CHECK_ALL(inside_comment, true, {"python", "x = 1  # a<cursor>\n"}, {"python", "# a<cursor>"},
            {"c", "/* a <cursor> */ int x;\n"}, {"c", "int x; // a<cursor>\nint y;\n"},
            {"cpp", "/* open <cursor>\n"}, {"rust", "/* a /* b */ <cursor> */\n"},
            {"lua", "--[[ a\n <cursor> ]]\n"}, {"lua", "-- a<cursor>\n"},
            {"bash", "ls # a<cursor>\n"}, {"yaml", "a: 1 # b<cursor>\n"},
            {"javascript", "/** doc <cursor> */\n"}, {"go", "// a<cursor>\n"},
            {"java", "// <cursor>\nclass A {}\n"}, {"unknown", "# a<cursor>\n"});
  CHECK_ALL(inside_comment, false, {"python", "x = '# a<cursor>'\n"},
            {"python", "# a\n<cursor>x = 1\n"}, {"c", "/* a */<cursor> int x;\n"},
            {"c", "char *s = \"// <cursor>\";\n"}, {"rust", "/* a */ <cursor>\n"},
            {"rust", "// a\n<cursor>\n"}, {"bash", "echo ${#x<cursor>}\n"},
            {"bash", "echo a#b<cursor>\n"}, {"lua", "--[[ a ]]<cursor>\n"});
}

TEST_CASE("call arguments") {
  CHECK_ALL(
      inside_call_arguments, true, {"python", "foo(<cursor>)\n"}, {"python", "foo(a, <cursor>\n"},
      {"python", "x = a.b(c, [1, <cursor>])\n"},
      {"python", "def f():\n    print(a,\n          <cursor>\n\ndef g():\n    pass\n"},
      {"python", "foo(a, {'k': <cursor>})\n"}, {"c", "void f() { g(1, <cursor>); }\n"},
      {"c", "void f() {\n  g(1, <cursor>\n}\n"}, {"cpp", "auto x = std::max<int>(1, <cursor>);\n"},
      {"javascript", "foo(a, {b: <cursor>});\n"}, {"javascript", "new Foo(<cursor>);\n"},
      {"typescript", "foo<T>(a, <cursor>);\n"}, {"go", "package a\nfunc f() { g(<cursor>) }\n"},
      {"rust", "fn f() { g(1, <cursor>); }\n"},
      {"rust", "fn f() { println!(\"{}\", <cursor>); }\n"},
      {"java", "class A { void f() { g(1, <cursor>); } }\n"}, {"lua", "foo(a, <cursor>)\n"},
      {"lua", "foo(a, <cursor>\n"}, {"unknown", "foo(a, <cursor>\n"});
  CHECK_ALL(inside_call_arguments, false, {"python", "foo()<cursor>\n"},
            {"python", "<cursor>foo()\n"}, {"python", "def f(a, <cursor>):\n    pass\n"},
            {"python", "def f(a, <cursor>\n"}, {"python", "x = (1 + <cursor>)\n"},
            {"python", "x = [1, <cursor>]\n"}, {"c", "void f() { if (a <cursor>) {} }\n"},
            {"c", "int f(int a, <cursor>);\n"}, {"javascript", "foo(() => { <cursor> });\n"},
            {"javascript", "while (<cursor>) {}\n"},
            {"javascript", "foo(function () {\n  <cursor>\n});\n"},
            {"go", "package a\nfunc f(<cursor>) {}\n"}, {"rust", "fn f(<cursor>) {}\n"},
            {"java", "class A { void f(<cursor>) {} }\n"}, {"lua", "local x = (1 + <cursor>)\n"},
            {"unknown", "if (a <cursor>\n"});
}

TEST_CASE("empty blocks") {
  CHECK_ALL(
      at_empty_block, true, {"python", "def f():\n    <cursor>\n"}, {"python", "def f():<cursor>"},
      {"python", "def f():\n    <cursor>\n\nx = 1\n"},
      {"python", "def f(\n    a,\n    b,\n):\n    <cursor>\n"},
      {"python", "def f():\n    \"\"\"Doc.\"\"\"\n    <cursor>\n\n\ndef g():\n    pass\n"},
      {"python",
       "class A:\n    def f(self):\n        # todo\n        <cursor>\n\n    def g(self):\n        "
       "pass\n"},
      {"python", "if x:\n    y()\nelse:\n    <cursor>\n"}, {"python", "class A:\n    <cursor>\n"},
      {"python", "for a in b:\n  <cursor>"}, {"c", "void f() {\n  <cursor>\n}\n"},
      {"c", "void f() {<cursor>}\n"}, {"c", "void f() {\n  <cursor>\n\nvoid g() {\n  h();\n}\n"},
      {"c", "void f() {\n  if (x) {\n    <cursor>\n  }\n}\n"},
      {"c", "struct A {\n  <cursor>\n};\n"},
      {"c",
       "void f(int x) {\n  switch (x) {\n    case 1:\n      <cursor>\n    case 2:\n      g();\n  "
       "}\n}\n"},
      {"cpp", "namespace a {\n<cursor>\n}\n"}, {"cpp", "auto f = [](int x) {\n  <cursor>\n};\n"},
      {"cuda", "__global__ void k(float* x) {\n  <cursor>\n}\n"},
      {"javascript", "function f() {\n  // todo\n  <cursor>\n}\n"},
      {"javascript", "const f = (a) => {\n  <cursor>\n};\n"},
      {"javascript", "class A {\n  <cursor>\n}\n"},
      {"typescript", "interface A {\n  <cursor>\n}\n"},
      {"tsx", "function A(): JSX.Element {\n  <cursor>\n}\n"},
      {"go", "package a\n\nfunc f() {\n\t<cursor>\n}\n"},
      {"go", "package a\n\nfunc f() {\n\tfor i := range x {\n\t\t<cursor>\n\t}\n}\n"},
      {"rust", "fn f() {\n    <cursor>\n}\n"}, {"rust", "impl A {\n    <cursor>\n}\n"},
      {"rust", "fn f() {\n    match x {\n        <cursor>\n    }\n}\n"},
      {"java", "class A {\n  void f() {\n    <cursor>\n  }\n}\n"},
      {"lua", "function f(a)\n  <cursor>\nend\n"}, {"lua", "local function f(a)\n  <cursor>\n"},
      {"lua", "if x then\n  <cursor>\nend\n"}, {"lua", "foo(function(a)\n  <cursor>\nend)\n"},
      {"bash", "if true; then\n  <cursor>\nfi\n"}, {"bash", "for i in a b; do\n  <cursor>\ndone\n"},
      {"bash", "f() {\n  <cursor>\n}\n"}, {"json", "{\n  \"a\": {\n    <cursor>\n  }\n}\n"},
      {"yaml", "a:\n  <cursor>\nb: 1\n"}, {"unknown", "proc f {\n  <cursor>\n}\n"});
  CHECK_ALL(
      at_empty_block, false, {"python", "def f():\n    <cursor>\n    return 1\n"},
      {"python", "def f():\n    x = 1\n    <cursor>\n"}, {"python", "x = {\n    <cursor>\n}\n"},
      {"python", "x = a[1:<cursor>]\n"}, {"python", "def f():\n    pass\n<cursor>\n"},
      {"python", "def f():\n<cursor>\n"}, {"python", "d = {'a':<cursor>}\n"},
      {"python", "x: <cursor>int = 1\n"}, {"python", "def f(): # {\n    y()\n    <cursor>\n"},
      {"c", "void f() {\n  <cursor>\n  g();\n}\n"}, {"c", "int a[] = {<cursor>};\n"},
      {"c", "void f() {\n  g();\n  <cursor>\n}\n"}, {"c", "// {\n<cursor>\n"},
      {"javascript", "const o = {\n  <cursor>\n};\n"},
      {"javascript", "import {<cursor>} from 'a';\n"}, {"javascript", "foo({\n  <cursor>\n});\n"},
      {"go", "package a\n\nvar x = T{\n\t<cursor>\n}\n"},
      {"rust", "fn f() { let a = A { <cursor> }; }\n"},
      {"java", "class A { int[] x = {<cursor>}; }\n"}, {"lua", "local x = f(a)\n<cursor>\n"},
      {"lua", "if x then\n  y()\n  <cursor>\nend\n"}, {"lua", "local t = {\n  <cursor>\n}\n"},
      {"bash", "echo a\n<cursor>\n"}, {"yaml", "a:\n  b: 1\n  <cursor>\n"},
      {"yaml", "a: 1\n<cursor>\n"});
}

TEST_CASE("statement starts") {
  CHECK_ALL(at_statement_start, true, {"python", "<cursor>"},
            {"python", "def f():\n    <cursor>\n"}, {"python", "x = 1\n<cursor>y = 2\n"},
            {"c", "void f() {\n  <cursor>\n}\n"}, {"javascript", "foo(() => {\n  <cursor>\n});\n"},
            {"lua", "local x = 1\n<cursor>\n"},
            {"go", "package a\n\nfunc f() {\n\tx := 1\n\t<cursor>\n}\n"});
  CHECK_ALL(at_statement_start, false, {"python", "x<cursor>\n"},
            {"python", "foo(\n    <cursor>\n)\n"}, {"python", "x = [\n    1,\n    <cursor>\n"},
            {"python", "\"\"\"\n<cursor>\n\"\"\"\n"}, {"python", "x = 1 + \\\n    <cursor>\n"},
            {"c", "/*\n<cursor>\n*/\n"}, {"javascript", "const o = {\n  <cursor>\n};\n"});
}

TEST_CASE("enclosing definitions") {
  const auto name = [](const char* language, const char* text) {
    const Marked m = at_cursor(language, text);
    return enclosing_definition(*m.document, m.offset);
  };
  CHECK(name("python", "class A:\n    def f(self):\n        <cursor>pass\n") == "f");
  CHECK(name("python", "class A:\n    <cursor>x = 1\n") == "A");
  CHECK(name("python", "@deco\ndef g():\n    <cursor>return 1\n") == "g");
  CHECK(name("python", "<cursor>x = 1\n") == "");
  CHECK(name("c", "static int *f(int a) { <cursor>return 0; }\n") == "f");
  CHECK(name("cpp", "void ns::A::f(int a) { <cursor>return; }\n") == "f");
  CHECK(name("javascript", "class A { m() { <cursor>return 1; } }\n") == "m");
  CHECK(name("go", "package a\nfunc (t *T) M() { <cursor>return }\n") == "M");
  CHECK(name("rust", "impl A { fn f() { <cursor>g(); } }\n") == "f");
  CHECK(name("rust", "impl T for A { <cursor>fn f() {} }\n") != "");
  CHECK(name("java", "class A { void f() { <cursor>g(); } }\n") == "f");
  CHECK(name("lua", "function M.f(a)\n  <cursor>return 1\nend\n") == "f");
  CHECK(name("bash", "f() {\n  <cursor>ls\n}\n") == "f");
}

TEST_CASE("brackets") {
  const auto balance = [](const char* id, std::string_view text) {
    return bracket_balance(text, find_language(id, ""));
  };
  CHECK(balance("python", "foo(a, [1, {").missing_closers == "}])");
  CHECK(balance("python", "foo(')', # ]\n").missing_closers == ")");
  CHECK(balance("python", "a)").first_unmatched == 1);
  CHECK(balance("python", "(a]").first_unmatched == 2);
  CHECK_FALSE(balance("python", "(a)").first_unmatched);
  CHECK(balance("python", "x = 'a").end_place == Place::kString);
  CHECK(balance("c", "/* a").end_place == Place::kComment);
  CHECK(balance("c", "f(); // a").end_place == Place::kComment);
  CHECK(balance("c", "f(); // a\n").end_place == Place::kCode);
  CHECK(balance("javascript", "`${f({`").missing_closers == "})");
  CHECK(balance("javascript", "x.replace(/[(/]/g, ''").missing_closers == ")");
  CHECK_FALSE(balance("bash", "a) ls ;;").first_unmatched);
  CHECK(balance("", "f(\"(\"").missing_closers == ")");

  const Marked open = at_cursor("python", "x = foo(a, [<cursor>\n\ndef g():\n    pass\n");
  CHECK(open_brackets(*open.document, open.offset) == "])");
  const Marked closed = at_cursor("javascript", "foo(() => {\n  bar(<cursor>);\n});\n");
  CHECK(open_brackets(*closed.document, closed.offset) == ")})");
  const Marked broken = at_cursor("c", "void f() {\n  if (x {\n    y(<cursor>\n  }\n}\n");
  CHECK(open_brackets(*broken.document, broken.offset) == ")})}");
}

TEST_CASE("identifiers and their parts") {
  const std::vector<std::string_view> words = identifiers("x = foo_bar(Baz1, 12, 0x1f, é2)");
  CHECK(words == std::vector<std::string_view>{"foo_bar", "Baz1", "é2"});
  CHECK(identifier_parts("parseHTTPHeader_v2") ==
        std::vector<std::string>{"parse", "http", "header", "v2"});
  CHECK(identifier_parts("__init__") == std::vector<std::string>{"init"});
  CHECK(identifier_parts("X") == std::vector<std::string>{"x"});
  CHECK(identifier_parts("").empty());
}

}  // namespace
}  // namespace fimd

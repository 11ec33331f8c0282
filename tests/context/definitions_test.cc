#include "context/definitions.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace fimd {
namespace {

struct Marked {
  DocumentPtr document;
  size_t offset;
};

Marked at_cursor(const std::string& language, std::string marked) {
  const std::string kMarker = "<cursor>";
  const size_t offset = marked.find(kMarker);
  REQUIRE(offset != std::string::npos);
  marked.erase(offset, kMarker.size());
  return {Document::open("file:///test", language, 1, marked), offset};
}

TEST_CASE("the code around a place is the innermost function or class, whole") {
  struct Case {
    const char* language;
    const char* text;
    const char* code;  // "" : nothing
  };
  const std::vector<Case> cases = {
      {"python", "def f(x):\n    return <cursor>x\n\ndef g():\n    pass\n",
       "def f(x):\n    return x"},
      {"python", "<cursor>def f(x):\n    return x\n", "def f(x):\n    return x"},
      {"python", "def f(x):\n    return x<cursor>\n", "def f(x):\n    return x"},
      {"python", "class A:\n    x = <cursor>1\n\n    def m(self):\n        pass\n",
       "class A:\n    x = 1\n\n    def m(self):\n        pass"},
      {"python", "class A:\n  <cursor>  @property\n    def m(self):\n        return 1\n",
       "@property\n    def m(self):\n        return 1"},
      {"python", "def f():\n    def inner():\n        return <cursor>1\n    return inner\n",
       "def inner():\n        return 1"},
      {"python", "import os\n\nx = <cursor>[1,\n     2]\n", "x = [1,\n     2]"},
      {"python", "import os\n<cursor>\nx = 1\n", ""},
      {"python", "", nullptr},
      {"cpp", "namespace a {\nint f() {\n  return <cursor>1;\n}\nint g();\n}\n",
       "int f() {\n  return 1;\n}"},
      {"cpp", "namespace a {\nint f() { return 1; }\nint <cursor>g();\n}\n", "int g();"},
      {"cpp",
       "#ifndef A\n#define A\ntemplate <class T>\nT f(T x) {\n  return <cursor>x;\n}\n#endif\n",
       "template <class T>\nT f(T x) {\n  return x;\n}"},
      {"c", "int f(struct s *<cursor>p) {\n  return p->x;\n}\n",
       "int f(struct s *p) {\n  return p->x;\n}"},
      {"c", "struct s {\n  int <cursor>x;\n};\n", "struct s {\n  int x;\n}"},
      {"javascript", "export function f() {\n  return <cursor>1;\n}\n",
       "export function f() {\n  return 1;\n}"},
      {"javascript", "const f = (x) => {\n  return <cursor>x;\n};\n",
       "const f = (x) => {\n  return x;\n};"},
      {"typescript", "class A {\n  m(): number {\n    return <cursor>1;\n  }\n}\n",
       "m(): number {\n    return 1;\n  }"},
      {"go", "package a\n\nfunc (t *T) F() int {\n\treturn <cursor>1\n}\n",
       "func (t *T) F() int {\n\treturn 1\n}"},
      {"go", "package a\n\ntype T struct {\n\tx <cursor>int\n}\n", "type T struct {\n\tx int\n}"},
      {"rust",
       "mod a {\n    impl T {\n        fn f(&self) -> i32 {\n            <cursor>1\n        }\n    "
       "}\n}\n",
       "fn f(&self) -> i32 {\n            1\n        }"},
      {"java", "class A {\n  @Override\n  public int f() {\n    return <cursor>1;\n  }\n}\n",
       "@Override\n  public int f() {\n    return 1;\n  }"},
      {"lua", "local function f(x)\n  return <cursor>x\nend\n",
       "local function f(x)\n  return x\nend"},
      {"bash", "f() {\n  echo <cursor>a\n}\n", "f() {\n  echo a\n}"},
      {"plaintext", "some <cursor>words\n", ""},
  };
  for (const Case& c : cases) {
    if (c.code == nullptr) continue;
    const std::string shown = c.text;
    CAPTURE(shown);
    const Marked m = at_cursor(c.language, c.text);
    const auto region = code_around(*m.document, m.offset);
    const std::string got =
        region ? m.document->text().substr(region->begin, region->end - region->begin) : "";
    CHECK(got == c.code);
  }
}

TEST_CASE("documentation belongs above or inside, by language") {
  struct Case {
    const char* language;
    const char* text;
    const char* name;  // "" : an error
    size_t line;
    const char* indent;
    const char* present;  // what is there
  };
  const std::vector<Case> cases = {
      {"python", "def f(x):\n    return <cursor>x\n", "f", 1, "    ", ""},
      {"python", "<cursor>def f(x):\n    '''Old.'''\n    return x\n", "f", 1, "    ",
       "    '''Old.'''\n"},
      {"python",
       "class A:\n    <cursor>@staticmethod\n    def m():\n        \"\"\"Old\n        more\n       "
       " \"\"\"\n",
       "m", 3, "        ", "        \"\"\"Old\n        more\n        \"\"\"\n"},
      {"python", "class A<cursor>:\n\n    x = 1\n", "A", 2, "    ", ""},
      {"python", "def f(): return <cursor>1\n", "", 0, "", ""},
      {"python", "x = <cursor>1\n", "", 0, "", ""},
      {"cpp", "struct S {\n  int <cursor>x() const;\n};\n", "x", 1, "  ", ""},
      {"cpp", "/// Old.\n/// More.\ntemplate <class T>\nT f(T x) {\n  return <cursor>x;\n}\n", "f",
       0, "", "/// Old.\n/// More.\n"},
      {"cpp", "int a;  /// of a\nint <cursor>f() { return 1; }\n", "f", 1, "", ""},
      {"cpp", "// not documentation\nint <cursor>f() { return 1; }\n", "f", 1, "", ""},
      {"cpp", "<cursor>// a remark\nint f() { return 1; }\n", "f", 1, "", ""},
      {"c", "/**\n * Old.\n */\nstatic int <cursor>f(void) {\n  return 1;\n}\n", "f", 0, "",
       "/**\n * Old.\n */\n"},
      {"c", "/** Far away. */\n\nint <cursor>f(void) { return 1; }\n", "f", 2, "", ""},
      {"javascript", "export const f = (x) => {\n  return <cursor>x;\n};\n", "f", 0, "", ""},
      {"javascript", "const f = (x) => {\n  return <cursor>x;\n};\n", "f", 0, "", ""},
      {"javascript", "<cursor>export const f = (x) => {\n  return x;\n};\n", "f", 0, "", ""},
      {"typescript", "interface I {\n  a: <cursor>string;\n}\n", "a", 1, "  ", ""},
      {"go", "package a\n\n// F is old.\n//go:noinline\nfunc F() int {\n\treturn <cursor>1\n}\n",
       "F", 2, "", "// F is old.\n"},
      {"rust", "#[derive(Debug)]\n#[allow(x)]\npub struct <cursor>S {\n    a: i32,\n}\n", "S", 0,
       "", ""},
      {"rust",
       "impl S {\n    /// Old.\n    #[inline]\n    fn f(&self) -> i32 {\n        <cursor>1\n    "
       "}\n}\n",
       "f", 1, "    ", "    /// Old.\n"},
      {"java",
       "class A {\n  /** Old. */\n  @Override\n  public int f() {\n    return <cursor>1;\n  }\n}\n",
       "f", 1, "  ", "  /** Old. */\n"},
      {"lua", "local M = {}\n\nfunction M.f(x)\n  return <cursor>x\nend\n", "f", 2, "", ""},
      {"bash", "#!/bin/sh\nf() {\n  echo <cursor>a\n}\n", "f", 1, "", ""},
      {"bash", "# Old.\nf() {\n  echo <cursor>a\n}\n", "f", 0, "", "# Old.\n"},
      {"json", "{\"a\": <cursor>1}\n", "", 0, "", ""},
      {"plaintext", "<cursor>f\n", "", 0, "", ""},
  };
  for (const Case& c : cases) {
    const std::string shown = c.text;
    CAPTURE(shown);
    const Marked m = at_cursor(c.language, c.text);
    const auto place = doc_place(*m.document, m.offset, m.offset);
    REQUIRE(place.ok() == (*c.name != '\0'));
    if (!place.ok()) continue;
    CHECK(place->code.name == c.name);
    CHECK(m.document->line_of(place->begin) == c.line);
    CHECK(m.document->line_start(c.line) == place->begin);
    CHECK(place->indent == c.indent);
    CHECK(m.document->text().substr(place->begin, place->end - place->begin) == c.present);
    CHECK(place->documented() == (*c.present != '\0'));
  }
}

TEST_CASE("a range means the first definition that begins in it") {
  const std::string text =
      "import os\n\nX = 1\n\n\ndef f():\n    return 1\n\n\ndef g():\n    return 2\n";
  const DocumentPtr document = Document::open("file:///a.py", "python", 1, text);
  const auto from_top = doc_place(*document, 0, text.size());
  REQUIRE(from_top.ok());
  CHECK(from_top->code.name == "f");  // X can have no docstring
  const auto first = doc_place(*document, text.find("def f"), text.size());
  REQUIRE(first.ok());
  CHECK(first->code.name == "f");
  const auto second = doc_place(*document, text.find("def g"), text.size());
  REQUIRE(second.ok());
  CHECK(second->code.name == "g");
}

TEST_CASE("broken and deeply nested text is survived") {
  for (const char* language :
       {"python", "cpp", "go", "rust", "java", "lua", "bash", "typescript"}) {
    std::string text;
    for (int i = 0; i < 3000; ++i) text += i % 3 == 0 ? "{(" : "def f[";
    const DocumentPtr document = Document::open("file:///a", language, 1, text);
    for (size_t at = 0; at <= text.size(); at += 997) {
      (void)code_around(*document, at);
      (void)doc_place(*document, at, at + 10);
    }
    (void)code_around(*document, text.size() + 5);
    CHECK(document->text() == text);
  }
}

}  // namespace
}  // namespace fimd

#include <doctest/doctest.h>

#include <optional>
#include <string>

#include "context/syntax_queries.h"

namespace fimd {
namespace {

/// Streams `generated` byte by byte into the marked document; returns what it is cut to, or
/// "(goes on)". `taken`: how many bytes had to be generated before the end was known.
template <class Question>
std::string stream(const std::string& language, std::string marked, const std::string& generated,
                   Question question, size_t* taken = nullptr) {
  const std::string kMarker = "<cursor>";
  const size_t offset = marked.find(kMarker);
  REQUIRE(offset != std::string::npos);
  marked.erase(offset, kMarker.size());
  Continuation continuation(Document::open("file:///t", language, 1, marked), offset, offset);
  for (size_t n = 1; n <= generated.size(); ++n) {
    if ((static_cast<unsigned char>(generated[n - 1]) & 0x80) != 0) continue;
    const std::optional<size_t> end = question(continuation, generated.substr(0, n));
    if (end) {
      REQUIRE(*end <= n);
      if (taken != nullptr) *taken = n;
      return generated.substr(0, *end);
    }
  }
  return "(goes on)";
}

std::string statement(const std::string& language, const std::string& marked,
                      const std::string& generated, size_t* taken = nullptr) {
  return stream(
      language, marked, generated,
      [](Continuation& c, const std::string& text) { return c.statement_end(text); }, taken);
}

std::string block(const std::string& language, const std::string& marked,
                  const std::string& generated) {
  return stream(language, marked, generated,
                [](Continuation& c, const std::string& text) { return c.block_end(text); });
}

TEST_CASE("a simple statement ends at its line in Python") {
  size_t taken = 0;
  CHECK(statement("python", "def f():\n    x = <cursor>\n    return x\n", "1 + 2\n    y = 3\n",
                  &taken) == "1 + 2");
  CHECK(taken <= 8);
  CHECK(statement("python", "def f():\n    <cursor>", "return foo(1,\n        2)\n    y = 1\n") ==
        "return foo(1,\n        2)");
  CHECK(statement("python", "x = foo(<cursor>", "a,\n    b)\nprint(x)\n") == "a,\n    b)");
  CHECK(statement("python", "x = [\n    <cursor>\n]\n", "1,\n    2,\n") == "(goes on)");
  CHECK(statement("python", "<cursor>", "x = 1\ny = 2\n") == "x = 1");
  CHECK(statement("python", "<cursor>", "# a comment\nx = 1\ny = 2\n") == "# a comment\nx = 1");
}

TEST_CASE("a compound statement ends with its block and its branches in Python") {
  CHECK(statement("python", "def f():\n    <cursor>",
                  "for x in y:\n        g(x)\n        h()\n    z = 1\n") ==
        "for x in y:\n        g(x)\n        h()");
  CHECK(statement("python", "def f():\n    <cursor>",
                  "if a:\n        b()\n    else:\n        c()\n    d()\n") ==
        "if a:\n        b()\n    else:\n        c()");
  CHECK(statement("python", "<cursor>\n", "def f():\n    return 1\n\n\ndef g():\n    pass\n") ==
        "def f():\n    return 1");
  CHECK(statement("python", "def f():\n    if <cursor>", "a:\n        b()\n    c()\n") ==
        "a:\n        b()");
}

TEST_CASE("statements end at their terminator or block in brace languages") {
  CHECK(statement("c", "void f() {\n  int x = <cursor>\n  g();\n}\n", "1;\n  int y") == "1;");
  CHECK(statement("c", "void f() {\n  <cursor>\n}\n",
                  "if (a) {\n    b();\n  } else {\n    c();\n  }\n  d();\n") ==
        "if (a) {\n    b();\n  } else {\n    c();\n  }");
  CHECK(statement("cpp", "void f() {\n  <cursor>\n}\n",
                  "for (int i = 0; i < 3; ++i) {\n    g(i);\n  }\n  h(") ==
        "for (int i = 0; i < 3; ++i) {\n    g(i);\n  }");
  CHECK(statement("cpp", "void f() {\n  <cursor>\n}\n", "g(a,\n    b);\n  h();\n") ==
        "g(a,\n    b);");
  CHECK(statement("javascript", "function f() {\n  <cursor>\n}\n",
                  "fetch(a)\n    .then(b)\n    .catch(c);\n  g();\n") ==
        "fetch(a)\n    .then(b)\n    .catch(c);");
  CHECK(statement("javascript", "function f() {\n  <cursor>\n}\n",
                  "const a = b\n  const c = d\n") == "const a = b");
  CHECK(statement("javascript", "foo(() => {\n  <cursor>\n});\n", "bar();\n  baz();\n") ==
        "bar();");
  CHECK(statement("typescript", "class A {\n  <cursor>\n}\n",
                  "get x(): number {\n    return 1;\n  }\n\n  set x(v") ==
        "get x(): number {\n    return 1;\n  }");
  CHECK(statement("tsx", "function A() {\n  return <cursor>\n}\n", "<p>hi {x}</p>;\n") ==
        "<p>hi {x}</p>;");
  CHECK(statement("go", "package a\n\nfunc f() {\n\t<cursor>\n}\n", "x := g(1)\n\ty := 2\n") ==
        "x := g(1)");
  CHECK(statement("go", "package a\n\nfunc f() {\n\t<cursor>\n}\n",
                  "if err != nil {\n\t\treturn err\n\t}\n\treturn nil\n") ==
        "if err != nil {\n\t\treturn err\n\t}");
  CHECK(statement("rust", "fn f() {\n    <cursor>\n}\n",
                  "let x = match y {\n        A => 1,\n        B => 2,\n    };\n    z") ==
        "let x = match y {\n        A => 1,\n        B => 2,\n    };");
  CHECK(statement("java", "class A {\n  <cursor>\n}\n",
                  "int f() {\n    return 1;\n  }\n\n  int g;\n") ==
        "int f() {\n    return 1;\n  }");
  CHECK(statement("java", "class A {\n  void f() {\n    int x = <cursor>\n  }\n}\n",
                  "g(1);\n    h();\n") == "g(1);");
  CHECK(statement("cuda", "__global__ void k(float* x) {\n  <cursor>\n}\n",
                  "int i = threadIdx.x;\n  x[i] = 0;\n") == "int i = threadIdx.x;");
}

TEST_CASE("statements end in Lua, Bash, JSON and YAML") {
  CHECK(statement("lua", "function f()\n  <cursor>\nend\n", "local x = g(1)\n  local y = 2\n") ==
        "local x = g(1)");
  CHECK(statement("lua", "function f()\n  <cursor>\nend\n",
                  "if a then\n    b()\n  else\n    c()\n  end\n  d()\n") ==
        "if a then\n    b()\n  else\n    c()\n  end");
  CHECK(statement("bash", "f() {\n  <cursor>\n}\n", "ls -l | wc\n  echo b\n") == "ls -l | wc");
  CHECK(statement("bash", "<cursor>\n", "for i in a; do\n  ls\ndone\necho x\n") ==
        "for i in a; do\n  ls\ndone");
  CHECK(statement("json", "{\n  \"a\": <cursor>\n}\n", "[1, 2],\n  \"b\": 3\n") == "[1, 2],");
  CHECK(statement("yaml", "a:\n  b: 1\n  <cursor>\n", "c: 2\n  d: 3\n") == "c: 2");
}

TEST_CASE("a comma, a colon or half a line does not end a statement") {
  CHECK(statement("go", "package a\n\nfunc f() {\n\t<cursor>\n}\n",
                  "x, err := g()\n\tif err != nil {") == "x, err := g()");
  CHECK(statement("lua", "<cursor>\n", "return nil, 'x'\nend\n") == "return nil, 'x'");
  CHECK(statement("python", "<cursor>\n", "from a import b, c\nx = 1\n") == "from a import b, c");
  CHECK(statement("c", "void f(int x) {\n  switch (x) {\n    <cursor>\n  }\n}\n",
                  "case 1:\n      g();\n      break;\n    case 2:\n") ==
        "case 1:\n      g();\n      break;");
  CHECK(statement("c", "void f() {\n  <cursor>\n}\n",
                  "if (a)\n    b();\n  else\n    c();\n  d();\n") ==
        "if (a)\n    b();\n  else\n    c();");
  CHECK(statement("c", "<cursor>\n", "#include <a.h>\n#include <b.h>\n") == "#include <a.h>");
  CHECK(statement("rust", "fn f() {\n    match x {\n        <cursor>\n    }\n}\n",
                  "(A, _) => 1,\n        (B, _) => 2,\n") == "(A, _) => 1,");
  CHECK(statement("yaml", "<cursor>\n", "a:\n- b: don't (\n  c: 1\nd: 2\n") ==
        "a:\n- b: don't (\n  c: 1");
  CHECK(statement("python", "class A:\n    \"\"\"Doc.\"\"\"\n    <cursor>\n",
                  "x = 1\n    y = 2\n") == "x = 1");
  CHECK(statement("java", "class A {\n  <cursor>\n}\n",
                  "int f() {\n    return 1;\n  }\n\n  // next") == "int f() {\n    return 1;\n  }");
}

TEST_CASE("a closing bracket opened before the cursor ends the statement") {
  CHECK(statement("c", "void f() {\n  <cursor>", "g();\n}\n\nvoid h() {") == "g();");
  CHECK(statement("c", "void f() {\n  g();\n  <cursor>", "}\n\nvoid h() {") == "");
  CHECK(statement("javascript", "const f = () => {\n  <cursor>", "g()\n}\n") == "g()");
}

TEST_CASE("a block ends before its closing bracket, keyword or dedent") {
  CHECK(block("python", "def f():\n    <cursor>",
              "x = 1\n    if x:\n        y()\n\n    return x\n\n\ndef g():\n") ==
        "x = 1\n    if x:\n        y()\n\n    return x");
  CHECK(block("python", "def f():<cursor>", "\n    return 1\n\ndef g():\n") == "\n    return 1");
  CHECK(block("python", "class A:\n    def f(self):\n        <cursor>",
              "return 1\n\n    def g(self):\n") == "return 1");
  CHECK(block("python", "def f():\n    x = <cursor>", "(1,\n2)\n    y\nz") == "(1,\n2)\n    y");
  CHECK(block("python", "def f():\n    \"\"\"Doc<cursor>\n",
              " text.\n\nmore\n    \"\"\"\n    x\ny") == " text.\n\nmore\n    \"\"\"\n    x");
  CHECK(block("python", "def f():\n    <cursor>", "s = '''\na\n'''\n    t\nu") ==
        "s = '''\na\n'''\n    t");
  CHECK(block("c", "void f() {\n  <cursor>\n}\n", "if (a) {\n    b();\n  }\n  c();\n}\n") ==
        "if (a) {\n    b();\n  }\n  c();");
  CHECK(block("c", "void f() {\n  g(<cursor>\n}\n", "1);\n  h();\n}") == "1);\n  h();");
  CHECK(block("c", "void f() {\n  g(\"}\", <cursor>);\n}\n", "'}', /* } */ 1") == "(goes on)");
  CHECK(block("javascript", "foo(() => {\n  <cursor>", "bar();\n});\n") == "bar();");
  CHECK(block("javascript", "const s = `<cursor>", "a}${b}`;\nc();\n}") == "a}${b}`;\nc();");
  CHECK(block("lua", "function f()\n  <cursor>", "if a then\n    b()\n  end\n  c()\nend\n") ==
        "if a then\n    b()\n  end\n  c()");
  CHECK(block("lua", "if a then\n  <cursor>", "b()\nelse\n  c()\nend") == "b()");
  CHECK(block("bash", "if a; then\n  <cursor>", "for i in b; do\n    c\n  done\nfi\n") ==
        "for i in b; do\n    c\n  done");
  CHECK(block("bash", "case x in\n  <cursor>", "a) ls ;;\n  b) pwd ;;\nesac\n") ==
        "a) ls ;;\n  b) pwd ;;");
  CHECK(block("json", "{\n  <cursor>", "\"a\": {\"b\": 1}\n}\n") == "\"a\": {\"b\": 1}");
  CHECK(block("yaml", "a:\n  <cursor>", "b: 1\n  c: 2\nd: 3\n") == "b: 1\n  c: 2");
  CHECK(block("markdown", "# T\n\n<cursor>", "Some text\nmore.\n\n## Next\n") ==
        "Some text\nmore.");
  CHECK(block("markdown", "```c\n<cursor>\n```\n", "int x;\n\nint y;\n```\nz") ==
        "int x;\n\nint y;");
  CHECK(block("unknown", "proc f {\n  <cursor>", "a b\n  c\n}\n") == "a b\n  c");
  CHECK(block("unknown", "proc f\n  <cursor>", "a b\n  c\nproc g\n") == "a b\n  c");
}

TEST_CASE("without a tree a statement is a line, brackets balanced") {
  CHECK(statement("unknown", "x = <cursor>", "foo(1,\n  2)\ny = 3\n") == "foo(1,\n  2)");
  CHECK(statement("unknown", "x = <cursor>", "1 +\n  2\ny\n") == "1 +\n  2");
}

TEST_CASE("breaks_syntax compares with the text without the suggestion") {
  const auto breaks = [](const std::string& language, std::string marked,
                         const std::string& generated) {
    const size_t offset = marked.find("<cursor>");
    marked.erase(offset, 8);
    Continuation c(Document::open("file:///t", language, 1, marked), offset, offset);
    return c.breaks_syntax(generated);
  };
  CHECK(breaks("c", "void f() {\n  <cursor>\n}\n", "g(1;"));
  CHECK(breaks("python", "def f():\n    <cursor>\n    return 1\n", "x = )"));
  CHECK_FALSE(breaks("c", "void f() {\n  <cursor>\n}\n", "g(1);"));
  CHECK_FALSE(breaks("python", "def f():\n    <cursor>\n    return 1\n", "x = 1"));
  CHECK_FALSE(breaks("c", "void f() {\n  x = <cursor>\n}\n", "1;"));
  CHECK_FALSE(breaks("unknown", "<cursor>", ")"));
}

}  // namespace
}  // namespace fimd

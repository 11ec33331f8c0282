#include "completion/commands/doc_comment.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "completion/commands/document_fill.h"
#include "completion/text_util.h"

namespace fimd {
namespace {

DocPlace place_in(const std::string& language, const std::string& text, size_t* at = nullptr) {
  static DocumentPtr document;
  document = Document::open("file:///a", language, 1, text);
  const size_t begin = text.find("f(");
  if (at != nullptr) *at = begin;
  auto place = doc_place(*document, begin, begin);
  REQUIRE(place.ok());
  return *place;
}

TEST_CASE("documentation in each language's form reads back as what it says") {
  struct Case {
    const char* language;
    const char* code;
    const char* one;    // "Says hi."
    const char* three;  // "Says hi.\n\nNever twice."
  };
  const std::vector<Case> cases = {
      {"python", "def f(x):\n    return x\n", "    \"\"\"Says hi.\"\"\"\n",
       "    \"\"\"Says hi.\n\n    Never twice.\n    \"\"\"\n"},
      {"cpp", "  int f() { return 1; }\n", "  /// Says hi.\n",
       "  /// Says hi.\n  ///\n  /// Never twice.\n"},
      {"c", "int f(void) { return 1; }\n", "/** Says hi. */\n",
       "/**\n * Says hi.\n *\n * Never twice.\n */\n"},
      {"rust", "fn f() {}\n", "/// Says hi.\n", "/// Says hi.\n///\n/// Never twice.\n"},
      {"go", "package a\n\nfunc f() {}\n", "// Says hi.\n", "// Says hi.\n//\n// Never twice.\n"},
      {"typescript", "function f() {}\n", "/** Says hi. */\n",
       "/**\n * Says hi.\n *\n * Never twice.\n */\n"},
      {"java", "class A {\n  int f() { return 1; }\n}\n", "  /** Says hi. */\n",
       "  /**\n   * Says hi.\n   *\n   * Never twice.\n   */\n"},
      {"lua", "function f() end\n", "--- Says hi.\n", "--- Says hi.\n---\n--- Never twice.\n"},
      {"bash", "f() { echo a; }\n", "# Says hi.\n", "# Says hi.\n#\n# Never twice.\n"},
  };
  for (const Case& c : cases) {
    CAPTURE(std::string(c.language));
    const std::string code = std::string(c.code).find("f(") == std::string::npos ? "" : c.code;
    const DocPlace place = place_in(c.language, code);
    CHECK(doc_comment(place, "Says hi.") == c.one);
    CHECK(doc_comment(place, "Says hi.\n\nNever twice.") == c.three);
    CHECK(doc_text(place.style, c.one) == "Says hi.");
    CHECK(doc_text(place.style, c.three) == "Says hi.\n\nNever twice.");
    // Models like to write the code below it, too.
    CHECK(doc_text(place.style, std::string(c.three) + "x = 1\n") == "Says hi.\n\nNever twice.");
    // And the result is a comment for the language's own parser.
    const DocumentPtr document = Document::open("file:///a", c.language, 1, code);
    const auto lines = documented_lines(*document, place, "Says hi.\n\nNever twice.");
    REQUIRE(lines.ok());
    CHECK(*lines == c.three);
  }
}

TEST_CASE("text that would end the comment does not") {
  const DocPlace python = place_in("python", "def f(x):\n    return x\n");
  CHECK(doc_comment(python, "Matches \\d and \"x\"") ==
        "    r\"\"\"Matches \\d and \"x\" \"\"\"\n");
  CHECK(doc_comment(python, "A \"\"\"b\"\"\" c.") == "    \"\"\"A '''b''' c.\"\"\"\n");
  const DocPlace c = place_in("c", "int f(void) { return 1; }\n");
  CHECK(doc_comment(c, "Glob a/*/b */ c") == "/** Glob a/* /b * / c */\n");
}

TEST_CASE("long prose is broken, other lines are not") {
  const DocPlace place = place_in("cpp", "int f() { return 1; }\n");
  std::string text;
  for (int i = 0; i < 40; ++i) text += "word ";
  text += "end.";
  std::string said;
  const std::string comment = doc_comment(place, text);
  for (const std::string_view line : split_lines(trim(comment))) {
    CHECK(line.size() <= 100);
    said += std::string(line.substr(3));
  }
  CHECK(trim(said) == text);
  const std::string code = "    " + std::string(200, 'x');
  CHECK(doc_comment(place, code) == "/// " + code + "\n");
}

TEST_CASE("docstrings with other quotes and indentation") {
  CHECK(doc_text(DocStyle::kDocstring,
                 "def f():\n    '''A.\n\n        B\n      C\n    '''\n    pass") == "A.\n\n  B\nC");
  CHECK(doc_text(DocStyle::kDocstring, "Just text.\nMore.") == "Just text.\nMore.");
  CHECK(doc_text(DocStyle::kBlock, "/*!\n   * A.\n   * @param x b\n   */\nint f(int x);") ==
        "A.\n@param x b");
  CHECK(doc_text(DocStyle::kTripleSlash, "/** A. */\nint f();") == "A.");
  CHECK(doc_text(DocStyle::kHash, "#!/bin/sh\n# A.\nf() {") == "A.");
  CHECK(doc_text(DocStyle::kBlock, "/** unfinished") == "unfinished");
  CHECK(doc_text(DocStyle::kBlock, "") == "");
}

TEST_CASE("what is no documentation is refused") {
  const std::string code = "int f(int a) {\n  return a + another_name;\n}";
  CHECK(check_doc_text("Adds another name.", code).ok());
  for (const char* text : {"", "  \n ", "x", "12 34 !!", "Adds adds adds it.",
                           "return a + another_name;", "The same line here.\nThe same line here.",
                           "A list of items of a list of items.", "bad \x01 text here"}) {
    CAPTURE(std::string(text));
    CHECK_FALSE(check_doc_text(text, code).ok());
  }
  CHECK_FALSE(check_doc_text(std::string(9000, 'a') + " b", code).ok());
}

TEST_CASE("a model that fills in code writes its first paragraph") {
  const DocPlace python = place_in("python", "def f(x):\n    return x\n");
  CHECK(filled_doc_text(python, "Say hi") == "Say hi.");
  CHECK(filled_doc_text(python, "\n    Say hi.\n    To all.\n\n    Args:\n        x: who") ==
        "Say hi.\nTo all.");
  CHECK(filled_doc_text(python, "Say hi.\n    Args:\n        x: who") == "Say hi.");
  const DocPlace rust = place_in("rust", "fn f() {}\n");
  CHECK(filled_doc_text(rust, "Say hi.\n/// To all.\nfn f() {}") == "Say hi.\nTo all.");
  CHECK(beyond_comment(rust, "Say hi.\n/// To all.\nf"));
  CHECK_FALSE(beyond_comment(rust, "Say hi.\n//"));
  CHECK_FALSE(beyond_comment(rust, "Say hi.\n"));
  const DocPlace typescript = place_in("typescript", "function f() {}\n");
  CHECK(filled_doc_text(typescript, "Say hi.\n * @param x who\n * @returns what") == "Say hi.");
  const DocPlace go = place_in("go", "package a\n\nfunc f() {}\n");
  CHECK(filled_doc_text(go, "says hi") == "f says hi.");
}

TEST_CASE("of several candidates the likeliest that fits is taken") {
  const std::string code = "def read_config(path):\n    return load(path)\n";
  const DocumentPtr document = Document::open("file:///a", "python", 1, code);
  const auto place = doc_place(*document, 0, 0);
  REQUIRE(place.ok());
  const auto choose = [&](const std::vector<DocCandidate>& candidates) {
    return choose_doc_text(*place, code, candidates);
  };
  CHECK(*choose({{"Read the config", -0.5}, {"Load the config", -0.4}}) == "Read the config.");
  CHECK(*choose({{"Read read read", -0.1}, {"Load the config", -2}}) == "Load the config.");
  CHECK(*choose({{"Read `secret` config", -0.1}, {"Load `path` config", -2}}) ==
        "Load `path` config.");
  CHECK_FALSE(choose({{"Re-exports an implementation", -0.1}, {"TODO: read config", -0.1}}).ok());
  CHECK_FALSE(choose({{"Read a config of 1, 2, 3, 4 and 5", -0.1}}).ok());
  CHECK_FALSE(choose({{"Load the path and return it", -0.1}}).ok());  // nothing of read or config
  CHECK_FALSE(choose({}).ok());
}

}  // namespace
}  // namespace fimd

#include "completion/commands/answer.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "completion/text_util.h"

namespace fimd {
namespace {

TEST_CASE("the first code block of an answer") {
  struct Case {
    const char* answer;
    const char* code;  // null: none
    bool closed;
  };
  for (const Case& c : std::vector<Case>{
           {"Here:\n```python\nx = 1\n```\nDone.\n```\ny\n```\n", "x = 1", true},
           {"```\n\n```\n```c\nint x;\n```", "int x;", true},  // an empty one says nothing
           {"~~~\na\n```\nb\n~~~\n", "a\n```\nb", true},
           {"````md\n```\ninner\n```\n````", "```\ninner\n```", true},
           {"```js\nlet a = 1;\nlet b", "let a = 1;\nlet b", false},
           {"```js", "", false},
           {"Use ```x``` like so.", nullptr, false},
           {"    ```\n    not a fence\n", nullptr, false},
           {"  ```\n  a\n  ```", "  a", true},
           {"no code at all", nullptr, false},
           {"", nullptr, false}}) {
    CAPTURE(std::string(c.answer));
    const auto block = first_code_block(c.answer);
    REQUIRE(block.has_value() == (c.code != nullptr));
    if (!block) continue;
    CHECK(block->text == c.code);
    CHECK(block->closed == c.closed);
  }
}

TEST_CASE("a block is whole as soon as its fence is closed, and not before") {
  const std::string answer = "Sure:\n```py\nx = `1`\n```\nmore";
  for (size_t i = 0; i <= answer.size(); ++i) {
    const std::string so_far = answer.substr(0, i);
    if (has_whole_block(so_far)) {
      CHECK(so_far == "Sure:\n```py\nx = `1`\n```");
      break;
    }
    CHECK(i < answer.size());
  }
}

TEST_CASE("thoughts are not shown, and the shown text only grows") {
  CHECK(without_thought("<think>\nhm\n</think>\n\nYes.\n") == "Yes.");
  CHECK(without_thought("<think>\nhm") == "");
  CHECK(without_thought("</think>\nYes.") == "Yes.");
  CHECK(without_thought("  Yes <think> no ") == "Yes <think> no");
  for (const std::string answer : {"\n\n<think>\nhm </thin\n</think>\n\nYes.\nNo.", "<thinner> yes",
                                   "<", " plain", "", "</think> x"}) {
    CAPTURE(answer);
    std::string before;
    for (size_t i = 0; i <= answer.size(); ++i) {
      const std::string now(shown_so_far(answer.substr(0, i)));
      CHECK(now.starts_with(before));
      CHECK(now.find("hm") == std::string::npos);
      before = now;
    }
    if (answer != "<") CHECK(trim_right(before) == without_thought(answer));
  }
}

TEST_CASE("a fence is longer than any in the code") {
  CHECK(fence_for("x") == "```");
  CHECK(fence_for("```\nx\n```") == "````");
  CHECK(fence_for("a `````` b") == "```````");
  for (const char* code : {"```\na\n```", "x", "`````"}) {
    const std::string text = fence_for(code) + "md\n" + code + "\n" + fence_for(code);
    CHECK(first_code_block(text)->text == code);
  }
}

TEST_CASE("an answer takes the indentation of what it replaces") {
  struct Case {
    const char* what;
    const char* code;
    const char* original;
    const char* expected;
  };
  for (const Case& c :
       std::vector<Case>{{"as it was", "    def f():\n        return 1",
                          "    def f():\n        pass", "    def f():\n        return 1"},
                         {"taken off by the model", "def f():\n    return 1",
                          "    def f():\n        pass", "    def f():\n        return 1"},
                         {"blank lines stay blank", "def f():\n\n    return 1",
                          "  def f():\n    pass", "  def f():\n\n    return 1"},
                         {"only the first line's is lost", "def f():\n        return 1",
                          "    def f():\n        pass", "    def f():\n        return 1"},
                         {"only the first line's, with braces", "int f() {\n    return 1;\n  }",
                          "  int f() {\n    return 0;\n  }", "  int f() {\n    return 1;\n  }"},
                         {"all of it, with braces", "int f() {\n  return 1;\n}",
                          "  int f() {\n    return 0;\n  }", "  int f() {\n    return 1;\n  }"},
                         {"too much", "        a\n          b", "    a", "    a\n      b"},
                         {"blanks become tabs", "if x {\n    if y {\n        z\n    }\n}",
                          "\tif x {\n\t\tz\n\t}", "\tif x {\n\t\tif y {\n\t\t\tz\n\t\t}\n\t}"},
                         {"a line further left than the first", "  a\nb", "    a", "    a\n    b"},
                         {"blank lines around", "\n\nx\n\n", "\n  y\n", "  x"}}) {
    CAPTURE(std::string(c.what));
    CHECK(reindented(c.code, c.original) == c.expected);
    // Doing it again changes nothing.
    CHECK(reindented(reindented(c.code, c.original), c.original) == c.expected);
  }
}

TEST_CASE("what cannot be an edit is an error that says why") {
  const std::string original = "  x = 1\n  y = 2";
  CHECK(*replacement("```\nx = 2\ny = 2\n```", original, false) == "  x = 2\n  y = 2");
  CHECK(*replacement("```\r\nx = 2\r\ny = 3\r\n```", original, false) == "  x = 2\n  y = 3");
  // The model forgot the fence at the end, but ended by itself.
  CHECK(*replacement("```\nx = 2", original, false) == "  x = 2");
  const auto message = [&](const std::string& answer, bool truncated = false) {
    const auto result = replacement(answer, original, truncated);
    REQUIRE_FALSE(result.ok());
    return result.error().message;
  };
  CHECK(message("I would rather not.\nReally.") ==
        "the model answered without code: \"I would rather not.\"");
  CHECK(message("").find("no answer") != std::string::npos);
  CHECK(message("<think>x").find("no answer") != std::string::npos);
  CHECK(message("```\nx = 2", true).find("cut off") != std::string::npos);
  CHECK(message("x", true).find("cut off") != std::string::npos);
  CHECK(message("```\nx = 1\ny = 2\n```").find("no change") != std::string::npos);
  CHECK(message("```\nx = 1\n# ... rest of the code ...\n```").find("left out") !=
        std::string::npos);
  CHECK(message("```\nx = \xEF\xBF\xBD\n```").find("garbled") != std::string::npos);
  // A block that was closed before the limit is whole.
  CHECK(replacement("```\nx = 2\n```\nand so", original, true).ok());
  // A comment of the original may say such things.
  CHECK(replacement("```\n# ... rest of it\nx = 2\n```", "# ... rest of it\nx = 1", false).ok());
}

TEST_CASE("an answer that runs in circles is cut after the first time") {
  std::string text = "It adds two numbers.";
  for (int i = 0; i < 60; ++i) text += " And then again, the same.";
  const auto cut = circling(text);
  REQUIRE(cut);
  CHECK(text.substr(0, *cut) == "It adds two numbers. And then again, the same");
  std::string list;
  for (int i = 0; i < 200; ++i) list += "- item " + std::to_string(i * 7919) + "\n";
  CHECK_FALSE(circling(list));
  CHECK_FALSE(circling("short short short short"));
  std::string accents;
  for (int i = 0; i < 500; ++i) accents += "é";
  REQUIRE(circling(accents));
  CHECK(is_clean_text(accents.substr(0, *circling(accents))));
}

}  // namespace
}  // namespace fimd

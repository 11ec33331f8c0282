#include "lsp/commands/source_file.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

namespace fimd::lsp {
namespace {

TEST_CASE("places on the command line") {
  struct Case {
    const char* text;
    const char* path;  // null: none
    uint32_t first, last;
    bool whole;
  };
  for (const Case& c : std::vector<Case>{{"a.py:3", "a.py", 2, 2, false},
                                         {"a.py:3-9", "a.py", 2, 8, false},
                                         {"a.py", "a.py", 0, 0, true},
                                         {"dir:x/a.py:3", "dir:x/a.py", 2, 2, false},
                                         {"a:b", "a:b", 0, 0, true},
                                         {"a.py:", "a.py:", 0, 0, true},
                                         {":3", ":3", 0, 0, true},
                                         {"a.py:0", nullptr, 0, 0, false},
                                         {"a.py:9-3", nullptr, 0, 0, false},
                                         {"a.py:3-", nullptr, 0, 0, false},
                                         {"a.py:-3", nullptr, 0, 0, false},
                                         {"a.py:99999999999", nullptr, 0, 0, false},
                                         {"", nullptr, 0, 0, false}}) {
    CAPTURE(std::string(c.text));
    const auto place = parse_file_lines(c.text);
    REQUIRE(place.has_value() == (c.path != nullptr));
    if (!place) continue;
    CHECK(place->path == c.path);
    CHECK(place->first == c.first);
    CHECK(place->last == c.last);
    CHECK(place->whole == c.whole);
  }
}

/// What `patch` does, for one hunk; absent if it does not fit.
std::optional<std::string> patched(const std::string& before, const std::string& diff) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < before.size();) {
    const size_t end = std::min(before.find('\n', at), before.size() - 1) + 1;
    lines.push_back(before.substr(at, end - at));
    at = end;
  }
  size_t at = diff.find("@@ -") + 4;
  size_t next = std::stoul(diff.substr(at));
  const size_t old_count = std::stoul(diff.substr(diff.find(',', at) + 1));
  if (old_count > 0) --next;  // zero-based
  std::string out;
  for (size_t i = 0; i < next; ++i) out += lines.at(i);
  const size_t begin = next;
  at = diff.find('\n', at) + 1;
  while (at < diff.size()) {
    const size_t end = diff.find('\n', at) + 1;
    std::string line = diff.substr(at + 1, end - at - 1);
    const char mark = diff[at];
    at = end;
    if (at < diff.size() && diff[at] == '\\') {
      line.pop_back();
      at = diff.find('\n', at) + 1;
    }
    if (mark != '+' && lines.at(next++) != line) return std::nullopt;
    if (mark != '-') out += line;
  }
  if (next - begin != old_count) return std::nullopt;
  for (size_t i = next; i < lines.size(); ++i) out += lines[i];
  return out;
}

TEST_CASE("a diff makes the new text of the old one") {
  CHECK(unified_diff("a", "x\n", "x\n").empty());
  CHECK(unified_diff("a", "1\n2\n3\n4\n5\n", "1\n2\n3\nx\n4\n5\n") ==
        "--- a\n+++ a\n@@ -1,5 +1,6 @@\n 1\n 2\n 3\n+x\n 4\n 5\n");
  CHECK(unified_diff("a", "1", "2") ==
        "--- a\n+++ a\n@@ -1,1 +1,1 @@\n-1\n\\ No newline at end of file\n+2\n"
        "\\ No newline at end of file\n");
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::string texts[2];
    for (std::string& text : texts) {
      const size_t lines = random() % 14;
      for (size_t i = 0; i < lines; ++i) text += std::string(1, 'a' + random() % 3) + "\n";
      if (random() % 3 == 0 && !text.empty()) text.pop_back();
    }
    if (texts[0] == texts[1]) continue;
    CAPTURE(texts[0]);
    CAPTURE(texts[1]);
    CHECK(patched(texts[0], unified_diff("a", texts[0], texts[1])) == texts[1]);
  }
}

}  // namespace
}  // namespace fimd::lsp

#include "completion/suggestion_cache.h"

#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::Marked;
using testing::marked;

const std::string kUri = "file:///project/src/a";

void put(SuggestionCache* cache, const std::string& text, std::vector<CachedCandidate> candidates) {
  const Marked at = marked(text);
  cache->put(kUri, anchor_at(*at.document, at.cursor), std::move(candidates), LineMode::kSingle,
             candidates.empty() ? "nothing" : "");
}

std::string found(SuggestionCache* cache, const std::string& text) {
  const Marked at = marked(text);
  const auto hit = cache->find(*at.document, at.cursor);
  if (!hit) return "-";
  return hit->candidates.empty() ? "" : hit->candidates.front().text;
}

TEST_CASE("typing through a suggestion") {
  SuggestionCache cache;
  put(&cache, "import os\nx = <cursor>\ny = 2\n", {{"os.path.join(a)", -0.1}});
  CHECK(found(&cache, "import os\nx = <cursor>\ny = 2\n") == "os.path.join(a)");
  CHECK(found(&cache, "import os\nx = o<cursor>\ny = 2\n") == "s.path.join(a)");
  CHECK(found(&cache, "import os\nx = os.path.join(a<cursor>\ny = 2\n") == ")");
  // All of it typed: nothing is left to say.
  CHECK(found(&cache, "import os\nx = os.path.join(a)<cursor>\ny = 2\n") == "-");
  // Something else typed, and deleted again.
  CHECK(found(&cache, "import os\nx = a<cursor>\ny = 2\n") == "-");
  CHECK(found(&cache, "import os\nx = <cursor>\ny = 2\n") == "os.path.join(a)");
  // Before the place it was made for: it was not asked there.
  CHECK(found(&cache, "import os\nx =<cursor>\ny = 2\n") == "-");
  // Another place that looks alike.
  CHECK(found(&cache, "import os\nx = <cursor>\nz = 2\n") == "-");
  CHECK(found(&cache, "import sys\nx = <cursor>\ny = 2\n") == "-");
}

TEST_CASE("brackets closed or skipped by the editor do not matter") {
  SuggestionCache cache;
  put(&cache, "x = <cursor>\n", {{"foo(a, [b]).c", -0.1}});
  CHECK(found(&cache, "x = foo(<cursor>)\n") == "a, [b]).c");
  CHECK(found(&cache, "x = foo(a, [<cursor>])\n") == "b]).c");
  CHECK(found(&cache, "x = foo(a, [b]<cursor>)\n") == ").c");
  CHECK(found(&cache, "x = foo(a, [b])<cursor>\n") == ".c");
  SuggestionCache other;
  put(&other, "x = foo(<cursor>)\n", {{"a).b", -0.1}});
  CHECK(found(&other, "x = foo(a)<cursor>\n") == ".b");
}

TEST_CASE("a suggestion of several lines is typed through line by line") {
  SuggestionCache cache;
  put(&cache, "def f():\n    <cursor>\n", {{"a = 1\n    b = 2\n    return a", -0.1}});
  CHECK(found(&cache, "def f():\n    a = 1\n    <cursor>\n") == "b = 2\n    return a");
  CHECK(found(&cache, "def f():\n    a = 1\n    b = 2\n    ret<cursor>\n") == "urn a");
  CHECK(found(&cache, "def f():\n    a = 2\n    <cursor>\n") == "-");
}

TEST_CASE("line breaks of the document do not matter") {
  SuggestionCache cache;
  const Marked at = marked("def f():\r\n    <cursor>\r\n");
  cache.put(kUri, anchor_at(*at.document, at.cursor), {{"a = 1\n    b = 2", -0.1}},
            LineMode::kBlock, "");
  CHECK(found(&cache, "def f():\r\n    a = 1\r\n    <cursor>\r\n") == "b = 2");
}

TEST_CASE("candidates that disagree with the typed text are left out") {
  SuggestionCache cache;
  put(&cache, "x = <cursor>\n", {{"foo()", -0.1}, {"bar()", -0.2}, {"baz()", -0.3}});
  const Marked at = marked("x = ba<cursor>\n");
  const auto hit = cache.find(*at.document, at.cursor);
  REQUIRE(hit.has_value());
  REQUIRE(hit->candidates.size() == 2);
  CHECK(hit->candidates[0].text == "r()");
  CHECK(hit->candidates[1].text == "z()");
  CHECK_FALSE(hit->exact);
}

TEST_CASE("an empty answer is known only where it was given") {
  SuggestionCache cache;
  put(&cache, "x = <cursor>\n", {});
  CHECK(found(&cache, "x = <cursor>\n") == "");
  CHECK(found(&cache, "x = a<cursor>\n") == "-");
}

TEST_CASE("the newest answer for a place replaces the older one") {
  SuggestionCache cache;
  put(&cache, "x = <cursor>\n", {{"foo", -0.1}});
  put(&cache, "x = <cursor>\n", {{"bar", -0.1}});
  CHECK(cache.size() == 1);
  CHECK(found(&cache, "x = <cursor>\n") == "bar");
}

TEST_CASE("least recently used entries go first") {
  SuggestionCache cache(2);
  put(&cache, "a = <cursor>\n", {{"1", 0}});
  put(&cache, "b = <cursor>\n", {{"2", 0}});
  CHECK(found(&cache, "a = <cursor>\n") == "1");
  put(&cache, "c = <cursor>\n", {{"3", 0}});
  CHECK(cache.size() == 2);
  CHECK(found(&cache, "a = <cursor>\n") == "1");
  CHECK(found(&cache, "b = <cursor>\n") == "-");
}

TEST_CASE("documents are told apart, and forgotten") {
  SuggestionCache cache;
  put(&cache, "x = <cursor>\n", {{"foo", -0.1}});
  const Marked other = marked("x = <cursor>\n", "python", "file:///project/src/other");
  CHECK_FALSE(cache.find(*other.document, other.cursor).has_value());
  cache.forget(kUri);
  CHECK(found(&cache, "x = <cursor>\n") == "-");
}

}  // namespace
}  // namespace fimd

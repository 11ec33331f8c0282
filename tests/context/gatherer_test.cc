#include "context/gatherer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "context/text.h"

namespace fimd {
namespace {

size_t count_words(std::string_view text) {
  size_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool blank = c == ' ' || c == '\n';
    words += !blank && !inside ? 1 : 0;
    inside = !blank;
  }
  return words;
}

const std::string kShapes = R"(import math


class Circle:
    """A round thing."""

    def __init__(self, radius):
        self.radius = radius

    def circle_area(self):
        return math.pi * self.radius ** 2

    def circumference(self):
        return 2 * math.pi * self.radius


def make_unit_circle():
    return Circle(1.0)
)";

const std::string kHttp = R"(import socket


def open_connection(host, port, timeout_seconds):
    connection = socket.create_connection((host, port), timeout_seconds)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection


def read_response(connection, limit):
    chunks = []
    while limit > 0:
        chunk = connection.recv(min(limit, 4096))
        if not chunk:
            break
        chunks.append(chunk)
        limit -= len(chunk)
    return b"".join(chunks)
)";

const std::string kMain = R"(from shapes import make_unit_circle


def total_area(circles):
    total = 0
    for circle in circles:
        total += circle.circle_area()
    return total


def main():
    circle = make_unit_circle()
    print(circle.radius)
)";

struct Fixture {
  Workspace workspace;
  Exclusion exclusion;
  Fixture() { workspace.set_folders({"/w"}); }

  DocumentPtr open(const std::string& name, const std::string& text) {
    return workspace.open("file:///w/" + name, "", 1, text);
  }
  static size_t at(const DocumentPtr& document, const std::string& needle) {
    const size_t found = document->text().find(needle);
    REQUIRE(found != std::string::npos);
    return found;
  }
  DocumentPtr type(const DocumentPtr& document, size_t offset, const std::string& text) {
    const Position p = document->position_at(offset, PositionEncoding::kUtf8);
    auto next = workspace.change(document->uri(), {{Range{p, p}, text}}, document->version() + 1,
                                 PositionEncoding::kUtf8);
    REQUIRE(next.ok());
    return *next;
  }
};

std::vector<std::string> paths(const std::vector<Snippet>& snippets) {
  std::vector<std::string> out;
  for (const Snippet& snippet : snippets) out.push_back(snippet.path);
  return out;
}

size_t total_tokens(const std::vector<Snippet>& snippets) {
  size_t total = 0;
  for (const Snippet& snippet : snippets) total += snippet.tokens;
  return total;
}

TEST_CASE("definitions of what the cursor uses rank highest, and stand last") {
  Fixture f;
  f.open("http.py", kHttp);
  f.open("shapes.py", kShapes);
  const DocumentPtr main = f.open("app/main.py", kMain);
  Gatherer gatherer(&f.workspace, &f.exclusion);
  const auto snippets = gatherer.gather(main, f.at(main, "circle.radius"), 1000, count_words);
  REQUIRE_FALSE(snippets.empty());
  CHECK(snippets.back().path == "shapes.py");
  CHECK(snippets.back().text.find("def make_unit_circle") != std::string::npos);
  for (size_t i = 1; i < snippets.size(); ++i) CHECK(snippets[i - 1].score <= snippets[i].score);
  for (const Snippet& snippet : snippets) {
    CHECK(snippet.uri != main->uri());
    CHECK(snippet.line_count == split_lines(snippet.text).size());
    const DocumentPtr source = f.workspace.find(snippet.uri);
    CHECK(source->text().find(snippet.text) == source->line_start(snippet.first_line));
  }
}

TEST_CASE("an unrelated file does not get in, an edited one does") {
  Fixture f;
  DocumentPtr notes = f.open("notes.txt", "buy milk\nwater the plants\n");
  f.open("shapes.py", kShapes);
  DocumentPtr http = f.open("http.py", kHttp);
  const DocumentPtr main = f.open("main.py", kMain);
  const size_t cursor = f.at(main, "circle.radius");
  {
    Gatherer gatherer(&f.workspace, &f.exclusion);
    const auto chosen = paths(gatherer.gather(main, cursor, 1000, count_words));
    CHECK(std::count(chosen.begin(), chosen.end(), "notes.txt") == 0);
  }
  http = f.type(http, f.at(http, "    return connection"), "    # keep alive\n");
  Gatherer gatherer(&f.workspace, &f.exclusion);
  const auto chosen = gatherer.gather(main, cursor, 1000, count_words);
  const bool has_edit = std::any_of(chosen.begin(), chosen.end(), [](const Snippet& snippet) {
    return snippet.path == "http.py" && snippet.text.find("# keep alive") != std::string::npos;
  });
  CHECK(has_edit);
}

TEST_CASE("the budget holds, and zero means none") {
  Fixture f;
  for (int i = 0; i < 12; ++i) {
    std::string text = kShapes;
    const std::string tag = std::to_string(i);
    for (size_t at = text.find("circle"); at != std::string::npos;
         at = text.find("circle", at + 9)) {
      if (i > 0) text.insert(at, "kind" + tag + "_");
    }
    f.open("shapes" + tag + ".py", text);
  }
  const DocumentPtr main = f.open("main.py", kMain);
  const size_t cursor = f.at(main, "circle.radius");
  for (const size_t budget : {0, 10, 40, 90, 200, 5000}) {
    Gatherer gatherer(&f.workspace, &f.exclusion);
    const auto snippets = gatherer.gather(main, cursor, budget, count_words);
    CHECK(total_tokens(snippets) <= budget);
    CHECK(snippets.size() <= GathererOptions{}.max_snippets);
    if (budget >= 200) CHECK_FALSE(snippets.empty());
    for (const Snippet& snippet : snippets) {
      CHECK(snippet.tokens >= count_words(snippet.text) + count_words(snippet.path));
    }
  }
  // A shrinking budget cuts what was chosen before.
  Gatherer gatherer(&f.workspace, &f.exclusion);
  const auto many = gatherer.gather(main, cursor, 5000, count_words);
  const auto few = gatherer.gather(main, cursor, total_tokens(many) / 2, count_words);
  CHECK(total_tokens(few) <= total_tokens(many) / 2);
}

TEST_CASE("copies are left out: of each other and of the current file") {
  Fixture f;
  f.open("shapes.py", kShapes);
  f.open("shapes_copy.py", kShapes);
  f.open("main_copy.py", kMain);
  const DocumentPtr main = f.open("main.py", kMain);
  Gatherer gatherer(&f.workspace, &f.exclusion);
  const auto snippets = gatherer.gather(main, f.at(main, "circle.radius"), 5000, count_words);
  const auto chosen = paths(snippets);
  CHECK(std::count(chosen.begin(), chosen.end(), "main_copy.py") == 0);
  std::vector<std::string> texts;
  for (const Snippet& snippet : snippets) texts.push_back(snippet.text);
  std::sort(texts.begin(), texts.end());
  CHECK(std::adjacent_find(texts.begin(), texts.end()) == texts.end());
}

TEST_CASE("typing does not change the choice, nor does anything count again") {
  Fixture f;
  f.open("http.py", kHttp);
  f.open("shapes.py", kShapes);
  DocumentPtr main = f.open("main.py", kMain);
  size_t counted = 0;
  const CountTokensFn count = [&](std::string_view text) {
    ++counted;
    return count_words(text);
  };
  Gatherer gatherer(&f.workspace, &f.exclusion);
  size_t cursor = f.at(main, "    print(circle.radius)");
  const auto first = gatherer.gather(main, cursor, 1000, count);
  REQUIRE_FALSE(first.empty());
  counted = 0;
  for (const char c :
       std::string("    connection = open_connection(host, port)\n    for x in y:\n")) {
    main = f.type(main, cursor, std::string(1, c));
    ++cursor;
    REQUIRE(gatherer.gather(main, cursor, 1000, count) == first);
  }
  CHECK(counted == 0);
  // Nor do saving, a slightly different budget, or a visit elsewhere and back.
  CHECK(gatherer.gather(main, cursor, 990, count) == first);
  const DocumentPtr other = f.workspace.find("file:///w/http.py");
  gatherer.gather(other, 0, 1000, count);
  f.workspace.visit(other->uri(), 0);
  CHECK(gatherer.gather(main, cursor, 1000, count) == first);
}

TEST_CASE("a chosen text that was edited is brought up to date; what stays keeps its place") {
  Fixture f;
  DocumentPtr shapes = f.open("shapes.py", kShapes);
  f.open("http.py", kHttp);
  const DocumentPtr main = f.open("main.py", kMain);
  Gatherer gatherer(&f.workspace, &f.exclusion);
  const size_t cursor = f.at(main, "circle.radius");
  REQUIRE(gatherer.gather(main, cursor, 1000, count_words).back().path == "shapes.py");
  shapes = f.type(shapes, f.at(shapes, "return 2 * math.pi"), "# perimeter\n        ");
  const auto second = gatherer.gather(main, cursor, 1000, count_words);
  bool fresh = false;
  for (const Snippet& snippet : second) {
    fresh = fresh || snippet.text.find("# perimeter") != std::string::npos;
    const DocumentPtr source = f.workspace.find(snippet.uri);
    CHECK(source->text().find(snippet.text) != std::string::npos);
  }
  CHECK(fresh);

  // A new, much better file: the old snippets stay in front, in their order.
  f.open("circles.py",
         "from shapes import Circle, make_unit_circle\n\n\ndef total_area(circles):\n"
         "    total = 0\n    for circle in circles:\n        total += "
         "circle.circle_area() + circle.radius\n    return total + 1\n");
  const auto third = gatherer.gather(main, cursor, 1000, count_words);
  std::vector<Snippet> kept;
  for (const Snippet& snippet : third) {
    for (const Snippet& old : second) {
      if (old.text == snippet.text && old.uri == snippet.uri) kept.push_back(snippet);
    }
  }
  for (size_t i = 0; i < kept.size(); ++i) CHECK(kept[i].text == third[i].text);
}

TEST_CASE("moving to another function may change the choice") {
  Fixture f;
  f.open("http.py", kHttp);
  f.open("shapes.py", kShapes);
  std::string text = kMain;
  for (int i = 0; i < 80; ++i) text += "\n# filler line number " + std::to_string(i);
  text +=
      "\n\n\ndef fetch(host, port):\n    connection = open_connection(host, port, 3)\n    chunks = "
      "read_response(connection, 10)\n";
  const DocumentPtr main = f.open("main.py", text);
  GathererOptions options;
  options.max_snippets = 1;
  Gatherer gatherer(&f.workspace, &f.exclusion, options);
  CHECK(paths(gatherer.gather(main, f.at(main, "circle.radius"), 1000, count_words)) ==
        std::vector<std::string>{"shapes.py"});
  CHECK(paths(gatherer.gather(main, f.at(main, "chunks = read"), 1000, count_words)) ==
        std::vector<std::string>{"http.py"});
}

TEST_CASE("excluded files and secrets never get in") {
  Fixture f;
  f.open("shapes.pem", kShapes);
  f.open("private/shapes.py", kShapes);
  f.open("shapes.py", kShapes + "\nCIRCLE_PASSWORD = \"circle1234radius\"\n");
  const DocumentPtr main = f.open("main.py", kMain);
  f.exclusion = *Exclusion::make({"private/"});
  Gatherer gatherer(&f.workspace, &f.exclusion);
  const auto snippets = gatherer.gather(main, f.at(main, "circle.radius"), 5000, count_words);
  REQUIRE_FALSE(snippets.empty());
  for (const Snippet& snippet : snippets) {
    CHECK(snippet.path == "shapes.py");
    CHECK(snippet.text.find("circle1234radius") == std::string::npos);
  }
}

TEST_CASE("an imported file and the other half of a pair go before others alike") {
  Fixture f;
  const auto library = [](const std::string& tag) {
    return "int area_" + tag + "(int width, int height) {\n  return width * height + kOffset;\n}\n";
  };
  f.open("box.h", library("box"));
  f.open("zebra.h", library("zebra"));
  f.open("aardvark.h", library("aardvark"));
  const DocumentPtr user = f.open(
      "box.cc", "#include \"zebra.h\"\n\nint twice(int width, int height) {\n  return 2\n}\n");
  GathererOptions options;
  options.max_snippets = 2;
  Gatherer gatherer(&f.workspace, &f.exclusion, options);
  auto chosen = paths(gatherer.gather(user, f.at(user, "return 2"), 1000, count_words));
  std::sort(chosen.begin(), chosen.end());
  CHECK(chosen == std::vector<std::string>{"box.h", "zebra.h"});
}

TEST_CASE("recently closed documents still help; closed for good they do not") {
  Fixture f;
  const DocumentPtr shapes = f.open("shapes.py", kShapes);
  const DocumentPtr main = f.open("main.py", kMain);
  const size_t cursor = f.at(main, "circle.radius");
  REQUIRE(f.workspace.close(shapes->uri()).ok());
  Gatherer gatherer(&f.workspace, &f.exclusion);
  CHECK_FALSE(gatherer.gather(main, cursor, 1000, count_words).empty());
  for (int i = 0; i < 12; ++i) {
    const DocumentPtr other = f.open("n" + std::to_string(i) + ".txt", "nothing of note\n");
    REQUIRE(f.workspace.close(other->uri()).ok());
  }
  CHECK(gatherer.gather(main, cursor, 1000, count_words).empty());
}

TEST_CASE("odd documents do no harm") {
  Fixture f;
  f.open("empty.py", "");
  f.open("long.py", std::string(200000, 'x'));
  f.open("nul.py", std::string("a\0b", 3));
  f.open("crlf.py", "def circle_area(radius):\r\n    return radius\r\n");
  const DocumentPtr main = f.open("main.py", "");
  Gatherer gatherer(&f.workspace, &f.exclusion);
  CHECK(gatherer.gather(main, 0, 1000, count_words).empty());
  CHECK(gatherer.gather(main, 99, 1000, count_words).empty());
  const DocumentPtr user = f.open("user.py", "x = circle_area(radius)\n");
  const auto snippets = gatherer.gather(user, 5, 1000, count_words);
  REQUIRE(snippets.size() == 1);
  CHECK(snippets[0].text == "def circle_area(radius):\n    return radius");
  gatherer.forget(user->uri());
  gatherer.clear();
  CHECK(gatherer.gather(user, 5, 1000, count_words) == snippets);
}

}  // namespace
}  // namespace fimd

#include "context/syntax_tree.h"

#include <doctest/doctest.h>
#include <time.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "context/document.h"
#include "context/syntax_queries.h"
#include "context/text.h"

namespace fimd {
namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string sample(const Language& language) {
  for (const auto& entry : std::filesystem::directory_iterator("tests/context/samples")) {
    if (entry.path().stem() == std::string(language.name())) return read_file(entry.path());
  }
  FAIL("no sample for " << std::string(language.name()));
  return "";
}

TEST_CASE("the samples parse without errors") {
  for (const Language& language : languages()) {
    const std::string text = sample(language);
    REQUIRE(text.size() > 100);
    const auto tree = SyntaxTree::parse(language, text, 1000);
    REQUIRE(tree != nullptr);
    // CUDA's launch syntax is none of C++'s.
    if (language.name() == "cuda") continue;
    CHECK_MESSAGE(!ts_node_has_error(tree->root()), std::string(language.name()) << tree->dump());
  }
}

TEST_CASE("an incremental parse equals a full one") {
  const std::vector<std::string> pieces = {
      "(", ")",    "{", "}",   "[",   "]",   "\"", "'",       "\n", "  ",    ";",
      ":", ",",    "=", "x",   "if ", "é",   "\t", "#",       "//", "/*",    "*/",
      "`", "\r\n", "😀", "end", "-",   "1.5", "\\", "return ", ">",  "\"\"\""};
  size_t same_with_errors = 0;
  size_t with_errors = 0;
  size_t without_errors = 0;
  for (const Language& language : languages()) {
    std::mt19937 rng(11);
    const auto pick = [&](size_t n) { return static_cast<size_t>(rng() % n); };
    const std::string original = sample(language);
    const std::string uri = "file:///t";
    DocumentPtr document = Document::open(uri, std::string(language.spec().ids[0]), 0, original);
    for (int step = 1; step <= 160; ++step) {
      const std::string& text = document->text();
      // Typing in one place, mostly; now and then a jump, a deletion, a paste, an undo of it all.
      TextChange change;
      const size_t at = floor_to_code_point(text, pick(text.size() + 1));
      size_t end = at;
      switch (pick(6)) {
        case 0:
          end = floor_to_code_point(text, std::min(text.size(), at + pick(40)));
          break;
        case 1: {
          const size_t from = floor_to_code_point(original, pick(original.size()));
          const size_t to =
              floor_to_code_point(original, std::min(original.size(), from + pick(80)));
          change.text = original.substr(from, to - from);
          break;
        }
        default:
          change.text = pieces[pick(pieces.size())];
      }
      change.range = Range{document->position_at(at, PositionEncoding::kUtf8),
                           document->position_at(std::max(at, end), PositionEncoding::kUtf8)};
      if (step % 20 == 0) {
        change.range.reset();
        change.text = original;
      }
      const auto next = document->apply({change}, step, PositionEncoding::kUtf8);
      REQUIRE(next.ok());
      document = *next;
      if (document->tree() == nullptr) {  // took too long, as it may under sanitizers
        document = Document::open(uri, std::string(language.spec().ids[0]), step, document->text());
        continue;
      }
      const auto full = SyntaxTree::parse(language, document->text(), 5000);
      const bool same = document->tree()->dump() == full->dump();
      // Where the parser meets errors it may recover in more than one way, and which one it takes
      // depends on what it reuses. Without errors there is one tree only.
      if (ts_node_has_error(full->root()) || ts_node_has_error(document->tree()->root())) {
        ++with_errors;
        same_with_errors += same ? 1 : 0;
      } else {
        ++without_errors;
        CHECK_MESSAGE(same, std::string(language.name()) << " step " << step);
      }
    }
  }
  CHECK(without_errors >= 150);
  CHECK(with_errors >= 1000);
  CHECK(same_with_errors * 100 >= with_errors * 99);
}

TEST_CASE("several changes in one notification reparse as one") {
  const Language& python = *find_language("python", "");
  DocumentPtr document = Document::open("file:///t", "python", 0, sample(python));
  const auto next = document->apply({{Range{{10, 0}, {12, 3}}, "x = [\n  1,\n]\n"},
                                     {Range{{0, 0}, {0, 0}}, "'''doc'''\n"},
                                     {Range{{20, 0}, {20, 0}}, "    y = {\n}\n"}},
                                    1, PositionEncoding::kUtf16);
  REQUIRE(next.ok());
  const auto full = SyntaxTree::parse(python, (*next)->text(), 1000);
  CHECK((*next)->tree()->dump() == full->dump());
}

TEST_CASE("a snapshot is read while its successors are parsed") {
  DocumentPtr document = Document::open("file:///t", "cpp", 0, sample(*find_language("cpp", "")));
  const std::string before = document->tree()->dump();
  const DocumentPtr first = document;
  bool same = true;
  std::thread reader([&] {
    for (int i = 0; i < 50; ++i) same = same && first->tree()->dump() == before;
  });
  for (int i = 0; i < 50; ++i) {
    const auto next =
        document->apply({{Range{{9, 0}, {9, 0}}, "  int x;\n"}}, i + 1, PositionEncoding::kUtf8);
    REQUIRE(next.ok());
    document = *next;
  }
  reader.join();
  CHECK(same);
}

TEST_CASE("definitions of the samples") {
  const auto names = [](const char* id) {
    const Language& language = *find_language(id, "");
    const std::string text = sample(language);
    const auto tree = SyntaxTree::parse(language, text, 1000);
    std::string out;
    for (const Definition& definition : collect_definitions(*tree, text, 100)) {
      CHECK(definition.begin < definition.end);
      out += std::string(definition.name) + " ";
    }
    return out;
  };
  CHECK(names("python") == "LIMIT Item name price tags label cheapest load TEXT ");
  CHECK(names("c") == "MAX LIMIT node node color names trace trace sum main ");
  CHECK(names("cpp") == "shop Ring Ring ~Ring push size Kind Table total ");
  CHECK(names("cuda") == "kThreads scale launch ");
  CHECK(names("javascript") == "LIMIT cache load Counter value add range ");
  CHECK(names("typescript") ==
        "Point norm Handler Level Base constructor name norm Derived name on isShape x y ");
  CHECK(names("go") == "limit ErrEmpty Item Pricer Cart Add Total ");
  CHECK(names("rust") == "Item Event Item fmt count describe tests counts ");
  CHECK(names("java") == "Cart LIMIT items Cart iterator map Kind Point name ");
  CHECK(names("lua") == "Stack new push text each ");
  CHECK(names("bash") == "LIMIT names die count ");
}

// CPU time, so that a busy machine fails nothing.
double cpu_ms() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

std::string repeat(const std::string& piece, size_t times) {
  std::string out;
  out.reserve(piece.size() * times);
  for (size_t i = 0; i < times; ++i) out += piece;
  return out;
}

TEST_CASE("deep nesting, giant lines and huge files neither hang nor overflow the stack") {
  for (const std::string id : {"python", "json", "cpp", "bash", "markdown", "unknown"}) {
    // The deepest ones in two languages only; they take seconds under sanitizers.
    const size_t n = id == "python" || id == "json" ? 100000 : 10000;
    const std::vector<std::string> texts = {repeat("(", n),
                                            repeat("(", n) + repeat(")", n),
                                            repeat("[{(", n / 3),
                                            repeat("{", n) + "\n" + repeat("}", n),
                                            repeat("if (x) {\n", n / 5),
                                            repeat("f(", n) + "1",
                                            std::string(5 * n, 'x'),
                                            "x = \"" + std::string(5 * n, 'y') + "\"\n",
                                            repeat("\n", n),
                                            repeat("\"", n / 2 + 1),
                                            repeat("a = b + ", n / 4),
                                            std::string(3 << 20, 'z')};
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string& text = texts[i];
      const double start = cpu_ms();
      DocumentPtr document = Document::open("file:///t", id, 1, text);
      CHECK((text.size() <= kMaxSyntaxBytes || document->tree() == nullptr));
      const size_t middle = text.size() / 2;
      for (int k = 0; k < 2; ++k) {
        const Position p = document->position_at(middle, PositionEncoding::kUtf16);
        auto next = document->apply({{Range{p, p}, "("}}, k + 2, PositionEncoding::kUtf16);
        REQUIRE(next.ok());
        document = *next;
      }
      place_at(*document, middle);
      inside_call_arguments(*document, middle);
      at_empty_block(*document, middle);
      at_statement_start(*document, middle);
      enclosing_definition(*document, middle);
      open_brackets(*document, middle);
      has_syntax_error(*document, middle, middle + 1);
      bracket_balance(text, document->language());
      Continuation continuation(document, middle, middle);
      continuation.statement_end("foo(1)\n");
      continuation.block_end("foo(1)\n}\n");
      continuation.breaks_syntax("foo(1)\n");
      const double ms = cpu_ms() - start;
      CHECK_MESSAGE(ms < 20000, id << " text " << i << " took " << ms << " ms");
    }
  }
}

}  // namespace
}  // namespace fimd

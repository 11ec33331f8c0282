// Properties that hold for whatever a model says, and for a model that knows the file by heart but
// does not know where to end.
#include <fstream>
#include <random>
#include <sstream>

#include "completion/brackets.h"
#include "completion/post_filters.h"
#include "completion/text_util.h"
#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::applied;
using testing::Session;

struct Sample {
  const char* path;
  const char* language;
};
const Sample kSamples[] = {{"tests/data/demo/tableutils.py", "python"},
                           {"tests/data/demo/fragment-loader.ts", "typescript"},
                           {"tests/data/demo/build_log.cc", "cpp"}};

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

CompletionOptions quiet() {
  CompletionOptions options;
  options.typing_through = false;
  options.speculate = false;
  options.prefill_on_change = false;
  return options;
}

std::string without_trailing_blanks(const std::string& text) {
  std::string out;
  for (std::string_view line : split_lines(text)) {
    out += trim_right(line);
    out += '\n';
  }
  return out;
}

/// The text of a document from which [begin, end) was taken, after a model that would go on with
/// the rest of the file was asked there.
std::string completed(Session* session, const std::string& file, size_t begin, size_t end,
                      const char* language, bool invoked, std::string* shown) {
  const std::string text = file.substr(0, begin) + "<cursor>" + file.substr(end);
  session->open(text, language, std::string("file:///project/sample.") + language);
  const auto reply = session->ask(invoked);
  if (!reply->answered()) session->answer(file.substr(begin, 1500));
  shown->clear();
  if (reply->value().suggestions.empty()) {
    *shown = "[" + reply->value().report.outcome + "]";
    return {};
  }
  *shown = reply->value().suggestions.front().text;
  return applied(*session->document, reply->value().suggestions.front());
}

TEST_CASE("a model that runs on past the end of a line is cut there") {
  std::mt19937 random(3);
  for (const Sample& sample : kSamples) {
    const std::string file = read(sample.path);
    const DocumentPtr document = Document::open("file:///x", sample.language, 1, file);
    Session session(quiet());
    int asked = 0;
    int right = 0;
    std::string wrong;
    for (int round = 0; round < 150; ++round) {
      const size_t line = random() % document->line_count();
      const std::string_view content = document->line_text(line);
      if (is_blank(content)) continue;
      const size_t indent = leading_blanks(content).size();
      const size_t column = indent + random() % (content.size() - indent);
      const size_t begin = document->line_start(line) + column;
      // What is being typed is not in the middle of a word.
      if (column > 0 && is_word_byte(file[begin - 1]) && is_word_byte(file[begin])) continue;
      ++asked;
      std::string shown;
      const std::string result = completed(&session, file, begin, document->line_end(line),
                                           sample.language, false, &shown);
      // Where a block opens, more than the line may come: the line itself must be right.
      if (without_trailing_blanks(result) == without_trailing_blanks(file)) {
        ++right;
      } else {
        wrong += std::string(sample.path) + ":" + std::to_string(line + 1) + " " +
                 std::string(content.substr(column)) + " -> " + shown + "\n";
      }
    }
    INFO(wrong);
    CHECK(asked >= 40);
    CHECK(right * 100 >= asked * 95);
  }
}

/// Bodies of the blocks in a file: [begin, end) from the first line's content to the last one's.
std::vector<std::pair<size_t, size_t>> bodies(const Document& document) {
  std::vector<std::pair<size_t, size_t>> found;
  for (size_t line = 0; line + 1 < document.line_count(); ++line) {
    const std::string_view head = trim_right(document.line_text(line));
    if (head.empty() || is_blank(document.line_text(line + 1))) continue;
    if (head.back() != ':' && head.back() != '{') continue;
    const size_t base = indentation(document.line_text(line));
    if (indentation(document.line_text(line + 1)) <= base) continue;
    size_t last = line + 1;
    for (size_t i = line + 1; i < document.line_count(); ++i) {
      if (is_blank(document.line_text(i))) continue;
      if (indentation(document.line_text(i)) <= base) break;
      last = i;
    }
    if (last - line > 20) continue;
    const size_t indent = leading_blanks(document.line_text(line + 1)).size();
    found.emplace_back(document.line_start(line + 1) + indent, document.line_end(last));
  }
  return found;
}

TEST_CASE("a model that runs on past the end of a block is cut there") {
  for (const Sample& sample : kSamples) {
    const std::string file = read(sample.path);
    const DocumentPtr document = Document::open("file:///x", sample.language, 1, file);
    Session session(quiet());
    int asked = 0;
    int right = 0;
    std::string wrong;
    for (const auto& [begin, end] : bodies(*document)) {
      ++asked;
      std::string shown;
      const std::string result =
          completed(&session, file, begin, end, sample.language, false, &shown);
      if (without_trailing_blanks(result) == without_trailing_blanks(file)) {
        ++right;
      } else {
        wrong += std::string(sample.path) + ":" + std::to_string(document->line_of(begin) + 1) +
                 "\n" + file.substr(begin, end - begin) + "\n->\n" + shown + "\n";
      }
    }
    INFO(wrong);
    CHECK(asked >= 5);
    CHECK(right * 100 >= asked * 95);
  }
}

TEST_CASE("whatever a model says, brackets are not doubled and ranges are valid") {
  std::mt19937 random(17);
  const std::string pieces[] = {"a",  "(",  ")", "[",  "]",   "{",    "}",      "\"",  "'",
                                ", ", "\n", ";", "  ", "foo", " = ",  "// x\n", "é",   ":",
                                "0",  ".",  "=", "#",  "if ", "\n  ", "/* ",    " */", "`"};
  const std::string documents[] = {"foo(<cursor>)\n",
                                   "foo(bar[<cursor>])\n",
                                   "if (<cursor>) {\n  a();\n}\n",
                                   "x = {\n  \"a\": [<cursor>],\n}\n",
                                   "function f() {\n  <cursor>\n}\n\ng();\n",
                                   "print(\"<cursor>\")\n",
                                   "foo(<cursor>, b)\n",
                                   "<cursor>",
                                   "a = b<cursor>;\n",
                                   "call(function () {\n  x(<cursor>);\n});\n"};
  for (const char* language : {"javascript", "python", "cpp"}) {
    for (const std::string& text : documents) {
      Session session(quiet());
      session.open(text, language, "file:///project/a");
      const auto [plain, cursor] = testing::split_cursor(text);
      const std::string comment = cursor_context(*session.document, cursor).line_comment;
      for (int round = 0; round < 60; ++round) {
        std::string said;
        const size_t n = 1 + random() % 12;
        for (size_t i = 0; i < n; ++i) said += pieces[random() % std::size(pieces)];
        const auto reply = session.ask(false);
        if (!reply->answered()) session.answer(said);
        CAPTURE(language);
        CAPTURE(text);
        CAPTURE(said);
        for (const Suggestion& suggestion : reply->value().suggestions) {
          CAPTURE(suggestion.text);
          const size_t line = session.document->line_of(cursor);
          CHECK(suggestion.begin == cursor);
          CHECK(suggestion.end >= cursor);
          const size_t line_end = session.document->line_end(line);
          CHECK(suggestion.end <= line_end);
          CHECK_FALSE(is_blank(suggestion.text));
          CHECK(is_clean_text(suggestion.text));
          if (is_blank(plain.substr(suggestion.end, line_end - suggestion.end))) {
            CHECK(trim_right(suggestion.text) == suggestion.text);
          }
          // Strings and comments left open by garbage change what later brackets mean.
          const BracketScan own = scan_brackets(suggestion.text, 0, comment);
          if (suggestion.text.find_first_of("\"'`/#") != std::string::npos) continue;
          if (plain.find('"') != std::string::npos) continue;
          // Brackets of different kinds that cross each other are beyond repair.
          const std::string result = applied(*session.document, suggestion);
          const BracketScan whole = scan_brackets(result, 0, comment);
          if (!own.open.empty()) continue;
          CHECK(whole.unmatched.empty());
        }
      }
    }
  }
}

TEST_CASE("filters are safe on any text") {
  std::mt19937 random(23);
  const std::string pieces[] = {"(",  ")",      "\"", "'", "`", "\n", "\\", "\xEF\xBF\xBD",
                                "é",  " ",      "a",  "{", "}", "#",  "/*", "*/",
                                "\t", "\"\"\"", "]",  "[", ";"};
  for (int round = 0; round < 2000; ++round) {
    std::string before;
    std::string after;
    std::string said;
    for (size_t i = random() % 10; i > 0; --i) before += pieces[random() % std::size(pieces)];
    for (size_t i = random() % 10; i > 0; --i) after += pieces[random() % std::size(pieces)];
    for (size_t i = random() % 14; i > 0; --i) said += pieces[random() % std::size(pieces)];
    const CursorContext context = testing::context_of(before + "<cursor>" + after, "javascript");
    for (LineMode mode : {LineMode::kSingle, LineMode::kStatement, LineMode::kBlock}) {
      for (TextEnd end : {TextEnd::kComplete, TextEnd::kTruncated}) {
        CAPTURE(before);
        CAPTURE(after);
        CAPTURE(said);
        const Filtered result = polish(said, context, mode, end);
        CHECK(result.text.empty() == !result.dropped_by.empty());
        if (result.text.empty()) continue;
        const Placement placed = place(result.text, context);
        CHECK(placed.replaced <= context.rest.size());
        CHECK(is_clean_text(placed.text));
        CHECK_FALSE(is_blank(placed.text));
      }
    }
  }
}

}  // namespace
}  // namespace fimd

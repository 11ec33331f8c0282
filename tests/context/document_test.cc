#include "context/document.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "context/syntax_tree.h"
#include "context/text.h"
#include "context/workspace.h"

namespace fimd {
namespace {

// A document as a list of code points: slow, but plainly what LSP says.
struct NaiveDocument {
  std::u32string text;

  static std::u32string decode(const std::string& utf8) {
    std::u32string out;
    for (size_t i = 0; i < utf8.size();) {
      const CodePoint cp = decode_utf8(utf8, i);
      out.push_back(cp.value);
      i += cp.length;
    }
    return out;
  }
  static size_t width(char32_t c, PositionEncoding encoding) {
    switch (encoding) {
      case PositionEncoding::kUtf8:
        return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
      case PositionEncoding::kUtf16:
        return c < 0x10000 ? 1 : 2;
      default:
        return 1;
    }
  }
  std::string utf8() const {
    std::string out;
    for (const char32_t c : text) {
      if (c < 0x80) {
        out += static_cast<char>(c);
      } else if (c < 0x800) {
        out += static_cast<char>(0xC0 | (c >> 6));
        out += static_cast<char>(0x80 | (c & 0x3F));
      } else if (c < 0x10000) {
        out += static_cast<char>(0xE0 | (c >> 12));
        out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
        out += static_cast<char>(0x80 | (c & 0x3F));
      } else {
        out += static_cast<char>(0xF0 | (c >> 18));
        out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
        out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
        out += static_cast<char>(0x80 | (c & 0x3F));
      }
    }
    return out;
  }
  bool is_break(size_t i) const {  // the break ends behind code point i
    return text[i] == '\n' || (text[i] == '\r' && (i + 1 == text.size() || text[i + 1] != '\n'));
  }
  size_t lines() const {
    size_t n = 1;
    for (size_t i = 0; i < text.size(); ++i) n += is_break(i) ? 1 : 0;
    return n;
  }
  size_t index_of(Position position, PositionEncoding encoding) const {
    size_t i = 0;
    for (uint32_t line = 0; line < position.line; ++i) line += is_break(i) ? 1 : 0;
    size_t units = position.character;
    while (i < text.size() && text[i] != '\n' && text[i] != '\r') {
      const size_t w = width(text[i], encoding);
      if (w > units) break;
      units -= w;
      ++i;
    }
    return i;
  }
  // False if the edit is invalid.
  bool edit(const Range& range, const std::string& inserted, PositionEncoding encoding) {
    if (range.start.line >= lines() || range.end.line >= lines()) return false;
    const size_t begin = index_of(range.start, encoding);
    const size_t end = index_of(range.end, encoding);
    if (begin > end) return false;
    text = text.substr(0, begin) + decode(inserted) + text.substr(end);
    return true;
  }
};

void check_same_lines(const Document& document) {
  std::vector<size_t> starts = {0};
  append_line_starts(document.text(), 0, document.text().size(), &starts);
  REQUIRE(document.line_count() == starts.size());
  for (size_t i = 0; i < starts.size(); ++i) REQUIRE(document.line_start(i) == starts[i]);
}

TEST_CASE("random edits equal a naive model in all position encodings") {
  const std::vector<std::string> pieces = {"a", "b ",        "\n",       "\r\n", "\r", "é", "汉字",
                                           "😀", "x = [1]\n", "{\n  }\n", "𝒜",    "\t", ""};
  std::mt19937 rng(7);
  const auto pick = [&](size_t n) { return static_cast<uint32_t>(rng() % n); };
  for (const PositionEncoding encoding :
       {PositionEncoding::kUtf8, PositionEncoding::kUtf16, PositionEncoding::kUtf32}) {
    for (int round = 0; round < 30; ++round) {
      NaiveDocument naive;
      DocumentPtr document = Document::open("file:///a.txt", "plaintext", 0, "");
      for (int step = 1; step <= 60; ++step) {
        std::vector<TextChange> changes;
        NaiveDocument next = naive;
        bool valid = true;
        const uint32_t n = 1 + pick(3);
        for (uint32_t i = 0; i < n; ++i) {
          TextChange change;
          for (uint32_t k = pick(4); k > 0; --k) change.text += pieces[pick(pieces.size())];
          if (pick(20) == 0) {
            next.text = NaiveDocument::decode(change.text);
          } else {
            Position a = {pick(next.lines() + (pick(30) == 0 ? 3 : 0)), pick(9)};
            Position b = {a.line + pick(2), pick(9)};
            if (b.line == next.lines()) b.line = a.line;
            if (a.line == next.lines() || b.line == next.lines()) a.line = b.line = 0;
            change.range = Range{a, b};
            valid = valid && next.edit(*change.range, change.text, encoding);
          }
          changes.push_back(change);
        }
        const auto result = document->apply(changes, step, encoding);
        REQUIRE(result.ok() == valid);
        if (!valid) continue;
        naive = next;
        document = *result;
        REQUIRE(document->text() == naive.utf8());
        check_same_lines(*document);
        // Positions round-trip.
        const size_t at = floor_to_code_point(document->text(), pick(document->text().size() + 1));
        const size_t line = document->line_of(at);
        const size_t inside = std::min(at, document->line_end(line));
        const auto back = document->offset_at(document->position_at(at, encoding), encoding);
        REQUIRE(back.ok());
        REQUIRE(*back == inside);
      }
    }
  }
}

TEST_CASE("positions clamp as LSP says") {
  const DocumentPtr document = Document::open("file:///a.txt", "", 1, "ab\r\nc😀d\n");
  const auto at = [&](uint32_t line, uint32_t character, PositionEncoding encoding) {
    const auto result = document->offset_at({line, character}, encoding);
    return result.ok() ? static_cast<int>(*result) : -1;
  };
  CHECK(at(0, 99, PositionEncoding::kUtf16) == 2);
  CHECK(at(1, 1, PositionEncoding::kUtf16) == 5);
  CHECK(at(1, 2, PositionEncoding::kUtf16) == 5);  // inside the surrogate pair
  CHECK(at(1, 3, PositionEncoding::kUtf16) == 9);
  CHECK(at(1, 2, PositionEncoding::kUtf32) == 9);
  CHECK(at(1, 3, PositionEncoding::kUtf8) == 5);
  CHECK(at(2, 0, PositionEncoding::kUtf16) == 11);
  CHECK(at(3, 0, PositionEncoding::kUtf16) == 11);  // right behind the last line: the end
  CHECK(at(4, 0, PositionEncoding::kUtf16) == -1);
  CHECK(at(4294967295U, 4294967295U, PositionEncoding::kUtf16) == -1);
  const Position position = document->position_at(10, PositionEncoding::kUtf16);
  CHECK(position.line == 1);
  CHECK(position.character == 4);
}

TEST_CASE("a reversed range is an error and leaves the document alone") {
  const DocumentPtr document = Document::open("file:///a.py", "python", 1, "x = 1\ny = 2\n");
  const auto result = document->apply({{Range{{1, 0}, {0, 0}}, "z"}}, 2, PositionEncoding::kUtf16);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == ErrorCode::kInvalidArgument);
  CHECK(document->text() == "x = 1\ny = 2\n");
}

TEST_CASE("malformed UTF-8 is repaired") {
  const DocumentPtr document =
      Document::open("file:///a.py", "python", 1, "a\xFF\xE6\xB1 b\xC0\x80");
  CHECK(document->text() == "a\uFFFD\uFFFD b\uFFFD\uFFFD");
  CHECK(repair_utf8("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");  // an encoded surrogate
  CHECK(repair_utf8("\xF0\x9F\x98") == "\uFFFD");
  CHECK(repair_utf8("ok é 😀") == "ok é 😀");
  CHECK_FALSE(is_valid_utf8("12345678\x80"));
}

TEST_CASE("UTF-16 conversions are inverse") {
  CHECK(from_utf16(to_utf16("aé汉😀")) == "aé汉😀");
  CHECK(to_utf16("😀").size() == 2);
  CHECK(from_utf16(u"a\xD83D") == "a\uFFFD");
}

TEST_CASE("file URIs become paths") {
  CHECK(uri_to_path("file:///home/a%20b/c%2B%2B.cc") == "/home/a b/c++.cc");
  CHECK(uri_to_path("file:///c%3A/x/y.py") == "c:/x/y.py");
  CHECK(uri_to_path("file:///C:/x/y.py") == "C:/x/y.py");
  CHECK(uri_to_path("FILE://localhost/x") == "/x");
  CHECK(uri_to_path("file://server/share/x.c") == "//server/share/x.c");
  CHECK(uri_to_path("file:/x/y") == "/x/y");
  CHECK(uri_to_path("file:///bad%zz%4") == "/bad%zz%4");
  CHECK(uri_to_path("file:///x%FF") == "/x\uFFFD");
  CHECK(uri_to_path("untitled:Untitled-1") == "");
  CHECK(uri_to_path("") == "");
}

TEST_CASE("a whole-text change keeps the edit small") {
  const DocumentPtr a = Document::open("file:///a.py", "python", 1, "x = 1\ny = é\nz = 3\n");
  const auto b = a->apply({{std::nullopt, "x = 1\ny = è2\nz = 3\n"}}, 2, PositionEncoding::kUtf16);
  REQUIRE(b.ok());
  CHECK((*b)->last_edit_offset() == 13);
  const auto full = SyntaxTree::parse(*(*b)->language(), (*b)->text(), 1000);
  CHECK((*b)->tree()->dump() == full->dump());
}

TEST_CASE("the workspace orders documents by use and remembers closed ones") {
  Workspace workspace;
  workspace.set_folders({"/w/app/", "/w"});
  workspace.open("file:///w/app/src/a.py", "python", 1, "x\n");
  workspace.open("file:///w/b.py", "python", 1, "x\n");
  const DocumentPtr c = workspace.open("file:///elsewhere/c.py", "python", 1, "x\n");
  CHECK(workspace.documents()[0]->path() == "/elsewhere/c.py");
  workspace.visit("file:///w/app/src/a.py", 0);
  CHECK(workspace.documents()[0]->path() == "/w/app/src/a.py");
  REQUIRE(
      workspace.change("file:///w/b.py", {{Range{{0, 1}, {0, 1}}, "y"}}, 2, PositionEncoding::kUtf8)
          .ok());
  CHECK(workspace.documents()[0]->text() == "xy\n");
  CHECK(workspace.visits().back().edited);

  const Document& a = *workspace.find("file:///w/app/src/a.py");
  CHECK(workspace.relative_path(a) == "src/a.py");
  CHECK(workspace.folder_name(a) == "app");
  CHECK(workspace.relative_path(*workspace.find("file:///w/b.py")) == "b.py");
  CHECK(workspace.folder_name(*workspace.find("file:///w/b.py")) == "w");
  CHECK(workspace.relative_path(*c) == "c.py");
  CHECK(workspace.folder_name(*c) == "");

  REQUIRE(workspace.close("file:///w/b.py").ok());
  CHECK_FALSE(workspace.close("file:///w/b.py").ok());
  CHECK(workspace.find("file:///w/b.py") == nullptr);
  REQUIRE(workspace.recently_closed().size() == 1);
  CHECK(workspace.recently_closed()[0]->text() == "xy\n");
  CHECK_FALSE(workspace.change("file:///w/b.py", {}, 3, PositionEncoding::kUtf8).ok());
  workspace.open("file:///w/b.py", "python", 4, "new\n");
  CHECK(workspace.recently_closed().empty());
}

}  // namespace
}  // namespace fimd

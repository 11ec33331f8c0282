#include "engine/tokenizer/pretokenizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "engine/tokenizer/unicode.h"
#include "tests/tokenizer/helpers.h"

namespace fimd {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(const PreTokenizer& pre, std::string_view text) {
  std::vector<size_t> ends;
  pre.split(text, 0, &ends);
  Pieces pieces;
  size_t begin = 0;
  for (const size_t end : ends) {
    REQUIRE(end > begin);
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  REQUIRE(begin == text.size());
  return pieces;
}

Pieces split(std::string_view name, std::string_view text) {
  auto pre = make_pretokenizer(name);
  REQUIRE(pre.ok());
  return split(**pre, text);
}

/// The patterns of a row, compiled, with letters of contractions matched in ASCII case only, as
/// scanners and the usual reference do ((?i:'s) would also take U+017F).
std::unique_ptr<PreTokenizer> compiled(const PreTokenizerRow& row) {
  std::vector<std::string> patterns;
  for (const std::string_view p : row.patterns) {
    std::string pattern(p);
    constexpr std::string_view kAnyCase = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    if (const size_t at = pattern.find(kAnyCase); at != std::string::npos) {
      pattern.replace(at, kAnyCase.size(),
                      "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])");
    }
    patterns.push_back(pattern);
  }
  auto pre = compile_pretokenizer(patterns);
  REQUIRE_MESSAGE(pre.ok(), pre.error().message);
  return std::move(pre).value();
}

TEST_CASE("gpt-2 splits words with their space, numbers and runs of punctuation") {
  CHECK(split("gpt-2", "Hello  world's 123!?\n x") ==
        Pieces{"Hello", " ", " world", "'s", " 123", "!?", "\n", " x"});
  CHECK(split("gpt-2", "HE'S  ") == Pieces{"HE", "'", "S", "  "});
}

TEST_CASE("qwen2 takes numbers one by one and any punctuation before a word") {
  CHECK(split("qwen2", "foo(bar, 12);\n\n    x'S") ==
        Pieces{"foo", "(bar", ",", " ", "1", "2", ");\n\n", "   ", " x", "'S"});
  CHECK(split("qwen2", "a \n \n  b") == Pieces{"a", " \n \n", " ", " b"});
  CHECK(split("qwen2", "\tx \ty") == Pieces{"\tx", " ", "\ty"});
}

TEST_CASE("llama-bpe takes numbers in threes from the left") {
  CHECK(split("llama-bpe", "x1234567") == Pieces{"x", "123", "456", "7"});
}

TEST_CASE("qwen35 keeps marks in words") {
  CHECK(split("qwen35", "a\u0301b c") == Pieces{"a\u0301b", " c"});
  CHECK(split("qwen2", "a\u0301b c") == Pieces{"a", "\u0301b", " c"});
}

TEST_CASE("starcoder takes single digits out first") {
  CHECK(split("starcoder", "ab12  3 c") == Pieces{"ab", "1", "2", "  ", "3", " c"});
}

TEST_CASE("deepseek-coder cuts at line breaks, words, punctuation, CJK and digits") {
  CHECK(split("deepseek-coder", "a + b;\n\n中文x1") ==
        Pieces{"a", " +", " b", ";", "\n", "\n", "中文", "x", "1"});
}

TEST_CASE("every scanner gives the pieces of its compiled patterns") {
  std::mt19937 random(20);
  for (const PreTokenizerRow& row : pretokenizer_table()) {
    if (row.make_scanner == nullptr) continue;
    CAPTURE(row.names.front());
    const auto scanner = row.make_scanner();
    const auto reference = compiled(row);
    for (int i = 0; i < 3000; ++i) {
      const std::string text = test::random_text(&random, random() % 24, i % 3 == 0);
      CAPTURE(text);
      REQUIRE(split(*scanner, text) == split(*reference, text));
    }
  }
}

/// Every character that PCRE2's (older) Unicode tables know, but U+180E: PCRE2's \s takes it,
/// though it has not been White_Space since Unicode 6.3.
std::string assigned_characters() {
  std::string all;  // each with "yz" behind it
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    if ((c >= 0xD800 && c <= 0xDFFF) || c == 0x180E || c == 'y' || c == 'z') continue;
    append_utf8(c, &all);
    all += "yz";
  }
  auto unassigned = compile_pretokenizer(std::vector<std::string>{R"(\p{Cn}y)"});
  REQUIRE(unassigned.ok());
  std::string assigned;
  for (const std::string& piece : split(**unassigned, all)) {
    if (piece.back() == 'y') continue;  // a match; gaps go on to a z
    for (const char c : piece) {
      if (c != 'y' && c != 'z') assigned += c;
    }
  }
  return assigned;
}

TEST_CASE("scanners class every character as PCRE2 does") {
  const std::string characters = assigned_characters();
  std::string text;
  size_t n = 0;
  for (size_t pos = 0; pos < characters.size(); ++n) {
    const size_t length = utf8_length_at(characters, pos);
    REQUIRE(length > 0);
    const std::string c = characters.substr(pos, length);
    text += "x" + c + "7" + c + " ";  // its neighbours tell letters, numbers, spaces and the rest
    pos += length;
  }
  CHECK(n > 280000);
  for (const PreTokenizerRow& row : pretokenizer_table()) {
    if (row.make_scanner == nullptr) continue;
    CAPTURE(row.names.front());
    std::vector<size_t> ours;
    std::vector<size_t> reference;
    row.make_scanner()->split(text, 0, &ours);
    compiled(row)->split(text, 0, &reference);
    const auto [a, b] = std::mismatch(ours.begin(), ours.end(), reference.begin(), reference.end());
    if (a != ours.end()) {
      FAIL("differs near " << text.substr(*a - std::min<size_t>(*a, 12), 24));
    }
    CHECK(ours.size() == reference.size());
  }
}

TEST_CASE("patterns of a known pre-tokenizer give its scanner, others are compiled") {
  for (const PreTokenizerRow& row : pretokenizer_table()) {
    const std::vector<std::string> patterns(row.patterns.begin(), row.patterns.end());
    auto pre = make_pretokenizer(patterns);
    REQUIRE_MESSAGE(pre.ok(), pre.error().message);
    CHECK(split(**pre, "it's 1234 (x)\n") == split(row.names.front(), "it's 1234 (x)\n"));
  }
  const std::vector<std::string> own = {"[ab]+", "c"};
  auto pre = make_pretokenizer(own);
  REQUIRE(pre.ok());
  CHECK(split(**pre, "xxabcdcab") == Pieces{"xx", "ab", "c", "d", "c", "ab"});
  CHECK(make_pretokenizer("no such").error().code == ErrorCode::kUnsupported);
  CHECK(make_pretokenizer(std::vector<std::string>{"(unclosed"}).error().code ==
        ErrorCode::kUnsupported);
  CHECK(make_pretokenizer(std::vector<std::string>{"[a-z&&[^b]]"}).error().code ==
        ErrorCode::kUnsupported);
}

TEST_CASE("no pattern makes one piece, an empty match cuts nothing") {
  auto whole = make_pretokenizer(std::span<const std::string>());
  REQUIRE(whole.ok());
  CHECK(split(**whole, "a b\nc") == Pieces{"a b\nc"});
  auto empty = make_pretokenizer(std::vector<std::string>{"b*"});
  REQUIRE(empty.ok());
  CHECK(split(**empty, "aébba") == Pieces{"aé", "bb", "a"});
}

TEST_CASE("a pattern that backtracks without end gives up instead of hanging") {
  auto pre = make_pretokenizer(std::vector<std::string>{"(a|a|aa)*b|^x"});
  REQUIRE(pre.ok());
  const std::string text = "x" + std::string(2000, 'a');
  const Pieces pieces = split(**pre, text);
  CHECK(pieces.front() == "x");
}

TEST_CASE("a megabyte of one character splits at once") {
  for (const PreTokenizerRow& row : pretokenizer_table()) {
    if (row.make_scanner == nullptr) continue;
    for (const char* atom : {"a", " ", "\n", "(", "'", "7", "\xff"}) {
      std::string text;
      while (text.size() < (1U << 20)) text += atom;
      split(row.names.front(), text + "x");
    }
  }
}

}  // namespace
}  // namespace fimd

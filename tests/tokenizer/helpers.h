// What the tokenizer tests share: seeded random bytes, decoding, and a vocabulary small enough to
// check by hand.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/load.h"
#include "support/log.h"

namespace fimd::test {

/// Keeps warnings about deliberately odd vocabularies out of the test output.
class QuietLog {
 public:
  QuietLog() : level_(log::level()) { log::set_level(log::Level::kOff); }
  ~QuietLog() { log::set_level(level_); }
  QuietLog(const QuietLog&) = delete;
  QuietLog& operator=(const QuietLog&) = delete;

 private:
  log::Level level_;
};

inline std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<TokenId> ids;
  tokenizer.encode(text, &ids);
  return ids;
}

inline std::string decode(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::string text;
  for (const TokenId id : ids) text += tokenizer.bytes(id);
  return text;
}

/// Random text of pieces that matter to splitters: letters, digits, spaces of all kinds, marks,
/// punctuation, line breaks, CJK, emoji and, if asked, bytes that are not UTF-8.
inline std::string random_text(std::mt19937* random, size_t pieces, bool invalid) {
  static const std::vector<std::string> kAtoms = {
      "a",      "b",      "Z",      "é",      "ß",      "ſ",   "Я",    "ω",      "字",     "か",
      "한",     "ا",      "अ",      "\u0301", "\u093e", "0",   "7",    "42",     "٣",      "½",
      "Ⅷ",      " ",      " ",      "  ",     "\t",     "\n",  "\r\n", "\r",     "\u00a0", "\u3000",
      "\u2028", "\u0085", "\u000b", "'",      "'s",     "'LL", "'re",  "(",      ")",      "_",
      "$",      "+",      "=",      "//",     "。",     "“",   "😀",    "\u200d", "\ufe0f", "\u200b",
      "\ufeff", "\ue000", "\u0001", "𝟘",      "𐌰",      "͏",  "ªº"};
  static const std::vector<std::string> kInvalid = {
      "\x80",     "\xff",         "\xc3",     "\xe4\xb8",
      "\xf0\x9f", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80"};
  std::string text;
  for (size_t i = 0; i < pieces; ++i) {
    const bool bad = invalid && (*random)() % 6 == 0;
    const auto& atoms = bad ? kInvalid : kAtoms;
    text += atoms[(*random)() % atoms.size()];
  }
  return text;
}

inline std::string random_bytes(std::mt19937* random, size_t n) {
  std::string bytes;
  for (size_t i = 0; i < n; ++i) bytes += static_cast<char>((*random)() & 0xFF);
  return bytes;
}

/// 256 bytes, then the merges' results in order, then control and user-defined tokens.
struct SmallVocab {
  std::vector<std::pair<std::string, std::string>> merges = {
      {"h", "e"},   {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {" ", "w"},   {" ", " "},
      {"  ", "  "}, {"o", "r"}, {" w", "or"}, {"a", "a"},    {"aa", "aa"}, {"\xc3", "\xa9"},
      {"é", "é"},   {"r", "e"}, {"\n", "\n"}, {"i", "f"},    {"1", "2"}};
  std::vector<std::string> control = {"<|endoftext|>", "<|fim_prefix|>"};
  std::vector<std::string> user_defined = {"<think>", "<think>more", "<<"};
  std::string pre = "qwen2";

  VocabData data() const {
    VocabData d;
    d.pre = pre;
    const auto add = [&d](std::string text, TokenType type) {
      d.tokens.push_back(std::move(text));
      d.types.push_back(type);
    };
    for (int b = 0; b < 256; ++b) {
      const char c = static_cast<char>(b);
      add(encode_byte_level({&c, 1}), TokenType::kNormal);
    }
    for (const auto& [a, b] : merges) {
      add(encode_byte_level(a + b), TokenType::kNormal);
      d.merges.push_back(encode_byte_level(a) + " " + encode_byte_level(b));
    }
    for (const auto& text : control) add(text, TokenType::kControl);
    for (const auto& text : user_defined) add(text, TokenType::kUserDefined);
    return d;
  }

  std::unique_ptr<Tokenizer> make() const {
    auto made = make_tokenizer(data());
    REQUIRE_MESSAGE(made.ok(), made.error().message);
    return std::move(made).value();
  }
};

}  // namespace fimd::test

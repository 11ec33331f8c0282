#include "engine/tokenizer/spm_bpe.h"

#include <doctest/doctest.h>

#include <random>

#include "tests/tokenizer/helpers.h"

namespace fimd {
namespace {

using test::decode;
using test::encode;

/// <unk> <s> </s>, 256 byte tokens, then pieces with falling scores.
VocabData small_spm() {
  VocabData d;
  d.model = VocabData::Model::kSpmBpe;
  const auto add = [&d](std::string text, TokenType type, float score) {
    d.tokens.push_back(std::move(text));
    d.types.push_back(type);
    d.scores.push_back(score);
  };
  add("<unk>", TokenType::kUnknown, 0);
  add("<s>", TokenType::kControl, 0);
  add("</s>", TokenType::kControl, 0);
  for (int b = 0; b < 256; ++b) {
    constexpr char kHex[] = "0123456789ABCDEF";
    add(std::string("<0x") + kHex[b >> 4] + kHex[b & 15] + ">", TokenType::kByte, 0);
  }
  float score = -1;
  for (const char* piece : {"▁t", "he", "▁the", "▁▁", "▁▁▁▁", "in", "er", "▁a", "é", "字", "▁", "t",
                            "h", "e", "i", "n", "r", "a", "x"}) {
    add(piece, TokenType::kNormal, score--);
  }
  d.unknown = 0;
  d.bos = 1;
  d.eos = 2;
  return d;
}

constexpr TokenId kFirst = 3 + 256;

TEST_CASE("the best score merges first and unknown characters become bytes") {
  auto made = make_tokenizer(small_spm());
  REQUIRE(made.ok());
  const Tokenizer& t = **made;
  CHECK(encode(t, "the") == std::vector<TokenId>{kFirst + 2});
  CHECK(encode(t, "the in") == std::vector<TokenId>{kFirst + 2, kFirst + 10, kFirst + 5});
  CHECK(encode(t, "字q") == std::vector<TokenId>{kFirst + 10, kFirst + 9, 3 + 'q'});
  CHECK(encode(t, "").empty());
  CHECK(t.bytes(kFirst + 2) == " the");
  CHECK(t.bytes(3 + '\n') == "\n");
  CHECK(t.add_bos());
  CHECK(t.bos() == 1);
  CHECK(t.type(3) == TokenType::kByte);
  CHECK(std::vector<TokenId>(t.end_of_generation().begin(), t.end_of_generation().end()) ==
        std::vector<TokenId>{2});
}

TEST_CASE("any bytes decode to themselves but for the space in front") {
  std::mt19937 random(2);
  for (const bool prefix : {false, true}) {
    VocabData data = small_spm();
    data.add_space_prefix = prefix;
    auto made = make_tokenizer(data);
    REQUIRE(made.ok());
    for (int i = 0; i < 300; ++i) {
      std::string text = i % 2 == 0 ? test::random_bytes(&random, random() % 100)
                                    : test::random_text(&random, random() % 40, true);
      if (i % 5 == 0) text += "a▁b the  ▁";  // the space mark itself
      CAPTURE(text);
      const std::string expected = prefix && !text.empty() ? " " + text : text;
      REQUIRE(decode(**made, encode(**made, text)) == expected);
    }
  }
}

TEST_CASE("cutting before spaces changes nothing") {
  // A token with a space inside forbids cutting, and must not disturb anything else.
  VocabData data = small_spm();
  auto cutting = make_tokenizer(data);
  data.tokens.emplace_back("q▁q");
  data.types.push_back(TokenType::kNormal);
  data.scores.push_back(-100);
  auto whole = make_tokenizer(data);
  REQUIRE(cutting.ok());
  REQUIRE(whole.ok());
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (size_t n = random() % 80; n > 0; --n) text += "the in xé  字\n"[random() % 16];
    CAPTURE(text);
    REQUIRE(encode(**cutting, text) == encode(**whole, text));
  }
}

TEST_CASE("split_on_space keeps every space apart") {
  VocabData data = small_spm();
  data.add_space_prefix = false;
  data.split_on_space = true;
  auto made = make_tokenizer(data);
  REQUIRE(made.ok());
  CHECK(encode(**made, "   the") == std::vector<TokenId>{kFirst + 10, kFirst + 10, kFirst + 2});
}

TEST_CASE("without byte tokens a character is unknown once") {
  VocabData data;
  data.model = VocabData::Model::kSpmBpe;
  data.tokens = {"<unk>", "a"};
  data.types = {TokenType::kUnknown, TokenType::kNormal};
  data.scores = {0, -1};
  data.unknown = 0;
  data.add_space_prefix = false;
  auto made = make_tokenizer(data);
  REQUIRE(made.ok());
  CHECK(encode(**made, "a字a") == std::vector<TokenId>{1, 0, 1});
  data.scores.clear();
  CHECK(make_tokenizer(data).error().code == ErrorCode::kCorrupt);
}

TEST_CASE("a megabyte without a space encodes") {
  auto made = make_tokenizer(small_spm());
  REQUIRE(made.ok());
  for (const char* atom : {"he", " ", "\n", "x"}) {
    std::string text;
    while (text.size() < (1U << 20)) text += atom;
    CHECK(decode(**made, encode(**made, text)) == " " + text);
  }
}

}  // namespace
}  // namespace fimd

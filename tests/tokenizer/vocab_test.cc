#include "engine/tokenizer/vocab.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/tokenizer/helpers.h"

namespace fimd {
namespace {

using test::encode;
using test::SmallVocab;

TEST_CASE("control tokens are never read from text, user-defined ones are, the longest first") {
  const auto t = SmallVocab().make();
  const TokenId end = *t->control_id("<|endoftext|>");
  const TokenId think = *t->control_id("<think>");
  const TokenId think_more = *t->control_id("<think>more");
  const TokenId shift = *t->control_id("<<");
  const auto has = [&](std::string_view text, TokenId id) {
    const auto ids = encode(*t, text);
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  CHECK_FALSE(has("a<|endoftext|>b", end));
  CHECK_FALSE(has("<|fim_prefix|>", *t->control_id("<|fim_prefix|>")));
  CHECK(encode(*t, "<think>x") == std::vector<TokenId>{think, 'x'});
  CHECK(encode(*t, "<think>more") == std::vector<TokenId>{think_more});
  CHECK(encode(*t, "<think>mor") == std::vector<TokenId>{think, 'm', 256 + 7});
  CHECK(encode(*t, "a<<<think") == std::vector<TokenId>{'a', shift, '<', 't', 'h', 'i', 'n', 'k'});
  CHECK(encode(*t, "<<<think>") == std::vector<TokenId>{shift, think});
  CHECK(t->bytes(end).empty());
  CHECK(t->bytes(think) == "<think>");
  CHECK(t->type(end) == TokenType::kControl);
  CHECK(t->type(think) == TokenType::kUserDefined);
  CHECK(t->control_tokens() == std::vector<std::string>{"<|endoftext|>", "<|fim_prefix|>"});
  CHECK_FALSE(t->control_id("hello").has_value());
}

TEST_CASE("ids out of range have no bytes") {
  const auto t = SmallVocab().make();
  for (const TokenId id : {-1, t->vocab_size(), 1 << 30}) {
    CHECK(t->bytes(id).empty());
    CHECK(t->type(id) == TokenType::kUnused);
  }
}

TEST_CASE("markers of FIM prompts are control tokens whatever the file says") {
  SmallVocab small;
  small.control = {"<|endoftext|>"};
  small.user_defined = {"<|fim_suffix|>", "<｜fim▁hole｜>", "<fim_prefix>", "</s>"};
  const auto t = small.make();
  for (const char* text : {"<|fim_suffix|>", "<｜fim▁hole｜>", "<fim_prefix>"}) {
    const auto id = t->control_id(text);
    REQUIRE(id.has_value());
    CHECK(t->type(*id) == TokenType::kControl);
    const auto ids = encode(*t, std::string("a") + text);
    CHECK(std::find(ids.begin(), ids.end(), *id) == ids.end());
    const auto ends = t->end_of_generation();
    CHECK(std::find(ends.begin(), ends.end(), *id) != ends.end());
  }
  CHECK(t->type(*t->control_id("</s>")) == TokenType::kUserDefined);
}

TEST_CASE("generation ends at what metadata names and at known control texts") {
  SmallVocab small;
  small.control = {"<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|file_sep|>", "odd"};
  VocabData data = small.data();
  const TokenId first = 256 + static_cast<TokenId>(small.merges.size());
  data.eos = first + 4;
  data.end_ids = {first + 1};
  auto made = make_tokenizer(data);
  REQUIRE(made.ok());
  const auto ends = (*made)->end_of_generation();
  CHECK(std::vector<TokenId>(ends.begin(), ends.end()) ==
        std::vector<TokenId>{first + 1, first + 2, first + 3, first + 4});
}

TEST_CASE("a token named by metadata is a control token even if the file has no types") {
  VocabData data = SmallVocab().data();
  data.types.clear();
  data.eos = *SmallVocab().make()->control_id("<|endoftext|>");
  data.bos = data.eos;
  auto made = make_tokenizer(data);
  REQUIRE(made.ok());
  CHECK((*made)->type(*data.eos) == TokenType::kControl);
  CHECK((*made)->bos() == data.eos);
  CHECK_FALSE((*made)->add_bos());
}

TEST_CASE("unused rows at the end are padding") {
  SmallVocab small;
  VocabData data = small.data();
  const auto n = static_cast<int>(data.tokens.size());
  for (int i = 0; i < 5; ++i) {
    data.tokens.push_back("[PAD" + std::to_string(i) + "]");
    data.types.push_back(TokenType::kUnused);
  }
  auto made = make_tokenizer(data);
  REQUIRE(made.ok());
  CHECK((*made)->vocab_size() == n);
  CHECK(encode(**made, "[PAD1]").size() == 6);
}

TEST_CASE("compatible_with gives exactly the tokens that may come first") {
  const auto t = SmallVocab().make();
  std::vector<std::string> prefixes = {
      "",     "h",  "he", "hell",      "hello", "hello w", " ",   "   ",  "\n",           "é",
      "\xc3", "éé", "<t", "<think>mo", "zz",    "i",       "if(", "\xff", "<|endoftext|>"};
  std::mt19937 random(8);
  for (int i = 0; i < 100; ++i) prefixes.push_back(test::random_text(&random, 3, true));
  for (const std::string& prefix : prefixes) {
    CAPTURE(prefix);
    std::vector<TokenId> expected;
    for (TokenId id = 0; id < t->vocab_size(); ++id) {
      const std::string_view bytes = t->bytes(id);
      if (t->type(id) == TokenType::kControl || bytes.empty()) continue;
      if (bytes.starts_with(prefix) || std::string_view(prefix).starts_with(bytes)) {
        expected.push_back(id);
      }
    }
    std::vector<TokenId> found = t->compatible_with(prefix);
    std::sort(found.begin(), found.end());
    CHECK(found == expected);
  }
}

TEST_CASE("byte-level characters map to all bytes and back") {
  std::string bytes;
  for (int b = 0; b < 256; ++b) bytes += static_cast<char>(b);
  CHECK(decode_byte_level(encode_byte_level(bytes)) == bytes);
  CHECK(encode_byte_level(" \n\xad") == "ĠĊŃ");
  CHECK(decode_byte_level("Ġa") == " a");
  CHECK(decode_byte_level("plain 字") == "plain 字");  // in clear
}

TEST_CASE("arbitrary vocabularies neither crash nor emit control tokens") {
  const test::QuietLog quiet;
  std::mt19937 random(9);
  for (int round = 0; round < 300; ++round) {
    VocabData data;
    data.model = round % 2 == 0 ? VocabData::Model::kByteBpe : VocabData::Model::kSpmBpe;
    data.pre = "qwen2";
    const size_t n = 1 + random() % 60;
    for (size_t i = 0; i < n; ++i) {
      data.tokens.push_back(random() % 3 == 0 ? test::random_bytes(&random, random() % 4)
                                              : test::random_text(&random, random() % 4, true));
      data.types.push_back(static_cast<TokenType>(random() % 9));
      data.scores.push_back(random() % 5 == 0 ? std::nanf("") : static_cast<float>(random() % 5));
    }
    for (size_t i = random() % 20; i > 0; --i) {
      data.merges.push_back(data.tokens[random() % n] + " " + data.tokens[random() % n] + "x");
    }
    if (random() % 2 == 0) data.unknown = static_cast<TokenId>(random() % n);
    if (random() % 2 == 0) data.eos = static_cast<TokenId>(random() % n);
    auto made = make_tokenizer(std::move(data));
    if (!made.ok()) continue;
    for (int i = 0; i < 5; ++i) {
      const std::string text = test::random_text(&random, 20, true);
      for (const TokenId id : encode(**made, text)) {
        REQUIRE(id >= 0);
        REQUIRE((*made)->bytes(id).size() <= text.size() + 1);
      }
      (*made)->compatible_with(text.substr(0, 3));
    }
  }
}

}  // namespace
}  // namespace fimd

#include "engine/prompt_encoder.h"

#include <doctest/doctest.h>

#include "engine/healing.h"
#include "tests/engine/fakes.h"

namespace fimd {
namespace {

using test::FakeTokenizer;

TEST_CASE("segments are tokenised apart, and only once") {
  const FakeTokenizer tokenizer({"ab", "bc"});
  PromptEncoder encoder(tokenizer);
  const Prompt prompt = {control_segment("<|fim_prefix|>"), text_segment("xa"), text_segment("bc"),
                         control_segment("<|fim_middle|>")};
  const auto encoded = encoder.encode(prompt, true);
  REQUIRE(encoded.ok());
  CHECK(encoded->ids == std::vector<TokenId>{*tokenizer.control_id("<|fim_prefix|>"), 'x', 'a', 257,
                                             *tokenizer.control_id("<|fim_middle|>")});
  CHECK(encoded->healed.empty());
  const int encodes = tokenizer.encodes;
  REQUIRE(encoder.encode(prompt, true).ok());
  CHECK(encoder.count("xa") == 2);
  CHECK(tokenizer.encodes == encodes);
  // Text never makes a control token.
  CHECK(encoder.count("<|end|>") == 7);
}

TEST_CASE("the cache forgets the least recently used beyond its size") {
  const FakeTokenizer tokenizer;
  PromptEncoder encoder(tokenizer, 4000);
  encoder.count(std::string(100, 'a'));
  for (char c = 'b'; c < 'z'; ++c) {
    encoder.count(std::string(100, c));
    encoder.count(std::string(100, 'a'));
  }
  const int encodes = tokenizer.encodes;
  encoder.count(std::string(100, 'a'));
  encoder.count(std::string(100, 'y'));
  CHECK(tokenizer.encodes == encodes);
  encoder.count(std::string(100, 'b'));
  CHECK(tokenizer.encodes == encodes + 1);
  CHECK(encoder.count(std::string(100000, 'q')) == 100000);  // larger than the cache
}

TEST_CASE("how many tokens healing takes back") {
  const FakeTokenizer tokenizer({"na", "me", ".name", " self", "    ", "  ", "()", "foo"});
  const auto taken = [&](const std::string& text) {
    const auto ids = tokenizer.ids(text);
    return tokens_to_take_back(tokenizer, ids);
  };
  CHECK(taken("") == 0);
  CHECK(taken("x") == 1);
  CHECK(taken("1+2") == 1);
  CHECK(taken("self.na") == 2);  // ".", "na": there is ".name"
  CHECK(taken("x = na") == 1);   // no token spans " na"
  CHECK(taken("foome") == 2);    // a boundary within a word
  CHECK(taken("f(") == 1);
  CHECK(taken("   ") == 2);  // "  ", " ": there is "    "
  CHECK(taken("abcdefgh") == kMaxTakenBack);
}

TEST_CASE("healing leaves something to read and stays within the last segment") {
  const FakeTokenizer tokenizer({".name"});
  PromptEncoder encoder(tokenizer);
  auto encoded = encoder.encode({text_segment("x.na")}, true);
  CHECK(encoded->ids == tokenizer.ids("x"));
  CHECK(encoded->healed == ".na");
  CHECK(encoded->taken_back == tokenizer.ids(".na"));
  encoded = encoder.encode({text_segment("x.na")}, false);
  CHECK(encoded->ids == tokenizer.ids("x.na"));
  encoded = encoder.encode({text_segment("x."), text_segment("na")}, true);
  CHECK(encoded->ids == tokenizer.ids("x."));
  encoded = encoder.encode({text_segment("a")}, true);
  CHECK(encoded->ids.size() == 1);
  CHECK(encoded->healed.empty());
  CHECK_FALSE(encoder.encode({}, true).ok());
  CHECK_FALSE(encoder.encode({control_segment("x")}, true).ok());
}

}  // namespace
}  // namespace fimd

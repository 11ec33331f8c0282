#include <doctest/doctest.h>

#include <functional>
#include <random>

#include "engine/tokenizer/load.h"
#include "tests/json.h"
#include "tests/tokenizer/helpers.h"

namespace fimd {
namespace {

using Json = nlohmann::json;
using test::decode;
using test::encode;

/// A byte-level file of 256 bytes and a few merges, with every part that files usually have.
Json byte_level_file() {
  Json vocab;
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    vocab[encode_byte_level({&c, 1})] = b;
  }
  vocab["he"] = 256;
  vocab["Ġhe"] = 257;
  return {{"version", "1.0"},
          {"added_tokens",
           {{{"id", 258}, {"content", "<|endoftext|>"}, {"special", true}},
            {{"id", 259}, {"content", "<tool>"}, {"special", false}}}},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern", {{"Regex", "\\p{N}"}}},
               {"behavior", "Isolated"},
               {"invert", false}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}}}}},
          {"post_processor", {{"type", "ByteLevel"}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", vocab},
            {"merges", Json::array({"h e", Json::array({"Ġ", "he"})})},
            {"unk_token", nullptr},
            {"byte_fallback", false}}}};
}

Json spm_file() {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int b = 0; b < 256; ++b) {
    constexpr char kHex[] = "0123456789ABCDEF";
    vocab[std::string("<0x") + kHex[b >> 4] + kHex[b & 15] + ">"] = 3 + b;
  }
  int id = 259;
  for (const char* piece : {"▁", "h", "e", "he", "▁he"}) vocab[piece] = id++;
  return {{"added_tokens",
           {{{"id", 0}, {"content", "<unk>"}, {"special", true}},
            {{"id", 1}, {"content", "<s>"}, {"special", true}},
            {{"id", 2}, {"content", "</s>"}, {"special", true}}}},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", "▁"}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}}},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", vocab},
            {"merges", {"h e", "▁ he"}},
            {"unk_token", "<unk>"},
            {"byte_fallback", true}}}};
}

Result<std::unique_ptr<Tokenizer>> parse(const Json& file) {
  return parse_tokenizer_json(test::dump_json(file));
}

TEST_CASE("a byte-level file") {
  auto made = parse(byte_level_file());
  REQUIRE_MESSAGE(made.ok(), made.error().message);
  const Tokenizer& t = **made;
  CHECK(encode(t, "he he1<tool>") == std::vector<TokenId>{256, 257, '1', 259});
  CHECK(t.control_id("<|endoftext|>") == 258);
  CHECK(t.end_of_generation().front() == 258);
  CHECK(t.vocab_size() == 260);
  CHECK_FALSE(t.add_bos());
}

TEST_CASE("a SentencePiece file") {
  auto made = parse(spm_file());
  REQUIRE_MESSAGE(made.ok(), made.error().message);
  const Tokenizer& t = **made;
  CHECK(encode(t, "he he\n") == std::vector<TokenId>{263, 263, 3 + '\n'});
  CHECK(t.bos() == 1);
  CHECK(t.add_bos());
  Json file = spm_file();
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "never"}, {"split", false}};
  auto metaspace = parse(file);
  REQUIRE_MESSAGE(metaspace.ok(), metaspace.error().message);
  CHECK(encode(**metaspace, "he he") == std::vector<TokenId>{262, 263});
}

TEST_CASE("what has no equivalent is refused by name") {
  const auto refused = [](const char* what, const std::function<void(Json*)>& change) {
    Json file = byte_level_file();
    change(&file);
    const auto made = parse(file);
    CAPTURE(what);
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().code == ErrorCode::kUnsupported);
    CHECK(made.error().message.find(what) != std::string::npos);
  };
  refused("Unigram", [](Json* f) { (*f)["model"]["type"] = "Unigram"; });
  refused("WordPiece", [](Json* f) { (*f)["model"]["type"] = "WordPiece"; });
  refused("end_of_word_suffix", [](Json* f) { (*f)["model"]["end_of_word_suffix"] = "</w>"; });
  refused("Lowercase", [](Json* f) { (*f)["normalizer"] = {{"type", "Lowercase"}}; });
  refused("WhitespaceSplit", [](Json* f) { (*f)["pre_tokenizer"]["type"] = "WhitespaceSplit"; });
  refused("Contiguous",
          [](Json* f) { (*f)["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Contiguous"; });
  refused("compile",
          [](Json* f) { (*f)["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "("; });
}

TEST_CASE("broken files are errors, not crashes") {
  const auto corrupt = [](const std::function<void(Json*)>& change) {
    Json file = byte_level_file();
    change(&file);
    const auto made = parse(file);
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().code == ErrorCode::kCorrupt);
  };
  corrupt([](Json* f) { *f = Json::array(); });
  corrupt([](Json* f) { f->erase("model"); });
  corrupt([](Json* f) { (*f)["model"] = 3; });
  corrupt([](Json* f) { (*f)["model"]["vocab"] = Json::object(); });
  corrupt([](Json* f) { (*f)["model"]["vocab"] = Json::array({"a"}); });
  corrupt([](Json* f) { (*f)["model"]["vocab"]["he"] = -1; });
  corrupt([](Json* f) { (*f)["model"]["vocab"]["he"] = 1.5; });
  corrupt([](Json* f) { (*f)["model"]["vocab"]["he"] = "x"; });
  corrupt([](Json* f) { (*f)["model"]["vocab"]["he"] = 5; });
  corrupt([](Json* f) { (*f)["model"]["vocab"]["he"] = 2147483647; });
  corrupt([](Json* f) { (*f)["model"]["vocab"]["he"] = 1ULL << 63; });
  corrupt([](Json* f) { (*f)["model"]["merges"] = "h e"; });
  corrupt([](Json* f) { (*f)["model"]["merges"][0] = "he"; });
  corrupt([](Json* f) { (*f)["model"]["merges"][0] = Json::array({"h"}); });
  corrupt([](Json* f) { (*f)["model"]["merges"][0] = Json::array({"h", 1}); });
  corrupt([](Json* f) { (*f)["added_tokens"] = "x"; });
  corrupt([](Json* f) { (*f)["added_tokens"][0] = 1; });
  corrupt([](Json* f) { (*f)["added_tokens"][0].erase("content"); });
  corrupt([](Json* f) { (*f)["added_tokens"][0]["id"] = 3; });
  corrupt([](Json* f) { (*f)["pre_tokenizer"].erase("pretokenizers"); });
  corrupt([](Json* f) { (*f)["pre_tokenizer"]["pretokenizers"][0].erase("pattern"); });
  corrupt([](Json* f) {
    (*f)["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", {{{"SpecialToken", {{"id", "<s>"}}}}}}};
  });
  corrupt([](Json* f) {
    Json nested = (*f)["pre_tokenizer"];
    for (int i = 0; i < 100; ++i) {
      nested = {{"type", "Sequence"}, {"pretokenizers", Json::array({nested})}};
    }
    (*f)["pre_tokenizer"] = nested;
  });
  for (const char* text : {"", "{", "nul", "{\"model\": {\"vocab\": {\"a\xff\": 1}}}"}) {
    CHECK(parse_tokenizer_json(text).error().code == ErrorCode::kCorrupt);
  }
  CHECK(parse_tokenizer_json(std::string(200000, '[')).error().code == ErrorCode::kCorrupt);
  CHECK(load_tokenizer_json("tests/no/such/file.json").error().code == ErrorCode::kIo);
}

TEST_CASE("files with random damage are read or refused") {
  const test::QuietLog quiet;
  std::mt19937 random(12);
  for (const std::string& good :
       {test::dump_json(byte_level_file()), test::dump_json(spm_file())}) {
    for (int i = 0; i < 400; ++i) {
      std::string bad = good;
      for (size_t n = 1 + random() % 3; n > 0; --n) {
        const size_t at = random() % bad.size();
        switch (random() % 3) {
          case 0:
            bad[at] = static_cast<char>(random());
            break;
          case 1:
            bad.erase(at, random() % 40);
            break;
          default:
            bad.insert(at, good.substr(random() % good.size(), random() % 40));
        }
      }
      auto made = parse_tokenizer_json(bad);
      if (!made.ok()) {
        CHECK_FALSE(made.error().message.empty());
        continue;
      }
      encode(**made, "he said: <tool> \xff 12\n");
    }
  }
}

}  // namespace
}  // namespace fimd

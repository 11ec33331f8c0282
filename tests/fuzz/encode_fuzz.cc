// Any bytes through every named pre-tokenizer and both kinds of BPE: decoding gives them back.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/load.h"
#include "engine/tokenizer/pretokenizer.h"

namespace fimd {
namespace {

/// All bytes and the merges of some pairs that text is full of.
VocabData vocabulary(VocabData::Model model) {
  const bool byte_level = model == VocabData::Model::kByteBpe;
  VocabData d;
  d.model = model;
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
    d.tokens.push_back(byte_level ? encode_byte_level({&c, 1}) : std::string(name));
    d.types.push_back(byte_level ? TokenType::kNormal : TokenType::kByte);
  }
  if (!byte_level) {
    for (const char* c : {"▁", "a", "e", "é", "字", "t", "h", "(", ")"}) {
      d.tokens.emplace_back(c);
      d.types.push_back(TokenType::kNormal);
    }
  }
  for (const auto& [left, right] :
       {std::pair(" ", " "), std::pair("  ", "  "), std::pair("a", "a"), std::pair("t", "h"),
        std::pair("th", "e"), std::pair("(", ")"), std::pair("aa", "aa"), std::pair(" ", "the")}) {
    const std::string both = std::string(left) + right;
    const auto written = [&](const std::string& text) {
      if (byte_level) return encode_byte_level(text);
      std::string marked;
      for (const char c : text) marked += c == ' ' ? "▁" : std::string(1, c);
      return marked;
    };
    d.tokens.push_back(written(both));
    d.types.push_back(TokenType::kNormal);
    d.merge_pairs.emplace_back(written(left), written(right));
  }
  d.tokens.emplace_back("<tool>");
  d.types.push_back(TokenType::kUserDefined);
  d.add_space_prefix = false;
  return d;
}

std::vector<std::unique_ptr<Tokenizer>> make_all() {
  std::vector<std::unique_ptr<Tokenizer>> all;
  const auto add = [&all](VocabData data) {
    auto made = make_tokenizer(std::move(data));
    if (!made.ok()) {
      std::fprintf(stderr, "%s\n", made.error().message.c_str());
      std::abort();
    }
    all.push_back(std::move(made).value());
  };
  for (const PreTokenizerRow& row : pretokenizer_table()) {
    VocabData data = vocabulary(VocabData::Model::kByteBpe);
    data.pre = row.names.front();
    add(std::move(data));
  }
  add(vocabulary(VocabData::Model::kSpmBpe));
  return all;
}

}  // namespace
}  // namespace fimd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto tokenizers = fimd::make_all();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& tokenizer : tokenizers) {
    std::vector<fimd::TokenId> ids;
    tokenizer->encode(text, &ids);
    std::string decoded;
    for (const fimd::TokenId id : ids) decoded += tokenizer->bytes(id);
    if (decoded != text) std::abort();
  }
  return 0;
}

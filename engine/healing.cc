#include "engine/healing.h"

#include <algorithm>
#include <string>

namespace fimd {

namespace {

bool in_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/// Only tokens that the constrained generation could choose again.
bool can_take_back(const Tokenizer& tokenizer, TokenId id) {
  const TokenType type = tokenizer.type(id);
  return (type == TokenType::kNormal || type == TokenType::kByte) && !tokenizer.bytes(id).empty();
}

/// Is there a token that begins with `bytes`?
bool token_begins_with(const Tokenizer& tokenizer, std::string_view bytes) {
  const auto ids = tokenizer.compatible_with(bytes);
  return std::any_of(ids.begin(), ids.end(),
                     [&](TokenId id) { return tokenizer.bytes(id).starts_with(bytes); });
}

}  // namespace

int tokens_to_take_back(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  std::string taken;
  int count = 0;
  while (count < kMaxTakenBack && static_cast<size_t>(count) < ids.size()) {
    const TokenId id = ids[ids.size() - 1 - static_cast<size_t>(count)];
    if (!can_take_back(tokenizer, id)) break;
    const std::string_view bytes = tokenizer.bytes(id);
    std::string longer = std::string(bytes) + taken;
    if (count > 0) {
      const bool within_word = in_word(bytes.back()) && in_word(taken.front());
      if (!within_word && !token_begins_with(tokenizer, longer)) break;
    }
    taken = std::move(longer);
    ++count;
  }
  return count;
}

}  // namespace fimd

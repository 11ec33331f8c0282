// A vocabulary of any size without a model: every token is three letters of its own, so every text
// has one way to be said.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/engine/all_tokens.h"

namespace fimd::test {

class LetterTokens final : public AllTokens {
 public:
  static constexpr size_t kLength = 3;
  static constexpr int kLetters = 64;  // from '0' on: at most 262,144 tokens

  explicit LetterTokens(int n) : AllTokens(n) {
    for (int id = 0; id < n; ++id) {
      std::string text(kLength, '0');
      int rest = id;
      for (size_t i = kLength; i > 0; rest /= kLetters) {
        text[--i] = static_cast<char>('0' + rest % kLetters);
      }
      texts_.push_back(std::move(text));
    }
  }

  /// The text of n tokens that depend on the seed.
  std::string text(uint32_t seed, int n) const {
    std::string text;
    for (int i = 0; i < n; ++i) {
      seed = seed * 1664525 + 1013904223;
      text += texts_[(seed >> 8) % texts_.size()];
    }
    return text;
  }

  void encode(std::string_view text, std::vector<TokenId>* ids) const override {
    for (; text.size() >= kLength; text.remove_prefix(kLength)) {
      TokenId id = 0;
      for (const char c : text.substr(0, kLength)) id = id * kLetters + (c - '0');
      ids->push_back(id);
    }
  }
  std::string_view bytes(TokenId id) const override { return texts_[static_cast<size_t>(id)]; }

 private:
  std::vector<std::string> texts_;
};

}  // namespace fimd::test

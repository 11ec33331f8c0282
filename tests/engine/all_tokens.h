// A vocabulary without words, for running models by token ids alone.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampler.h"
#include "engine/tokenizer/tokenizer.h"

namespace fimd::test {

/// A vocabulary in which every row may be sampled.
class AllTokens : public Tokenizer {
 public:
  explicit AllTokens(int n) : n_(n) {}
  void encode(std::string_view, std::vector<TokenId>*) const override {}
  std::optional<TokenId> control_id(std::string_view) const override { return {}; }
  std::string_view bytes(TokenId) const override { return "x"; }
  TokenType type(TokenId) const override { return TokenType::kNormal; }
  int vocab_size() const override { return n_; }
  std::span<const TokenId> end_of_generation() const override { return {}; }
  std::vector<std::string> control_tokens() const override { return {}; }
  std::optional<TokenId> bos() const override { return {}; }
  bool add_bos() const override { return false; }
  std::vector<TokenId> compatible_with(std::string_view) const override { return {}; }

 private:
  int n_;
};

inline TokenMask everything(int64_t rows) {
  return TokenMask(AllTokens(static_cast<int>(rows)), rows);
}

}  // namespace fimd::test

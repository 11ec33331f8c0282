// Tokenizer: text to token ids and back, exactly as the model was trained with.
//
// Immutable after loading; every method is const and may be called from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fimd {

using TokenId = int32_t;

/// What a vocabulary entry is (values as in GGUF's tokenizer.ggml.token_type).
enum class TokenType {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Appends the ids of `text`. Control tokens are never recognised in it; user-defined (added, not
  /// control) tokens are. Any bytes are accepted: invalid UTF-8 is encoded byte by byte.
  virtual void encode(std::string_view text, std::vector<TokenId>* ids) const = 0;

  /// The id of a control (or added) token given by its text, e.g. "<|fim_prefix|>".
  virtual std::optional<TokenId> control_id(std::string_view name) const = 0;

  /// The bytes a token stands for (may be part of a UTF-8 character); empty for control tokens.
  virtual std::string_view bytes(TokenId id) const = 0;

  virtual TokenType type(TokenId id) const = 0;

  /// Rows of the vocabulary that may be generated; ids at or above are padding.
  virtual int vocab_size() const = 0;

  /// Tokens that end a generation (end of text, end of turn, file separators ...), ascending.
  virtual std::span<const TokenId> end_of_generation() const = 0;

  virtual std::vector<std::string> control_tokens() const = 0;

  virtual std::optional<TokenId> bos() const = 0;
  virtual bool add_bos() const = 0;

  /// Ids of all normal tokens whose bytes begin with `prefix`, plus those whose bytes are a
  /// non-empty prefix of `prefix`: exactly the first tokens that token healing may allow.
  virtual std::vector<TokenId> compatible_with(std::string_view prefix) const = 0;
};

}  // namespace fimd

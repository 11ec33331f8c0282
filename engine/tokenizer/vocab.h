// What both kinds of tokenizer share: the entries' bytes and types, look-up by text, special
// tokens, user-defined tokens in text, and the prefix index for token healing.
//
// Immutable after make(); any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/tokenizer/load.h"
#include "engine/tokenizer/tokenizer.h"
#include "support/result.h"

namespace fimd {

constexpr TokenId kNoToken = -1;

class Vocab {
 public:
  /// Checks `data` and builds the indices. Uses up data.tokens.
  static Result<Vocab> make(VocabData* data);

  int size() const { return static_cast<int>(types_.size()); }
  int generable_size() const { return generable_size_; }

  TokenType type(TokenId id) const {
    return valid(id) ? types_[static_cast<size_t>(id)] : TokenType::kUnused;
  }

  /// What a token stands for; empty for control, unknown and unused ones, and ids out of range.
  std::string_view bytes(TokenId id) const {
    if (!valid(id)) return {};
    const auto i = static_cast<size_t>(id);
    return std::string_view(arena_).substr(starts_[i], starts_[i + 1] - starts_[i]);
  }

  /// The token of exactly these bytes that text may be encoded to (normal, or user-defined).
  TokenId find(std::string_view text) const {
    if (text.size() > max_length_) return kNoToken;
    return find_slot(text);
  }

  /// The token for one byte of text that has no other: <0xXX>, the byte's own, or the unknown one.
  TokenId byte_token(unsigned char byte) const { return byte_tokens_[byte]; }

  size_t max_length() const { return max_length_; }

  std::optional<TokenId> control_id(std::string_view name) const;
  std::vector<std::string> control_tokens() const;
  std::span<const TokenId> end_of_generation() const { return ends_; }
  std::optional<TokenId> bos() const { return bos_; }

  std::vector<TokenId> compatible_with(std::string_view prefix) const;

  /// The next user-defined token in `text` at or after `pos`, the longest if several start there.
  struct Found {
    size_t begin = 0;
    size_t length = 0;  // 0: none, and begin is text.size()
    TokenId id = kNoToken;
  };
  Found next_user_defined(std::string_view text, size_t pos) const;
  bool has_user_defined() const { return !user_defined_.empty(); }

 private:
  bool valid(TokenId id) const { return id >= 0 && id < size(); }
  void build_index();
  void build_byte_tokens(const VocabData& data);
  void build_user_defined();
  TokenId find_slot(std::string_view text) const;
  std::vector<TokenId> sort_by_bytes(std::vector<TokenId> ids) const;

  struct Slot {
    uint32_t tag = 0;  // upper half of the hash
    TokenId id = kNoToken;
  };

  std::string arena_;           // bytes of all tokens, one after another
  std::vector<size_t> starts_;  // size() + 1 offsets in arena_
  std::vector<TokenType> types_;
  size_t max_length_ = 0;
  int generable_size_ = 0;

  std::vector<Slot> slots_;  // open addressing by text, power of two
  std::array<TokenId, 256> byte_tokens_{};

  std::unordered_map<std::string, TokenId> special_;  // texts of control and user-defined tokens
  std::vector<TokenId> ends_;
  std::optional<TokenId> bos_;

  std::vector<TokenId> sorted_;  // every token that text may hold, by bytes

  std::vector<TokenId> user_defined_;            // by bytes
  std::array<uint32_t, 257> user_defined_at_{};  // where those of a first byte begin
};

}  // namespace fimd

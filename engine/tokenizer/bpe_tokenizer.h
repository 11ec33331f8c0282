// What byte-level and SentencePiece BPE do alike: user-defined tokens first, then piece by piece.
#pragma once

#include <atomic>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"

namespace fimd {

class BpeTokenizer : public Tokenizer {
 public:
  void encode(std::string_view text, std::vector<TokenId>* ids) const override;

  std::optional<TokenId> control_id(std::string_view name) const override {
    return vocab_.control_id(name);
  }
  std::string_view bytes(TokenId id) const override { return vocab_.bytes(id); }
  TokenType type(TokenId id) const override { return vocab_.type(id); }
  int vocab_size() const override { return vocab_.generable_size(); }
  std::span<const TokenId> end_of_generation() const override { return vocab_.end_of_generation(); }
  std::vector<std::string> control_tokens() const override { return vocab_.control_tokens(); }
  std::optional<TokenId> bos() const override { return vocab_.bos(); }
  bool add_bos() const override { return add_bos_; }
  std::vector<TokenId> compatible_with(std::string_view prefix) const override {
    return vocab_.compatible_with(prefix);
  }

 protected:
  BpeTokenizer(Vocab vocab, MergeTable merges, bool ignore_merges, bool add_bos);

  /// Text between user-defined tokens. `first`: it is the beginning of what encode() was given.
  virtual void encode_plain(std::string_view text, bool first, std::vector<TokenId>* ids) const = 0;

  /// Appends the symbols that merging starts from.
  virtual void append_symbols(std::string_view piece, std::vector<TokenId>* symbols) const = 0;

  /// Appends the tokens of one piece, which is not empty.
  void encode_piece(std::string_view piece, std::vector<TokenId>* ids) const;

  const Vocab& vocab() const { return vocab_; }

 private:
  bool encodes_to_itself(TokenId id) const;

  Vocab vocab_;
  MergeTable merges_;
  bool ignore_merges_;
  bool add_bos_;

  /// Whether a token's text encodes to that one token: most pieces of real text are such tokens and
  /// need no merging. Found out on first use; racing threads find the same.
  enum class Itself : uint8_t { kUnknown, kYes, kNo };
  std::unique_ptr<std::atomic<Itself>[]> itself_;
};

/// The merge table of `data`: its merges if it has any (parts brought to bytes by `to_bytes`).
/// Merges of or to something that is no token are left out and reported in the log.
/// Error kCorrupt: a merge that is not two parts.
Result<MergeTable> read_merges(const VocabData& data, const Vocab& vocab,
                               std::string (*to_bytes)(std::string_view));

}  // namespace fimd

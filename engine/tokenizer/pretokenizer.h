// Pre-tokenizers: cut text into the pieces that byte-pair encoding never merges across.
//
// Each named one is exactly a sequence of regular expressions; the common ones have a hand-written
// scanner that gives the same pieces (tests compare the two). Immutable; any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/result.h"

namespace fimd {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;

  /// Appends the end offset of every piece of `text`, ascending; the last one is text.size(). No
  /// piece is empty, so empty text appends nothing. `base` is added to every offset. Any bytes are
  /// accepted: one that is not UTF-8 counts as a character that is no letter, number or space.
  virtual void split(std::string_view text, size_t base, std::vector<size_t>* ends) const = 0;
};

/// One row of the table of pre-tokenizers known by name.
struct PreTokenizerRow {
  std::vector<std::string_view> names;  // as in GGUF's tokenizer.ggml.pre; the first is ours
  /// Applied in sequence: each splits every piece that the one before left, and both what it
  /// matches and the gaps between become pieces.
  std::vector<std::string_view> patterns;
  /// Null: only the patterns, compiled.
  std::unique_ptr<PreTokenizer> (*make_scanner)() = nullptr;
};

std::span<const PreTokenizerRow> pretokenizer_table();

/// The expression that ByteLevel of a tokenizer.json applies by itself.
std::string_view gpt2_pattern();

/// What a name implies beyond how to split.
struct PreTokenizerTraits {
  bool ignore_merges = false;  // a piece that is a token is emitted as it is
  bool add_bos = false;        // when the model file does not say
};
PreTokenizerTraits pretokenizer_traits(std::string_view name);

/// Error kUnsupported: no such name.
Result<std::unique_ptr<PreTokenizer>> make_pretokenizer(std::string_view name);

/// From regular expressions applied in sequence. Texts that are those of a named pre-tokenizer give
/// that one; others are compiled. No patterns: the whole text is one piece.
/// Error kUnsupported: a pattern that does not compile.
Result<std::unique_ptr<PreTokenizer>> make_pretokenizer(std::span<const std::string> patterns);

/// Always compiled, never the hand-written scanner: the reference that tests compare with.
Result<std::unique_ptr<PreTokenizer>> compile_pretokenizer(std::span<const std::string> patterns);

}  // namespace fimd

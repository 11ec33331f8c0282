// Making a Tokenizer: from the vocabulary in a model file's metadata, or from a tokenizer.json.
//
// Owner: the caller owns the tokenizer; nothing is shared between two of them. Thread: any; loading
// is plain CPU work (about 0.1 s for a vocabulary of 150,000 entries).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "support/result.h"

namespace fimd {

/// A vocabulary as model files carry it. All of it is untrusted: make_tokenizer() checks it.
struct VocabData {
  enum class Model {
    kByteBpe,  // GGUF tokenizer.ggml.model "gpt2": byte-level BPE, ranked merges
    kSpmBpe,   // GGUF tokenizer.ggml.model "llama": SentencePiece BPE, scores (or merges)
  };
  Model model = Model::kByteBpe;

  std::vector<std::string> tokens;  // text of each entry as stored in the file, id = index
  std::vector<TokenType> types;     // as many as tokens, or empty: all normal
  std::vector<float> scores;        // as many as tokens, or empty; kSpmBpe without merges needs it
  std::vector<std::string> merges;  // "left right", rank = index
  /// The same as `merges`, already split (tokenizer.json may have parts with spaces in them). Use
  /// one or the other.
  std::vector<std::pair<std::string, std::string>> merge_pairs;

  /// kByteBpe: name of the pre-tokenizer (GGUF tokenizer.ggml.pre). Empty: `pre_patterns`, or, if
  /// that is empty too, "default".
  std::string pre;
  /// kByteBpe: regular expressions applied in sequence, each to the pieces left by the last one.
  std::vector<std::string> pre_patterns;
  /// Emit a piece that is itself a token without looking at the merges. Implied by some `pre`.
  bool ignore_merges = false;

  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  std::optional<TokenId> unknown;
  std::vector<TokenId> end_ids;          // further ends of a generation: eot, eom
  std::vector<TokenId> fim_ids;          // every tokenizer.ggml.fim_*_token_id that is present
  std::optional<bool> add_bos;           // absent: what models of this kind expect
  std::optional<bool> add_space_prefix;  // absent: yes for kSpmBpe, no for kByteBpe
  /// kSpmBpe: cut before every space, so that no token holds two words or a run of spaces.
  bool split_on_space = false;
};

/// Errors: kCorrupt for contradictory data, kUnsupported for an unknown pre-tokenizer.
Result<std::unique_ptr<Tokenizer>> make_tokenizer(VocabData data);

/// A Hugging Face tokenizer.json: BPE models, byte-level or SentencePiece-like with byte fallback.
/// Errors: kIo, kCorrupt (not JSON, fields of the wrong kind), kUnsupported (another kind of model
/// or a step that has no equivalent here, named in the message).
Result<VocabData> read_tokenizer_json(const std::string& path);
Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(const std::string& path);
Result<std::unique_ptr<Tokenizer>> parse_tokenizer_json(std::string_view json);

}  // namespace fimd

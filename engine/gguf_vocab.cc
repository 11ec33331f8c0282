#include "engine/gguf_vocab.h"

#include <limits>
#include <optional>
#include <string>

namespace fimd {

namespace {

/// An optional token id: absent if the key is missing or negative.
Result<std::optional<TokenId>> token_id(const GgufFile& file, std::string_view key) {
  FIMD_ASSIGN_OR_RETURN(const int64_t id, file.integer_or(key, -1));
  // Some converters write 2^32 - 1 for "none".
  if (id < 0 || id == std::numeric_limits<uint32_t>::max()) return std::optional<TokenId>();
  if (id > std::numeric_limits<TokenId>::max()) {
    return Error{ErrorCode::kCorrupt,
                 "'" + file.path() + "': metadata '" + std::string(key) + "' is out of range"};
  }
  return std::optional<TokenId>(static_cast<TokenId>(id));
}

Result<std::vector<std::string>> copies(const GgufFile& file, std::string_view key) {
  FIMD_ASSIGN_OR_RETURN(const std::vector<std::string_view> views, file.strings(key));
  return std::vector<std::string>(views.begin(), views.end());
}

}  // namespace

Result<VocabData> read_gguf_vocab(const GgufFile& file) {
  VocabData vocab;
  FIMD_ASSIGN_OR_RETURN(const std::string_view model, file.string("tokenizer.ggml.model"));
  if (model == "gpt2") {
    vocab.model = VocabData::Model::kByteBpe;
  } else if (model == "llama") {
    vocab.model = VocabData::Model::kSpmBpe;
  } else {
    return Error{ErrorCode::kUnsupported, "'" + file.path() + "' has a tokenizer of kind '" +
                                              std::string(model.substr(0, 40)) +
                                              "'; fimd knows gpt2 and llama"};
  }
  FIMD_ASSIGN_OR_RETURN(vocab.tokens, copies(file, "tokenizer.ggml.tokens"));
  if (file.has("tokenizer.ggml.token_type")) {
    FIMD_ASSIGN_OR_RETURN(const std::vector<int64_t> types,
                          file.integers("tokenizer.ggml.token_type"));
    vocab.types.reserve(types.size());
    for (const int64_t type : types) {
      const bool known = type >= static_cast<int64_t>(TokenType::kNormal) &&
                         type <= static_cast<int64_t>(TokenType::kByte);
      vocab.types.push_back(known ? static_cast<TokenType>(type) : TokenType::kUnused);
    }
  }
  if (file.has("tokenizer.ggml.scores")) {
    FIMD_ASSIGN_OR_RETURN(vocab.scores, file.reals("tokenizer.ggml.scores"));
  }
  if (file.has("tokenizer.ggml.merges")) {
    FIMD_ASSIGN_OR_RETURN(vocab.merges, copies(file, "tokenizer.ggml.merges"));
  }
  FIMD_ASSIGN_OR_RETURN(const std::string_view pre, file.string_or("tokenizer.ggml.pre", ""));
  vocab.pre = pre;

  FIMD_ASSIGN_OR_RETURN(vocab.bos, token_id(file, "tokenizer.ggml.bos_token_id"));
  FIMD_ASSIGN_OR_RETURN(vocab.eos, token_id(file, "tokenizer.ggml.eos_token_id"));
  FIMD_ASSIGN_OR_RETURN(vocab.unknown, token_id(file, "tokenizer.ggml.unknown_token_id"));
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    FIMD_ASSIGN_OR_RETURN(const auto id, token_id(file, key));
    if (id) vocab.end_ids.push_back(*id);
  }
  for (const char* name : {"fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep",
                           "prefix", "suffix", "middle"}) {
    FIMD_ASSIGN_OR_RETURN(const auto id,
                          token_id(file, "tokenizer.ggml." + std::string(name) + "_token_id"));
    if (id) vocab.fim_ids.push_back(*id);
  }
  for (const auto& [key, field] :
       {std::pair("tokenizer.ggml.add_bos_token", &vocab.add_bos),
        std::pair("tokenizer.ggml.add_space_prefix", &vocab.add_space_prefix)}) {
    if (!file.has(key)) continue;
    FIMD_ASSIGN_OR_RETURN(*field, file.boolean_or(key, false));
  }
  return vocab;
}

Result<std::unique_ptr<Tokenizer>> load_gguf_tokenizer(const GgufFile& file) {
  FIMD_ASSIGN_OR_RETURN(VocabData vocab, read_gguf_vocab(file));
  auto tokenizer = make_tokenizer(std::move(vocab));
  if (!tokenizer.ok()) {
    return Error{tokenizer.error().code, "'" + file.path() + "': " + tokenizer.error().message};
  }
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> GgufFile::tokenizer() const {
  return load_gguf_tokenizer(*this);
}

}  // namespace fimd

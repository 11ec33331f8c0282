// Reading Hugging Face's tokenizer.json into a VocabData. The file is untrusted: every field's kind
// is checked, and a step that has no equivalent here is an error that names it.
#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/tokenizer/load.h"
#include "engine/tokenizer/pretokenizer.h"

namespace fimd {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 16;            // of nested Sequences
constexpr size_t kMaxGaps = 1 << 16;     // ids without a token
constexpr std::string_view kMark = "▁";  // what a space is written as

Error corrupt(const std::string& what) { return {ErrorCode::kCorrupt, "tokenizer.json: " + what}; }
Error unsupported(const std::string& what) {
  return {ErrorCode::kUnsupported, "tokenizer.json: " + what};
}

/// The member `key` of `object`, or null (JSON's) if there is none.
const Json& member(const Json& object, const char* key) {
  static const Json none;
  if (!object.is_object()) return none;
  const auto it = object.find(key);
  return it == object.end() ? none : *it;
}

std::string string_of(const Json& object, const char* key, const char* otherwise = "") {
  const Json& value = member(object, key);
  return value.is_string() ? value.get_ref<const std::string&>() : std::string(otherwise);
}

bool bool_of(const Json& object, const char* key, bool otherwise) {
  const Json& value = member(object, key);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

Result<TokenId> id_of(const Json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > 0x7FFFFFFF) {
    return corrupt("a token id is missing, or not a small number");
  }
  return static_cast<TokenId>(value.get<uint64_t>());
}

/// A regular expression that matches exactly `text`.
std::string literal_pattern(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && std::isalnum(byte) == 0) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

class Reader {
 public:
  explicit Reader(const Json& root) : root_(root) {}

  Result<VocabData> read() {
    if (!root_.is_object()) return corrupt("it is not a JSON object");
    FIMD_RETURN_IF_ERROR(read_normalizer(member(root_, "normalizer"), 0));
    FIMD_RETURN_IF_ERROR(read_pre_tokenizer(member(root_, "pre_tokenizer"), 0));
    FIMD_RETURN_IF_ERROR(read_model(member(root_, "model")));
    FIMD_RETURN_IF_ERROR(read_added_tokens(member(root_, "added_tokens")));
    FIMD_RETURN_IF_ERROR(read_post_processor(member(root_, "post_processor"), 0));
    FIMD_RETURN_IF_ERROR(choose_model());
    return std::move(data_);
  }

 private:
  Status read_normalizer(const Json& step, int depth);
  Status read_pre_tokenizer(const Json& step, int depth);
  Status read_split(const Json& step);
  Status read_model(const Json& model);
  Status read_vocab(const Json& vocab);
  Status read_merges(const Json& merges);
  Status read_added_tokens(const Json& added);
  Status read_post_processor(const Json& step, int depth);
  Status choose_model();

  /// Calls `read` for every element of the array `key` of a Sequence.
  Status read_sequence(const Json& step, const char* key, int depth,
                       Status (Reader::*read)(const Json&, int)) {
    const Json& steps = member(step, key);
    if (!steps.is_array()) return corrupt(std::string("a Sequence has no ") + key);
    if (depth >= kMaxDepth) return corrupt("Sequences are nested too deep");
    for (const Json& s : steps) FIMD_RETURN_IF_ERROR((this->*read)(s, depth + 1));
    return {};
  }

  Status grow(size_t size) {
    if (size > data_.tokens.size()) {
      if (size > expected_tokens_ + kMaxGaps) {
        return corrupt("token id " + std::to_string(size - 1) + " in a vocabulary of " +
                       std::to_string(expected_tokens_));
      }
      data_.tokens.resize(size);
      data_.types.resize(size, TokenType::kUnused);
    }
    return {};
  }

  const Json& root_;
  VocabData data_;
  size_t expected_tokens_ = 0;
  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool spaces_marked_ = false;  // spaces are U+2581 by the time of BPE
  bool space_prefix_ = false;
};

Status Reader::read_normalizer(const Json& step, int depth) {
  if (step.is_null()) return {};
  const std::string type = string_of(step, "type");
  if (type == "Sequence") {
    return read_sequence(step, "normalizers", depth, &Reader::read_normalizer);
  }
  // Code is not rewritten: text that is in form C already (all but decomposed accents) encodes the
  // same, and other text still decodes to itself.
  if (type == "NFC") return {};
  if (type == "Prepend" && string_of(step, "prepend") == kMark) {
    space_prefix_ = true;
    return {};
  }
  if (type == "Replace" && string_of(member(step, "pattern"), "String") == " " &&
      string_of(step, "content") == kMark) {
    spaces_marked_ = true;
    return {};
  }
  return unsupported("normalizer \"" + type + "\" of this form");
}

Status Reader::read_pre_tokenizer(const Json& step, int depth) {
  if (step.is_null()) return {};
  const std::string type = string_of(step, "type");
  if (type == "Sequence") {
    return read_sequence(step, "pretokenizers", depth, &Reader::read_pre_tokenizer);
  }
  if (type == "ByteLevel") {
    byte_level_ = true;
    if (bool_of(step, "add_prefix_space", true)) data_.add_space_prefix = true;
    if (bool_of(step, "use_regex", true)) data_.pre_patterns.emplace_back(gpt2_pattern());
    return {};
  }
  if (type == "Digits") {
    data_.pre_patterns.emplace_back(bool_of(step, "individual_digits", false) ? "\\p{N}"
                                                                              : "\\p{N}+");
    return {};
  }
  if (type == "Split") return read_split(step);
  if (type == "Metaspace") {
    if (string_of(step, "replacement", "▁") != kMark) {
      return unsupported("Metaspace with a replacement other than U+2581");
    }
    spaces_marked_ = true;
    const std::string scheme = string_of(step, "prepend_scheme", "always");
    if (scheme != "never" && bool_of(step, "add_prefix_space", true)) space_prefix_ = true;
    data_.split_on_space = bool_of(step, "split", true);
    return {};
  }
  return unsupported("pre-tokenizer \"" + type + "\"");
}

Status Reader::read_split(const Json& step) {
  const Json& pattern = member(step, "pattern");
  const std::string literal = string_of(pattern, "String");
  const std::string behavior = string_of(step, "behavior");
  if (spaces_marked_ && literal == " ") return {};  // no space is left to split at
  std::string regex = string_of(pattern, "Regex");
  if (regex.empty() && !literal.empty()) regex = literal_pattern(literal);
  if (regex.empty()) return corrupt("a Split without a pattern");
  // Inverted and removed: the matches are kept, and as they cover all text nothing is lost.
  const bool inverted = bool_of(step, "invert", false);
  if (behavior != "Isolated" && !(behavior == "Removed" && inverted)) {
    return unsupported("Split with behavior \"" + behavior + "\"");
  }
  data_.pre_patterns.push_back(std::move(regex));
  return {};
}

Status Reader::read_model(const Json& model) {
  if (!model.is_object()) return corrupt("it has no model");
  const std::string type = string_of(model, "type", "BPE");
  if (type != "BPE") return unsupported("model type \"" + type + "\"; only BPE is");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!string_of(model, affix).empty()) return unsupported(std::string("model with ") + affix);
  }
  byte_fallback_ = bool_of(model, "byte_fallback", false);
  data_.ignore_merges = bool_of(model, "ignore_merges", false);
  FIMD_RETURN_IF_ERROR(read_vocab(member(model, "vocab")));
  FIMD_RETURN_IF_ERROR(read_merges(member(model, "merges")));
  const std::string unknown = string_of(model, "unk_token");
  if (!unknown.empty()) {
    const Json& id = member(member(model, "vocab"), unknown.c_str());
    if (!id.is_null()) {
      FIMD_ASSIGN_OR_RETURN(data_.unknown, id_of(id));
    }
  }
  return {};
}

Status Reader::read_vocab(const Json& vocab) {
  if (!vocab.is_object() || vocab.empty()) return corrupt("model.vocab is not a map of tokens");
  const Json& added = member(root_, "added_tokens");
  expected_tokens_ = vocab.size() + (added.is_array() ? added.size() : 0);
  for (const auto& [text, value] : vocab.items()) {
    FIMD_ASSIGN_OR_RETURN(const TokenId id, id_of(value));
    const auto i = static_cast<size_t>(id);
    FIMD_RETURN_IF_ERROR(grow(i + 1));
    if (data_.types[i] != TokenType::kUnused) {
      return corrupt("two tokens have id " + std::to_string(id));
    }
    data_.tokens[i] = text;
    const bool byte = byte_fallback_ && text.size() == 6 && text.starts_with("<0x");
    data_.types[i] = byte ? TokenType::kByte : TokenType::kNormal;
  }
  return {};
}

Status Reader::read_merges(const Json& merges) {
  if (!merges.is_array()) return corrupt("model.merges is not a list");
  for (const Json& merge : merges) {
    const auto part = [&](size_t i) { return merge[i].get_ref<const std::string&>(); };
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      data_.merge_pairs.emplace_back(part(0), part(1));
      continue;
    }
    if (!merge.is_string()) return corrupt("a merge is neither text nor a pair of texts");
    const auto& both = merge.get_ref<const std::string&>();
    const size_t space = both.find(' ', 1);
    if (space == std::string::npos || space + 1 == both.size()) {
      return corrupt("a merge is not two parts: \"" + both.substr(0, 40) + "\"");
    }
    data_.merge_pairs.emplace_back(both.substr(0, space), both.substr(space + 1));
  }
  return {};
}

Status Reader::read_added_tokens(const Json& added) {
  if (added.is_null()) return {};
  if (!added.is_array()) return corrupt("added_tokens is not a list");
  for (const Json& token : added) {
    FIMD_ASSIGN_OR_RETURN(const TokenId id, id_of(member(token, "id")));
    const auto i = static_cast<size_t>(id);
    std::string content = string_of(token, "content");
    if (content.empty()) return corrupt("added token " + std::to_string(id) + " has no content");
    FIMD_RETURN_IF_ERROR(grow(i + 1));
    if (data_.types[i] != TokenType::kUnused && data_.tokens[i] != content) {
      return corrupt("added token \"" + content.substr(0, 40) + "\" and another have id " +
                     std::to_string(id));
    }
    data_.tokens[i] = std::move(content);
    data_.types[i] =
        bool_of(token, "special", false) ? TokenType::kControl : TokenType::kUserDefined;
  }
  return {};
}

Status Reader::read_post_processor(const Json& step, int depth) {
  const std::string type = string_of(step, "type");
  if (type == "Sequence") {
    return read_sequence(step, "processors", depth, &Reader::read_post_processor);
  }
  if (type != "TemplateProcessing") return {};
  // [BOS] text [EOS]: special tokens before and after the first Sequence.
  bool before_text = true;
  const Json& single = member(step, "single");
  if (!single.is_array()) return corrupt("TemplateProcessing without a template");
  for (const Json& part : single) {
    if (!member(part, "Sequence").is_null()) before_text = false;
    const Json& special = member(part, "SpecialToken");
    if (special.is_null()) continue;
    const std::string name = string_of(special, "id");
    const Json& ids = member(member(member(step, "special_tokens"), name.c_str()), "ids");
    if (!ids.is_array() || ids.empty()) return corrupt("template token \"" + name + "\" has no id");
    FIMD_ASSIGN_OR_RETURN(const TokenId id, id_of(ids[0]));
    if (before_text && !data_.bos) {
      data_.bos = id;
      data_.add_bos = true;
    } else if (!before_text && !data_.eos) {
      data_.eos = id;
    }
  }
  return {};
}

Status Reader::choose_model() {
  const std::string decoder = string_of(member(root_, "decoder"), "type");
  if (byte_level_ || (decoder == "ByteLevel" && !spaces_marked_)) {
    data_.model = VocabData::Model::kByteBpe;
    if (data_.pre_patterns.empty()) data_.pre_patterns.emplace_back("(?s).+");  // one piece
  } else if (spaces_marked_ || byte_fallback_) {
    if (!data_.pre_patterns.empty()) {
      return unsupported("a SentencePiece vocabulary with a regular expression");
    }
    data_.model = VocabData::Model::kSpmBpe;
    data_.add_space_prefix = space_prefix_;
  } else {
    return unsupported("BPE that is neither byte-level nor SentencePiece with byte fallback");
  }
  if (!data_.add_bos) data_.add_bos = false;
  return {};
}

Result<VocabData> parse(std::string_view json) {
  const Json root = Json::parse(json.begin(), json.end(), nullptr, false);
  if (root.is_discarded()) return corrupt("it is not valid JSON");
  return Reader(root).read();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> parse_tokenizer_json(std::string_view json) {
  FIMD_ASSIGN_OR_RETURN(VocabData data, parse(json));
  return make_tokenizer(std::move(data));
}

Result<VocabData> read_tokenizer_json(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{ErrorCode::kIo, "cannot open " + path};
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) return Error{ErrorCode::kIo, "cannot read " + path};
  return parse(text);
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(const std::string& path) {
  FIMD_ASSIGN_OR_RETURN(VocabData data, read_tokenizer_json(path));
  return make_tokenizer(std::move(data));
}

}  // namespace fimd

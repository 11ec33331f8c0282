#include "engine/hf_directory.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <variant>

#include "engine/safetensors.h"
#include "engine/tokenizer/load.h"
#include "kernels/formats/dtype.h"

namespace fimd {

namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr uintmax_t kMaxJsonBytes = 256 << 20;  // the largest tokenizer.json has about 30 MB
constexpr size_t kMaxFiles = 1000;

struct ModelType {
  const char* model_type;    // config.json
  const char* architecture;  // GGUF
};
constexpr ModelType kModelTypes[] = {
    {"llama", "llama"}, {"mistral", "llama"},  {"qwen2", "qwen2"},
    {"qwen3", "qwen3"}, {"qwen3_5", "qwen35"}, {"qwen3_5_text", "qwen35"},
};

/// config.json's numbers under GGUF's keys ("{arch}." goes before).
struct ConfigKey {
  const char* config;
  const char* gguf;
};
constexpr ConfigKey kConfigKeys[] = {
    {"num_hidden_layers", "block_count"},
    {"max_position_embeddings", "context_length"},
    {"hidden_size", "embedding_length"},
    {"intermediate_size", "feed_forward_length"},
    {"num_attention_heads", "attention.head_count"},
    {"num_key_value_heads", "attention.head_count_kv"},
    {"head_dim", "attention.key_length"},
    {"head_dim", "attention.value_length"},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
    {"linear_conv_kernel_dim", "ssm.conv_kernel"},
    {"linear_key_head_dim", "ssm.state_size"},
    {"linear_num_key_heads", "ssm.group_count"},
    {"linear_num_value_heads", "ssm.time_step_rank"},
    {"full_attention_interval", "full_attention_interval"},
};
/// The same for rope: in config.json itself, or in its rope_scaling or rope_parameters.
constexpr ConfigKey kRopeKeys[] = {
    {"rope_theta", "rope.freq_base"},
    {"factor", "rope.scaling.factor"},
    {"low_freq_factor", "rope.scaling.low_freq_factor"},
    {"high_freq_factor", "rope.scaling.high_freq_factor"},
    {"original_max_position_embeddings", "rope.scaling.original_context_length"},
};

/// What GGUF does to a tensor that we must do too.
enum class Transform {
  kNone,
  kZeroCentred,  // 1 + w
  kDecay,        // -exp(w)
  kFloats,       // only made F32
};
struct TensorName {
  const char* hf;    // behind "layers.N.", or behind the model's prefix
  const char* gguf;  // behind "blk.N.", or whole
};
constexpr TensorName kOuterTensors[] = {
    {"embed_tokens.weight", "token_embd.weight"},
    {"norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};
constexpr TensorName kLayerTensors[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.o_proj.bias", "attn_output.bias"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"linear_attn.in_proj_qkv.weight", "attn_qkv.weight"},
    {"linear_attn.in_proj_z.weight", "attn_gate.weight"},
    {"linear_attn.in_proj_b.weight", "ssm_beta.weight"},
    {"linear_attn.in_proj_a.weight", "ssm_alpha.weight"},
    {"linear_attn.conv1d.weight", "ssm_conv1d.weight"},
    {"linear_attn.A_log", "ssm_a"},
    {"linear_attn.dt_bias", "ssm_dt.bias"},
    {"linear_attn.norm.weight", "ssm_norm.weight"},
    {"linear_attn.out_proj.weight", "ssm_out.weight"},
};

Transform transform_of(std::string_view architecture, std::string_view hf_name) {
  if (architecture != "qwen35") return Transform::kNone;
  if (hf_name.ends_with("linear_attn.A_log")) return Transform::kDecay;
  if (hf_name.ends_with("linear_attn.dt_bias") || hf_name.ends_with("linear_attn.conv1d.weight") ||
      hf_name.ends_with("linear_attn.norm.weight")) {
    return Transform::kFloats;
  }
  return hf_name.ends_with("norm.weight") ? Transform::kZeroCentred : Transform::kNone;
}

/// The member of an object, or null (JSON's).
const Json& member(const Json& object, const char* key) {
  static const Json none;
  if (!object.is_object()) return none;
  const auto it = object.find(key);
  return it == object.end() ? none : *it;
}

std::string text_of(const Json& object, const char* key) {
  const Json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

/// The JSON object in a file; kNotFound if there is no such file.
Result<Json> read_json(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) return Error{ErrorCode::kNotFound, "'" + path.string() + "' is missing"};
  if (size > kMaxJsonBytes) return Error{ErrorCode::kCorrupt, "'" + path.string() + "' is huge"};
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) return Error{ErrorCode::kIo, "cannot read '" + path.string() + "'"};
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return Error{ErrorCode::kCorrupt, "'" + path.string() + "' is not a JSON object"};
  }
  return json;
}

class HfDirectory final : public ModelSource {
 public:
  explicit HfDirectory(std::string path) : path_(std::move(path)) {}
  Status open();

  const std::string& path() const override { return path_; }
  bool has(std::string_view key) const override { return metadata_.contains(key); }
  Result<int64_t> integer(std::string_view key) const override;
  Result<double> real(std::string_view key) const override;
  Result<bool> boolean(std::string_view key) const override;
  Result<std::string_view> string(std::string_view key) const override;
  Result<std::vector<int64_t>> integers(std::string_view key) const override;
  bool is_array(std::string_view /*key*/) const override { return false; }
  const std::vector<ModelTensor>& tensors() const override { return tensors_; }
  const ModelTensor* tensor(std::string_view name) const override;
  Result<std::unique_ptr<Tokenizer>> tokenizer() const override;
  void will_need() const override {
    for (const SafetensorsFile& file : files_) file.file().will_need();
  }
  void wont_need() const override {
    for (const SafetensorsFile& file : files_) file.file().wont_need();
  }

 private:
  using Value = std::variant<int64_t, double, bool, std::string>;

  Status read_config();
  Status read_rope(const Json& config);
  Status read_chat_template();
  Status open_files();
  Status add_tensor(const Safetensor& from);
  /// GGUF's name of one of the file's tensors; nothing for those that fimd does not use.
  std::optional<std::string> translate(std::string_view hf_name) const;
  void set_number(const std::string& key, const Json& value);
  template <class T>
  Result<T> get(std::string_view key, const char* wanted) const;
  std::string key(const char* name) const { return architecture_ + "." + name; }
  Error bad(const std::string& what) const {
    return {ErrorCode::kCorrupt, "the model '" + path_ + "': " + what};
  }

  std::string path_;
  std::string architecture_;
  bool tied_ = false;
  std::map<std::string, Value, std::less<>> metadata_;
  std::vector<TokenId> end_ids_;
  std::vector<SafetensorsFile> files_;
  std::vector<std::unique_ptr<const std::string>> names_;           // of tensors_
  std::vector<std::unique_ptr<const std::vector<float>>> vectors_;  // transformed tensors
  std::vector<ModelTensor> tensors_;
  std::map<std::string_view, size_t> tensor_index_;
};

template <class T>
Result<T> HfDirectory::get(std::string_view key, const char* wanted) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) {
    return Error{ErrorCode::kNotFound,
                 "the model '" + path_ + "' does not say its " + std::string(key)};
  }
  if (const T* value = std::get_if<T>(&it->second)) return *value;
  return bad("'" + std::string(key) + "' is not " + wanted);
}

Result<int64_t> HfDirectory::integer(std::string_view key) const {
  return get<int64_t>(key, "an integer");
}
Result<double> HfDirectory::real(std::string_view key) const {
  if (const auto whole = get<int64_t>(key, "a number"); whole.ok()) {
    return static_cast<double>(*whole);
  }
  return get<double>(key, "a number");
}
Result<bool> HfDirectory::boolean(std::string_view key) const {
  return get<bool>(key, "true or false");
}
Result<std::string_view> HfDirectory::string(std::string_view key) const {
  const auto it = metadata_.find(key);
  if (it != metadata_.end()) {
    if (const auto* text = std::get_if<std::string>(&it->second)) return std::string_view(*text);
  }
  return get<int64_t>(key, "text").error();
}
Result<std::vector<int64_t>> HfDirectory::integers(std::string_view key) const {
  return bad("'" + std::string(key) + "' is not a list");
}

const ModelTensor* HfDirectory::tensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

void HfDirectory::set_number(const std::string& key, const Json& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) return;
  if (value.is_number_integer()) {
    metadata_[key] = value.get<int64_t>();
  } else if (value.is_number_float()) {
    metadata_[key] = value.get<double>();
  }
}

Status HfDirectory::open() {
  FIMD_RETURN_IF_ERROR(read_config());
  FIMD_RETURN_IF_ERROR(read_chat_template());
  FIMD_RETURN_IF_ERROR(open_files());
  if (tied_) return {};
  if (tensor("output.weight") == nullptr) return bad("it has no lm_head.weight, nor is it tied");
  return {};
}

Status HfDirectory::read_config() {
  FIMD_ASSIGN_OR_RETURN(const Json outer, read_json(fs::path(path_) / "config.json"));
  if (outer.contains("quantization_config")) {
    return Error{ErrorCode::kUnsupported,
                 "the model '" + path_ +
                     "' is a quantised safetensors export; use its BF16 original or a GGUF file"};
  }
  // A model with a vision tower has its language model's numbers one level down.
  const Json& inner = member(outer, "text_config");
  const Json& config = inner.is_object() ? inner : outer;
  std::string type = text_of(config, "model_type");
  if (type.empty()) type = text_of(outer, "model_type");
  const auto* row = std::find_if(std::begin(kModelTypes), std::end(kModelTypes),
                                 [&](const ModelType& known) { return type == known.model_type; });
  if (row == std::end(kModelTypes)) {
    std::string known;
    for (const ModelType& one : kModelTypes) {
      known += std::string(known.empty() ? "" : ", ") + one.model_type;
    }
    return Error{ErrorCode::kUnsupported, "the model '" + path_ + "' is of type '" +
                                              type.substr(0, 40) + "', fimd knows " + known};
  }
  architecture_ = row->architecture;
  metadata_["general.architecture"] = architecture_;
  // "/models/Qwen2.5-Coder-7B/" is named by its last part.
  fs::path name = fs::path(path_).lexically_normal();
  if (!name.has_filename()) name = name.parent_path();
  metadata_["general.name"] = name.filename().string();
  for (const ConfigKey& pair : kConfigKeys) set_number(key(pair.gguf), member(config, pair.config));
  FIMD_RETURN_IF_ERROR(read_rope(config));

  const Json& window = member(config, "sliding_window");
  if (window.is_number_unsigned() && member(config, "use_sliding_window") != Json(false)) {
    set_number(key("attention.sliding_window"), window);
  }
  const auto is_true = [](const Json& value) { return value.is_boolean() && value.get<bool>(); };
  tied_ = is_true(member(config, "tie_word_embeddings")) ||
          is_true(member(outer, "tie_word_embeddings"));
  if (architecture_ == "llama") metadata_["llama.rope.neox"] = true;
  if (architecture_ == "qwen35") {
    metadata_["qwen35.ssm.grouped_value_heads"] = true;
    const Json& heads = member(config, "linear_num_value_heads");
    const Json& dim = member(config, "linear_value_head_dim");
    if (heads.is_number_unsigned() && dim.is_number_unsigned() && heads < 1 << 20 &&
        dim < 1 << 20) {
      metadata_[key("ssm.inner_size")] = heads.get<int64_t>() * dim.get<int64_t>();
    }
  }

  // Where a generation ends: a number or a list, in generation_config.json or config.json.
  Json ends = member(config, "eos_token_id");
  const auto generation = read_json(fs::path(path_) / "generation_config.json");
  if (generation.ok() && !member(*generation, "eos_token_id").is_null()) {
    ends = member(*generation, "eos_token_id");
  }
  if (!ends.is_array()) ends = Json::array({ends});
  for (const Json& id : ends) {
    if (id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX) {
      end_ids_.push_back(id.get<TokenId>());
    }
  }
  return {};
}

Status HfDirectory::read_rope(const Json& config) {
  // Older exports have rope_theta beside a rope_scaling that may be null, newer ones everything in
  // rope_parameters.
  const Json& scaling = member(config, "rope_scaling");
  const Json& parameters = member(config, "rope_parameters");
  for (const Json* from : {&config, &scaling, &parameters}) {
    for (const ConfigKey& pair : kRopeKeys) set_number(key(pair.gguf), member(*from, pair.config));
    for (const char* name : {"type", "rope_type"}) {
      const std::string type = from == &config ? "" : text_of(*from, name);
      if (!type.empty()) {
        metadata_[key("rope.scaling.type")] = type == "default" ? std::string("none") : type;
      }
    }
    const Json& share = member(*from, "partial_rotary_factor");
    const Json& head_dim = member(config, "head_dim");
    if (share.is_number() && head_dim.is_number_unsigned() && head_dim < 1 << 20) {
      metadata_[key("rope.dimension_count")] =
          static_cast<int64_t>(head_dim.get<double>() * share.get<double>());
    }
  }
  return {};
}

Status HfDirectory::read_chat_template() {
  const auto config = read_json(fs::path(path_) / "tokenizer_config.json");
  std::string text;
  if (config.ok()) text = text_of(*config, "chat_template");
  std::ifstream file(fs::path(path_) / "chat_template.jinja", std::ios::binary);
  if (file) text.assign(std::istreambuf_iterator<char>(file), {});
  if (!text.empty()) metadata_["tokenizer.chat_template"] = text;
  return {};
}

Status HfDirectory::open_files() {
  std::set<std::string> names;
  const auto index = read_json(fs::path(path_) / "model.safetensors.index.json");
  if (index.ok()) {
    const Json& map = member(*index, "weight_map");
    if (!map.is_object()) return bad("its index has no weight_map");
    for (const auto& [tensor, file] : map.items()) {
      const std::string name = file.is_string() ? file.get<std::string>() : "";
      if (name.empty() || name != fs::path(name).filename().string()) {
        return bad("its index places a tensor in a file of an odd name");
      }
      names.insert(name);
    }
  } else if (index.error().code == ErrorCode::kNotFound) {
    names.insert("model.safetensors");
  } else {
    return index.error();
  }
  if (names.size() > kMaxFiles) return bad("its index names too many files");
  files_.reserve(names.size());
  for (const std::string& name : names) {
    FIMD_ASSIGN_OR_RETURN(SafetensorsFile file,
                          SafetensorsFile::open((fs::path(path_) / name).string()));
    files_.push_back(std::move(file));
  }
  for (const SafetensorsFile& file : files_) {
    for (const Safetensor& tensor : file.tensors()) FIMD_RETURN_IF_ERROR(add_tensor(tensor));
  }
  return {};
}

std::optional<std::string> HfDirectory::translate(std::string_view name) const {
  for (const std::string_view prefix : {"model.language_model.", "model."}) {
    if (name.starts_with(prefix)) {
      name.remove_prefix(prefix.size());
      break;
    }
  }
  for (const TensorName& row : kOuterTensors) {
    if (name == row.hf) return row.gguf;
  }
  constexpr std::string_view kLayers = "layers.";
  if (!name.starts_with(kLayers)) return std::nullopt;
  name.remove_prefix(kLayers.size());
  const size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos ||
      name.substr(0, dot).find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  const std::string layer(name.substr(0, dot));
  name.remove_prefix(dot + 1);
  for (const TensorName& row : kLayerTensors) {
    if (name != row.hf) continue;
    // The one name that depends on the architecture.
    const bool second_norm = name == "post_attention_layernorm.weight";
    const char* own =
        second_norm && architecture_ == "qwen35" ? "post_attention_norm.weight" : row.gguf;
    return "blk." + layer + "." + own;
  }
  return std::nullopt;
}

Status HfDirectory::add_tensor(const Safetensor& from) {
  const auto name = translate(from.name);
  if (!name || (tied_ && *name == "output.weight")) return {};
  ModelTensor tensor;
  // A convolution's weight is (channels, 1, width).
  std::vector<int64_t> shape = from.shape;
  if (shape.size() == 3 && shape[1] == 1) shape.erase(shape.begin() + 1);
  if (shape.empty() || shape.size() > tensor.dims.size()) {
    return bad("tensor '" + from.name + "' has " + std::to_string(shape.size()) + " dimensions");
  }
  if (!from.type) {
    return Error{ErrorCode::kUnsupported, "the model '" + path_ + "': tensor '" + from.name +
                                              "' is of type " + from.type_name +
                                              "; fimd reads BF16, F16 and F32"};
  }
  tensor.n_dims = static_cast<int>(shape.size());
  for (size_t d = 0; d < shape.size(); ++d) tensor.dims[shape.size() - 1 - d] = shape[d];
  tensor.type = static_cast<uint32_t>(*from.type);
  tensor.data = from.data.data();
  tensor.bytes = from.data.size();
  const Transform transform = transform_of(architecture_, from.name);
  if (transform != Transform::kNone) {
    auto values = std::make_unique<std::vector<float>>(static_cast<size_t>(tensor.elements()));
    dequantize(*from.type, from.data.data(), tensor.elements(), values->data());
    for (float& value : *values) {
      if (transform == Transform::kZeroCentred) value += 1.0F;
      if (transform == Transform::kDecay) value = -std::exp(value);
    }
    tensor.type = static_cast<uint32_t>(DType::kF32);
    tensor.data = reinterpret_cast<const std::byte*>(values->data());
    tensor.bytes = values->size() * sizeof(float);
    vectors_.push_back(std::move(values));
  }
  names_.push_back(std::make_unique<const std::string>(*name));
  tensor.name = *names_.back();
  if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
    return bad("two tensors stand for '" + *name + "'");
  }
  tensors_.push_back(tensor);
  return {};
}

Result<std::unique_ptr<Tokenizer>> HfDirectory::tokenizer() const {
  FIMD_ASSIGN_OR_RETURN(VocabData vocab,
                        read_tokenizer_json((fs::path(path_) / "tokenizer.json").string()));
  for (const TokenId id : end_ids_) {
    if (!vocab.eos) vocab.eos = id;
    vocab.end_ids.push_back(id);
  }
  auto tokenizer = make_tokenizer(std::move(vocab));
  if (!tokenizer.ok()) {
    return Error{tokenizer.error().code, "'" + path_ + "': " + tokenizer.error().message};
  }
  return tokenizer;
}

}  // namespace

Result<std::unique_ptr<ModelSource>> open_hf_directory(const std::string& path) {
  auto directory = std::make_unique<HfDirectory>(path);
  FIMD_RETURN_IF_ERROR(directory->open());
  return std::unique_ptr<ModelSource>(std::move(directory));
}

}  // namespace fimd

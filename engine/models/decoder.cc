// The llama-like decoder: reads hyper-parameters, finds every tensor and checks its shape.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>

#include "engine/models/registry.h"

namespace fimd::models {

namespace {

constexpr int64_t kMaxLayers = 1000;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 4096;
constexpr int64_t kMaxContext = int64_t{1} << 30;

class Builder {
 public:
  Builder(const GgufFile& file, const DecoderTraits& traits) : file_(file), traits_(traits) {}

  Result<ModelSpec> build();

 private:
  struct HyperParameters {
    int layers = 0;
    int n_heads = 0;
    int head_dim = 0;
    std::vector<int64_t> kv_heads;  // per layer
    std::vector<int64_t> ff;        // per layer
    float eps = 0;
    int window = 0;
    Rope rope;
  };

  Result<HyperParameters> read_hyper_parameters(ModelSpec& spec);
  Result<Rope> read_rope(int head_dim);
  Status scale_rope(Rope& rope);
  Result<Block> read_block(const ModelSpec& spec, const HyperParameters& hyper, int layer);

  std::string key(const char* name) const { return arch_ + "." + name; }
  Error bad(const std::string& what) const {
    return {ErrorCode::kCorrupt, "'" + file_.path() + "': " + what};
  }
  Result<int64_t> bounded(const char* name, int64_t low, int64_t high) const;
  Result<std::vector<int64_t>> per_layer(const char* name, int layers, int64_t fallback,
                                         int64_t high) const;
  Result<Weight> matrix(const std::string& name, int64_t rows, int64_t cols) const;
  Result<Weight> vector(const std::string& name, int64_t size) const;
  Result<Weight> vector_if(Presence presence, const std::string& name, int64_t size) const;

  const GgufFile& file_;
  const DecoderTraits traits_;
  std::string arch_;
};

Result<int64_t> Builder::bounded(const char* name, int64_t low, int64_t high) const {
  FIMD_ASSIGN_OR_RETURN(const int64_t value, file_.integer(key(name)));
  if (value < low || value > high) {
    return bad("metadata '" + key(name) + "' is " + std::to_string(value) + ", expected " +
               std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

/// A key that holds one number for all layers or an array with one for each.
Result<std::vector<int64_t>> Builder::per_layer(const char* name, int layers, int64_t fallback,
                                                int64_t high) const {
  std::vector<int64_t> values;
  if (file_.is_array(key(name))) {
    FIMD_ASSIGN_OR_RETURN(values, file_.integers(key(name)));
  } else {
    FIMD_ASSIGN_OR_RETURN(const int64_t value, file_.integer_or(key(name), fallback));
    values.assign(static_cast<size_t>(layers), value);
  }
  if (values.size() != static_cast<size_t>(layers)) {
    return bad("metadata '" + key(name) + "' has " + std::to_string(values.size()) +
               " entries for " + std::to_string(layers) + " layers");
  }
  for (const int64_t value : values) {
    if (value < 1 || value > high) {
      return bad("metadata '" + key(name) + "' holds " + std::to_string(value));
    }
  }
  return values;
}

Result<Weight> Builder::matrix(const std::string& name, int64_t rows, int64_t cols) const {
  const GgufTensor* tensor = file_.tensor(name);
  if (tensor == nullptr) return bad("tensor '" + name + "' is missing");
  if (tensor->dims[0] != cols || tensor->elements() != rows * cols ||
      (rows > 1 && tensor->dims[1] != rows)) {
    return bad("tensor '" + name + "' has shape (" + std::to_string(tensor->dims[1]) + ", " +
               std::to_string(tensor->dims[0]) + "), expected (" + std::to_string(rows) + ", " +
               std::to_string(cols) + ")");
  }
  if (tensor->data == nullptr) {
    return Error{ErrorCode::kUnsupported, "'" + file_.path() + "': tensor '" + name +
                                              "' is quantised as " + ggml_type_name(tensor->type) +
                                              ", which fimd cannot run; " +
                                              supported_quantizations()};
  }
  return Weight{name, static_cast<DType>(tensor->type), tensor->data, rows, cols, tensor->bytes};
}

Result<Weight> Builder::vector(const std::string& name, int64_t size) const {
  FIMD_ASSIGN_OR_RETURN(Weight weight, matrix(name, 1, size));
  if (weight.type != DType::kF32 && weight.type != DType::kF16 && weight.type != DType::kBF16) {
    return Error{ErrorCode::kUnsupported, "'" + file_.path() + "': tensor '" + name +
                                              "' is quantised as " +
                                              ggml_type_name(static_cast<uint32_t>(weight.type)) +
                                              "; norms and biases must be F32, F16 or BF16"};
  }
  return weight;
}

Result<Weight> Builder::vector_if(Presence presence, const std::string& name, int64_t size) const {
  if (presence == Presence::kAbsent) return Weight{};
  if (presence == Presence::kOptional && file_.tensor(name) == nullptr) return Weight{};
  return vector(name, size);
}

Result<Builder::HyperParameters> Builder::read_hyper_parameters(ModelSpec& spec) {
  HyperParameters hyper;
  constexpr int64_t kAny = int64_t{1} << 30;
  FIMD_ASSIGN_OR_RETURN(spec.hidden, bounded("embedding_length", 1, kAny));
  FIMD_ASSIGN_OR_RETURN(const int64_t layers, bounded("block_count", 1, kMaxLayers));
  FIMD_ASSIGN_OR_RETURN(const int64_t heads, bounded("attention.head_count", 1, kMaxHeads));
  FIMD_ASSIGN_OR_RETURN(const int64_t context, bounded("context_length", 1, kMaxContext));
  hyper.layers = static_cast<int>(layers);
  hyper.n_heads = static_cast<int>(heads);
  spec.context_length = static_cast<int>(context);

  if (file_.has(key("expert_count"))) {
    FIMD_ASSIGN_OR_RETURN(const int64_t experts, file_.integer(key("expert_count")));
    if (experts > 0) {
      return Error{ErrorCode::kUnsupported, "'" + file_.path() + "' is a mixture-of-experts " +
                                                arch_ + " model; fimd runs dense ones"};
    }
  }
  FIMD_ASSIGN_OR_RETURN(
      const int64_t head_dim,
      file_.integer_or(key("attention.key_length"), std::max<int64_t>(spec.hidden / heads, 1)));
  FIMD_ASSIGN_OR_RETURN(const int64_t value_dim,
                        file_.integer_or(key("attention.value_length"), head_dim));
  if (head_dim < 2 || head_dim > kMaxHeadDim || head_dim % 2 != 0) {
    return bad("heads have " + std::to_string(head_dim) + " dimensions");
  }
  if (value_dim != head_dim) {
    return Error{ErrorCode::kUnsupported, "'" + file_.path() +
                                              "': keys and values of different lengths are not "
                                              "supported"};
  }
  hyper.head_dim = static_cast<int>(head_dim);
  FIMD_ASSIGN_OR_RETURN(hyper.kv_heads,
                        per_layer("attention.head_count_kv", hyper.layers, heads, heads));
  for (const int64_t kv : hyper.kv_heads) {
    if (heads % kv != 0) return bad("the query heads do not divide among the key heads");
  }
  FIMD_ASSIGN_OR_RETURN(hyper.ff, per_layer("feed_forward_length", hyper.layers, 0, kAny));

  FIMD_ASSIGN_OR_RETURN(const double eps,
                        file_.real_or(key("attention.layer_norm_rms_epsilon"), 1e-6));
  if (!(eps > 0 && eps < 1)) return bad("the norm epsilon is out of range");
  hyper.eps = static_cast<float>(eps);
  if (traits_.sliding_window) {
    FIMD_ASSIGN_OR_RETURN(const int64_t window,
                          file_.integer_or(key("attention.sliding_window"), 0));
    if (window < 0) return bad("the sliding window is negative");
    hyper.window = window < context ? static_cast<int>(window) : 0;
  }
  FIMD_ASSIGN_OR_RETURN(hyper.rope, read_rope(hyper.head_dim));
  return hyper;
}

Result<Rope> Builder::read_rope(int head_dim) {
  Rope rope;
  rope.pairs = traits_.rope_pairs;
  FIMD_ASSIGN_OR_RETURN(const double theta, file_.real_or(key("rope.freq_base"), 10000.0));
  FIMD_ASSIGN_OR_RETURN(const int64_t rotary,
                        file_.integer_or(key("rope.dimension_count"), head_dim));
  if (!(theta >= 1 && theta < 1e12)) return bad("the rope base is out of range");
  if (rotary < 2 || rotary > head_dim || rotary % 2 != 0) {
    return bad("rope turns " + std::to_string(rotary) + " of " + std::to_string(head_dim) +
               " dimensions");
  }
  rope.rotary_dim = static_cast<int>(rotary);
  rope.inv_freq.resize(static_cast<size_t>(rotary) / 2);
  for (size_t i = 0; i < rope.inv_freq.size(); ++i) {
    rope.inv_freq[i] = static_cast<float>(
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary)));
  }
  FIMD_RETURN_IF_ERROR(scale_rope(rope));
  return rope;
}

/// Applies {arch}.rope.scaling.* and rope_freqs.weight (llama3: divisors, one for each frequency).
Status Builder::scale_rope(Rope& rope) {
  FIMD_ASSIGN_OR_RETURN(const std::string_view type,
                        file_.string_or(key("rope.scaling.type"), "none"));
  // Very old files have only a linear factor, under this key.
  FIMD_ASSIGN_OR_RETURN(const double old_factor, file_.real_or(key("rope.scale_linear"), 1.0));
  FIMD_ASSIGN_OR_RETURN(const double factor, file_.real_or(key("rope.scaling.factor"), old_factor));
  if (!(factor > 0 && factor < 1e6)) return bad("the rope scaling factor is out of range");
  if (type == "linear" || (type == "none" && file_.has(key("rope.scale_linear")))) {
    for (float& f : rope.inv_freq) f = static_cast<float>(f / factor);
  } else if (type != "none" && type != "llama3" && type != "default") {
    return Error{ErrorCode::kUnsupported, "'" + file_.path() + "' scales rope by '" +
                                              std::string(type.substr(0, 40)) +
                                              "'; fimd knows none, linear and llama3"};
  }

  constexpr const char* kDivisors = "rope_freqs.weight";
  if (file_.tensor(kDivisors) != nullptr) {
    FIMD_ASSIGN_OR_RETURN(const Weight weight,
                          vector(kDivisors, static_cast<int64_t>(rope.inv_freq.size())));
    std::vector<float> divisors(rope.inv_freq.size());
    dequantize(weight.type, weight.data, weight.cols, divisors.data());
    for (size_t i = 0; i < divisors.size(); ++i) {
      if (!(divisors[i] > 0) || std::isinf(divisors[i])) {
        return bad("tensor 'rope_freqs.weight' holds a divisor that is not positive");
      }
      rope.inv_freq[i] /= divisors[i];
    }
  } else if (type == "llama3") {
    FIMD_ASSIGN_OR_RETURN(const double low, file_.real_or(key("rope.scaling.low_freq_factor"), 1));
    FIMD_ASSIGN_OR_RETURN(const double high,
                          file_.real_or(key("rope.scaling.high_freq_factor"), 4));
    FIMD_ASSIGN_OR_RETURN(const double original,
                          file_.real_or(key("rope.scaling.original_context_length"), 8192));
    if (!(low > 0) || !(high > low) || !(original > 0))
      return bad("the rope scaling is impossible");
    for (float& f : rope.inv_freq) {
      const double wavelength = 2 * std::numbers::pi / f;
      if (wavelength < original / high) continue;
      const double smooth =
          wavelength > original / low ? 0.0 : (original / wavelength - low) / (high - low);
      f = static_cast<float>(f * ((1 - smooth) / factor + smooth));
    }
  }
  return {};
}

Result<Block> Builder::read_block(const ModelSpec& spec, const HyperParameters& hyper, int layer) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  Attention attention;
  attention.n_heads = hyper.n_heads;
  attention.n_kv_heads = static_cast<int>(hyper.kv_heads[static_cast<size_t>(layer)]);
  attention.head_dim = hyper.head_dim;
  attention.scale = 1.0F / std::sqrt(static_cast<float>(hyper.head_dim));
  attention.window = hyper.window;
  attention.rope = hyper.rope;
  attention.qk_norm_eps = hyper.eps;
  const int64_t q_dim = attention.q_dim();
  const int64_t kv_dim = attention.kv_dim();
  FIMD_ASSIGN_OR_RETURN(attention.q, matrix(prefix + "attn_q.weight", q_dim, spec.hidden));
  FIMD_ASSIGN_OR_RETURN(attention.k, matrix(prefix + "attn_k.weight", kv_dim, spec.hidden));
  FIMD_ASSIGN_OR_RETURN(attention.v, matrix(prefix + "attn_v.weight", kv_dim, spec.hidden));
  FIMD_ASSIGN_OR_RETURN(attention.o, matrix(prefix + "attn_output.weight", spec.hidden, q_dim));
  const Presence bias = traits_.qkv_bias;
  FIMD_ASSIGN_OR_RETURN(attention.q_bias, vector_if(bias, prefix + "attn_q.bias", q_dim));
  FIMD_ASSIGN_OR_RETURN(attention.k_bias, vector_if(bias, prefix + "attn_k.bias", kv_dim));
  FIMD_ASSIGN_OR_RETURN(attention.v_bias, vector_if(bias, prefix + "attn_v.bias", kv_dim));
  FIMD_ASSIGN_OR_RETURN(attention.o_bias,
                        vector_if(traits_.output_bias, prefix + "attn_output.bias", spec.hidden));
  const Presence norm = traits_.qk_norm;
  FIMD_ASSIGN_OR_RETURN(attention.q_norm,
                        vector_if(norm, prefix + "attn_q_norm.weight", hyper.head_dim));
  FIMD_ASSIGN_OR_RETURN(attention.k_norm,
                        vector_if(norm, prefix + "attn_k_norm.weight", hyper.head_dim));

  SwiGlu mlp;
  mlp.ff = hyper.ff[static_cast<size_t>(layer)];
  FIMD_ASSIGN_OR_RETURN(mlp.gate, matrix(prefix + "ffn_gate.weight", mlp.ff, spec.hidden));
  FIMD_ASSIGN_OR_RETURN(mlp.up, matrix(prefix + "ffn_up.weight", mlp.ff, spec.hidden));
  FIMD_ASSIGN_OR_RETURN(mlp.down, matrix(prefix + "ffn_down.weight", spec.hidden, mlp.ff));

  Block block;
  FIMD_ASSIGN_OR_RETURN(block.mixer_norm.weight, vector(prefix + "attn_norm.weight", spec.hidden));
  FIMD_ASSIGN_OR_RETURN(block.mlp_norm.weight, vector(prefix + "ffn_norm.weight", spec.hidden));
  block.mixer_norm.eps = hyper.eps;
  block.mlp_norm.eps = hyper.eps;
  block.mixer = std::move(attention);
  block.mlp = std::move(mlp);
  return block;
}

Result<ModelSpec> Builder::build() {
  FIMD_ASSIGN_OR_RETURN(const std::string_view architecture, file_.string("general.architecture"));
  arch_ = architecture;
  ModelSpec spec;
  spec.architecture = arch_;
  FIMD_ASSIGN_OR_RETURN(const std::string_view name, file_.string_or("general.name", ""));
  spec.name = name;
  if (spec.name.empty()) spec.name = file_.path().substr(file_.path().find_last_of('/') + 1);
  FIMD_ASSIGN_OR_RETURN(const HyperParameters hyper, read_hyper_parameters(spec));

  const GgufTensor* embedding = file_.tensor("token_embd.weight");
  if (embedding == nullptr) return bad("tensor 'token_embd.weight' is missing");
  spec.vocab = embedding->dims[1];
  if (spec.vocab > std::numeric_limits<int32_t>::max()) return bad("the vocabulary is too large");
  FIMD_ASSIGN_OR_RETURN(spec.embedding, matrix("token_embd.weight", spec.vocab, spec.hidden));
  spec.tied = file_.tensor("output.weight") == nullptr;
  if (spec.tied) {
    spec.output = spec.embedding;
  } else {
    FIMD_ASSIGN_OR_RETURN(spec.output, matrix("output.weight", spec.vocab, spec.hidden));
  }
  FIMD_ASSIGN_OR_RETURN(spec.output_norm.weight, vector("output_norm.weight", spec.hidden));
  spec.output_norm.eps = hyper.eps;
  for (int layer = 0; layer < hyper.layers; ++layer) {
    FIMD_ASSIGN_OR_RETURN(Block block, read_block(spec, hyper, layer));
    spec.blocks.push_back(std::move(block));
  }

  std::map<uint32_t, int64_t> elements_by_type;
  for (const GgufTensor& tensor : file_.tensors()) {
    spec.parameters += tensor.elements();
    spec.weight_bytes += static_cast<int64_t>(tensor.bytes);
    elements_by_type[tensor.type] += tensor.elements();
  }
  int64_t most = 0;
  for (const auto& [type, elements] : elements_by_type) {
    if (elements > most) spec.quantization = ggml_type_name(type);
    most = std::max(most, elements);
  }
  return spec;
}

}  // namespace

Result<ModelSpec> build_decoder(const GgufFile& file, const DecoderTraits& traits) {
  return Builder(file, traits).build();
}

}  // namespace fimd::models

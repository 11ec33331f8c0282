#include "engine/models/spec_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>

namespace fimd::models {

namespace {
constexpr int64_t kMaxContext = int64_t{1} << 30;
constexpr int64_t kMaxLayers = 1000;
}  // namespace

Result<ModelSpec> SpecReader::begin() {
  FIMD_ASSIGN_OR_RETURN(const std::string_view architecture, file_.string("general.architecture"));
  arch_ = architecture;
  ModelSpec spec;
  spec.architecture = arch_;
  FIMD_ASSIGN_OR_RETURN(const std::string_view name, file_.string_or("general.name", ""));
  spec.name = name;
  if (spec.name.empty()) spec.name = file_.path().substr(file_.path().find_last_of('/') + 1);
  FIMD_ASSIGN_OR_RETURN(spec.hidden, bounded("embedding_length", 1, kMaxSize));
  FIMD_ASSIGN_OR_RETURN(const int64_t layers, bounded("block_count", 1, kMaxLayers));
  FIMD_ASSIGN_OR_RETURN(const int64_t context, bounded("context_length", 1, kMaxContext));
  layers_ = static_cast<int>(layers);
  spec.context_length = static_cast<int>(context);
  if (file_.has(key("expert_count"))) {
    FIMD_ASSIGN_OR_RETURN(const int64_t experts, file_.integer(key("expert_count")));
    if (experts > 0) {
      return unsupported("is a mixture-of-experts " + arch_ + " model; fimd runs dense ones");
    }
  }
  FIMD_ASSIGN_OR_RETURN(const double eps,
                        file_.real_or(key("attention.layer_norm_rms_epsilon"), 1e-6));
  if (!(eps > 0 && eps < 1)) return bad("the norm epsilon is out of range");
  eps_ = static_cast<float>(eps);

  const ModelTensor* embedding = file_.tensor("token_embd.weight");
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
  FIMD_ASSIGN_OR_RETURN(spec.output_norm, norm("output_norm.weight", spec.hidden));
  return spec;
}

void SpecReader::count_weights(ModelSpec& spec) const {
  std::map<uint32_t, int64_t> elements_by_type;
  for (const ModelTensor& tensor : file_.tensors()) {
    spec.parameters += tensor.elements();
    spec.weight_bytes += static_cast<int64_t>(tensor.bytes);
    elements_by_type[tensor.type] += tensor.elements();
  }
  int64_t most = 0;
  for (const auto& [type, elements] : elements_by_type) {
    if (elements > most) spec.quantization = ggml_type_name(type);
    most = std::max(most, elements);
  }
}

Result<SpecReader::Heads> SpecReader::heads(int64_t hidden) const {
  Heads heads;
  FIMD_ASSIGN_OR_RETURN(const int64_t n, bounded("attention.head_count", 1, kMaxHeads));
  FIMD_ASSIGN_OR_RETURN(const int64_t head_dim, file_.integer_or(key("attention.key_length"),
                                                                 std::max<int64_t>(hidden / n, 1)));
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
  heads.n_heads = static_cast<int>(n);
  heads.head_dim = static_cast<int>(head_dim);
  return heads;
}

Result<SwiGlu> SpecReader::swiglu(const std::string& prefix, int64_t hidden, int64_t ff) const {
  SwiGlu mlp;
  mlp.ff = ff;
  FIMD_ASSIGN_OR_RETURN(mlp.gate, matrix(prefix + "ffn_gate.weight", ff, hidden));
  FIMD_ASSIGN_OR_RETURN(mlp.up, matrix(prefix + "ffn_up.weight", ff, hidden));
  FIMD_ASSIGN_OR_RETURN(mlp.down, matrix(prefix + "ffn_down.weight", hidden, ff));
  return mlp;
}

Result<RmsNorm> SpecReader::norm(const std::string& name, int64_t size) const {
  RmsNorm norm;
  FIMD_ASSIGN_OR_RETURN(norm.weight, vector(name, size));
  norm.eps = eps_;
  return norm;
}

Error SpecReader::bad(const std::string& what) const {
  return {ErrorCode::kCorrupt, "'" + file_.path() + "': " + what};
}

Error SpecReader::unsupported(const std::string& what) const {
  return {ErrorCode::kUnsupported, "'" + file_.path() + "' " + what};
}

Result<int64_t> SpecReader::bounded(const char* name, int64_t low, int64_t high) const {
  FIMD_ASSIGN_OR_RETURN(const int64_t value, file_.integer(key(name)));
  if (value < low || value > high) {
    return bad("metadata '" + key(name) + "' is " + std::to_string(value) + ", expected " +
               std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

/// A key that holds one number for all layers or an array with one for each.
Result<std::vector<int64_t>> SpecReader::per_layer(const char* name, int layers, int64_t fallback,
                                                   int64_t low, int64_t high) const {
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
    if (value < low || value > high) {
      return bad("metadata '" + key(name) + "' holds " + std::to_string(value));
    }
  }
  return values;
}

Result<Weight> SpecReader::matrix(const std::string& name, int64_t rows, int64_t cols) const {
  const ModelTensor* tensor = file_.tensor(name);
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

Result<Weight> SpecReader::vector(const std::string& name, int64_t size) const {
  FIMD_ASSIGN_OR_RETURN(Weight weight, matrix(name, 1, size));
  if (weight.type != DType::kF32 && weight.type != DType::kF16 && weight.type != DType::kBF16) {
    return Error{ErrorCode::kUnsupported, "'" + file_.path() + "': tensor '" + name +
                                              "' is quantised as " +
                                              ggml_type_name(static_cast<uint32_t>(weight.type)) +
                                              "; norms and biases must be F32, F16 or BF16"};
  }
  return weight;
}

Result<Weight> SpecReader::vector_if(Presence presence, const std::string& name,
                                     int64_t size) const {
  if (presence == Presence::kAbsent) return Weight{};
  if (presence == Presence::kOptional && file_.tensor(name) == nullptr) return Weight{};
  return vector(name, size);
}

Result<Rope> SpecReader::rope(RopePairs pairs, int head_dim) const {
  Rope rope;
  rope.pairs = pairs;
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
Status SpecReader::scale_rope(Rope& rope) const {
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

}  // namespace fimd::models

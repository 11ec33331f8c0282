// Models of real shapes with random weights, for measuring speed, which does not depend on the
// values. Matrices of one type share their bytes, so that a model takes little host memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/model_spec.h"
#include "kernels/formats/dtype.h"

namespace fimd::bench {

struct SyntheticShape {
  std::string name;  // "7b"
  std::string title;
  int hidden, layers, heads, kv_heads, head_dim, ff, vocab;
  bool tied;
  /// Hybrids: every so manieth layer is gated attention, the others Gated DeltaNet. 0: none.
  int interval = 0;
  int rotary_dim = 0;
  int k_heads = 0, v_heads = 0, k_dim = 0, v_dim = 0;

  bool hybrid() const { return interval > 0; }
  bool attends(int layer) const { return !hybrid() || (layer + 1) % interval == 0; }
};

/// Qwen2.5-Coder's (llama.cpp calls them qwen2), and Qwen3.6's (qwen35).
inline const std::vector<SyntheticShape>& synthetic_shapes() {
  static const std::vector<SyntheticShape> shapes = {
      {"tiny", "tiny", 256, 2, 4, 2, 64, 512, 0, true},
      {"0.5b", "Qwen2.5-Coder-0.5B", 896, 24, 14, 2, 64, 4864, 151936, true},
      {"1.5b", "Qwen2.5-Coder-1.5B", 1536, 28, 12, 2, 128, 8960, 151936, true},
      {"7b", "Qwen2.5-Coder-7B", 3584, 28, 28, 4, 128, 18944, 152064, false},
      {"32b", "Qwen2.5-Coder-32B", 5120, 64, 40, 8, 128, 27648, 152064, false},
      {"hybrid-tiny", "hybrid tiny", 256, 4, 4, 2, 64, 512, 0, true, 2, 16, 2, 4, 64, 64},
      {"qwen3.5-0.8b", "Qwen3.5-0.8B", 1024, 24, 8, 2, 256, 3584, 248320, true, 4, 64, 16, 16, 128,
       128},
      {"qwen3.6-27b", "Qwen3.6-27B", 5120, 64, 24, 4, 256, 17408, 248320, false, 4, 64, 16, 48, 128,
       128},
  };
  return shapes;
}

/// "qwen3.6-27b-q4_k_m": a shape and a quantisation; null if there is no such shape.
inline const SyntheticShape* find_synthetic(const std::string& name, std::string* quantization) {
  const size_t dash = name.rfind('-');
  if (dash == std::string::npos) return nullptr;
  *quantization = name.substr(dash + 1);
  const auto& shapes = synthetic_shapes();
  const auto found = std::find_if(shapes.begin(), shapes.end(),
                                  [&](const auto& s) { return s.name == name.substr(0, dash); });
  return found == shapes.end() ? nullptr : &*found;
}

/// "bf16", "q8_0", "q4_0", "q4_k_m": the type of a matrix, as llama.cpp's quantize chooses it.
/// "q4_k_m_f32" is "q4_k_m" with floats for the small matrices of recurrent layers, as some files
/// have them.
inline DType type_of(const std::string& quantization, const SyntheticShape& shape,
                     const std::string& tensor, int layer) {
  if (quantization == "q4_k_m_f32") {
    if (tensor == "ssm_alpha" || tensor == "ssm_beta") return DType::kF32;
    return type_of("q4_k_m", shape, tensor, layer);
  }
  if (quantization == "bf16") return DType::kBF16;
  if (quantization == "q8_0") return DType::kQ8_0;
  if (quantization == "q4_0") return DType::kQ4_0;
  if (tensor == "output" || (tensor == "token_embd" && shape.tied)) return DType::kQ6_K;
  const int n = shape.layers;
  const bool more = layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
  const bool finer = tensor == "attn_v" || tensor == "attn_qkv" || tensor == "ffn_down";
  return more && finer ? DType::kQ6_K : DType::kQ4_K;
}

/// A spec and what its weights point to.
class SyntheticModel {
 public:
  static constexpr int kConvKernel = 4;

  SyntheticModel(SyntheticShape shape, std::string quantization)
      : shape_(std::move(shape)), quantization_(std::move(quantization)) {
    spec_.architecture = shape_.hybrid() ? "qwen35" : "qwen2";
    spec_.name = shape_.title + " " + quantization_;
    spec_.hidden = shape_.hidden;
    spec_.vocab = shape_.vocab;
    constexpr int kContext = 32768;
    spec_.context_length = kContext;
    spec_.tied = shape_.tied;
    spec_.quantization = quantization_;
    spec_.embedding = matrix("token_embd", -1, shape_.vocab, shape_.hidden);
    spec_.output = spec_.tied ? spec_.embedding : matrix("output", -1, shape_.vocab, shape_.hidden);
    spec_.output_norm = norm(shape_.hidden);
    for (int layer = 0; layer < shape_.layers; ++layer) {
      Block block;
      block.mixer_norm = norm(shape_.hidden);
      if (shape_.attends(layer)) {
        block.mixer = attention(layer);
      } else {
        block.mixer = delta_net(layer);
      }
      block.mlp_norm = norm(shape_.hidden);
      SwiGlu mlp;
      mlp.ff = shape_.ff;
      mlp.gate = matrix("ffn_gate", layer, shape_.ff, shape_.hidden);
      mlp.up = matrix("ffn_up", layer, shape_.ff, shape_.hidden);
      mlp.down = matrix("ffn_down", layer, shape_.hidden, shape_.ff);
      block.mlp = mlp;
      spec_.blocks.push_back(std::move(block));
    }
    // Places are known when all sizes are.
    for (const auto& [name, weight] : tensors()) place(name, weight);
    if (spec_.tied) spec_.output = spec_.embedding;
  }
  SyntheticModel(const SyntheticModel&) = delete;
  SyntheticModel& operator=(const SyntheticModel&) = delete;

  const SyntheticShape& shape() const { return shape_; }
  const ModelSpec& spec() const { return spec_; }
  /// What one token must read: every matrix of every layer and the output.
  size_t bytes_per_token() const {
    size_t sum = spec_.output.bytes;
    for_each_matrix([&](const Weight& weight) { sum += weight.bytes; });
    return sum;
  }
  /// Multiply-adds of one token in the layers' matrices.
  double products_per_token() const {
    double sum = 0;
    for_each_matrix([&](const Weight& weight) {
      sum += static_cast<double>(weight.rows) * static_cast<double>(weight.cols);
    });
    return sum;
  }
  int attention_layers() const {
    return shape_.hybrid() ? shape_.layers / shape_.interval : shape_.layers;
  }
  size_t kv_bytes_per_position() const {
    return static_cast<size_t>(attention_layers() * shape_.kv_heads * shape_.head_dim) * 4;
  }
  /// Of the states of all heads of all layers.
  int64_t delta_elements() const {
    return int64_t{shape_.layers - attention_layers()} * shape_.v_heads * shape_.k_dim *
           shape_.v_dim;
  }
  /// Of the recurrent state, which each pass reads and writes.
  size_t state_bytes() const { return static_cast<size_t>(spec_.state_elements()) * sizeof(float); }

  /// Every tensor by its name in a GGUF file; a tied output is the embedding.
  std::vector<std::pair<std::string, Weight*>> tensors() {
    std::vector<std::pair<std::string, Weight*>> list = {
        {"token_embd.weight", &spec_.embedding}, {"output_norm.weight", &spec_.output_norm.weight}};
    if (!spec_.tied) list.emplace_back("output.weight", &spec_.output);
    for (size_t i = 0; i < spec_.blocks.size(); ++i) {
      Block& block = spec_.blocks[i];
      const auto add = [&](const std::string& name, Weight* weight) {
        if (weight->rows > 0) list.emplace_back("blk." + std::to_string(i) + "." + name, weight);
      };
      add("attn_norm.weight", &block.mixer_norm.weight);
      add(shape_.hybrid() ? "post_attention_norm.weight" : "ffn_norm.weight",
          &block.mlp_norm.weight);
      if (auto* a = std::get_if<Attention>(&block.mixer)) {
        add("attn_q.weight", &a->q);
        add("attn_k.weight", &a->k);
        add("attn_v.weight", &a->v);
        add("attn_output.weight", &a->o);
        add("attn_q.bias", &a->q_bias);
        add("attn_k.bias", &a->k_bias);
        add("attn_v.bias", &a->v_bias);
        add("attn_q_norm.weight", &a->q_norm);
        add("attn_k_norm.weight", &a->k_norm);
      } else {
        auto& d = std::get<GatedDeltaNet>(block.mixer);
        add("attn_qkv.weight", &d.qkv);
        add("attn_gate.weight", &d.z);
        add("ssm_alpha.weight", &d.alpha);
        add("ssm_beta.weight", &d.beta);
        add("ssm_conv1d.weight", &d.conv);
        add("ssm_a", &d.decay);
        add("ssm_dt.bias", &d.dt_bias);
        add("ssm_norm.weight", &d.norm);
        add("ssm_out.weight", &d.out);
      }
      auto& mlp = std::get<SwiGlu>(block.mlp);
      add("ffn_gate.weight", &mlp.gate);
      add("ffn_up.weight", &mlp.up);
      add("ffn_down.weight", &mlp.down);
    }
    return list;
  }

 private:
  Attention attention(int layer) {
    Attention a;
    a.n_heads = shape_.heads;
    a.n_kv_heads = shape_.kv_heads;
    a.head_dim = shape_.head_dim;
    a.scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
    a.output_gate = shape_.hybrid();
    const int rotary = shape_.hybrid() ? shape_.rotary_dim : shape_.head_dim;
    a.rope.rotary_dim = rotary;
    for (int i = 0; i < rotary / 2; ++i) {
      a.rope.inv_freq.push_back(static_cast<float>(std::pow(1e6, -2.0 * i / rotary)));
    }
    a.q = matrix("attn_q", layer, a.q_rows(), shape_.hidden);
    a.k = matrix("attn_k", layer, a.kv_dim(), shape_.hidden);
    a.v = matrix("attn_v", layer, a.kv_dim(), shape_.hidden);
    a.o = matrix("attn_output", layer, shape_.hidden, a.q_dim());
    if (shape_.hybrid()) {
      a.q_norm = vector(shape_.head_dim);
      a.k_norm = vector(shape_.head_dim);
    } else {
      a.q_bias = vector(a.q_dim());
      a.k_bias = vector(a.kv_dim());
      a.v_bias = vector(a.kv_dim());
    }
    return a;
  }
  GatedDeltaNet delta_net(int layer) {
    GatedDeltaNet d;
    d.n_k_heads = shape_.k_heads;
    d.n_v_heads = shape_.v_heads;
    d.k_dim = shape_.k_dim;
    d.v_dim = shape_.v_dim;
    d.conv_kernel = kConvKernel;
    d.qkv = matrix("attn_qkv", layer, d.channels(), shape_.hidden);
    d.z = matrix("attn_gate", layer, d.values(), shape_.hidden);
    d.alpha = matrix("ssm_alpha", layer, d.n_v_heads, shape_.hidden);
    d.beta = matrix("ssm_beta", layer, d.n_v_heads, shape_.hidden);
    d.conv = shaped(DType::kF32, d.channels(), kConvKernel);
    d.decay = vector(d.n_v_heads);
    d.dt_bias = vector(d.n_v_heads);
    d.norm = vector(d.v_dim);
    d.out = matrix("ssm_out", layer, shape_.hidden, d.values());
    return d;
  }

  template <class F>
  void for_each_matrix(F visit) const {
    for (const Block& block : spec_.blocks) {
      if (const auto* a = std::get_if<Attention>(&block.mixer)) {
        for (const Weight* weight : {&a->q, &a->k, &a->v, &a->o}) visit(*weight);
      } else {
        const auto& d = std::get<GatedDeltaNet>(block.mixer);
        for (const Weight* weight : {&d.qkv, &d.z, &d.alpha, &d.beta, &d.out}) visit(*weight);
      }
      const auto& mlp = std::get<SwiGlu>(block.mlp);
      for (const Weight* weight : {&mlp.gate, &mlp.up, &mlp.down}) visit(*weight);
    }
  }
  Weight matrix(const std::string& tensor, int layer, int64_t rows, int64_t cols) {
    return shaped(type_of(quantization_, shape_, tensor, layer), rows, cols);
  }
  Weight vector(int64_t n) { return shaped(DType::kF32, 1, n); }
  RmsNorm norm(int64_t n) { return {.weight = vector(n), .eps = 1e-6F}; }
  Weight shaped(DType type, int64_t rows, int64_t cols) {
    Weight weight;
    weight.type = type;
    weight.rows = rows;
    weight.cols = cols;
    weight.bytes =
        row_bytes(*find_format(static_cast<uint32_t>(type)), cols) * static_cast<size_t>(rows);
    size_t& most = sizes_[type];
    most = std::max(most, weight.bytes);
    return weight;
  }

  /// Random numbers: of matrices of about the size that keeps activations of size 1, of vectors
  /// about 1, but what makes states fade is below 0 and convolutions are about 0.
  void place(const std::string& name, Weight* weight) {
    weight->name = name;
    const bool floats = weight->type == DType::kF32;
    const bool fades = name.ends_with("ssm_a");
    const bool centred = name.ends_with("ssm_dt.bias") || name.ends_with("ssm_conv1d.weight");
    std::vector<std::byte>& bytes = data_[{weight->type, fades ? 1 : centred ? 2 : 0}];
    if (bytes.empty()) {
      constexpr int64_t kPattern = 1 << 18;
      std::mt19937 random(static_cast<uint32_t>(weight->type) + 1);
      const float centre = !floats || centred ? 0.0F : fades ? -2.0F : 1.0F;
      const float size = !floats   ? 1.0F / std::sqrt(static_cast<float>(shape_.hidden))
                         : fades   ? 1.5F
                         : centred ? 0.5F
                                   : 0.1F;
      std::normal_distribution<float> normal(centre, size);
      std::vector<float> values(kPattern);
      for (float& value : values) value = fades ? -std::exp(normal(random)) : normal(random);
      const size_t n = row_bytes(*find_format(static_cast<uint32_t>(weight->type)), kPattern);
      std::vector<std::byte> pattern(n);
      quantize(weight->type, values.data(), kPattern, pattern.data());
      const size_t size_bytes = sizes_[weight->type];
      bytes.resize(size_bytes);
      for (size_t at = 0; at < size_bytes; at += n) {
        std::memcpy(bytes.data() + at, pattern.data(), std::min(n, size_bytes - at));
      }
    }
    weight->data = bytes.data();
  }

  SyntheticShape shape_;
  std::string quantization_;
  ModelSpec spec_;
  std::map<DType, size_t> sizes_;
  std::map<std::pair<DType, int>, std::vector<std::byte>> data_;
};

}  // namespace fimd::bench

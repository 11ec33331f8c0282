// Models of real shapes with random weights, for measuring speed, which does not depend on the
// values. Matrices of one type share their bytes, so that a model takes little host memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/model_spec.h"
#include "kernels/formats/dtype.h"

namespace fimd::bench {

struct SyntheticShape {
  std::string name;  // "7b"
  std::string title;
  int hidden, layers, heads, kv_heads, head_dim, ff, vocab;
  bool tied;
};

/// Qwen2.5-Coder's (llama.cpp calls them qwen2).
inline const std::vector<SyntheticShape>& synthetic_shapes() {
  static const std::vector<SyntheticShape> shapes = {
      {"tiny", "tiny", 256, 2, 4, 2, 64, 512, 0, true},
      {"0.5b", "Qwen2.5-Coder-0.5B", 896, 24, 14, 2, 64, 4864, 151936, true},
      {"1.5b", "Qwen2.5-Coder-1.5B", 1536, 28, 12, 2, 128, 8960, 151936, true},
      {"7b", "Qwen2.5-Coder-7B", 3584, 28, 28, 4, 128, 18944, 152064, false},
      {"32b", "Qwen2.5-Coder-32B", 5120, 64, 40, 8, 128, 27648, 152064, false},
  };
  return shapes;
}

/// "bf16", "q8_0", "q4_0", "q4_k_m": the type of a matrix, as llama.cpp's quantize chooses it.
inline DType type_of(const std::string& quantization, const SyntheticShape& shape,
                     const std::string& tensor, int layer) {
  if (quantization == "bf16") return DType::kBF16;
  if (quantization == "q8_0") return DType::kQ8_0;
  if (quantization == "q4_0") return DType::kQ4_0;
  if (tensor == "output" || (tensor == "token_embd" && shape.tied)) return DType::kQ6_K;
  const int n = shape.layers;
  const bool more = layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
  return more && (tensor == "attn_v" || tensor == "ffn_down") ? DType::kQ6_K : DType::kQ4_K;
}

/// A spec and what its weights point to.
class SyntheticModel {
 public:
  SyntheticModel(SyntheticShape shape, std::string quantization)
      : shape_(std::move(shape)), quantization_(std::move(quantization)) {
    spec_.architecture = "qwen2";
    spec_.name = shape_.title + " " + quantization_;
    spec_.hidden = shape_.hidden;
    spec_.vocab = shape_.vocab;
    constexpr int kContext = 32768;
    spec_.context_length = kContext;
    spec_.tied = shape_.tied;
    spec_.quantization = quantization_;
    const int q_dim = shape_.heads * shape_.head_dim;
    const int kv_dim = shape_.kv_heads * shape_.head_dim;
    spec_.embedding = matrix("token_embd", -1, shape_.vocab, shape_.hidden);
    spec_.output = spec_.tied ? spec_.embedding : matrix("output", -1, shape_.vocab, shape_.hidden);
    spec_.output_norm = norm();
    for (int layer = 0; layer < shape_.layers; ++layer) {
      Attention attention;
      attention.n_heads = shape_.heads;
      attention.n_kv_heads = shape_.kv_heads;
      attention.head_dim = shape_.head_dim;
      attention.scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
      attention.rope.rotary_dim = shape_.head_dim;
      for (int i = 0; i < shape_.head_dim / 2; ++i) {
        attention.rope.inv_freq.push_back(
            static_cast<float>(std::pow(1e6, -2.0 * i / shape_.head_dim)));
      }
      attention.q = matrix("attn_q", layer, q_dim, shape_.hidden);
      attention.k = matrix("attn_k", layer, kv_dim, shape_.hidden);
      attention.v = matrix("attn_v", layer, kv_dim, shape_.hidden);
      attention.o = matrix("attn_output", layer, shape_.hidden, q_dim);
      attention.q_bias = vector(q_dim, 0.1F);
      attention.k_bias = vector(kv_dim, 0.1F);
      attention.v_bias = vector(kv_dim, 0.1F);
      SwiGlu mlp;
      mlp.ff = shape_.ff;
      mlp.gate = matrix("ffn_gate", layer, shape_.ff, shape_.hidden);
      mlp.up = matrix("ffn_up", layer, shape_.ff, shape_.hidden);
      mlp.down = matrix("ffn_down", layer, shape_.hidden, shape_.ff);
      spec_.blocks.push_back(
          {.mixer_norm = norm(), .mixer = attention, .mlp_norm = norm(), .mlp = mlp});
    }
    // Places are known when all sizes are.
    place(&spec_.embedding);
    place(&spec_.output);
    place(&spec_.output_norm.weight);
    for (Block& block : spec_.blocks) {
      auto& attention = std::get<Attention>(block.mixer);
      auto& mlp = std::get<SwiGlu>(block.mlp);
      for (Weight* weight : {&block.mixer_norm.weight, &block.mlp_norm.weight, &attention.q,
                             &attention.k, &attention.v, &attention.o, &attention.q_bias,
                             &attention.k_bias, &attention.v_bias, &mlp.gate, &mlp.up, &mlp.down}) {
        place(weight);
      }
    }
  }

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
  size_t kv_bytes_per_position() const {
    return static_cast<size_t>(shape_.layers * shape_.kv_heads * shape_.head_dim) * 4;
  }

 private:
  template <class F>
  void for_each_matrix(F visit) const {
    for (const Block& block : spec_.blocks) {
      const auto& attention = std::get<Attention>(block.mixer);
      const auto& mlp = std::get<SwiGlu>(block.mlp);
      for (const Weight* weight : {&attention.q, &attention.k, &attention.v, &attention.o,
                                   &mlp.gate, &mlp.up, &mlp.down}) {
        visit(*weight);
      }
    }
  }
  Weight matrix(const std::string& tensor, int layer, int64_t rows, int64_t cols) {
    const DType type = type_of(quantization_, shape_, tensor, layer);
    Weight weight;
    weight.name = tensor;
    weight.type = type;
    weight.rows = rows;
    weight.cols = cols;
    weight.bytes =
        row_bytes(*find_format(static_cast<uint32_t>(type)), cols) * static_cast<size_t>(rows);
    size_t& most = sizes_[type];
    most = std::max(most, weight.bytes);
    return weight;
  }
  Weight vector(int64_t n, float /*size*/) {
    Weight weight;
    weight.rows = 1;
    weight.cols = n;
    weight.bytes = static_cast<size_t>(n) * sizeof(float);
    size_t& most = sizes_[DType::kF32];
    most = std::max(most, weight.bytes);
    return weight;
  }
  RmsNorm norm() { return {.weight = vector(shape_.hidden, 1), .eps = 1e-6F}; }

  /// Random numbers of about the size that keeps activations of size 1; vectors about 1.
  void place(Weight* weight) {
    std::vector<std::byte>& bytes = data_[weight->type];
    if (bytes.empty()) {
      constexpr int64_t kPattern = 1 << 18;
      std::mt19937 random(static_cast<uint32_t>(weight->type) + 1);
      std::normal_distribution<float> normal(
          weight->type == DType::kF32 ? 1.0F : 0.0F,
          weight->type == DType::kF32 ? 0.1F : 1.0F / std::sqrt(static_cast<float>(shape_.hidden)));
      std::vector<float> values(kPattern);
      for (float& value : values) value = normal(random);
      const size_t n = row_bytes(*find_format(static_cast<uint32_t>(weight->type)), kPattern);
      std::vector<std::byte> pattern(n);
      quantize(weight->type, values.data(), kPattern, pattern.data());
      const size_t size = sizes_[weight->type];
      bytes.resize(size);
      for (size_t at = 0; at < size; at += n) {
        std::memcpy(bytes.data() + at, pattern.data(), std::min(n, size - at));
      }
    }
    weight->data = bytes.data();
  }

  SyntheticShape shape_;
  std::string quantization_;
  ModelSpec spec_;
  std::map<DType, size_t> sizes_;
  std::map<DType, std::vector<std::byte>> data_;
};

}  // namespace fimd::bench

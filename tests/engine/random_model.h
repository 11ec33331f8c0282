// Model files of any shape and format, with random weights.
#pragma once

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/engine/gguf_writer.h"
#include "tests/engine/hyper_parameters.h"

namespace fimd::test {

struct Shape {
  std::string arch = "qwen2";
  DType type = DType::kF32;
  int hidden = 32;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 8;
  int ff = 48;
  int layers = 2;
  int vocab = 60;
  int window = 0;
  double linear_scaling = 0;
  bool tied = true;
  int context = 256;
  // Of arch "qwen35".
  int interval = 2;  // every so manieth layer is attention, the others Gated DeltaNet
  int rotary_dim = 4;
  int k_heads = 2;
  int v_heads = 4;
  int k_dim = 16;
  int v_dim = 16;
  int conv_kernel = 4;
  bool grouped = false;
  std::function<DType(const std::string& name)> type_of = {};  // of matrices, instead of `type`
};

inline std::vector<std::byte> random_model(const Shape& shape, uint32_t seed,
                                           const std::string& without = "",
                                           const std::string& misshapen = "") {
  GgufWriter writer;
  std::mt19937 random(seed);
  const auto values = [&](int n, float size, float centre = 0) {
    std::normal_distribution<float> normal(centre, size);
    std::vector<float> result(static_cast<size_t>(n));
    for (float& v : result) v = normal(random);
    return result;
  };
  add_hyper_parameters(shape.arch, shape, shape.context, 1e-5F, 5000.0F, &writer);
  if (shape.window > 0) {
    writer.add_u32(shape.arch + ".attention.sliding_window", static_cast<uint32_t>(shape.window));
  }
  if (shape.linear_scaling > 0) {
    writer.add_string(shape.arch + ".rope.scaling.type", "linear");
    writer.add_f32(shape.arch + ".rope.scaling.factor", static_cast<float>(shape.linear_scaling));
  }
  const bool hybrid = shape.arch == "qwen35";
  if (hybrid) {
    add_hybrid_parameters(shape.arch, shape, shape.conv_kernel, &writer);
    if (shape.grouped) writer.add_bool("qwen35.ssm.grouped_value_heads", true);
  }
  const auto matrix = [&](const std::string& name, int rows, int cols) {
    if (name == without) return;
    if (name == misshapen) rows += 1;
    writer.add_matrix(name, shape.type_of ? shape.type_of(name) : shape.type, rows, cols,
                      values(rows * cols, 1.0F / std::sqrt(static_cast<float>(cols))));
  };
  const auto vector = [&](const std::string& name, int n, float centre) {
    if (name == without) return;
    if (name == misshapen) n += 1;
    writer.add_matrix(name, DType::kF32, 1, n, values(n, 0.2F, centre));
  };
  const auto delta_net = [&](const std::string& blk) {
    const int channels = 2 * shape.k_heads * shape.k_dim + shape.v_heads * shape.v_dim;
    matrix(blk + "attn_qkv.weight", channels, shape.hidden);
    matrix(blk + "attn_gate.weight", shape.v_heads * shape.v_dim, shape.hidden);
    matrix(blk + "ssm_alpha.weight", shape.v_heads, shape.hidden);
    matrix(blk + "ssm_beta.weight", shape.v_heads, shape.hidden);
    if (blk + "ssm_conv1d.weight" != without) {
      writer.add_matrix(blk + "ssm_conv1d.weight", DType::kF32, channels, shape.conv_kernel,
                        values(channels * shape.conv_kernel, 0.5F));
    }
    std::vector<float> decay = values(shape.v_heads, 1.5F, -2);  // from short to long memories
    for (float& d : decay) d = -std::exp(d);
    if (blk + "ssm_a" != without) {
      writer.add_matrix(blk + "ssm_a", DType::kF32, 1, shape.v_heads, decay);
    }
    vector(blk + "ssm_dt.bias", shape.v_heads, 0);
    vector(blk + "ssm_norm.weight", shape.v_dim, 1);
    matrix(blk + "ssm_out.weight", shape.hidden, shape.v_heads * shape.v_dim);
  };
  matrix("token_embd.weight", shape.vocab, shape.hidden);
  if (!shape.tied) matrix("output.weight", shape.vocab, shape.hidden);
  vector("output_norm.weight", shape.hidden, 1);
  const int q_dim = shape.heads * shape.head_dim;
  const int kv_dim = shape.kv_heads * shape.head_dim;
  for (int layer = 0; layer < shape.layers; ++layer) {
    const std::string blk = "blk." + std::to_string(layer) + ".";
    vector(blk + "attn_norm.weight", shape.hidden, 1);
    vector(blk + (hybrid ? "post_attention_norm.weight" : "ffn_norm.weight"), shape.hidden, 1);
    if (hybrid && (layer + 1) % shape.interval != 0) {
      delta_net(blk);
    } else {
      matrix(blk + "attn_q.weight", hybrid ? 2 * q_dim : q_dim, shape.hidden);
      matrix(blk + "attn_k.weight", kv_dim, shape.hidden);
      matrix(blk + "attn_v.weight", kv_dim, shape.hidden);
      matrix(blk + "attn_output.weight", shape.hidden, q_dim);
      if (hybrid) {
        vector(blk + "attn_q_norm.weight", shape.head_dim, 1);
        vector(blk + "attn_k_norm.weight", shape.head_dim, 1);
      }
    }
    if (shape.arch == "qwen2") {
      vector(blk + "attn_q.bias", q_dim, 0);
      vector(blk + "attn_k.bias", kv_dim, 0);
      vector(blk + "attn_v.bias", kv_dim, 0);
    }
    if (shape.arch == "qwen3") {
      vector(blk + "attn_q_norm.weight", shape.head_dim, 1);
      vector(blk + "attn_k_norm.weight", shape.head_dim, 1);
    }
    matrix(blk + "ffn_gate.weight", shape.ff, shape.hidden);
    matrix(blk + "ffn_up.weight", shape.ff, shape.hidden);
    matrix(blk + "ffn_down.weight", shape.hidden, shape.ff);
  }
  return writer.bytes();
}

}  // namespace fimd::test

// Qwen3.6-27B's description, without its weights: for counting bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "engine/model_spec.h"
#include "kernels/formats/dtype.h"

namespace fimd::test {

inline Weight shaped_weight(DType type, int64_t rows, int64_t cols) {
  const FormatInfo& format = *find_format(static_cast<uint32_t>(type));
  static constexpr std::byte kNothing{};
  Weight w;
  w.data = &kNothing;
  w.type = type;
  w.rows = rows;
  w.cols = cols;
  w.bytes = row_bytes(format, cols) * static_cast<size_t>(rows);
  return w;
}

/// Whether Q4_K_M gives layer i of n the finer type.
inline bool finer(int i, int n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

/// Qwen3.6-27B as a Q4_K_M file holds it. Nothing may read the weights.
inline ModelSpec qwen36_27b() {
  constexpr int kLayers = 64;
  constexpr int64_t kHidden = 5120;
  constexpr int64_t kFf = 17408;
  ModelSpec spec;
  spec.hidden = kHidden;
  spec.vocab = 248320;
  spec.context_length = 262144;
  spec.embedding = shaped_weight(DType::kQ4_K, spec.vocab, kHidden);
  spec.output = shaped_weight(DType::kQ6_K, spec.vocab, kHidden);
  spec.output_norm.weight = shaped_weight(DType::kF32, 1, kHidden);
  int qkvs = 0;  // attn_v and attn_qkv tensors so far: one in each layer
  for (int i = 0; i < kLayers; ++i) {
    Block block;
    block.mixer_norm.weight = shaped_weight(DType::kF32, 1, kHidden);
    block.mlp_norm.weight = shaped_weight(DType::kF32, 1, kHidden);
    const DType fine = finer(qkvs++, kLayers) ? DType::kQ6_K : DType::kQ4_K;
    if ((i + 1) % 4 == 0) {
      Attention a;
      a.n_heads = 24;
      a.n_kv_heads = 4;
      a.head_dim = 256;
      a.output_gate = true;
      a.rope.rotary_dim = 64;
      a.rope.inv_freq.assign(32, 1.0F);
      a.q = shaped_weight(DType::kQ4_K, a.q_rows(), kHidden);
      a.k = shaped_weight(DType::kQ4_K, a.kv_dim(), kHidden);
      a.v = shaped_weight(fine, a.kv_dim(), kHidden);
      a.o = shaped_weight(DType::kQ4_K, kHidden, a.q_dim());
      a.q_norm = shaped_weight(DType::kF32, 1, a.head_dim);
      a.k_norm = shaped_weight(DType::kF32, 1, a.head_dim);
      block.mixer = a;
    } else {
      GatedDeltaNet d;
      d.n_k_heads = 16;
      d.n_v_heads = 48;
      d.k_dim = 128;
      d.v_dim = 128;
      d.conv_kernel = 4;
      d.qkv = shaped_weight(fine, d.channels(), kHidden);
      d.z = shaped_weight(DType::kQ4_K, d.values(), kHidden);
      d.alpha = shaped_weight(DType::kQ4_K, d.n_v_heads, kHidden);
      d.beta = shaped_weight(DType::kQ4_K, d.n_v_heads, kHidden);
      d.conv = shaped_weight(DType::kF32, d.channels(), d.conv_kernel);
      d.decay = shaped_weight(DType::kF32, 1, d.n_v_heads);
      d.dt_bias = shaped_weight(DType::kF32, 1, d.n_v_heads);
      d.norm = shaped_weight(DType::kF32, 1, d.v_dim);
      d.out = shaped_weight(DType::kQ4_K, kHidden, d.values());
      block.mixer = d;
    }
    SwiGlu mlp;
    mlp.ff = kFf;
    mlp.gate = shaped_weight(DType::kQ4_K, kFf, kHidden);
    mlp.up = shaped_weight(DType::kQ4_K, kFf, kHidden);
    mlp.down = shaped_weight(finer(i, kLayers) ? DType::kQ6_K : DType::kQ4_K, kHidden, kFf);
    block.mlp = mlp;
    spec.blocks.push_back(std::move(block));
  }
  return spec;
}

}  // namespace fimd::test

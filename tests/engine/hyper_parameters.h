// The hyper-parameters of a model that a test makes up, as a GGUF file has them.
#pragma once

#include <cstdint>
#include <string>

#include "tests/engine/gguf_writer.h"

namespace fimd::test {

/// What every architecture has. Shape: layers, hidden, ff, heads, kv_heads, head_dim.
template <class Shape>
void add_hyper_parameters(const std::string& arch, const Shape& shape, int64_t context, float eps,
                          float rope_base, GgufWriter* writer) {
  const auto u32 = [&](const char* key, int64_t value) {
    writer->add_u32(arch + "." + key, static_cast<uint32_t>(value));
  };
  writer->add_string("general.architecture", arch);
  u32("block_count", shape.layers);
  u32("context_length", context);
  u32("embedding_length", shape.hidden);
  u32("feed_forward_length", shape.ff);
  u32("attention.head_count", shape.heads);
  u32("attention.head_count_kv", shape.kv_heads);
  u32("attention.key_length", shape.head_dim);
  writer->add_f32(arch + ".attention.layer_norm_rms_epsilon", eps);
  writer->add_f32(arch + ".rope.freq_base", rope_base);
}

/// What hybrids have besides. Shape: rotary_dim, interval, k_dim, k_heads, v_dim, v_heads.
template <class Shape>
void add_hybrid_parameters(const std::string& arch, const Shape& shape, int conv_kernel,
                           GgufWriter* writer) {
  const auto u32 = [&](const char* key, int64_t value) {
    writer->add_u32(arch + "." + key, static_cast<uint32_t>(value));
  };
  u32("rope.dimension_count", shape.rotary_dim);
  u32("full_attention_interval", shape.interval);
  u32("ssm.conv_kernel", conv_kernel);
  u32("ssm.state_size", shape.k_dim);
  u32("ssm.group_count", shape.k_heads);
  u32("ssm.time_step_rank", shape.v_heads);
  u32("ssm.inner_size", int64_t{shape.v_heads} * shape.v_dim);
}

}  // namespace fimd::test

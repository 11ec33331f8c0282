// The llama-like decoder: pre-norm blocks of grouped-query attention and SwiGLU.
#include <cmath>

#include "engine/models/registry.h"

namespace fimd::models {

namespace {

/// What the attention of all layers has in common; the key heads may differ.
Result<Attention> read_attention(const SpecReader& in, const DecoderTraits& traits,
                                 const Attention& common, const std::string& prefix,
                                 int64_t hidden) {
  Attention attention = common;
  const int64_t q_dim = attention.q_dim();
  const int64_t kv_dim = attention.kv_dim();
  const int64_t head_dim = attention.head_dim;
  FIMD_ASSIGN_OR_RETURN(attention.q, in.matrix(prefix + "attn_q.weight", q_dim, hidden));
  FIMD_ASSIGN_OR_RETURN(attention.k, in.matrix(prefix + "attn_k.weight", kv_dim, hidden));
  FIMD_ASSIGN_OR_RETURN(attention.v, in.matrix(prefix + "attn_v.weight", kv_dim, hidden));
  FIMD_ASSIGN_OR_RETURN(attention.o, in.matrix(prefix + "attn_output.weight", hidden, q_dim));
  const Presence bias = traits.qkv_bias;
  FIMD_ASSIGN_OR_RETURN(attention.q_bias, in.vector_if(bias, prefix + "attn_q.bias", q_dim));
  FIMD_ASSIGN_OR_RETURN(attention.k_bias, in.vector_if(bias, prefix + "attn_k.bias", kv_dim));
  FIMD_ASSIGN_OR_RETURN(attention.v_bias, in.vector_if(bias, prefix + "attn_v.bias", kv_dim));
  FIMD_ASSIGN_OR_RETURN(attention.o_bias,
                        in.vector_if(traits.output_bias, prefix + "attn_output.bias", hidden));
  const Presence norm = traits.qk_norm;
  FIMD_ASSIGN_OR_RETURN(attention.q_norm,
                        in.vector_if(norm, prefix + "attn_q_norm.weight", head_dim));
  FIMD_ASSIGN_OR_RETURN(attention.k_norm,
                        in.vector_if(norm, prefix + "attn_k_norm.weight", head_dim));
  return attention;
}

}  // namespace

Result<ModelSpec> build_decoder(const ModelSource& file, const DecoderTraits& traits) {
  SpecReader in(file);
  FIMD_ASSIGN_OR_RETURN(ModelSpec spec, in.begin());
  FIMD_ASSIGN_OR_RETURN(const SpecReader::Heads heads, in.heads(spec.hidden));
  Attention common;
  common.n_heads = heads.n_heads;
  common.head_dim = heads.head_dim;
  common.scale = 1.0F / std::sqrt(static_cast<float>(heads.head_dim));
  common.qk_norm_eps = in.eps();
  FIMD_ASSIGN_OR_RETURN(common.rope, in.rope(traits.rope_pairs, heads.head_dim));
  if (traits.sliding_window) {
    FIMD_ASSIGN_OR_RETURN(const int64_t window,
                          file.integer_or(in.key("attention.sliding_window"), 0));
    if (window < 0) return in.bad("the sliding window is negative");
    common.window = window < spec.context_length ? static_cast<int>(window) : 0;
  }
  FIMD_ASSIGN_OR_RETURN(
      const std::vector<int64_t> kv_heads,
      in.per_layer("attention.head_count_kv", in.layers(), heads.n_heads, 1, heads.n_heads));
  for (const int64_t kv : kv_heads) {
    if (heads.n_heads % kv != 0) return in.bad("the query heads do not divide among the key heads");
  }
  FIMD_ASSIGN_OR_RETURN(
      const std::vector<int64_t> ff,
      in.per_layer("feed_forward_length", in.layers(), 0, 1, SpecReader::kMaxSize));

  for (int layer = 0; layer < in.layers(); ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    const auto i = static_cast<size_t>(layer);
    common.n_kv_heads = static_cast<int>(kv_heads[i]);
    Block block;
    FIMD_ASSIGN_OR_RETURN(block.mixer_norm, in.norm(prefix + "attn_norm.weight", spec.hidden));
    FIMD_ASSIGN_OR_RETURN(block.mixer, read_attention(in, traits, common, prefix, spec.hidden));
    FIMD_ASSIGN_OR_RETURN(block.mlp_norm, in.norm(prefix + "ffn_norm.weight", spec.hidden));
    FIMD_ASSIGN_OR_RETURN(block.mlp, in.swiglu(prefix, spec.hidden, ff[i]));
    spec.blocks.push_back(std::move(block));
  }
  in.count_weights(spec);
  return spec;
}

}  // namespace fimd::models

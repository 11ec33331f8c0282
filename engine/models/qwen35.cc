// Qwen3.5 and 3.6 (dense): Gated DeltaNet in most layers, gated full attention in every fourth.
//
// Converters to GGUF have added the 1 of the zero-centred norms, turned A_log into -exp(A_log), and
// ordered the value heads so that head h reads key head h % n_k_heads. The prediction head for a
// second token (nextn), which some files carry as further blocks, is not used.
#include <cmath>

#include "engine/models/registry.h"

namespace fimd::models {

namespace {

Result<GatedDeltaNet> read_sizes(const SpecReader& in) {
  constexpr int64_t kMaxKernel = 16;
  GatedDeltaNet net;
  FIMD_ASSIGN_OR_RETURN(const int64_t k_dim,
                        in.bounded("ssm.state_size", 1, SpecReader::kMaxHeadDim));
  FIMD_ASSIGN_OR_RETURN(const int64_t k_heads,
                        in.bounded("ssm.group_count", 1, SpecReader::kMaxHeads));
  FIMD_ASSIGN_OR_RETURN(const int64_t v_heads,
                        in.bounded("ssm.time_step_rank", 1, SpecReader::kMaxHeads));
  FIMD_ASSIGN_OR_RETURN(const int64_t values,
                        in.bounded("ssm.inner_size", 1, SpecReader::kMaxSize));
  FIMD_ASSIGN_OR_RETURN(const int64_t kernel, in.bounded("ssm.conv_kernel", 2, kMaxKernel));
  if (v_heads % k_heads != 0) return in.bad("the value heads do not divide among the key heads");
  if (values % v_heads != 0 || values / v_heads > SpecReader::kMaxHeadDim) {
    return in.bad("ssm.inner_size " + std::to_string(values) + " does not divide among " +
                  std::to_string(v_heads) + " value heads");
  }
  net.k_dim = static_cast<int>(k_dim);
  net.v_dim = static_cast<int>(values / v_heads);
  net.n_k_heads = static_cast<int>(k_heads);
  net.n_v_heads = static_cast<int>(v_heads);
  net.conv_kernel = static_cast<int>(kernel);
  net.norm_eps = in.eps();
  FIMD_ASSIGN_OR_RETURN(net.grouped,
                        in.file().boolean_or(in.key("ssm.grouped_value_heads"), false));
  return net;
}

Result<GatedDeltaNet> read_delta_net(const SpecReader& in, GatedDeltaNet net,
                                     const std::string& prefix, int64_t hidden) {
  FIMD_ASSIGN_OR_RETURN(net.qkv, in.matrix(prefix + "attn_qkv.weight", net.channels(), hidden));
  FIMD_ASSIGN_OR_RETURN(net.z, in.matrix(prefix + "attn_gate.weight", net.values(), hidden));
  FIMD_ASSIGN_OR_RETURN(net.alpha, in.matrix(prefix + "ssm_alpha.weight", net.n_v_heads, hidden));
  FIMD_ASSIGN_OR_RETURN(net.beta, in.matrix(prefix + "ssm_beta.weight", net.n_v_heads, hidden));
  FIMD_ASSIGN_OR_RETURN(net.conv,
                        in.matrix(prefix + "ssm_conv1d.weight", net.channels(), net.conv_kernel));
  FIMD_ASSIGN_OR_RETURN(net.decay, in.vector(prefix + "ssm_a", net.n_v_heads));
  FIMD_ASSIGN_OR_RETURN(net.dt_bias, in.vector(prefix + "ssm_dt.bias", net.n_v_heads));
  FIMD_ASSIGN_OR_RETURN(net.norm, in.vector(prefix + "ssm_norm.weight", net.v_dim));
  FIMD_ASSIGN_OR_RETURN(net.out, in.matrix(prefix + "ssm_out.weight", hidden, net.values()));
  return net;
}

Result<Attention> read_attention(const SpecReader& in, Attention attention,
                                 const std::string& prefix, int64_t hidden) {
  const int64_t kv_dim = attention.kv_dim();
  FIMD_ASSIGN_OR_RETURN(attention.q,
                        in.matrix(prefix + "attn_q.weight", attention.q_rows(), hidden));
  FIMD_ASSIGN_OR_RETURN(attention.k, in.matrix(prefix + "attn_k.weight", kv_dim, hidden));
  FIMD_ASSIGN_OR_RETURN(attention.v, in.matrix(prefix + "attn_v.weight", kv_dim, hidden));
  FIMD_ASSIGN_OR_RETURN(attention.o,
                        in.matrix(prefix + "attn_output.weight", hidden, attention.q_dim()));
  FIMD_ASSIGN_OR_RETURN(attention.q_norm,
                        in.vector(prefix + "attn_q_norm.weight", attention.head_dim));
  FIMD_ASSIGN_OR_RETURN(attention.k_norm,
                        in.vector(prefix + "attn_k_norm.weight", attention.head_dim));
  return attention;
}

}  // namespace

Result<ModelSpec> build_qwen35(const ModelSource& file) {
  SpecReader in(file);
  FIMD_ASSIGN_OR_RETURN(ModelSpec spec, in.begin());
  // block_count includes the blocks of the prediction head.
  FIMD_ASSIGN_OR_RETURN(const int64_t extra, file.integer_or(in.key("nextn_predict_layers"), 0));
  if (extra < 0 || extra >= in.layers()) return in.bad("it has more prediction heads than blocks");
  const int layers = in.layers() - static_cast<int>(extra);
  FIMD_ASSIGN_OR_RETURN(const int64_t interval,
                        file.integer_or(in.key("full_attention_interval"), 4));
  if (interval < 1) return in.bad("full_attention_interval must be at least 1");

  FIMD_ASSIGN_OR_RETURN(const SpecReader::Heads heads, in.heads(spec.hidden));
  Attention attention;
  attention.n_heads = heads.n_heads;
  attention.head_dim = heads.head_dim;
  attention.scale = 1.0F / std::sqrt(static_cast<float>(heads.head_dim));
  attention.qk_norm_eps = in.eps();
  attention.output_gate = true;
  // Its rope takes each frequency's position from one of three axes; for text all three are alike.
  FIMD_ASSIGN_OR_RETURN(attention.rope, in.rope(RopePairs::kNeox, heads.head_dim));
  FIMD_ASSIGN_OR_RETURN(
      const std::vector<int64_t> kv_heads,
      in.per_layer("attention.head_count_kv", in.layers(), heads.n_heads, 0, heads.n_heads));
  FIMD_ASSIGN_OR_RETURN(
      const std::vector<int64_t> ff,
      in.per_layer("feed_forward_length", in.layers(), 0, 1, SpecReader::kMaxSize));

  for (int layer = 0; layer < layers; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    const auto i = static_cast<size_t>(layer);
    Block block;
    FIMD_ASSIGN_OR_RETURN(block.mixer_norm, in.norm(prefix + "attn_norm.weight", spec.hidden));
    // The tensors decide, for files whose layers do not keep to the interval.
    const bool has_query = file.tensor(prefix + "attn_q.weight") != nullptr;
    const bool has_qkv = file.tensor(prefix + "attn_qkv.weight") != nullptr;
    if (has_query != has_qkv ? has_query : (layer + 1) % interval == 0) {
      if (kv_heads[i] == 0 || heads.n_heads % kv_heads[i] != 0) {
        return in.bad("the query heads do not divide among the key heads");
      }
      attention.n_kv_heads = static_cast<int>(kv_heads[i]);
      FIMD_ASSIGN_OR_RETURN(block.mixer, read_attention(in, attention, prefix, spec.hidden));
    } else {
      FIMD_ASSIGN_OR_RETURN(const GatedDeltaNet sizes, read_sizes(in));
      FIMD_ASSIGN_OR_RETURN(block.mixer, read_delta_net(in, sizes, prefix, spec.hidden));
    }
    FIMD_ASSIGN_OR_RETURN(block.mlp_norm,
                          in.norm(prefix + "post_attention_norm.weight", spec.hidden));
    FIMD_ASSIGN_OR_RETURN(block.mlp, in.swiglu(prefix, spec.hidden, ff[i]));
    spec.blocks.push_back(std::move(block));
  }
  in.count_weights(spec);
  return spec;
}

}  // namespace fimd::models

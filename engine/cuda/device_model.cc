#include "engine/cuda/device_model.h"

#include <algorithm>

#include "engine/cuda/pass.h"

namespace fimd {

namespace {

bool kernels_for_head(int head_dim) {
  return head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128 || head_dim == 256;
}

Status check_matrix(const Weight& weight) {
  constexpr int64_t kColumns = 32;
  if (weight.cols % kColumns == 0 &&
      cuda::packed_bytes(weight.type, weight.rows, weight.cols) > 0) {
    return {};
  }
  const FormatInfo* format = find_format(static_cast<uint32_t>(weight.type));
  return Error{ErrorCode::kUnsupported, "there is no CUDA kernel for tensor '" + weight.name +
                                            "' (" + (format ? format->name : "?") + ", " +
                                            std::to_string(weight.cols) + " columns)"};
}

/// Lays weights out and notes what is to be put there.
class WeightLayout {
 public:
  WeightLayout(Bump* bump, WeightJobs* jobs) : bump_(bump), jobs_(jobs) {}

  cuda::Matrix matrix(const Weight& weight) {
    cuda::Matrix matrix;
    matrix.type = cuda::packed_type(weight.type);
    matrix.rows = weight.rows;
    matrix.cols = weight.cols;
    auto* data = bump_->take<std::byte>(cuda::packed_bytes(weight.type, weight.rows, weight.cols));
    matrix.data = data;
    if (jobs_ != nullptr) jobs_->matrices.push_back({&weight, data});
    return matrix;
  }
  float* vector(const Weight& weight) {
    if (!weight) return nullptr;
    auto* data = bump_->take<float>(static_cast<size_t>(weight.cols));
    if (jobs_ != nullptr) jobs_->vectors.push_back({&weight, nullptr, data});
    return data;
  }
  float* vector(const std::vector<float>& values) {
    auto* data = bump_->take<float>(values.size());
    if (jobs_ != nullptr) jobs_->vectors.push_back({nullptr, &values, data});
    return data;
  }

 private:
  Bump* bump_;
  WeightJobs* jobs_;
};

}  // namespace

Status check_cuda_support(const ModelSpec& spec) {
  FIMD_RETURN_IF_ERROR(check_matrix(spec.embedding));
  FIMD_RETURN_IF_ERROR(check_matrix(spec.output));
  for (const Block& block : spec.blocks) {
    const auto* attention = std::get_if<Attention>(&block.mixer);
    if (attention == nullptr) {
      return Error{ErrorCode::kUnsupported,
                   "hybrid models (Gated DeltaNet layers) do not run on CUDA yet"};
    }
    if (attention->output_gate) {
      return Error{ErrorCode::kUnsupported, "gated attention does not run on CUDA yet"};
    }
    if (!kernels_for_head(attention->head_dim)) {
      return Error{ErrorCode::kUnsupported, "there is no CUDA kernel for attention heads of " +
                                                std::to_string(attention->head_dim)};
    }
    const auto& mlp = std::get<SwiGlu>(block.mlp);
    for (const Weight* weight : {&attention->q, &attention->k, &attention->v, &attention->o,
                                 &mlp.gate, &mlp.up, &mlp.down}) {
      FIMD_RETURN_IF_ERROR(check_matrix(*weight));
    }
  }
  return {};
}

void lay_out_weights(const ModelSpec& spec, Bump* bump, DeviceModel* model, WeightJobs* jobs) {
  WeightLayout layout(bump, jobs);
  model->hidden = spec.hidden;
  model->vocab = spec.vocab;
  model->layers.assign(spec.blocks.size(), {});
  const std::vector<float>* last_freq = nullptr;
  float* inv_freq = nullptr;
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const Block& block = spec.blocks[i];
    const auto& attention = std::get<Attention>(block.mixer);
    const auto& mlp = std::get<SwiGlu>(block.mlp);
    DeviceLayer& layer = model->layers[i];
    DeviceAttention& to = layer.attention;
    layer.mixer_norm = layout.vector(block.mixer_norm.weight);
    layer.mixer_eps = block.mixer_norm.eps;
    // One after another, so that a wide product can take them as one matrix.
    to.q = layout.matrix(attention.q);
    to.k = layout.matrix(attention.k);
    to.v = layout.matrix(attention.v);
    to.o = layout.matrix(attention.o);
    to.q_bias = layout.vector(attention.q_bias);
    to.k_bias = layout.vector(attention.k_bias);
    to.v_bias = layout.vector(attention.v_bias);
    to.o_bias = layout.vector(attention.o_bias);
    if (last_freq == nullptr || *last_freq != attention.rope.inv_freq) {
      last_freq = &attention.rope.inv_freq;
      inv_freq = layout.vector(*last_freq);
    }
    to.rope = {.adjacent = attention.rope.pairs == RopePairs::kAdjacent,
               .rotary_dim = attention.rope.rotary_dim,
               .inv_freq = inv_freq,
               .q_norm = layout.vector(attention.q_norm),
               .k_norm = layout.vector(attention.k_norm),
               .norm_eps = attention.qk_norm_eps};
    to.kv.n_kv_heads = attention.n_kv_heads;
    to.kv.head_dim = attention.head_dim;
    to.n_heads = attention.n_heads;
    to.window = attention.window;
    to.scale = attention.scale;
    layer.mlp_norm = layout.vector(block.mlp_norm.weight);
    layer.mlp_eps = block.mlp_norm.eps;
    layer.gate = layout.matrix(mlp.gate);
    layer.up = layout.matrix(mlp.up);
    layer.down = layout.matrix(mlp.down);
  }
  model->output_norm = layout.vector(spec.output_norm.weight);
  model->output_eps = spec.output_norm.eps;
  model->output = layout.matrix(spec.output);
  model->embedding = spec.tied ? model->output : layout.matrix(spec.embedding);
}

int64_t kv_page_bytes(const ModelSpec& spec, int page_tokens) {
  int64_t bytes = 0;
  for (const Block& block : spec.blocks) {
    bytes += int64_t{2} * std::get<Attention>(block.mixer).kv_dim() * page_tokens *
             static_cast<int64_t>(sizeof(__half));
  }
  return bytes;
}

void lay_out_kv(int n_pages, int page_tokens, Bump* bump, DeviceModel* model) {
  for (DeviceLayer& layer : model->layers) {
    cuda::KvPages& kv = layer.attention.kv;
    kv.page_tokens = page_tokens;
    const auto elements = static_cast<size_t>(n_pages) * static_cast<size_t>(page_tokens) *
                          static_cast<size_t>(layer.attention.kv_dim());
    kv.k = bump->take<__half>(elements);
    kv.v = bump->take<__half>(elements);
  }
}

void lay_out_scratch(const DeviceModel& model, const ScratchLimits& limits, Bump* bump,
                     Scratch* scratch) {
  int64_t q_dim = 0;
  int64_t qkv_dim = 0;
  int64_t ff = 0;
  int64_t largest = 0;  // elements that one wide product reads
  size_t attention_bytes = 0;
  for (const DeviceLayer& layer : model.layers) {
    const DeviceAttention& attention = layer.attention;
    q_dim = std::max(q_dim, attention.q_dim());
    qkv_dim = std::max(qkv_dim, attention.qkv_dim());
    ff = std::max(ff, layer.gate.rows);
    largest = std::max({largest, attention.qkv_dim() * model.hidden, q_dim * model.hidden,
                        layer.gate.rows * model.hidden});
    attention_bytes = std::max(
        attention_bytes,
        cuda::attention_workspace_bytes(limits.rows, attention.n_heads, attention.kv.head_dim));
  }
  const auto rows = static_cast<size_t>(limits.rows);
  const auto small = static_cast<size_t>(limits.small_rows);
  const auto widest = static_cast<size_t>(std::max({model.hidden, q_dim, ff}));
  const auto hidden = static_cast<size_t>(model.hidden);
  const auto vocab = static_cast<size_t>(model.vocab);
  scratch->x = bump->take<float>(rows * hidden);
  scratch->qkv = bump->take<float>(rows * static_cast<size_t>(qkv_dim));
  scratch->q = bump->take<__half>(rows * static_cast<size_t>(q_dim));
  scratch->att = bump->take<float>(rows * static_cast<size_t>(q_dim));
  scratch->ff = bump->take<float>(rows * static_cast<size_t>(2 * ff));
  size_t q8 = 0;
  size_t bf16 = 0;
  for (const int64_t cols : {model.hidden, q_dim}) {
    q8 = std::max(q8, cuda::q8_bytes(cuda::kMaxMatmulRows, cols));
    bf16 = std::max(bf16, cuda::bf16_bytes(cuda::kMaxMatmulRows, cols));
  }
  scratch->act_q8 = bump->take<std::byte>(q8);
  scratch->act_bf16 = bump->take<std::byte>(bf16);
  scratch->ff_q8 = bump->take<std::byte>(cuda::q8_bytes(cuda::kMaxMatmulRows, ff));
  scratch->ff_bf16 = bump->take<std::byte>(cuda::bf16_bytes(cuda::kMaxMatmulRows, ff));
  if (limits.wide) scratch->act_plain = bump->take<__nv_bfloat16>(rows * widest);
  scratch->sampled_x = bump->take<float>(small * hidden);
  scratch->sampled_att = bump->take<float>(small * static_cast<size_t>(q_dim));
  scratch->logits = bump->take<float>(small * vocab);
  scratch->results = bump->take<cuda::SampleResult>(small);
  if (limits.wide) {
    scratch->wide_elements = largest;
    scratch->wide_weight = bump->take<__nv_bfloat16>(static_cast<size_t>(largest));
    scratch->cublas_workspace = bump->take<std::byte>(Cublas::kWorkspaceBytes);
  }
  scratch->attention_workspace = bump->take<std::byte>(attention_bytes);
  scratch->sample_workspace =
      bump->take<std::byte>(cuda::sample_workspace_bytes(limits.small_rows, model.vocab));
  scratch->mask = bump->take<uint32_t>((vocab + 31) / 32);
  scratch->input_bytes = InputLayout::most_bytes(limits.rows, limits.max_pages);
  scratch->inputs = bump->take<std::byte>(scratch->input_bytes);
  scratch->id_capacity = 2 * vocab;
  scratch->ids = bump->take<int32_t>(scratch->id_capacity);
}

}  // namespace fimd

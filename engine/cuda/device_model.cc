#include "engine/cuda/device_model.h"

#include <algorithm>
#include <utility>

#include "engine/cuda/cublas.h"
#include "engine/cuda/pass_inputs.h"

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

cuda::DeltaShape shape_of(const GatedDeltaNet& delta) {
  return {delta.n_k_heads, delta.n_v_heads, delta.k_dim, delta.v_dim, delta.grouped};
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
    auto* data = bump_->take<float>(static_cast<size_t>(weight.rows * weight.cols));
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

Status check_mixer(const Attention& attention) {
  if (!kernels_for_head(attention.head_dim)) {
    return Error{ErrorCode::kUnsupported, "there is no CUDA kernel for attention heads of " +
                                              std::to_string(attention.head_dim)};
  }
  for (const Weight* weight : {&attention.q, &attention.k, &attention.v, &attention.o}) {
    FIMD_RETURN_IF_ERROR(check_matrix(*weight));
  }
  return {};
}

Status check_mixer(const GatedDeltaNet& delta) {
  if (!cuda::delta_supported(shape_of(delta))) {
    return Error{ErrorCode::kUnsupported, "there is no CUDA kernel for Gated DeltaNet heads of " +
                                              std::to_string(delta.k_dim) + " x " +
                                              std::to_string(delta.v_dim)};
  }
  for (const Weight* weight : {&delta.qkv, &delta.z, &delta.alpha, &delta.beta, &delta.out}) {
    FIMD_RETURN_IF_ERROR(check_matrix(*weight));
  }
  return {};
}

/// `last_freq` and `inv_freq`: of the layer before, which mostly has the same.
DeviceAttention lay_out(const Attention& attention, WeightLayout& layout,
                        const std::vector<float>** last_freq, float** inv_freq) {
  DeviceAttention to;
  // One after another, so that a wide product can take them as one matrix.
  to.q = layout.matrix(attention.q);
  to.k = layout.matrix(attention.k);
  to.v = layout.matrix(attention.v);
  to.o = layout.matrix(attention.o);
  to.q_bias = layout.vector(attention.q_bias);
  to.k_bias = layout.vector(attention.k_bias);
  to.v_bias = layout.vector(attention.v_bias);
  to.o_bias = layout.vector(attention.o_bias);
  if (*last_freq == nullptr || **last_freq != attention.rope.inv_freq) {
    *last_freq = &attention.rope.inv_freq;
    *inv_freq = layout.vector(**last_freq);
  }
  to.rope = {.adjacent = attention.rope.pairs == RopePairs::kAdjacent,
             .rotary_dim = attention.rope.rotary_dim,
             .inv_freq = *inv_freq,
             .q_norm = layout.vector(attention.q_norm),
             .k_norm = layout.vector(attention.k_norm),
             .norm_eps = attention.qk_norm_eps,
             .q_gates = attention.output_gate};
  to.kv.n_kv_heads = attention.n_kv_heads;
  to.kv.head_dim = attention.head_dim;
  to.n_heads = attention.n_heads;
  to.window = attention.window;
  to.scale = attention.scale;
  return to;
}

DeviceDelta lay_out(const GatedDeltaNet& delta, WeightLayout& layout) {
  DeviceDelta to;
  to.shape = shape_of(delta);
  to.conv_kernel = delta.conv_kernel;
  to.qkv = layout.matrix(delta.qkv);
  // One after another, as above.
  to.z = layout.matrix(delta.z);
  to.alpha = layout.matrix(delta.alpha);
  to.beta = layout.matrix(delta.beta);
  to.out = layout.matrix(delta.out);
  to.conv = layout.vector(delta.conv);
  to.decay = layout.vector(delta.decay);
  to.dt_bias = layout.vector(delta.dt_bias);
  to.norm = layout.vector(delta.norm);
  to.norm_eps = delta.norm_eps;
  return to;
}

}  // namespace

Status check_cuda_support(const ModelSpec& spec) {
  FIMD_RETURN_IF_ERROR(check_matrix(spec.embedding));
  FIMD_RETURN_IF_ERROR(check_matrix(spec.output));
  for (const Block& block : spec.blocks) {
    FIMD_RETURN_IF_ERROR(
        std::visit([](const auto& mixer) { return check_mixer(mixer); }, block.mixer));
    const auto& mlp = std::get<SwiGlu>(block.mlp);
    for (const Weight* weight : {&mlp.gate, &mlp.up, &mlp.down}) {
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
    const auto& mlp = std::get<SwiGlu>(block.mlp);
    DeviceLayer& layer = model->layers[i];
    layer.mixer_norm = layout.vector(block.mixer_norm.weight);
    layer.mixer_eps = block.mixer_norm.eps;
    if (const auto* attention = std::get_if<Attention>(&block.mixer)) {
      layer.mixer = lay_out(*attention, layout, &last_freq, &inv_freq);
    } else {
      layer.mixer = lay_out(std::get<GatedDeltaNet>(block.mixer), layout);
    }
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

int64_t kv_page_bytes(const ModelSpec& spec, int page_tokens, bool coded) {
  constexpr int64_t kHalf = sizeof(__half);
  int64_t bytes = 0;
  int64_t room = 0;
  for (const Block& block : spec.blocks) {
    const auto* attention = std::get_if<Attention>(&block.mixer);
    if (attention == nullptr) continue;
    const int64_t halves = 2 * attention->kv_dim() * page_tokens * kHalf;
    const int64_t rows = int64_t{2} * attention->n_kv_heads * page_tokens;
    bytes += coded ? rows * cuda::kv_row_bytes(attention->head_dim) : halves;
    if (coded) room = std::max(room, halves);
  }
  return bytes + room;
}

void lay_out_kv(int n_pages, int page_tokens, bool coded, Bump* bump, DeviceModel* model) {
  size_t room = 0;
  const auto elements = [&](const DeviceAttention& attention) {
    return static_cast<size_t>(n_pages) * static_cast<size_t>(page_tokens) *
           static_cast<size_t>(attention.kv_dim());
  };
  for (DeviceLayer& layer : model->layers) {
    DeviceAttention* attention = layer.attention();
    if (attention == nullptr) continue;
    cuda::KvPages& kv = attention->kv;
    kv.page_tokens = page_tokens;
    if (coded) {
      const size_t rows = elements(*attention) / static_cast<size_t>(kv.head_dim);
      const size_t bytes = rows * static_cast<size_t>(cuda::kv_row_bytes(kv.head_dim));
      kv.k_codes = bump->take<uint8_t>(bytes);
      kv.v_codes = bump->take<uint8_t>(bytes);
      room = std::max(room, elements(*attention));
    } else {
      kv.k = bump->take<__half>(elements(*attention));
      kv.v = bump->take<__half>(elements(*attention));
    }
  }
  if (!coded) return;
  auto* k = bump->take<__half>(room);
  auto* v = bump->take<__half>(room);
  for (DeviceLayer& layer : model->layers) {
    DeviceAttention* attention = layer.attention();
    if (attention == nullptr) continue;
    attention->kv.k = k;
    attention->kv.v = v;
  }
}

namespace {

/// Where the layers' parts of a state begin, in floats; each is aligned to a cache line.
struct StateLayout {
  int64_t floats = 0;
  int64_t take(int64_t n) {
    constexpr int64_t kAlign = 64;
    const int64_t at = floats;
    floats += (n + kAlign - 1) / kAlign * kAlign;
    return at;
  }
};

}  // namespace

int64_t state_bytes(const ModelSpec& spec) {
  StateLayout layout;
  for (const Block& block : spec.blocks) {
    if (const auto* delta = std::get_if<GatedDeltaNet>(&block.mixer)) {
      layout.take(delta->delta_elements());
      layout.take(delta->conv_elements());
    }
  }
  return layout.floats * static_cast<int64_t>(sizeof(float));
}

void lay_out_states(int n_slots, int n_checkpoints, Bump* bump, DeviceModel* model) {
  StateLayout layout;
  std::vector<std::pair<cuda::RecurrentState*, int64_t>> parts;
  for (DeviceLayer& layer : model->layers) {
    DeviceDelta* delta = layer.delta();
    if (delta == nullptr) continue;
    const cuda::DeltaShape& shape = delta->shape;
    parts.emplace_back(&delta->state, layout.take(shape.values() * shape.k_dim));
    parts.emplace_back(&delta->tails, layout.take(shape.channels() * (delta->conv_kernel - 1)));
  }
  auto* memory = bump->take<float>(static_cast<size_t>(layout.floats) *
                                   static_cast<size_t>(n_slots + n_checkpoints));
  if (memory == nullptr) return;
  for (const auto& [state, offset] : parts) {
    *state = {.slots = memory + offset,
              .checkpoints = memory + n_slots * layout.floats + offset,
              .stride = layout.floats};
  }
}

void lay_out_scratch(const DeviceModel& model, const ScratchLimits& limits, Bump* bump,
                     Scratch* scratch) {
  int64_t q_dim = 0;
  int64_t qkv_dim = 0;
  int64_t mixed_dim = 0;
  int64_t gates_dim = 0;
  int64_t channels = 0;
  int64_t ff = 0;
  int64_t largest = 0;  // elements that one wide product reads
  size_t attention_bytes = 0;
  for (const DeviceLayer& layer : model.layers) {
    if (const DeviceAttention* a = layer.attention()) {
      q_dim = std::max(q_dim, a->q_dim());
      qkv_dim = std::max(qkv_dim, a->qkv_dim());
      mixed_dim = std::max(mixed_dim, a->q_dim());
      attention_bytes = std::max(attention_bytes, cuda::attention_workspace_bytes(
                                                      limits.rows, a->n_heads, a->kv.head_dim));
    } else if (const DeviceDelta* d = layer.delta()) {
      channels = std::max(channels, d->shape.channels());
      gates_dim = std::max(gates_dim, d->gates_dim());
      mixed_dim = std::max(mixed_dim, d->shape.values());
    }
    ff = std::max(ff, layer.gate.rows);
    qkv_dim = std::max(qkv_dim, channels);
    largest = std::max({qkv_dim, mixed_dim, gates_dim, ff}) * model.hidden;
  }
  int64_t last_gates = 0;
  if (const DeviceAttention* a = model.layers.back().attention()) {
    last_gates = a->rope.q_gates ? a->qkv_dim() : 0;
  } else {
    last_gates = gates_dim;
  }
  const auto rows = static_cast<size_t>(limits.rows);
  const auto small = static_cast<size_t>(limits.small_rows);
  const auto widest = static_cast<size_t>(std::max({model.hidden, mixed_dim, ff}));
  const auto hidden = static_cast<size_t>(model.hidden);
  const auto vocab = static_cast<size_t>(model.vocab);
  scratch->x = bump->take<float>(rows * hidden);
  scratch->qkv = bump->take<float>(rows * static_cast<size_t>(qkv_dim));
  scratch->q = bump->take<__half>(rows * static_cast<size_t>(q_dim));
  scratch->att = bump->take<float>(rows * static_cast<size_t>(mixed_dim));
  scratch->gates = bump->take<float>(rows * static_cast<size_t>(gates_dim));
  scratch->ff = bump->take<float>(rows * static_cast<size_t>(std::max(2 * ff, channels)));
  scratch->conv = scratch->ff;
  size_t q8 = 0;
  size_t bf16 = 0;
  for (const int64_t cols : {model.hidden, mixed_dim}) {
    q8 = std::max(q8, cuda::q8_bytes(cuda::kMaxMatmulRows, cols));
    bf16 = std::max(bf16, cuda::bf16_bytes(cuda::kMaxMatmulRows, cols));
  }
  scratch->act_q8 = bump->take<std::byte>(q8);
  scratch->act_bf16 = bump->take<std::byte>(bf16);
  scratch->ff_q8 = bump->take<std::byte>(cuda::q8_bytes(cuda::kMaxMatmulRows, ff));
  scratch->ff_bf16 = bump->take<std::byte>(cuda::bf16_bytes(cuda::kMaxMatmulRows, ff));
  if (limits.wide) scratch->act_plain = bump->take<__nv_bfloat16>(rows * widest);
  scratch->sampled_x = bump->take<float>(small * hidden);
  scratch->sampled_att = bump->take<float>(small * static_cast<size_t>(mixed_dim));
  scratch->sampled_gates = bump->take<float>(small * static_cast<size_t>(last_gates));
  scratch->logits = bump->take<float>(small * vocab);
  if (limits.wide) {
    scratch->wide_elements = largest;
    scratch->wide_weight = bump->take<__nv_bfloat16>(static_cast<size_t>(largest));
    scratch->cublas_workspace = bump->take<std::byte>(Cublas::kWorkspaceBytes);
  }
  scratch->attention_workspace = bump->take<std::byte>(attention_bytes);
  scratch->chain_workspace.bytes = cuda::chain_workspace_bytes(model.hidden, ff);
  scratch->chain_workspace.data = bump->take<std::byte>(scratch->chain_workspace.bytes);
  scratch->sample_workspace =
      bump->take<std::byte>(cuda::sample_workspace_bytes(limits.small_rows));
  scratch->mask = bump->take<uint32_t>((vocab + 31) / 32);
  scratch->input_bytes = InputLayout::most_bytes(limits.rows, limits.max_pages);
  scratch->inputs = bump->take<std::byte>(scratch->input_bytes);
  scratch->id_capacity = 2 * vocab;
  scratch->ids = bump->take<int32_t>(scratch->id_capacity);
}

}  // namespace fimd

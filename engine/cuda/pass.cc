#include "engine/cuda/pass.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cuda/runtime.h"

namespace fimd {

namespace {

bool is_bf16(const cuda::Matrix& w) { return w.type == DType::kBF16; }

/// Whether a layer's output product reads its rows as they are, by the small kernels: nobody picks
/// some of them.
bool reads_all_rows(const PassShape& shape, bool last) {
  return shape.small && (!last || shape.every_row);
}

/// Whether attention leaves what the output product reads: nothing gates its output.
bool quantizes(const DeviceAttention& a, const PassShape& shape, bool last) {
  return reads_all_rows(shape, last) && !a.rope.q_gates && a.kv.head_dim % 32 == 0;
}

/// Whether delta_step() does it all, or several launches.
bool steps(const DeviceDelta& d, const PassShape& shape) {
  return cuda::delta_step_supported(d.shape, d.conv_kernel, shape.max_rows);
}

/// Whether delta_step() leaves what the output product reads, as `quantizes` of attention.
bool quantizes(const DeviceDelta& d, const PassShape& shape, bool last) {
  return reads_all_rows(shape, last) && steps(d, shape);
}

/// Whether delta_step() makes alpha and beta as well, which would be a launch of their own: some
/// files keep these small matrices in another form than the large ones.
bool step_projects(const DeviceDelta& d, const PassShape& shape) {
  return steps(d, shape) && !is_bf16(d.qkv) && !is_bf16(d.z) &&
         cuda::delta_step_projects(d.shape, d.alpha, d.beta);
}

/// The tasks that a step has.
std::span<const cuda::MatmulTask> tasks_of(const cuda::MatmulStep& step) {
  size_t n = 0;
  while (n < cuda::kMaxMatmulTasks && step.tasks[n].w.data != nullptr) ++n;
  return {step.tasks, n};
}

/// The same step of the rows from `begin` on.
cuda::MatmulStep rows_from(cuda::MatmulStep step, int begin) {
  if (step.floats.x != nullptr) step.floats.x += begin * step.floats.cols;
  for (cuda::MatmulTask& task : step.tasks) {
    if (task.w.data != nullptr && !step.swiglu) task.y += begin * task.y_stride;
  }
  return step;
}

}  // namespace

/// Weights become bf16, neighbours that write next to each other one matrix.
void PassLauncher::multiply_wide(std::span<const cuda::MatmulTask> tasks, int64_t cols, int n) {
  const auto adjacent = [&](const cuda::MatmulTask& a, const cuda::MatmulTask& b) {
    const bool outputs = a.y + a.w.rows == b.y && a.y_stride == b.y_stride &&
                         a.accumulate == b.accumulate && is_bf16(a.w) == is_bf16(b.w);
    if (!outputs || !is_bf16(a.w)) return outputs;
    return static_cast<const __nv_bfloat16*>(a.w.data) + a.w.rows * a.w.cols == b.w.data;
  };
  for (size_t begin = 0; begin < tasks.size();) {
    const cuda::MatmulTask& first = tasks[begin];
    int64_t rows = first.w.rows;
    size_t end = begin + 1;
    while (end < tasks.size() && adjacent(tasks[end - 1], tasks[end]) &&
           (is_bf16(first.w) || (rows + tasks[end].w.rows) * cols <= scratch_.wide_elements)) {
      rows += tasks[end++].w.rows;
    }
    const auto* weights = static_cast<const __nv_bfloat16*>(first.w.data);
    if (!is_bf16(first.w)) {
      weights = scratch_.wide_weight;
      __nv_bfloat16* to = scratch_.wide_weight;
      for (size_t i = begin; i < end; ++i) {
        cuda::dequantize(tasks[i].w, to, stream_);
        to += tasks[i].w.rows * tasks[i].w.cols;
      }
    }
    Status status = cublas_->multiply(weights, rows, cols, scratch_.act_plain, n, first.y,
                                      first.y_stride, first.accumulate);
    if (!status.ok() && failed_.ok()) failed_ = status;
    begin = end;
  }
  for (const cuda::MatmulTask& task : tasks) {
    if (task.bias != nullptr) {
      cuda::add_bias(task.bias, n, task.w.rows, task.y, task.y_stride, stream_);
    }
  }
}

cuda::MatmulStep PassLauncher::step_of(const cuda::FloatInput& in,
                                       std::initializer_list<cuda::MatmulTask> tasks) const {
  cuda::MatmulStep step = {.floats = in, .x = {.cols = in.cols}};
  std::copy(tasks.begin(), tasks.end(), step.tasks);
  for (const cuda::MatmulTask& task : tasks) {
    const cuda::Activations room = room_for(task.w);
    if (room.bf16 != nullptr) step.x.bf16 = room.bf16;
    if (room.q8 != nullptr) step.x.q8 = room.q8;
  }
  return step;
}

cuda::Activations PassLauncher::room_for(const cuda::Matrix& w) const {
  if (is_bf16(w)) return {.cols = w.cols, .bf16 = scratch_.act_bf16};
  return {.cols = w.cols, .q8 = scratch_.act_q8};
}

/// Everything that a layer's mixer takes from norm(x).
void PassLauncher::add_projections(const DeviceLayer& layer, const PassShape& shape, const float* x,
                                   Chain* chain) const {
  const cuda::FloatInput in = {
      .x = x, .cols = model_.hidden, .norm = layer.mixer_norm, .eps = layer.mixer_eps};
  if (const DeviceAttention* a = layer.attention()) {
    const int64_t stride = a->qkv_dim();
    float* q = scratch_.qkv;
    float* k = q + a->q_rows();
    float* v = k + a->kv_dim();
    chain->steps.push_back(
        step_of(in, {{.w = a->q, .bias = a->q_bias, .y = q, .y_stride = stride},
                     {.w = a->k, .bias = a->k_bias, .y = k, .y_stride = stride},
                     {.w = a->v, .bias = a->v_bias, .y = v, .y_stride = stride}}));
    return;
  }
  const DeviceDelta& d = *layer.delta();
  const int64_t stride = d.gates_dim();
  float* z = scratch_.gates;
  float* alpha = z + d.shape.values();
  float* beta = alpha + d.shape.n_v_heads;
  const cuda::MatmulTask qkv = {.w = d.qkv, .y = scratch_.qkv, .y_stride = d.shape.channels()};
  const cuda::MatmulTask z_task = {.w = d.z, .y = z, .y_stride = stride};
  if (step_projects(d, shape)) {
    chain->steps.push_back(step_of(in, {qkv, z_task}));
    return;
  }
  chain->steps.push_back(step_of(in, {qkv,
                                      z_task,
                                      {.w = d.alpha, .y = alpha, .y_stride = stride},
                                      {.w = d.beta, .y = beta, .y_stride = stride}}));
}

/// x += o(att), o(sigmoid(gate) * att) or out(norm(heads) * silu(z)), the first step of a chain
void PassLauncher::add_mix_out(const DeviceLayer& layer, const Mixed& mixed, float* x,
                               Chain* chain) const {
  const DeviceAttention* a = layer.attention();
  const cuda::MatmulTask task = {.w = a != nullptr ? a->o : layer.delta()->out,
                                 .bias = a != nullptr ? a->o_bias : nullptr,
                                 .y = x,
                                 .y_stride = model_.hidden,
                                 .accumulate = true};
  const int64_t cols = task.w.cols;
  cuda::MatmulStep step = step_of({.x = mixed.heads, .cols = cols}, {task});
  if (mixed.heads == nullptr || mixed.gates != nullptr) step.floats = {};
  if (mixed.gates != nullptr) {
    chain->write_input = [this, &layer, mixed, cols](int begin, int rows,
                                                     const cuda::Activations& to) {
      const float* heads = mixed.heads + begin * cols;
      if (const DeviceAttention* gated = layer.attention()) {
        cuda::sigmoid_mul_quantize(heads, mixed.gates + begin * gated->qkv_dim(), gated->qkv_dim(),
                                   gated->kv.head_dim, rows, to, stream_);
      } else {
        const DeviceDelta& d = *layer.delta();
        cuda::gated_norm_quantize(heads, mixed.gates + begin * d.gates_dim(), d.gates_dim(), d.norm,
                                  d.shape.v_dim, d.norm_eps, rows, to, stream_);
      }
    };
  }
  chain->steps.push_back(step);
}

/// x += down(silu(gate(norm(x))) * up(norm(x)))
void PassLauncher::add_mlp(const DeviceLayer& layer, float* x, Chain* chain) const {
  const int64_t ff = layer.gate.rows;
  cuda::MatmulStep gate_up =
      step_of({.x = x, .cols = model_.hidden, .norm = layer.mlp_norm, .eps = layer.mlp_eps},
              {{.w = layer.gate, .y = scratch_.ff, .y_stride = 2 * ff},
               {.w = layer.up, .y = scratch_.ff + ff, .y_stride = 2 * ff}});
  cuda::MatmulStep down = {
      .tasks = {{.w = layer.down, .y = x, .y_stride = model_.hidden, .accumulate = true}},
      .x = {.cols = ff}};
  if (is_bf16(layer.down)) {
    down.x.bf16 = scratch_.ff_bf16;
  } else {
    down.x.q8 = scratch_.ff_q8;
  }
  gate_up.swiglu = true;
  gate_up.out = down.x;
  chain->steps.push_back(gate_up);
  chain->steps.push_back(down);
}

void PassLauncher::add_logits(const float* x, Chain* chain) const {
  chain->steps.push_back(
      step_of({.x = x, .cols = model_.hidden, .norm = model_.output_norm, .eps = model_.output_eps},
              {{.w = model_.output, .y = scratch_.logits, .y_stride = model_.vocab}}));
}

void PassLauncher::run(const Chain& chain, int n, bool wide, const Chain& next) {
  if (wide && cublas_ != nullptr) {
    if (chain.write_input) {
      chain.write_input(0, n, {.cols = chain.steps[0].x.cols, .plain = scratch_.act_plain});
    }
    for (const cuda::MatmulStep& step : chain.steps) run_wide(step, n);
    return;
  }
  // Without cuBLAS: as many rows at a time as the small kernels take. What gates later rows of the
  // first step may lie where the last step writes: it is done first, for all rows.
  const size_t apart = chain.write_input && n > cuda::kMaxMatmulRows ? 1 : 0;
  const auto run_steps = [&](size_t first, size_t end) {
    for (int begin = 0; begin < n && first < end; begin += cuda::kMaxMatmulRows) {
      const int rows = std::min(n - begin, cuda::kMaxMatmulRows);
      std::vector<cuda::MatmulStep> steps;
      for (size_t i = first; i < end; ++i) steps.push_back(rows_from(chain.steps[i], begin));
      if (first == 0 && chain.write_input) chain.write_input(begin, rows, steps[0].x);
      cuda::matmul_chain(steps, rows, scratch_.chain_workspace, stream_, next.steps);
    }
  };
  run_steps(0, apart);
  run_steps(apart, chain.steps.size());
}

void PassLauncher::run_wide(const cuda::MatmulStep& step, int n) {
  const cuda::FloatInput& in = step.floats;
  const cuda::Activations x = {.cols = step.x.cols, .plain = scratch_.act_plain};
  if (in.norm != nullptr) {
    cuda::rms_norm_quantize(in.x, in.norm, in.eps, n, x, stream_);
  } else if (in.x != nullptr) {
    cuda::quantize(in.x, n, x, stream_);
  }
  multiply_wide(tasks_of(step), x.cols, n);
  if (!step.swiglu) return;
  cuda::silu_mul_quantize(step.tasks[0].y, step.tasks[1].y, step.tasks[0].y_stride, n,
                          {.cols = step.out.cols, .plain = scratch_.act_plain}, stream_);
}

/// The last layer attends only for the rows that tokens are sampled from.
void PassLauncher::attend(const DeviceAttention& a, const PassShape& shape, const View& in,
                          bool last) {
  const float q_scale = a.scale * cuda::kLog2E;
  const bool tail = last && shape.tail_sequences > 0;
  const bool appends_only = last && shape.samples == 0;
  if (tail || appends_only) {
    cuda::rope_append(scratch_.qkv, shape.rows, a.n_heads, a.rope, q_scale, a.kv, in.sequences,
                      shape.sequences, in.pages, scratch_.q, stream_);
    if (appends_only) return;
  }
  cuda::AttentionParams params = {.q = scratch_.q,
                                  .kv = a.kv,
                                  .sequences = tail ? in.tail_sequences : in.sequences,
                                  .n_sequences = tail ? shape.tail_sequences : shape.sequences,
                                  .pages = in.pages,
                                  .n_rows = shape.rows,
                                  .n_heads = a.n_heads,
                                  .window = a.window,
                                  .max_rows = tail ? shape.tail_max_rows : shape.max_rows,
                                  .max_keys = shape.keys,
                                  .out = scratch_.att,
                                  .workspace = scratch_.attention_workspace};
  if (quantizes(a, shape, last)) {
    params.out = nullptr;
    params.activations = room_for(a.o);
  }
  if (tail) return cuda::attention(params, stream_);
  cuda::rope_attention(scratch_.qkv, a.rope, q_scale, scratch_.q, params, stream_);
}

/// The projections and the state of every sequence's rows to what a Gated DeltaNet's heads give.
void PassLauncher::run_delta(const DeviceLayer& layer, const PassShape& shape, const View& in,
                             bool last) {
  const DeviceDelta& d = *layer.delta();
  const int64_t stride = d.gates_dim();
  float* const z = scratch_.gates;
  float* const alpha = z + d.shape.values();
  float* const beta = alpha + d.shape.n_v_heads;
  if (steps(d, shape)) {
    cuda::DeltaStep step = {.shape = d.shape,
                            .qkv = scratch_.qkv,
                            .conv = d.conv,
                            .eps = kUnitLengthEps,
                            .z = z,
                            .alpha = alpha,
                            .beta = beta,
                            .gate_stride = stride,
                            .decay = d.decay,
                            .dt_bias = d.dt_bias,
                            .norm = d.norm,
                            .norm_eps = d.norm_eps,
                            .state = d.state,
                            .tails = d.tails,
                            .sequences = in.sequences,
                            .states = in.states,
                            .saves = in.saves,
                            .out = scratch_.att,
                            .n_rows = shape.rows};
    if (quantizes(d, shape, last)) {
      step.out = nullptr;
      step.activations = room_for(d.out);
    }
    if (step_projects(d, shape)) {
      step.input = {
          .x = scratch_.x, .cols = model_.hidden, .norm = layer.mixer_norm, .eps = layer.mixer_eps};
      step.alpha_weights = d.alpha.data;
      step.beta_weights = d.beta.data;
    }
    return cuda::delta_step(step, shape.sequences, stream_);
  }
  cuda::causal_conv1d(d.shape, scratch_.qkv, d.conv, d.conv_kernel, kUnitLengthEps, d.tails,
                      in.sequences, in.states, in.saves, shape.sequences, shape.rows, scratch_.conv,
                      stream_);
  cuda::gated_delta(d.shape, scratch_.conv, alpha, beta, stride, d.decay, d.dt_bias, d.state,
                    in.sequences, in.states, in.saves, shape.sequences, shape.max_rows,
                    scratch_.att, stream_);
}

void PassLauncher::mix(const DeviceLayer& layer, const PassShape& shape, const View& in,
                       bool last) {
  if (const DeviceAttention* a = layer.attention()) {
    attend(*a, shape, in, last);
  } else {
    run_delta(layer, shape, in, last);
  }
}

PassLauncher::Mixed PassLauncher::mixed(const DeviceLayer& layer, const PassShape& shape,
                                        bool last) const {
  if (const DeviceAttention* a = layer.attention()) {
    if (quantizes(*a, shape, last)) return {nullptr, nullptr};
    return {scratch_.att, a->rope.q_gates ? scratch_.qkv : nullptr};
  }
  const DeviceDelta& d = *layer.delta();
  if (quantizes(d, shape, last)) return {nullptr, nullptr};
  return {scratch_.att, steps(d, shape) ? nullptr : scratch_.gates};
}

/// Some rows of `all`.
PassLauncher::Mixed PassLauncher::gather_mixed(const DeviceLayer& layer, const Mixed& all,
                                               const int32_t* rows, int n) {
  const DeviceAttention* a = layer.attention();
  const int64_t width = a != nullptr ? a->q_dim() : layer.delta()->shape.values();
  cuda::gather_rows(all.heads, rows, n, width, scratch_.sampled_att, stream_);
  if (all.gates == nullptr) return {scratch_.sampled_att, nullptr};
  const int64_t gates = a != nullptr ? a->qkv_dim() : layer.delta()->gates_dim();
  cuda::gather_rows(all.gates, rows, n, gates, scratch_.sampled_gates, stream_);
  return {scratch_.sampled_att, scratch_.sampled_gates};
}

/// The rest of the last layer, logits and tokens of samples [first, first + n).
void PassLauncher::tail(const DeviceLayer& last, const PassShape& shape, const View& in, int first,
                        int n) {
  float* x = scratch_.x;
  Mixed from = mixed(last, shape, true);
  if (!shape.every_row) {
    cuda::gather_rows(x, in.sample_rows + first, n, model_.hidden, scratch_.sampled_x, stream_);
    x = scratch_.sampled_x;
    from = gather_mixed(last, from, in.sample_rows + first, n);
  }
  Chain chain;
  add_mix_out(last, from, x, &chain);
  add_mlp(last, x, &chain);
  add_logits(x, &chain);
  run(chain, n, false);
  cuda::SampleResult* results = hosts_[static_cast<size_t>(shape.host)].results;
  cuda::sample_greedy(scratch_.logits, n, model_.vocab, scratch_.mask, in.samples + first,
                      scratch_.ids, results + first, scratch_.sample_workspace, stream_);
}

Status PassLauncher::enqueue(const PassShape& shape, cudaStream_t stream,
                             const AfterLogits& after_logits) {
  stream_ = stream;
  failed_ = {};
  const InputLayout layout(shape, page_tokens_, limits_.max_pages);
  const std::byte* inputs = scratch_.inputs;
  const View in = {reinterpret_cast<const cuda::Sequence*>(inputs + layout.sequences),
                   reinterpret_cast<const cuda::Sequence*>(inputs + layout.tail_sequences),
                   reinterpret_cast<const cuda::SequenceState*>(inputs + layout.states),
                   reinterpret_cast<const cuda::StateSaveAt*>(inputs + layout.saves),
                   reinterpret_cast<const int32_t*>(inputs + layout.sample_rows),
                   reinterpret_cast<const cuda::SampleRow*>(inputs + layout.samples),
                   reinterpret_cast<const int32_t*>(inputs + layout.pages)};
  const Host& host = hosts_[static_cast<size_t>(shape.host)];
  cuda::copy_from_host(host.inputs, scratch_.inputs, layout.bytes, stream);
  cuda::embed(model_.embedding, reinterpret_cast<const int32_t*>(inputs + layout.tokens),
              cuda::sampled_token(scratch_.sample_workspace), shape.rows, scratch_.x, stream);
  Chain chain;
  add_projections(model_.layers.front(), shape, scratch_.x, &chain);
  for (size_t i = 0; i < model_.layers.size(); ++i) {
    const DeviceLayer& layer = model_.layers[i];
    const bool last = i + 1 == model_.layers.size();
    Chain next;
    add_mix_out(layer, mixed(layer, shape, last), scratch_.x, &next);
    add_mlp(layer, scratch_.x, &next);
    run(chain, shape.rows, !shape.small, next);
    mix(layer, shape, in, last);
    if (last) break;
    add_projections(model_.layers[i + 1], shape, scratch_.x, &next);
    chain = std::move(next);
  }
  for (int first = 0; first < shape.samples; first += limits_.small_rows) {
    const int n = std::min(shape.samples - first, limits_.small_rows);
    tail(model_.layers.back(), shape, in, first, n);
    if (after_logits) FIMD_RETURN_IF_ERROR(after_logits(first, n));
  }
  FIMD_RETURN_IF_ERROR(cuda::check_launch("starting a pass"));
  return failed_;
}

}  // namespace fimd

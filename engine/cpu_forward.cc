// The CPU's forward pass.
#include <algorithm>
#include <cassert>

#include "engine/cpu_backend.h"

namespace fimd {

namespace {

const float* or_null(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

cpu::RopeStyle style_of(const Rope& rope) {
  return rope.pairs == RopePairs::kNeox ? cpu::RopeStyle::kNeox : cpu::RopeStyle::kAdjacent;
}

cpu::DeltaShape shape_of(const GatedDeltaNet& spec) {
  return {spec.n_k_heads, spec.n_v_heads, spec.k_dim, spec.v_dim, spec.grouped};
}

}  // namespace

Status CpuBackend::check_input(const StepInput& input) const {
  const Error impossible{ErrorCode::kInternal, "a forward pass was given an impossible batch"};
  const auto n = static_cast<int>(input.tokens.size());
  const auto last_page = static_cast<size_t>((input.first + n - 1) / geometry_.page_tokens);
  if (n < 1 || n_rows_ + n > max_batch_tokens_ || input.first < 0 ||
      last_page >= input.pages.size() || input.samples.size() > input.tokens.size()) {
    return impossible;
  }
  for (const TokenId token : input.tokens) {
    if (token < 0 || token >= spec_.vocab) {
      return Error{ErrorCode::kInternal,
                   "token " + std::to_string(token) + " is not in the model's vocabulary"};
    }
  }
  if (state_floats_ == 0) return {};
  if (input.slot < 0 || input.slot >= state_geometry_.n_slots) return impossible;
  int after = 0;
  for (const StateSave& save : input.saves) {
    if (save.after <= after || save.after > n || save.checkpoint < 0 ||
        save.checkpoint >= state_geometry_.n_checkpoints) {
      return impossible;
    }
    after = save.after;
  }
  return {};
}

/// Lays the batch out in rows and looks the embeddings up.
Status CpuBackend::gather_batch(std::span<const StepInput> batch) {
  n_rows_ = 0;
  rows_.clear();
  const auto hidden = static_cast<size_t>(spec_.hidden);
  for (const StepInput& input : batch) {
    FIMD_RETURN_IF_ERROR(check_input(input));
    const auto n = static_cast<int>(input.tokens.size());
    rows_.push_back({n_rows_, n, input.first});
    for (int i = 0; i < n; ++i, ++n_rows_) {
      positions_[static_cast<size_t>(n_rows_)] = input.first + i;
      // Straight from the file: only the rows of words in use are ever read.
      const auto token = static_cast<size_t>(input.tokens[static_cast<size_t>(i)]);
      dequantize(spec_.embedding.type, embedding_.data() + token * embedding_row_bytes_,
                 spec_.hidden, x_.data() + static_cast<size_t>(n_rows_) * hidden);
    }
  }
  return {};
}

/// x += o(attention(norm(x))); h_ holds the normed input.
void CpuBackend::mix(AttentionLayer& layer, bool last, std::span<const StepInput> batch) {
  const Attention& spec = *layer.spec;
  const auto q_dim = static_cast<size_t>(spec.q_dim());
  const auto kv_dim = static_cast<size_t>(spec.kv_dim());
  float* const q_rows = spec.output_gate ? q_gate_.data() : q_.data();
  const cpu::MatmulTask qkv[] = {{&layer.q, or_null(layer.q_bias), q_rows},
                                 {&layer.k, or_null(layer.k_bias), k_.data()},
                                 {&layer.v, or_null(layer.v_bias), v_.data()}};
  cpu::matmul(pool_, qkv, quantized_);
  if (spec.output_gate) {  // each head has its query and then its gate
    const int64_t heads = static_cast<int64_t>(n_rows_) * spec.n_heads;
    for (int64_t head = 0; head < heads; ++head) {
      const float* from = q_rows + 2 * head * spec.head_dim;
      std::copy_n(from, spec.head_dim, q_.data() + head * spec.head_dim);
      std::copy_n(from + spec.head_dim, spec.head_dim, att_gate_.data() + head * spec.head_dim);
    }
  }
  if (!layer.q_norm.empty()) {
    cpu::rms_norm(pool_, q_.data(), layer.q_norm.data(), spec.qk_norm_eps,
                  static_cast<int64_t>(n_rows_) * spec.n_heads, spec.head_dim, q_.data());
    cpu::rms_norm(pool_, k_.data(), layer.k_norm.data(), spec.qk_norm_eps,
                  static_cast<int64_t>(n_rows_) * spec.n_kv_heads, spec.head_dim, k_.data());
  }
  const std::span<const int32_t> positions(positions_.data(), static_cast<size_t>(n_rows_));
  cpu::rope(pool_, q_.data(), positions, spec.n_heads, spec.head_dim, spec.rope.rotary_dim,
            spec.rope.inv_freq.data(), style_of(spec.rope));
  cpu::rope(pool_, k_.data(), positions, spec.n_kv_heads, spec.head_dim, spec.rope.rotary_dim,
            spec.rope.inv_freq.data(), style_of(spec.rope));

  for (size_t i = 0; i < batch.size(); ++i) {
    const auto row = static_cast<size_t>(rows_[i].begin);
    cpu::kv_append(layer.kv, batch[i].pages, rows_[i].first, rows_[i].count,
                   k_.data() + row * kv_dim, v_.data() + row * kv_dim);
  }
  // After the last layer's keys and values only the rows to sample from matter.
  if (last) {
    if (spec.output_gate) {
      keep_sampled_rows(batch, {{q_.data(), spec.q_dim()}, {att_gate_.data(), spec.q_dim()}});
    } else {
      keep_sampled_rows(batch, {{q_.data(), spec.q_dim()}});
    }
  }
  if (n_rows_ == 0) return;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (rows_[i].count == 0) continue;
    const auto row = static_cast<size_t>(rows_[i].begin);
    cpu::attention(pool_, q_.data() + row * q_dim, layer.kv, batch[i].pages, rows_[i].first,
                   rows_[i].count, spec.n_heads, spec.scale, spec.window,
                   att_.data() + row * q_dim);
  }
  const int64_t elements = static_cast<int64_t>(n_rows_) * spec.q_dim();
  if (spec.output_gate) cpu::sigmoid_mul(pool_, att_.data(), att_gate_.data(), elements);
  quantized_.assign(pool_, att_.data(), n_rows_, spec.q_dim());
  cpu::matmul(pool_, layer.o, quantized_, or_null(layer.o_bias), h_.data());
  cpu::add(pool_, x_.data(), h_.data(), static_cast<int64_t>(n_rows_) * spec_.hidden);
}

/// x += out(gated_norm(delta_rule(conv(norm(x))))); h_ holds the normed input.
void CpuBackend::mix(DeltaLayer& layer, bool last, std::span<const StepInput> batch) {
  const GatedDeltaNet& spec = *layer.spec;
  const cpu::MatmulTask projections[] = {{&layer.qkv, nullptr, qkv_.data()},
                                         {&layer.z, nullptr, z_.data()},
                                         {&layer.alpha, nullptr, alpha_.data()},
                                         {&layer.beta, nullptr, beta_.data()}};
  cpu::matmul(pool_, projections, quantized_);
  cpu::delta_gates(pool_, layer.decay.data(), layer.dt_bias.data(), spec.n_v_heads, n_rows_,
                   alpha_.data(), beta_.data());
  for (size_t i = 0; i < batch.size(); ++i) {
    run_delta(layer, batch[i], static_cast<size_t>(rows_[i].begin));
  }
  if (last) {
    keep_sampled_rows(batch, {{delta_.data(), spec.values()}, {z_.data(), spec.values()}});
  }
  if (n_rows_ == 0) return;
  const int64_t heads = static_cast<int64_t>(n_rows_) * spec.n_v_heads;
  cpu::rms_norm(pool_, delta_.data(), layer.norm.data(), spec.norm_eps, heads, spec.v_dim,
                delta_.data());
  cpu::silu_mul(pool_, z_.data(), delta_.data(), heads * spec.v_dim);
  quantized_.assign(pool_, z_.data(), n_rows_, spec.values());
  cpu::matmul(pool_, layer.out, quantized_, nullptr, h_.data());
  cpu::add(pool_, x_.data(), h_.data(), static_cast<int64_t>(n_rows_) * spec_.hidden);
}

/// Takes one sequence's state through its rows, and copies of it where they are asked for.
void CpuBackend::run_delta(const DeltaLayer& layer, const StepInput& input, size_t row) {
  const GatedDeltaNet& spec = *layer.spec;
  const cpu::DeltaShape shape = shape_of(spec);
  const auto channels = static_cast<size_t>(spec.channels());
  const auto heads = static_cast<size_t>(spec.n_v_heads);
  const auto n_tokens = static_cast<int>(input.tokens.size());
  float* const state = slot_state(input.slot) + layer.state_offset;
  float* const tail = state + layer.tail_offset;
  const float* const in = qkv_.data() + row * channels;
  float* const u = conv_.data() + row * channels;
  cpu::causal_conv1d(pool_, in, tail, layer.conv.data(), spec.conv_kernel, n_tokens,
                     spec.channels(), u);
  cpu::normalize_qk(pool_, shape, kUnitLengthEps, n_tokens, u);
  int at = 0;
  const auto run_to = [&](int end) {
    const auto first = row + static_cast<size_t>(at);
    cpu::gated_delta(pool_, shape, conv_.data() + first * channels, alpha_.data() + first * heads,
                     beta_.data() + first * heads, end - at, state,
                     delta_.data() + first * static_cast<size_t>(spec.values()));
    cpu::advance_conv_tail(qkv_.data() + first * channels, tail, spec.conv_kernel, end - at,
                           spec.channels(), tail);
    at = end;
  };
  for (const StateSave& save : input.saves) {
    run_to(save.after);
    std::copy_n(state, layer.state_floats, checkpoint_state(save.checkpoint) + layer.state_offset);
  }
  run_to(n_tokens);
}

/// Drops every row that nobody samples from, of the residual stream and of `more`.
void CpuBackend::keep_sampled_rows(std::span<const StepInput> batch,
                                   std::initializer_list<RowBuffer> more) {
  const auto move = [](RowBuffer buffer, int from, int to, int n) {
    // Rows move towards the front, so a forward copy is right.
    std::copy_n(buffer.data + from * buffer.width, n * buffer.width,
                buffer.data + to * buffer.width);
  };
  int kept = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto n = static_cast<int>(batch[i].samples.size());
    const int skipped = rows_[i].count - n;
    const int from = rows_[i].begin + skipped;
    if (from != kept) {
      move({x_.data(), spec_.hidden}, from, kept, n);
      for (const RowBuffer& buffer : more) move(buffer, from, kept, n);
    }
    rows_[i] = {kept, n, rows_[i].first + skipped};
    kept += n;
  }
  n_rows_ = kept;
}

/// x += down(silu(gate(norm(x))) * up(norm(x)))
void CpuBackend::mlp_block(size_t index) {
  Layer& layer = layers_[index];
  const auto& spec = std::get<SwiGlu>(spec_.blocks[index].mlp);
  cpu::rms_norm(pool_, x_.data(), layer.mlp_norm.data(), spec_.blocks[index].mlp_norm.eps, n_rows_,
                spec_.hidden, h_.data());
  quantized_.assign(pool_, h_.data(), n_rows_, spec_.hidden);
  const cpu::MatmulTask gate_up[] = {{&layer.gate, nullptr, gate_.data()},
                                     {&layer.up, nullptr, up_.data()}};
  cpu::matmul(pool_, gate_up, quantized_);
  cpu::silu_mul(pool_, gate_.data(), up_.data(), static_cast<int64_t>(n_rows_) * spec.ff);
  quantized_.assign(pool_, gate_.data(), n_rows_, spec.ff);
  cpu::matmul(pool_, layer.down, quantized_, nullptr, h_.data());
  cpu::add(pool_, x_.data(), h_.data(), static_cast<int64_t>(n_rows_) * spec_.hidden);
}

Status CpuBackend::forward(std::span<const StepInput> batch, std::span<Sampled> outputs) {
  FIMD_RETURN_IF_ERROR(gather_batch(batch));
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool last = i + 1 == layers_.size();
    cpu::rms_norm(pool_, x_.data(), layers_[i].mixer_norm.data(), spec_.blocks[i].mixer_norm.eps,
                  n_rows_, spec_.hidden, h_.data());
    quantized_.assign(pool_, h_.data(), n_rows_, spec_.hidden);
    std::visit([&](auto& mixer) { mix(mixer, last, batch); }, layers_[i].mixer);
    if (n_rows_ == 0) return {};  // nobody samples
    mlp_block(i);
  }
  cpu::rms_norm(pool_, x_.data(), output_norm_.data(), spec_.output_norm.eps, n_rows_, spec_.hidden,
                x_.data());
  quantized_.assign(pool_, x_.data(), n_rows_, spec_.hidden);
  const size_t needed = static_cast<size_t>(n_rows_) * static_cast<size_t>(spec_.vocab);
  if (logits_.size() < needed) logits_.resize(needed);
  cpu::matmul(pool_, output_, quantized_, nullptr, logits_.data());
  assert(outputs.size() >= static_cast<size_t>(n_rows_));
  size_t row = 0;
  best_.clear();
  for (const StepInput& input : batch) {
    for (const SampleSpec& spec : input.samples) {
      if (spec.n_best > 0) {
        best_.resize(row + 1);
        best_[row] = sampler_.likeliest(logits(row), spec);
        outputs[row] = best_[row].empty() ? Sampled() : best_[row].front();
      } else {
        outputs[row] = sampler_.sample(logits(row), spec);
      }
      ++row;
    }
  }
  return {};
}

}  // namespace fimd

#include "engine/memory_needs.h"

#include <algorithm>

#include "kernels/cuda/kv_row.h"

namespace fimd {

namespace {

int64_t bytes_of(const Attention& a) {
  size_t n = 0;
  for (const Weight* w :
       {&a.q, &a.k, &a.v, &a.o, &a.q_bias, &a.k_bias, &a.v_bias, &a.o_bias, &a.q_norm, &a.k_norm}) {
    n += w->bytes;
  }
  return static_cast<int64_t>(n);
}

int64_t bytes_of(const GatedDeltaNet& d) {
  size_t n = 0;
  for (const Weight* w :
       {&d.qkv, &d.z, &d.alpha, &d.beta, &d.conv, &d.decay, &d.dt_bias, &d.norm, &d.out}) {
    n += w->bytes;
  }
  return static_cast<int64_t>(n);
}

}  // namespace

MemoryNeeds memory_needs(const ModelSpec& spec, bool kv_coded) {
  constexpr int64_t kHalf = 2;
  int64_t room = 0;
  MemoryNeeds needs;
  size_t bytes = spec.embedding.bytes + spec.output_norm.weight.bytes;
  if (!spec.tied) bytes += spec.output.bytes;
  for (const Block& block : spec.blocks) {
    bytes += block.mixer_norm.weight.bytes + block.mlp_norm.weight.bytes;
    const auto& mlp = std::get<SwiGlu>(block.mlp);
    bytes += mlp.gate.bytes + mlp.up.bytes + mlp.down.bytes;
    bytes += static_cast<size_t>(
        std::visit([](const auto& mixer) { return bytes_of(mixer); }, block.mixer));
    if (const auto* attention = std::get_if<Attention>(&block.mixer)) {
      const int64_t halves = 2 * kHalf * attention->kv_dim();
      needs.kv_bytes_per_token +=
          kv_coded ? int64_t{2} * attention->n_kv_heads * cuda::kv_row_bytes(attention->head_dim)
                   : halves;
      if (kv_coded) room = std::max(room, halves);
    }
  }
  needs.kv_bytes_per_token += room;
  needs.weight_bytes = static_cast<int64_t>(bytes);
  needs.state_bytes = spec.state_elements() * static_cast<int64_t>(sizeof(float));
  return needs;
}

int64_t wanted_kv_tokens(int context_length) {
  constexpr int kMoreTokens = 4096;
  return int64_t{context_length} + std::min(context_length / 2, kMoreTokens);
}

Result<MemorySplit> split_memory(const MemoryNeeds& needs, const MemoryWishes& wishes) {
  constexpr int kLeastCheckpoints = 2;
  constexpr int64_t kMostCheckpoints = 1024;
  MemorySplit split;
  split.weight_bytes = needs.weight_bytes;
  split.kv_tokens = wanted_kv_tokens(wishes.context_length);
  split.kv_bytes = split.kv_tokens * needs.kv_bytes_per_token;
  split.slot_bytes = needs.state_bytes * wishes.n_slots;
  split.working_bytes = wishes.working_bytes;
  const int64_t left = wishes.budget_bytes - split.total();
  if (left < kLeastCheckpoints * needs.state_bytes || left < 0) {
    const int64_t missing = kLeastCheckpoints * needs.state_bytes - left;
    return Error{ErrorCode::kResourceExhausted,
                 "a context of " + std::to_string(wishes.context_length) + " tokens needs " +
                     std::to_string((missing + (1 << 20) - 1) >> 20) + " MiB more"};
  }
  if (needs.state_bytes > 0) {
    split.n_checkpoints = static_cast<int>(std::min(left / needs.state_bytes, kMostCheckpoints));
    split.checkpoint_bytes = split.n_checkpoints * needs.state_bytes;
  }
  return split;
}

}  // namespace fimd

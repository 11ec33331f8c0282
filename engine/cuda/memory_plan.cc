#include "engine/cuda/memory_plan.h"

#include <algorithm>
#include <vector>

#include "engine/memory_needs.h"

namespace fimd {

namespace {

std::string mib(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

size_t scratch_bytes(const DeviceModel& model, const ScratchLimits& limits) {
  Bump count;
  Scratch scratch;
  lay_out_scratch(model, limits, &count, &scratch);
  return count.used();
}

size_t kv_bytes(DeviceModel model, int n_pages, int page_tokens, bool coded) {
  Bump count;
  lay_out_kv(n_pages, page_tokens, coded, &count, &model);
  return count.used();
}

/// The least that is any use, and what is wanted if there is room.
struct Range {
  int64_t least = 0;
  int64_t wanted = 0;
};

Result<Range> pages_wanted(const ModelSpec& spec, const CudaOptions& options, int context,
                           int page_tokens, int64_t page_bytes) {
  constexpr int kLeastTokens = 4096;
  constexpr int64_t kMostPages = 1 << 24;
  const auto pages_for = [&](int64_t tokens) { return (tokens + page_tokens - 1) / page_tokens; };
  if (options.kv_bytes > 0) {
    const int64_t pages = std::min(options.kv_bytes / page_bytes, kMostPages);
    if (pages < 2) {
      return Error{ErrorCode::kResourceExhausted,
                   "the KV cache budget of " + mib(static_cast<size_t>(options.kv_bytes)) +
                       " holds less than " + std::to_string(2 * page_tokens) +
                       " tokens of this model (" + std::to_string(page_bytes / page_tokens) +
                       " bytes each); raise it"};
    }
    return Range{pages, pages};
  }
  // A page for a branch, and a prompt.
  Range pages;
  pages.least = pages_for(std::min(context, kLeastTokens)) + 2;
  if (spec.state_elements() > 0) {  // the other half of the room is its checkpoints'
    pages.wanted = pages_for(wanted_kv_tokens(context)) + 2;
  } else {  // several documents' prompts, or one as long as the model allows
    constexpr int64_t kAutomatic = int64_t{4} << 30;
    pages.wanted = std::max(kAutomatic / page_bytes, pages_for(context) + 2);
  }
  pages.wanted = std::clamp(pages.wanted, pages.least, kMostPages);
  return pages;
}

Range checkpoints_wanted(const CudaOptions& options, int64_t state_bytes) {
  constexpr int64_t kLeast = 2;
  constexpr int64_t kMost = 1 << 16;
  constexpr int64_t kAutomatic = 64;  // more have brought little: docs/engine.md
  if (state_bytes == 0) return {};
  if (options.checkpoint_bytes == 0) return {kLeast, kAutomatic};
  const int64_t n = std::clamp(options.checkpoint_bytes / state_bytes, kLeast, kMost);
  return {n, n};
}

Range slots_wanted(const CudaOptions& options, int64_t state_bytes) {
  constexpr int64_t kLeast = 2;  // what somebody waits for, and what is prepared meanwhile
  constexpr int64_t kAutomatic = 8;
  if (state_bytes == 0) return {};
  if (options.state_slots == 0) return {kLeast, kAutomatic};
  return {options.state_slots, options.state_slots};
}

/// Up to how many rows matmul() is quicker than cuBLAS, which takes BF16 weights as they are but
/// quantised ones only decoded (measured: docs/benchmarks.md).
int best_matmul_rows(const DeviceModel& model) {
  constexpr int kBf16 = 8;
  constexpr int kQuantised = 32;
  return !model.layers.empty() && model.layers.front().down.type == DType::kBF16 ? kBf16
                                                                                 : kQuantised;
}

}  // namespace

std::string MemoryPlan::text() const {
  std::string text =
      "weights " + mib(weight_bytes) + ", KV cache " + mib(kv_bytes) + (kv_coded ? " (8-bit)" : "");
  if (n_slots > 0) {
    text += ", states of " + std::to_string(n_slots) + " sequences and " +
            std::to_string(n_checkpoints) + " checkpoints " + mib(state_bytes);
  }
  return text + ", passes of up to " + std::to_string(limits.rows) + " tokens " +
         mib(scratch_bytes);
}

Result<MemoryPlan> plan_memory(const ModelSpec& spec, const CudaOptions& options, size_t free_bytes,
                               bool have_cublas, const std::string& device) {
  MemoryPlan plan;
  DeviceModel model;
  Bump count;
  lay_out_weights(spec, &count, &model, nullptr);
  plan.weight_bytes = count.used();

  plan.kv_coded = options.kv_coded;
  const int page_tokens = std::max(options.page_tokens, 1);
  // A model without attention keeps nothing in its pages.
  const int64_t page_bytes =
      std::max<int64_t>(kv_page_bytes(spec, page_tokens, options.kv_coded), 1);
  const int64_t one_state = state_bytes(spec);
  const int context =
      std::max(1, options.context_length > 0 ? options.context_length : spec.context_length);
  plan.limits.small_rows = cuda::kMaxMatmulRows;
  plan.limits.matmul_rows = have_cublas ? best_matmul_rows(model) : cuda::kMaxMatmulRows;
  plan.limits.max_pages =
      (std::max(spec.context_length, context) + page_tokens - 1) / page_tokens + 1;
  plan.limits.wide = have_cublas;

  FIMD_ASSIGN_OR_RETURN(const Range pages,
                        pages_wanted(spec, options, context, page_tokens, page_bytes));
  const Range checkpoints = checkpoints_wanted(options, one_state);
  const Range slots = slots_wanted(options, one_state);
  const auto take = [&](int64_t n_pages, int64_t n_slots, int64_t n_checkpoints) {
    plan.n_pages = static_cast<int>(n_pages);
    plan.kv_bytes = kv_bytes(model, plan.n_pages, page_tokens, options.kv_coded);
    plan.n_slots = static_cast<int>(n_slots);
    plan.n_checkpoints = static_cast<int>(n_checkpoints);
    plan.state_bytes = static_cast<size_t>((n_slots + n_checkpoints) * one_state);
  };

  std::vector<int> batches = {std::max(options.max_batch_tokens, cuda::kMaxMatmulRows)};
  for (const int rows : {1024 + 64, 512 + 64, 256 + 64, 128 + 64, cuda::kMaxMatmulRows}) {
    if (rows < batches.back()) batches.push_back(rows);
  }
  // A hybrid's passes are made smaller before its context is.
  constexpr int kComfortableRows = 512 + 64;
  constexpr int64_t kComfortableCheckpoints = 8;  // fewer would lose one person's place
  const int64_t some_checkpoints = std::clamp(kComfortableCheckpoints, checkpoints.least,
                                              std::max(checkpoints.least, checkpoints.wanted));
  const int64_t state = std::max<int64_t>(one_state, 1);
  for (const bool comfortable : {true, false}) {
    if (comfortable && one_state == 0) continue;
    const int64_t n_pages = comfortable ? pages.wanted : pages.least;
    const int64_t n_checkpoints = comfortable ? some_checkpoints : checkpoints.least;
    for (const int rows : batches) {
      if (comfortable && rows < kComfortableRows) continue;
      plan.limits.rows = rows;
      plan.scratch_bytes = scratch_bytes(model, plan.limits);
      take(n_pages, slots.least, n_checkpoints);
      if (plan.total() + kReservedBytes > free_bytes) continue;
      // What is wanted beyond this gets nine tenths of what is left, for others use the device too;
      // pages and checkpoints are worth as much as each other.
      auto left = static_cast<int64_t>((free_bytes - plan.total() - kReservedBytes) / 10 * 9);
      constexpr int kSlotsShare = 20;
      const int64_t more_slots = std::min(slots.wanted - slots.least, left / kSlotsShare / state);
      left -= more_slots * one_state;
      const int64_t for_checkpoints = (checkpoints.wanted - n_checkpoints) * one_state;
      const int64_t for_pages = std::min((pages.wanted - n_pages) * page_bytes,
                                         std::max(left / 2, left - for_checkpoints));
      const int64_t more_checkpoints =
          std::min(checkpoints.wanted - n_checkpoints, (left - for_pages) / state);
      int64_t more_pages = for_pages / page_bytes;
      if (n_pages + more_pages < pages.wanted) more_pages = std::max<int64_t>(more_pages - 1, 0);
      take(n_pages + more_pages, slots.least + more_slots, n_checkpoints + more_checkpoints);
      return plan;
    }
  }
  std::string advice = "use a smaller quantisation or model, or end other programs on the device";
  if (options.checkpoint_bytes > 0 && one_state > 0) {
    advice = "lower engine.state_cache_mb, " + advice;
  }
  if (options.kv_bytes > 0) {
    advice = "lower engine.kv_cache_mb, " + advice;
  } else if (!options.kv_coded && page_bytes > 1) {
    advice = "set engine.kv_type to q8, " + advice;
  }
  std::string states;
  if (one_state > 0) {
    states = ", recurrent states " + mib(plan.state_bytes) + " (" +
             mib(static_cast<size_t>(one_state)) + " each)";
  }
  return Error{ErrorCode::kResourceExhausted,
               "the model does not fit on " + device + ": weights " + mib(plan.weight_bytes) +
                   ", KV cache " + mib(plan.kv_bytes) + states + ", scratch memory " +
                   mib(plan.scratch_bytes) + " and " + mib(kReservedBytes) +
                   " for the driver are " + mib(plan.total() + kReservedBytes) + ", but only " +
                   mib(free_bytes) + " are free; " + advice};
}

}  // namespace fimd

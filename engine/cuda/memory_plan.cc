#include "engine/cuda/memory_plan.h"

#include <algorithm>
#include <vector>

namespace fimd {

namespace {

std::string mib(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

size_t scratch_bytes(const DeviceModel& model, const ScratchLimits& limits) {
  Bump count;
  Scratch scratch;
  lay_out_scratch(model, limits, &count, &scratch);
  return count.used();
}

size_t kv_bytes(DeviceModel model, int n_pages, int page_tokens) {
  Bump count;
  lay_out_kv(n_pages, page_tokens, &count, &model);
  return count.used();
}

}  // namespace

std::string MemoryPlan::text() const {
  return "weights " + mib(weight_bytes) + ", KV cache " + mib(kv_bytes) + ", passes of up to " +
         std::to_string(limits.rows) + " tokens " + mib(scratch_bytes);
}

Result<MemoryPlan> plan_memory(const ModelSpec& spec, const CudaOptions& options, size_t free_bytes,
                               bool have_cublas, const std::string& device) {
  MemoryPlan plan;
  DeviceModel model;
  Bump count;
  lay_out_weights(spec, &count, &model, nullptr);
  plan.weight_bytes = count.used();

  const int page_tokens = std::max(options.page_tokens, 1);
  const int64_t page_bytes = kv_page_bytes(spec, page_tokens);
  const int context =
      std::max(1, options.context_length > 0 ? options.context_length : spec.context_length);
  const auto pages_for = [&](int64_t tokens) {
    return static_cast<int>((tokens + page_tokens - 1) / page_tokens);
  };
  plan.limits.small_rows = cuda::kMaxMatmulRows;
  plan.limits.max_pages = pages_for(std::max(spec.context_length, context)) + 1;
  plan.limits.wide = have_cublas;

  // Less than this is no use: a page for a branch, and a prompt.
  constexpr int kLeastTokens = 4096;
  constexpr int kMostPages = 1 << 26;
  const int least_pages = pages_for(std::min(context, kLeastTokens)) + 2;
  int wanted = 0;
  if (options.kv_bytes > 0) {
    wanted = static_cast<int>(std::min<int64_t>(options.kv_bytes / page_bytes, kMostPages));
    if (wanted < 2) {
      return Error{ErrorCode::kResourceExhausted,
                   "the KV cache budget of " + mib(static_cast<size_t>(options.kv_bytes)) +
                       " holds less than " + std::to_string(2 * page_tokens) +
                       " tokens of this model (" + std::to_string(page_bytes / page_tokens) +
                       " bytes each); raise it"};
    }
  } else {
    // Several documents' prompts, or one as long as the model allows.
    constexpr int64_t kAutomatic = int64_t{4} << 30;
    const int64_t pages =
        std::max<int64_t>(kAutomatic / page_bytes, int64_t{pages_for(context)} + 2);
    wanted = static_cast<int>(std::min<int64_t>(pages, kMostPages));
  }
  const int needed = options.kv_bytes > 0 ? wanted : std::min(wanted, least_pages);

  std::vector<int> batches = {std::max(options.max_batch_tokens, cuda::kMaxMatmulRows)};
  for (const int rows : {1024 + 64, 512 + 64, 256 + 64, 128 + 64, cuda::kMaxMatmulRows}) {
    if (rows < batches.back()) batches.push_back(rows);
  }
  for (const int rows : batches) {
    plan.limits.rows = rows;
    plan.scratch_bytes = scratch_bytes(model, plan.limits);
    const size_t fixed = plan.weight_bytes + plan.scratch_bytes + kReservedBytes;
    plan.n_pages = needed;
    plan.kv_bytes = kv_bytes(model, needed, page_tokens);
    if (fixed + plan.kv_bytes > free_bytes) continue;
    if (wanted > needed) {
      // Automatic: nine tenths of what is left, for others use the device too.
      const auto left = static_cast<int64_t>((free_bytes - fixed) / 10 * 9);
      plan.n_pages = static_cast<int>(
          std::clamp<int64_t>(left / page_bytes - 1, int64_t{needed}, int64_t{wanted}));
      plan.kv_bytes = kv_bytes(model, plan.n_pages, page_tokens);
    }
    return plan;
  }
  const size_t missing_kv = plan.kv_bytes;
  std::string advice = "use a smaller quantisation or model, or end other programs on the device";
  if (options.kv_bytes > 0) advice = "lower engine.kv_cache_mb, " + advice;
  return Error{ErrorCode::kResourceExhausted,
               "the model does not fit on " + device + ": weights " + mib(plan.weight_bytes) +
                   ", KV cache " + mib(missing_kv) + ", scratch memory " + mib(plan.scratch_bytes) +
                   " and " + mib(kReservedBytes) + " for the driver are " +
                   mib(plan.total() + kReservedBytes) + ", but only " + mib(free_bytes) +
                   " are free; " + advice};
}

}  // namespace fimd

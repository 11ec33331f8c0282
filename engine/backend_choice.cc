#include "engine/backend_choice.h"

#include <algorithm>
#include <array>

#include "engine/cpu_backend.h"
#include "engine/cuda/cuda.h"
#include "support/cpu_count.h"
#include "support/log.h"

namespace fimd {

namespace {

using Make = Result<ChosenBackend> (*)(const EngineOptions&, const ModelSpec&, const TokenMask&,
                                       const std::function<void(double)>&);

Result<ChosenBackend> make_cuda(const EngineOptions& options, const ModelSpec& spec,
                                const TokenMask& mask,
                                const std::function<void(double)>& progress) {
  const CudaProbe probe = probe_cuda();
  const CudaDevice* device = probe.best();
  if (device == nullptr) {
    return Error{ErrorCode::kUnavailable, "CUDA cannot be used here: " + probe.problem};
  }
  CudaOptions cuda;
  cuda.device = device->index;
  cuda.kv_bytes = options.kv_cache_bytes;
  cuda.kv_coded = options.kv_type == "q8";
  cuda.checkpoint_bytes = options.state_cache_bytes;
  cuda.context_length = options.context_length > 0
                            ? std::min(options.context_length, spec.context_length)
                            : spec.context_length;
  constexpr int kDecodingSequences = 64;
  constexpr int kChunk = 2048;
  const int chunk = options.prefill_chunk > 0 ? options.prefill_chunk : kChunk;
  cuda.max_batch_tokens = chunk + kDecodingSequences;
  ChosenBackend chosen;
  FIMD_ASSIGN_OR_RETURN(chosen.backend, make_cuda_backend(spec, mask, cuda, progress));
  // Prompts are read fastest in large pieces, but who waits for another's piece must not notice.
  chosen.scheduler.prefill_chunk =
      std::max(1, std::min(chunk, chosen.backend->max_batch_tokens() - kDecodingSequences));
  chosen.scheduler.chunk_ms = 20;
  chosen.scheduler.background_chunk_ms = 20;
  chosen.scheduler.least_chunk = 256;
  chosen.warm_up_tokens = 512;
  return chosen;
}

Result<ChosenBackend> make_cpu(const EngineOptions& options, const ModelSpec& spec,
                               const TokenMask& mask, const std::function<void(double)>& progress) {
  constexpr int64_t kKvBytes = int64_t{512} << 20;
  constexpr int kChunk = 128;
  if (options.kv_type != "f16") {
    log::warn("engine.kv_type {} is for GPUs: the CPU keeps keys and values in half precision",
              options.kv_type);
  }
  CpuBackendOptions cpu;
  cpu.threads = options.threads > 0 ? options.threads : usable_physical_cores();
  cpu.kv_bytes = options.kv_cache_bytes > 0 ? options.kv_cache_bytes : kKvBytes;
  // Fewer states than eight would lose one person's place with every jump.
  const int64_t eight_states = 8 * spec.state_elements() * static_cast<int64_t>(sizeof(float));
  cpu.checkpoint_bytes = options.state_cache_bytes > 0 ? options.state_cache_bytes
                                                       : std::max(cpu.kv_bytes, eight_states);
  ChosenBackend chosen;
  chosen.scheduler.prefill_chunk = options.prefill_chunk > 0 ? options.prefill_chunk : kChunk;
  // Room for a chunk of a prompt and one token each of several sequences that are generating.
  constexpr int kDecodingSequences = 32;
  cpu.max_batch_tokens = chosen.scheduler.prefill_chunk + kDecodingSequences;
  FIMD_ASSIGN_OR_RETURN(chosen.backend, CpuBackend::make(spec, mask, cpu, progress));
  return chosen;
}

struct Row {
  const char* name;
  Make make;
};
/// A model with less bytes of weights is quick enough on the CPU.
constexpr int64_t kLeastForGpu = int64_t{256} << 20;
/// Best first: "auto" takes the first that works. The last must work everywhere.
constexpr auto kBackends = std::to_array<Row>({{"cuda", make_cuda}, {"cpu", make_cpu}});

}  // namespace

bool is_backend(const std::string& name) {
  return name == "auto" || std::any_of(kBackends.begin(), kBackends.end(),
                                       [&](const Row& row) { return row.name == name; });
}

std::string backend_names() {
  std::string names = "auto";
  for (const Row& row : kBackends) names += std::string(", ") + row.name;
  return names;
}

Result<ChosenBackend> choose_backend(const EngineOptions& options, const ModelSpec& spec,
                                     const TokenMask& mask,
                                     const std::function<void(double)>& progress) {
  const bool automatic = options.backend == "auto";
  for (const Row& row : kBackends) {
    if (!automatic && options.backend != row.name) continue;
    const bool last = &row == &kBackends.back();
    if (automatic && !last && spec.weight_bytes < kLeastForGpu) continue;
    auto chosen = row.make(options, spec, mask, progress);
    if (chosen.ok() || !automatic || last) return chosen;
    log::info("not on {}: {}", row.name, chosen.error().message);
  }
  return Error{ErrorCode::kInvalidArgument,
               "backend '" + options.backend + "' is not one of " + backend_names()};
}

}  // namespace fimd

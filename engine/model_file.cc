#include "engine/model_file.h"

#include <algorithm>
#include <filesystem>

#include "engine/cuda/cuda.h"
#include "engine/memory_needs.h"
#include "engine/model_source.h"
#include "engine/tokenizer/load.h"
#include "kernels/cpu/isa.h"
#include "support/cpu_count.h"

namespace fimd {

Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& path) {
  if (path.ends_with(".json")) return load_tokenizer_json(path);
  // Nothing of the tokenizer points into the source: it may go.
  FIMD_ASSIGN_OR_RETURN(const auto source, open_model_source(path));
  return source->tokenizer();
}

std::string describe_cpu() {
  std::string text = cpu::isa_name(cpu::current_isa());
  std::string others;
  for (const cpu::Isa isa : cpu::supported_isas()) {
    if (isa == cpu::current_isa()) continue;
    if (!others.empty()) others += ", ";
    others += cpu::isa_name(isa);
  }
  if (!others.empty()) text += " (also possible: " + others + ")";
  return text + ", " + std::to_string(usable_physical_cores()) + " cores";
}

GpuReport describe_gpu() {
  const CudaProbe probe = probe_cuda();
  GpuReport report;
  report.usable = probe.best() != nullptr;
  for (const CudaDevice& device : probe.devices) {
    std::string line = device.name + ", compute capability " + std::to_string(device.major) + "." +
                       std::to_string(device.minor);
    if (device.usable()) {
      line += ", " + std::to_string(device.free_bytes >> 20) + " of " +
              std::to_string(device.total_bytes >> 20) + " MiB free";
    }
    report.found.push_back(line + ", driver for CUDA " + probe.driver);
  }
  if (report.usable) {
    if (!probe.cublas.empty()) {
      report.found.push_back("cuBLAS: " + probe.cublas);
    } else {
      report.problem = "cuBLAS was not found: long prompts are read more slowly";
      report.advice = "install libcublas 12 or 13, or add its folder to LD_LIBRARY_PATH";
    }
    return report;
  }
  std::error_code ignored;
  const bool there = std::filesystem::exists("/proc/driver/nvidia/gpus", ignored) ||
                     std::filesystem::exists("/dev/nvidia0", ignored);
  report.problem = probe.problem;
  if (!probe.built && there) {
    report.advice = "an NVIDIA GPU is there: install the CUDA toolkit and build fimd again";
  } else if (probe.built && there) {
    report.advice = "check that nvidia-smi works, and that its driver is for CUDA 12 or newer";
  }
  return report;
}

Result<std::vector<std::string>> describe_memory(const std::string& path, int64_t budget_bytes,
                                                 bool kv_coded) {
  const auto mib = [](int64_t bytes) {
    return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
  };
  FIMD_ASSIGN_OR_RETURN(const auto source, open_model_source(path));
  FIMD_ASSIGN_OR_RETURN(const ModelSpec spec, read_model_spec(*source));
  const MemoryNeeds needs = memory_needs(spec, kv_coded);
  std::string model = spec.name + ": weights " + mib(needs.weight_bytes) + ", " +
                      std::to_string(needs.kv_bytes_per_token) +
                      " bytes of keys and values a token" + (kv_coded ? " (8-bit)" : "");
  if (needs.state_bytes > 0) model += ", recurrent state " + mib(needs.state_bytes);
  std::vector<std::string> lines = {std::move(model)};
  for (const int wanted : {8192, 32768}) {
    MemoryWishes wishes;
    wishes.budget_bytes = budget_bytes;
    wishes.context_length = std::min(wanted, spec.context_length);
    const std::string context = "context " + std::to_string(wishes.context_length) + ": ";
    const auto split = split_memory(needs, wishes);
    if (!split.ok()) {
      lines.push_back("does not fit: " + split.error().message);
      continue;
    }
    std::string line = context + "weights " + mib(split->weight_bytes) + ", keys and values of " +
                       std::to_string(split->kv_tokens) + " tokens " + mib(split->kv_bytes) +
                       ", working memory " + mib(split->working_bytes);
    if (needs.state_bytes > 0) {
      line += ", states of " + std::to_string(wishes.n_slots) + " sequences " +
              mib(split->slot_bytes) + ", " + std::to_string(split->n_checkpoints) +
              " checkpoints " + mib(split->checkpoint_bytes);
    }
    lines.push_back(line + "; together " + mib(split->total()));
    if (spec.context_length <= wanted) break;
  }
  return lines;
}

}  // namespace fimd

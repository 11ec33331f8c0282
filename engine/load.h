// Loading a generator: the one entry point that the daemon and the command-line tools use.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/generator.h"

namespace fimd {

struct EngineOptions {
  std::string model_path;         // a .gguf file
  std::string backend = "auto";   // auto, cpu, cuda
  int threads = 0;                // 0: one per physical core
  int64_t kv_cache_bytes = 0;     // 0: 512 MiB, on a GPU from what is free
  std::string kv_type = "f16";    // or q8: 8-bit codes, on a GPU
  int64_t state_cache_bytes = 0;  // checkpoints of recurrent state; 0: automatic
  int context_length = 0;         // 0: the model's own
  int prefill_chunk = 0;  // tokens between two looks at the mailbox; 0: as suits the backend
};

/// `fraction` in [0, 1]; called on the loading thread.
using LoadProgress = std::function<void(double fraction, const std::string& what)>;

/// Maps, checks and prepares a model, and starts its engine thread. Blocks; call it off the io
/// thread. The returned generator stops its thread and cancels its requests when destroyed.
Result<std::unique_ptr<Generator>> load_generator(const EngineOptions& options,
                                                  const LoadProgress& progress);

}  // namespace fimd

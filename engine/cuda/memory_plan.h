// How a device's memory is divided up for a model, before any of it is taken.
//
// A pure function of the model, the options and the free memory; it needs no device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "engine/cuda/cuda.h"
#include "engine/cuda/device_model.h"
#include "support/result.h"

namespace fimd {

struct MemoryPlan {
  size_t weight_bytes = 0;
  size_t kv_bytes = 0;
  size_t state_bytes = 0;  // of slots and checkpoints together
  size_t scratch_bytes = 0;
  int n_pages = 0;
  bool kv_coded = false;
  // Of models with recurrent layers only.
  int n_slots = 0;
  int n_checkpoints = 0;
  ScratchLimits limits;

  size_t total() const { return weight_bytes + kv_bytes + state_bytes + scratch_bytes; }
  std::string text() const;  // "weights 4,421 MiB, KV cache ..."
};

/// Left to the driver: its context, graphs, and the staging of weights while loading.
inline constexpr size_t kReservedBytes = size_t{384} << 20;

/// Takes the largest pass that leaves room for the KV cache. An error says what is needed, what is
/// there, and what to do.
Result<MemoryPlan> plan_memory(const ModelSpec& spec, const CudaOptions& options, size_t free_bytes,
                               bool have_cublas, const std::string& device);

}  // namespace fimd

// What a model needs of a device's memory, from its description alone.
//
// Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>

#include "engine/model_spec.h"
#include "support/result.h"

namespace fimd {

struct MemoryNeeds {
  int64_t weight_bytes = 0;        // as in the file, of the tensors that are used
  int64_t kv_bytes_per_token = 0;  // keys and values of all layers
  int64_t state_bytes = 0;         // recurrent state of one sequence, float32; also a checkpoint's
};

/// kv_coded: keys and values as 8-bit codes on a GPU, with room to decode a layer of them.
MemoryNeeds memory_needs(const ModelSpec& spec, bool kv_coded = false);

/// Tokens whose keys and values should be kept: a context, and up to 4,096 more for other documents
/// and branches.
int64_t wanted_kv_tokens(int context_length);

struct MemoryWishes {
  int64_t budget_bytes = 0;
  int context_length = 0;
  int n_slots = 2;  // sequences at once: what somebody waits for, and what is prepared meanwhile
  /// Of passes, the driver and its graphs.
  int64_t working_bytes = int64_t{1} << 30;
};

struct MemorySplit {
  int64_t weight_bytes = 0;
  int64_t kv_tokens = 0;  // the context, and up to 4,096 for other documents and branches
  int64_t kv_bytes = 0;
  int64_t slot_bytes = 0;
  int64_t working_bytes = 0;
  int n_checkpoints = 0;
  int64_t checkpoint_bytes = 0;

  int64_t total() const {
    return weight_bytes + kv_bytes + slot_bytes + working_bytes + checkpoint_bytes;
  }
};

/// How the budget is divided up: what is left goes to checkpoints, of which it takes at least two.
/// Error kResourceExhausted: it does not fit.
Result<MemorySplit> split_memory(const MemoryNeeds& needs, const MemoryWishes& wishes);

}  // namespace fimd

// Qwen3 (dense): no biases, RMS norm of each head of q and k before rope.
#include "engine/models/registry.h"

namespace fimd::models {

Result<ModelSpec> build_qwen3(const ModelSource& file) {
  return build_decoder(file, {.rope_pairs = RopePairs::kNeox, .qk_norm = Presence::kRequired});
}

}  // namespace fimd::models

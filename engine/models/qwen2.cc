// Qwen2 and Qwen2.5(-Coder): biases on q, k and v. Their sliding window is declared but not used.
#include "engine/models/registry.h"

namespace fimd::models {

Result<ModelSpec> build_qwen2(const ModelSource& file) {
  return build_decoder(file, {.rope_pairs = RopePairs::kNeox, .qkv_bias = Presence::kRequired});
}

}  // namespace fimd::models

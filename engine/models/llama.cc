// Llama and its kin under the same name: Mistral, Codestral, CodeLlama, DeepSeek-Coder (v1).
//
// Converters permute the rows of q and k of this architecture so that rope turns adjacent pairs.
#include "engine/models/registry.h"

namespace fimd::models {

Result<ModelSpec> build_llama(const GgufFile& file) {
  return build_decoder(file, {.rope_pairs = RopePairs::kAdjacent,
                              .qkv_bias = Presence::kOptional,
                              .output_bias = Presence::kOptional,
                              .sliding_window = true});
}

}  // namespace fimd::models

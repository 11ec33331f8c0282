// Llama and its kin under the same name: Mistral, Codestral, CodeLlama, DeepSeek-Coder (v1).
//
// Converters to GGUF permute the rows of q and k of this architecture so that rope turns adjacent
// pairs; other sources have the original order and say so.
#include "engine/models/registry.h"

namespace fimd::models {

Result<ModelSpec> build_llama(const ModelSource& file) {
  FIMD_ASSIGN_OR_RETURN(const bool neox, file.boolean_or("llama.rope.neox", false));
  return build_decoder(file, {.rope_pairs = neox ? RopePairs::kNeox : RopePairs::kAdjacent,
                              .qkv_bias = Presence::kOptional,
                              .output_bias = Presence::kOptional,
                              .sliding_window = true});
}

}  // namespace fimd::models

// A second forward pass, as plain as possible: double precision, whole sequences, no cache. Shares
// with the engine only the reading of GGUF files and the plain decoding of blocks.
#pragma once

#include <span>
#include <vector>

#include "engine/gguf.h"
#include "engine/tokenizer/tokenizer.h"

namespace fimd::test {

/// Logits (tokens.size(), vocab) of a llama, qwen2 or qwen3 model.
std::vector<std::vector<double>> reference_logits(const GgufFile& file,
                                                  std::span<const TokenId> tokens);

}  // namespace fimd::test

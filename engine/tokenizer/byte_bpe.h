// Byte-level BPE: GPT-2, Qwen, Llama 3, StarCoder, DeepSeek.
#pragma once

#include <memory>

#include "engine/tokenizer/load.h"

namespace fimd {

/// `data.model` is kByteBpe.
Result<std::unique_ptr<Tokenizer>> make_byte_bpe(VocabData data);

}  // namespace fimd

// The tokenizer that a GGUF file carries in its metadata.
#pragma once

#include <memory>

#include "engine/gguf.h"
#include "engine/tokenizer/load.h"
#include "engine/tokenizer/tokenizer.h"
#include "support/result.h"

namespace fimd {

/// Reads tokenizer.ggml.*. Errors: kNotFound if there is no vocabulary, kCorrupt, kUnsupported.
Result<VocabData> read_gguf_vocab(const GgufFile& file);

Result<std::unique_ptr<Tokenizer>> load_gguf_tokenizer(const GgufFile& file);

}  // namespace fimd

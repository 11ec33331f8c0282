// SentencePiece-style BPE with byte fallback: Llama 2, Mistral, Codestral, CodeLlama, Phi-3.
//
// Spaces are ordinary characters that tokens may begin with (the file writes them as U+2581), and a
// character that has no token is spelled in byte tokens. U+2581 itself in text is spelled so too,
// so that decoding gives back exactly the text.
#pragma once

#include <memory>

#include "engine/tokenizer/load.h"

namespace fimd {

/// `data.model` is kSpmBpe.
Result<std::unique_ptr<Tokenizer>> make_spm_bpe(VocabData data);

}  // namespace fimd

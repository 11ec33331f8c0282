// A directory in Hugging Face's layout as a ModelSource: config.json, *.safetensors (one file, or
// parts listed in model.safetensors.index.json), tokenizer.json, and, if there,
// tokenizer_config.json, generation_config.json and chat_template.jinja.
//
// Names are translated to GGUF's by tables in hf_directory.cc. Matrices are used in place, in the
// file's own row order and type (BF16, F16, F32); the few vectors that GGUF stores transformed (the
// zero-centred norms, A_log) are transformed here.
#pragma once

#include <memory>
#include <string>

#include "engine/model_source.h"
#include "support/result.h"

namespace fimd {

Result<std::unique_ptr<ModelSource>> open_hf_directory(const std::string& path);

}  // namespace fimd

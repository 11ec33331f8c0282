// The table of model architectures, and the parts they share.
//
// To add an architecture: write engine/models/<name>.cc with a build function, declare it here, and
// add one row to the table in registry.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "engine/model_source.h"
#include "engine/model_spec.h"
#include "engine/models/spec_reader.h"
#include "support/result.h"

namespace fimd::models {

struct Family {
  const char* architecture;  // GGUF general.architecture
  Result<ModelSpec> (*build)(const ModelSource& file);
};

std::span<const Family> families();

// One per engine/models/<architecture>.cc.
Result<ModelSpec> build_llama(const ModelSource& file);
Result<ModelSpec> build_qwen2(const ModelSource& file);
Result<ModelSpec> build_qwen3(const ModelSource& file);
Result<ModelSpec> build_qwen35(const ModelSource& file);

/// What tells the llama-like architectures apart.
struct DecoderTraits {
  RopePairs rope_pairs = RopePairs::kNeox;
  Presence qkv_bias = Presence::kAbsent;
  Presence output_bias = Presence::kAbsent;
  Presence qk_norm = Presence::kAbsent;
  bool sliding_window = false;  // honour {arch}.attention.sliding_window
};

/// A decoder of pre-norm blocks: grouped-query attention with rope, then SwiGLU.
Result<ModelSpec> build_decoder(const ModelSource& file, const DecoderTraits& traits);

}  // namespace fimd::models

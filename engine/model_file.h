// What tools want of a model file and of the machine without loading the weights.
//
// Part of the engine's seam. Thread: any.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "support/result.h"

namespace fimd {

/// The tokenizer in a .gguf file, or of a tokenizer.json.
Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& path);

/// "avx512-vnni (this machine also runs avx512, avx2, portable), 2 cores"
std::string describe_cpu();

struct GpuReport {
  bool usable = false;
  std::vector<std::string> found;  // one line each: GPUs, libraries
  std::string problem;             // why none is used, or what would be better
  std::string advice;
};
GpuReport describe_gpu();

}  // namespace fimd

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

/// How `budget_bytes` of a device would be divided up for the model in the file, for contexts of
/// 8,192 and 32,768 tokens or what the model has: lines for people. kv_coded: engine.kv_type q8.
Result<std::vector<std::string>> describe_memory(const std::string& path, int64_t budget_bytes,
                                                 bool kv_coded);

}  // namespace fimd

// ModelSource: a model's hyper-parameters, tensors and vocabulary, whatever files they come from.
//
// Keys and tensors go by GGUF's names ("qwen2.block_count", "blk.0.attn_q.weight"), since every
// architecture has them; a source of another kind translates. engine/models/ reads only this.
// Sources are untrusted: an implementation checks every length against the bytes that are there.
//
// Immutable once open; may be read from any thread. Strings and tensors live as long as the source.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "support/result.h"

namespace fimd {

struct ModelTensor {
  std::string_view name;
  uint32_t type = 0;  // ggml's type number; kernels/formats/dtype.h knows those fimd can run
  int n_dims = 0;
  std::array<int64_t, 4> dims = {1, 1, 1, 1};  // dims[0] is contiguous: a row has dims[0] elements
  const std::byte* data = nullptr;             // null if the type is one fimd cannot run
  size_t bytes = 0;

  int64_t elements() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
};

class ModelSource {
 public:
  virtual ~ModelSource() = default;

  virtual const std::string& path() const = 0;

  // Typed access to the metadata. A missing key is kNotFound, a value of another type kCorrupt. Any
  // integer type serves as integer, and any integer or float type as real. The _or forms give
  // `fallback` only for a missing key.
  virtual bool has(std::string_view key) const = 0;
  virtual Result<int64_t> integer(std::string_view key) const = 0;
  virtual Result<double> real(std::string_view key) const = 0;
  virtual Result<bool> boolean(std::string_view key) const = 0;
  virtual Result<std::string_view> string(std::string_view key) const = 0;
  virtual Result<std::vector<int64_t>> integers(std::string_view key) const = 0;
  /// True if the key holds an array (of anything).
  virtual bool is_array(std::string_view key) const = 0;

  Result<int64_t> integer_or(std::string_view key, int64_t fallback) const {
    return has(key) ? integer(key) : fallback;
  }
  Result<double> real_or(std::string_view key, double fallback) const {
    return has(key) ? real(key) : fallback;
  }
  Result<bool> boolean_or(std::string_view key, bool fallback) const {
    return has(key) ? boolean(key) : fallback;
  }
  Result<std::string_view> string_or(std::string_view key, std::string_view fallback) const {
    return has(key) ? string(key) : fallback;
  }

  virtual const std::vector<ModelTensor>& tensors() const = 0;
  /// Null if there is none of that name.
  virtual const ModelTensor* tensor(std::string_view name) const = 0;

  virtual Result<std::unique_ptr<Tokenizer>> tokenizer() const = 0;

  /// Asks the system to read the files ahead, or says that their pages will hardly be needed again.
  virtual void will_need() const = 0;
  virtual void wont_need() const = 0;
};

/// "Q4_K", "IQ4_XS", or "type 99".
std::string ggml_type_name(uint32_t type);

/// The advice that ends every message about a quantisation fimd cannot run.
std::string supported_quantizations();

/// A .gguf file, or a directory in Hugging Face's layout (config.json, *.safetensors,
/// tokenizer.json).
Result<std::unique_ptr<ModelSource>> open_model_source(const std::string& path);

}  // namespace fimd

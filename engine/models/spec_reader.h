// SpecReader: what the architectures' builders read a GGUF file with. Every number is checked for
// its range and every tensor for its shape; errors name the key or tensor.
//
// Owner: one build function. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model_source.h"
#include "engine/model_spec.h"
#include "support/result.h"

namespace fimd::models {

enum class Presence { kAbsent, kOptional, kRequired };

class SpecReader {
 public:
  static constexpr int64_t kMaxSize = int64_t{1} << 30;  // of a dimension
  static constexpr int64_t kMaxHeads = 4096;
  static constexpr int64_t kMaxHeadDim = 4096;

  explicit SpecReader(const ModelSource& file) : file_(file) {}

  /// Everything but the blocks: names, sizes, embedding, output. Refuses mixtures of experts. Call
  /// it first.
  Result<ModelSpec> begin();
  /// Fills in parameters, weight_bytes and quantization.
  void count_weights(ModelSpec& spec) const;

  int layers() const { return layers_; }  // {arch}.block_count
  float eps() const { return eps_; }      // of the RMS norms
  const ModelSource& file() const { return file_; }

  struct Heads {
    int n_heads = 0;
    int head_dim = 0;
  };
  Result<Heads> heads(int64_t hidden) const;
  /// With {arch}.rope.scaling.* and rope_freqs.weight applied.
  Result<Rope> rope(RopePairs pairs, int head_dim) const;
  Result<SwiGlu> swiglu(const std::string& prefix, int64_t hidden, int64_t ff) const;
  Result<RmsNorm> norm(const std::string& name, int64_t size) const;

  std::string key(const char* name) const { return arch_ + "." + name; }
  Result<int64_t> bounded(const char* name, int64_t low, int64_t high) const;
  /// A key that holds one number for all layers or an array with one for each.
  Result<std::vector<int64_t>> per_layer(const char* name, int layers, int64_t fallback,
                                         int64_t low, int64_t high) const;
  Result<Weight> matrix(const std::string& name, int64_t rows, int64_t cols) const;
  Result<Weight> vector(const std::string& name, int64_t size) const;
  Result<Weight> vector_if(Presence presence, const std::string& name, int64_t size) const;

  Error bad(const std::string& what) const;          // kCorrupt
  Error unsupported(const std::string& what) const;  // "'FILE' " + what

 private:
  Status scale_rope(Rope& rope) const;

  const ModelSource& file_;
  std::string arch_;
  int layers_ = 0;
  float eps_ = 0;
};

}  // namespace fimd::models

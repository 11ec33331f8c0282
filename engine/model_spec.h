// ModelSpec: a declarative description of a decoder-only transformer, with its weights in place.
//
// Built from a model file by one engine/models/<architecture>.cc each; read by every backend, which
// need know neither file formats nor architecture names. Everything a forward pass must decide is
// a field here. A new kind of sequence mixer (Gated DeltaNet) is a new alternative of Mixer, a new
// kind of MLP a new alternative of Mlp.
//
// Immutable once built. Weights point into the model file, which must outlive the spec.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "kernels/formats/dtype.h"
#include "support/result.h"

namespace fimd {

class GgufFile;

/// A view of a tensor: rows of `cols` contiguous elements. Vectors have one row.
struct Weight {
  std::string name;
  DType type = DType::kF32;
  const std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  size_t bytes = 0;

  explicit operator bool() const { return data != nullptr; }
};

/// y = x / rms(x) * weight
struct RmsNorm {
  Weight weight;
  float eps = 1e-6F;
};

enum class RopePairs {
  kNeox,      // (i, i + rotary_dim / 2)
  kAdjacent,  // (2i, 2i + 1)
};

struct Rope {
  RopePairs pairs = RopePairs::kNeox;
  int rotary_dim = 0;  // the first dims of a head; the others pass through
  /// (rotary_dim / 2) angle per position, with every scaling (linear, llama3) already applied.
  std::vector<float> inv_freq;
};

/// Softmax attention with grouped queries. Head h reads kv-head h * n_kv_heads / n_heads.
struct Attention {
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  float scale = 0;  // of q . k
  int window = 0;   // 0: unlimited, else key j is visible to query i iff i - window < j <= i
  Rope rope;
  Weight q, k, v, o;                      // (out, in)
  Weight q_bias, k_bias, v_bias, o_bias;  // absent if the model has none
  Weight q_norm, k_norm;                  // (head_dim) RMS norm of each head before rope, or absent
  float qk_norm_eps = 1e-6F;

  int q_dim() const { return n_heads * head_dim; }
  int kv_dim() const { return n_kv_heads * head_dim; }
};

/// down(silu(gate x) * (up x))
struct SwiGlu {
  int64_t ff = 0;
  Weight gate, up, down;
};

using Mixer = std::variant<Attention>;
using Mlp = std::variant<SwiGlu>;

/// x += mixer(mixer_norm(x)); x += mlp(mlp_norm(x))
struct Block {
  RmsNorm mixer_norm;
  Mixer mixer;
  RmsNorm mlp_norm;
  Mlp mlp;
};

struct ModelSpec {
  std::string architecture;  // "qwen2"
  std::string name;          // from the metadata, or the file's name
  int64_t hidden = 0;
  int64_t vocab = 0;  // rows of the embedding; the tokenizer may know fewer
  int context_length = 0;
  Weight embedding;  // (vocab, hidden)
  std::vector<Block> blocks;
  RmsNorm output_norm;
  Weight output;  // (vocab, hidden); the embedding itself when tied
  bool tied = false;

  int64_t parameters = 0;    // elements of all weights, a tied embedding counted once
  int64_t weight_bytes = 0;  // likewise
  std::string quantization;  // name of the type that most elements have
};

/// Describes the model in `file`. Errors say which tensor or key is missing or of the wrong shape,
/// and which architectures or quantisations would work.
Result<ModelSpec> read_model_spec(const GgufFile& file);

}  // namespace fimd

// ModelSpec: a declarative description of a decoder-only transformer, with its weights in place.
//
// Built from a model file by one engine/models/<architecture>.cc each; read by every backend, which
// need know neither file formats nor architecture names. Everything a forward pass must decide is
// a field here. A new kind of sequence mixer is a new alternative of Mixer, a new kind of MLP a new
// alternative of Mlp.
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

class ModelSource;

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
  /// If set, q has for each head head_dim rows of the query and then head_dim rows of a gate, and o
  /// reads sigmoid(gate) * (what the head attends to).
  bool output_gate = false;
  Weight q, k, v, o;                      // (out, in)
  Weight q_bias, k_bias, v_bias, o_bias;  // absent if the model has none
  Weight q_norm, k_norm;                  // (head_dim) RMS norm of each head before rope, or absent
  float qk_norm_eps = 1e-6F;

  int q_dim() const { return n_heads * head_dim; }
  int q_rows() const { return q_dim() * (output_gate ? 2 : 1); }
  int kv_dim() const { return n_kv_heads * head_dim; }
};

/// Gated DeltaNet (arXiv:2412.06464) as in Qwen3-Next and later: linear attention whose memory is a
/// matrix S (k_dim, v_dim) for each value head. For the normed input x of a token:
///
///   u = silu(causal depthwise convolution of qkv x), split into q, k (n_k_heads, k_dim) and
///       v (n_v_heads, v_dim); q and k scaled to length 1, q also by k_dim^-1/2
///   S = exp(g) S, g = decay * softplus(alpha x + dt_bias);   S += k (beta (v - S^T k))^T,
///       beta = sigmoid(beta x)
///   y = out((norm * rms_normed(S^T q)) * silu(z x))
///
/// Value head h reads key head key_head(h). The recurrent state of a layer is S of every head and
/// the last conv_kernel - 1 rows of qkv x, zero before the first token.
struct GatedDeltaNet {
  int n_k_heads = 0;
  int n_v_heads = 0;  // a multiple of n_k_heads
  int k_dim = 0;
  int v_dim = 0;
  int conv_kernel = 0;
  bool grouped = false;  // the value heads of a key head stand together (Hugging Face's order)
  Weight qkv;            // (channels(), hidden): q, k, v
  Weight z;              // (values(), hidden)
  Weight alpha, beta;    // (n_v_heads, hidden)
  Weight conv;           // (channels(), conv_kernel); the last column multiplies the newest token
  Weight decay;          // (n_v_heads): -exp(A_log)
  Weight dt_bias;        // (n_v_heads)
  Weight norm;           // (v_dim), shared by the heads
  float norm_eps = 1e-6F;
  Weight out;  // (hidden, values())

  int keys() const { return n_k_heads * k_dim; }
  int values() const { return n_v_heads * v_dim; }
  int channels() const { return 2 * keys() + values(); }
  int key_head(int h) const { return grouped ? h / (n_v_heads / n_k_heads) : h % n_k_heads; }
  /// Floats of one sequence's state.
  int64_t delta_elements() const { return int64_t{n_v_heads} * k_dim * v_dim; }
  int64_t conv_elements() const { return int64_t{channels()} * (conv_kernel - 1); }
};

/// Added to a vector's sum of squares before q and k are scaled to length 1.
constexpr float kUnitLengthEps = 1e-6F;

/// down(silu(gate x) * (up x))
struct SwiGlu {
  int64_t ff = 0;
  Weight gate, up, down;
};

using Mixer = std::variant<Attention, GatedDeltaNet>;
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

  /// Floats of one sequence's recurrent state; 0: every layer is attention.
  int64_t state_elements() const {
    int64_t n = 0;
    for (const Block& block : blocks) {
      if (const auto* delta = std::get_if<GatedDeltaNet>(&block.mixer)) {
        n += delta->delta_elements() + delta->conv_elements();
      }
    }
    return n;
  }
};

/// Describes the model in `file`. Errors say which tensor or key is missing or of the wrong shape,
/// and which architectures or quantisations would work.
Result<ModelSpec> read_model_spec(const ModelSource& file);

}  // namespace fimd

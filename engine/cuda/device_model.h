// A model's weights, KV pages and scratch memory as pointers into a few large device allocations.
//
// The lay_out functions are run twice: first on a Bump without memory, to learn the exact number of
// bytes, then on the memory itself.
//
// Owner: a CUDA backend. Thread: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "engine/model_spec.h"
#include "kernels/cuda/ops.h"
#include "support/result.h"

namespace fimd {

/// Hands out consecutive pieces of a block of memory, or only counts.
class Bump {
 public:
  explicit Bump(std::byte* base = nullptr) : base_(base) {}

  template <class T>
  T* take(size_t n) {
    constexpr size_t kAlign = 256;
    std::byte* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (n * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    return reinterpret_cast<T*>(at);
  }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

struct DeviceAttention {
  cuda::Matrix q, k, v, o;
  float *q_bias = nullptr, *k_bias = nullptr, *v_bias = nullptr, *o_bias = nullptr;
  cuda::RopeParams rope;
  cuda::KvPages kv;
  int n_heads = 0;
  int window = 0;
  float scale = 0;

  int64_t q_dim() const { return int64_t{n_heads} * kv.head_dim; }
  int64_t q_rows() const { return q.rows; }  // with the gates, if it has them
  int64_t kv_dim() const { return int64_t{kv.n_kv_heads} * kv.head_dim; }
  int64_t qkv_dim() const { return q_rows() + 2 * kv_dim(); }
};

/// A Gated DeltaNet layer.
struct DeviceDelta {
  cuda::Matrix qkv, z, alpha, beta, out;
  float* conv = nullptr;                       // (conv_kernel, channels)
  float *decay = nullptr, *dt_bias = nullptr;  // (n_v_heads)
  float* norm = nullptr;                       // (v_dim)
  float norm_eps = 0;
  int conv_kernel = 0;
  cuda::DeltaShape shape;
  cuda::RecurrentState state, tails;  // S of every head; the convolution's last inputs

  /// z, alpha and beta of a row lie behind one another; a multiple of 4.
  int64_t gates_dim() const { return (shape.values() + 2 * shape.n_v_heads + 3) / 4 * 4; }
};

struct DeviceLayer {
  float *mixer_norm = nullptr, *mlp_norm = nullptr;  // (hidden)
  float mixer_eps = 0, mlp_eps = 0;
  std::variant<DeviceAttention, DeviceDelta> mixer;
  cuda::Matrix gate, up, down;

  DeviceAttention* attention() { return std::get_if<DeviceAttention>(&mixer); }
  const DeviceAttention* attention() const { return std::get_if<DeviceAttention>(&mixer); }
  DeviceDelta* delta() { return std::get_if<DeviceDelta>(&mixer); }
  const DeviceDelta* delta() const { return std::get_if<DeviceDelta>(&mixer); }
};

struct DeviceModel {
  int64_t hidden = 0;
  int64_t vocab = 0;
  cuda::Matrix embedding, output;
  float* output_norm = nullptr;
  float output_eps = 0;
  std::vector<DeviceLayer> layers;
};

/// A file's matrix and where its packed form goes.
struct PackJob {
  const Weight* from = nullptr;
  void* to = nullptr;
};
/// A file's vector (or numbers of ours), to be floats on the device. A small matrix arrives column
/// after column.
struct VectorJob {
  const Weight* from = nullptr;
  const std::vector<float>* values = nullptr;  // if from is null
  float* to = nullptr;
};
struct WeightJobs {
  std::vector<PackJob> matrices;
  std::vector<VectorJob> vectors;
};

/// Whether there are kernels for all of the model; an error says what is missing.
Status check_cuda_support(const ModelSpec& spec);

/// Sets every weight of `model`, which points into the bump's memory; `jobs` may be null.
void lay_out_weights(const ModelSpec& spec, Bump* bump, DeviceModel* model, WeightJobs* jobs);

/// One page of all layers, in bytes. coded: 8-bit codes, and the page's part of the room below.
int64_t kv_page_bytes(const ModelSpec& spec, int page_tokens, bool coded);
/// n_pages pages of every layer: first all keys, then all values of a layer. Behind coded ones is
/// room to decode all pages of a layer, which all layers share.
void lay_out_kv(int n_pages, int page_tokens, bool coded, Bump* bump, DeviceModel* model);

/// Bytes of one sequence's state in all layers; 0: the model has none.
int64_t state_bytes(const ModelSpec& spec);
/// The states of n_slots sequences, then n_checkpoints more: each one's layers lie together, so
/// that a state is one piece of memory.
void lay_out_states(int n_slots, int n_checkpoints, Bump* bump, DeviceModel* model);

/// Rows of a pass and what is needed for them.
struct ScratchLimits {
  int rows = 0;         // of a pass
  int small_rows = 0;   // rows that logits are computed of at a time
  int matmul_rows = 0;  // passes of up to so many rows leave products to matmul()
  int max_pages = 0;    // of one sequence
  bool wide = false;    // products of many rows through cuBLAS
};

struct Scratch {
  float* x = nullptr;      // (rows, hidden) residual stream
  float* qkv = nullptr;    // (rows, qkv_dim), or a Gated DeltaNet's channels
  __half* q = nullptr;     // (rows, q_dim)
  float* att = nullptr;    // (rows, mixed_dim): what heads attend to, or a Gated DeltaNet's values
  float* gates = nullptr;  // (rows, gates_dim) of a Gated DeltaNet: z, alpha, beta
  float* ff = nullptr;     // (rows, 2 ff): gate, up
  float* conv = nullptr;   // (rows, channels), where ff is: they are never needed together
  // Activations: of small passes for 8-bit and bf16 products (those between the two products of an
  // MLP apart), of others (rows, widest).
  std::byte *act_q8 = nullptr, *act_bf16 = nullptr;
  std::byte *ff_q8 = nullptr, *ff_bf16 = nullptr;
  __nv_bfloat16* act_plain = nullptr;
  // The rows that tokens are sampled from.
  float* sampled_x = nullptr;    // (small_rows, hidden)
  float* sampled_att = nullptr;  // (small_rows, mixed_dim)
  float* sampled_gates =
      nullptr;              // (small_rows, qkv_dim or gates_dim) where the last layer has any
  float* logits = nullptr;  // (small_rows, vocab)
  // A weight as cuBLAS reads it, and its workspace.
  __nv_bfloat16* wide_weight = nullptr;
  int64_t wide_elements = 0;
  void* cublas_workspace = nullptr;
  void* attention_workspace = nullptr;
  cuda::ChainWorkspace chain_workspace;
  void* sample_workspace = nullptr;
  uint32_t* mask = nullptr;     // (ceil(vocab / 32))
  std::byte* inputs = nullptr;  // (input_bytes)
  size_t input_bytes = 0;
  int32_t* ids = nullptr;  // (id_capacity)
  size_t id_capacity = 0;
};

/// Needs the weights' layout in `model`.
void lay_out_scratch(const DeviceModel& model, const ScratchLimits& limits, Bump* bump,
                     Scratch* scratch);

}  // namespace fimd

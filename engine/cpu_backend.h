// The CPU backend: the forward pass over kernels/cpu.
//
// Owner: the scheduler. Thread: the engine thread, which is also worker 0 of the thread pool.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "engine/backend.h"
#include "engine/model_spec.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/thread_pool.h"
#include "support/result.h"

namespace fimd {

struct CpuBackendOptions {
  int threads = 1;
  int64_t kv_bytes = int64_t{512} << 20;
  int page_tokens = 32;
  int max_batch_tokens = 160;
  // Of models with recurrent layers only.
  int state_slots = 4;
  int64_t checkpoint_bytes = int64_t{512} << 20;  // as many checkpoints as fit, at least 2
};

/// One layer of each kind, with its weights in the order that the kernels like.
struct CpuAttentionLayer {
  const Attention* spec = nullptr;
  cpu::Matrix q, k, v, o;
  std::vector<float> q_bias, k_bias, v_bias, o_bias;  // empty: none
  std::vector<float> q_norm, k_norm;                  // (head_dim), empty: none
  cpu::PagedKv kv;
};
struct CpuDeltaLayer {
  const GatedDeltaNet* spec = nullptr;
  cpu::Matrix qkv, z, alpha, beta, out;
  std::vector<float> conv;            // (conv_kernel, channels)
  std::vector<float> decay, dt_bias;  // (n_v_heads)
  std::vector<float> norm;            // (v_dim)
  /// This layer's part of a state, in floats: S of every head, then the tail of the
  /// convolution's input (conv_kernel - 1, channels).
  size_t state_offset = 0;
  size_t tail_offset = 0;  // from there
  size_t state_floats = 0;
};

class CpuBackend final : public Backend {
 public:
  /// Prepares the weights (some kernels repack them) and reserves the KV pages. `progress` gets the
  /// fraction of the weights done. The spec's weights must outlive the backend.
  static Result<std::unique_ptr<CpuBackend>> make(const ModelSpec& spec, TokenMask mask,
                                                  const CpuBackendOptions& options,
                                                  const std::function<void(double)>& progress);
  ~CpuBackend() override;

  std::string name() const override;
  KvGeometry kv() const override { return geometry_; }
  int max_batch_tokens() const override { return max_batch_tokens_; }
  Status forward(std::span<const StepInput> batch, std::span<Sampled> outputs) override;
  void copy_page(int32_t from, int32_t to, int n_tokens) override;
  StateGeometry state() const override { return state_geometry_; }
  void clear_state(int32_t slot) override;
  void restore_state(int32_t checkpoint, int32_t slot) override;
  void save_state(int32_t slot, int32_t checkpoint) override;
  std::span<const float> logits(size_t i) const override;
  int max_best() const override { return kMaxBest; }
  std::span<const Sampled> likeliest(size_t i) const override;

 private:
  static constexpr int kMaxBest = 64;
  using AttentionLayer = CpuAttentionLayer;
  using DeltaLayer = CpuDeltaLayer;
  struct Layer {
    std::vector<float> mixer_norm, mlp_norm;  // (hidden)
    std::variant<AttentionLayer, DeltaLayer> mixer;
    cpu::Matrix gate, up, down;
  };
  struct Job {  // a matrix to prepare
    const Weight* from;
    cpu::Matrix* to;
  };
  /// Zeroed memory that takes no RAM until it is touched.
  class Arena {
   public:
    Arena() = default;
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    bool reserve(size_t bytes);
    std::byte* data() const { return data_; }

   private:
    std::byte* data_ = nullptr;
    size_t bytes_ = 0;
  };

  CpuBackend(const ModelSpec& spec, TokenMask mask, const CpuBackendOptions& options);
  Status load_weights(const std::function<void(double)>& progress);
  static AttentionLayer make_layer(const Attention& spec);
  static DeltaLayer make_layer(const GatedDeltaNet& spec);
  static void list_matrices(AttentionLayer& layer, std::vector<Job>& jobs);
  static void list_matrices(DeltaLayer& layer, std::vector<Job>& jobs);
  Status prepare_matrices(std::span<const Job> jobs, const std::function<void(double)>& progress);
  Status reserve_kv(const CpuBackendOptions& options);
  Status reserve_states(const CpuBackendOptions& options);
  void reserve_scratch();
  float* slot_state(int32_t slot) const;
  float* checkpoint_state(int32_t checkpoint) const;

  Status check_input(const StepInput& input) const;
  Status gather_batch(std::span<const StepInput> batch);
  void mix(AttentionLayer& layer, bool last, std::span<const StepInput> batch);
  void mix(DeltaLayer& layer, bool last, std::span<const StepInput> batch);
  void run_delta(const DeltaLayer& layer, const StepInput& input, size_t row);
  void mlp_block(size_t layer);
  struct RowBuffer {
    float* data;
    int64_t width;
  };
  void keep_sampled_rows(std::span<const StepInput> batch, std::initializer_list<RowBuffer> more);

  const ModelSpec& spec_;
  Sampler sampler_;
  std::vector<std::vector<Sampled>> best_;  // of the last pass's samples that asked
  cpu::ThreadPool pool_;
  int max_batch_tokens_;
  KvGeometry geometry_;

  std::vector<std::byte> embedding_;  // (vocab, hidden) in the file's format
  size_t embedding_row_bytes_ = 0;
  cpu::Matrix output_;
  std::vector<float> output_norm_;
  std::vector<Layer> layers_;
  Arena kv_memory_;
  StateGeometry state_geometry_;
  size_t state_floats_ = 0;  // of one slot or checkpoint
  Arena state_memory_;       // slots, then checkpoints

  // One forward pass. n_rows_ tokens of all sequences, one after another.
  struct Rows {
    int begin = 0;  // row of the sequence's first token
    int count = 0;
    int first = 0;  // position of that token
  };
  int n_rows_ = 0;
  std::vector<Rows> rows_;          // one for each input
  std::vector<int32_t> positions_;  // (n_rows)
  std::vector<float> x_;            // (n_rows, hidden) residual stream
  std::vector<float> h_;            // (n_rows, hidden) normed input or block output
  std::vector<float> q_, att_;      // (n_rows, q_dim)
  std::vector<float> k_, v_;        // (n_rows, kv_dim)
  // Of attention with an output gate: (n_rows, q_rows) and (n_rows, q_dim).
  std::vector<float> q_gate_, att_gate_;
  std::vector<float> qkv_, conv_;    // (n_rows, channels), of Gated DeltaNet like these:
  std::vector<float> z_, delta_;     // (n_rows, values)
  std::vector<float> alpha_, beta_;  // (n_rows, n_v_heads)
  std::vector<float> gate_, up_;     // (n_rows, ff)
  std::vector<float> logits_;        // (n_samples, vocab)
  cpu::QuantizedActivations quantized_;
};

}  // namespace fimd

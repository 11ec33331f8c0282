// The CPU backend: the forward pass over kernels/cpu.
//
// Owner: the scheduler. Thread: the engine thread, which is also worker 0 of the thread pool.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
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
  std::span<const float> logits(size_t i) const override;

 private:
  struct AttentionLayer {
    cpu::Matrix q, k, v, o;
    std::vector<float> q_bias, k_bias, v_bias, o_bias;  // empty: none
    std::vector<float> q_norm, k_norm;                  // (head_dim), empty: none
    cpu::PagedKv kv;
  };
  struct Layer {
    std::vector<float> mixer_norm, mlp_norm;  // (hidden)
    AttentionLayer attention;
    cpu::Matrix gate, up, down;
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
  Status reserve_kv(const CpuBackendOptions& options);
  void reserve_scratch();

  Status gather_batch(std::span<const StepInput> batch);
  void attention_block(size_t layer, std::span<const StepInput> batch);
  void mlp_block(size_t layer);
  void keep_sampled_rows(std::span<const StepInput> batch);

  const ModelSpec& spec_;
  Sampler sampler_;
  cpu::ThreadPool pool_;
  int max_batch_tokens_;
  KvGeometry geometry_;

  size_t embedding_row_bytes_ = 0;
  cpu::Matrix output_;
  std::vector<float> output_norm_;
  std::vector<Layer> layers_;
  Arena kv_memory_;

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
  std::vector<float> gate_, up_;    // (n_rows, ff)
  std::vector<float> logits_;       // (n_samples, vocab)
  cpu::QuantizedActivations quantized_;
};

}  // namespace fimd

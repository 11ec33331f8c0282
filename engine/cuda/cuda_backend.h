// The CUDA backend: the forward pass over kernels/cuda.
//
// All device memory is taken in make(), in blocks: weights, KV pages, recurrent states, scratch. A
// CUDA error in a pass is that pass's error. If the process's CUDA context is lost with it
// (lost()), every later pass fails at once, and only reset_cuda() and a new backend help.
//
// Where a sequence goes on alone (StepInput::goes_on), its next pass is begun just before the one
// that runs is over, and takes the token where that one leaves it, so that the device never waits
// for the host. Only shortly before: what is asked for instead hardly ever waits longer for it.
//
// Owner: the scheduler. Thread: the engine thread; make() may be called on another one before.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/cuda/cublas.h"
#include "engine/cuda/cuda.h"
#include "engine/cuda/device_model.h"
#include "engine/cuda/graph_cache.h"
#include "engine/cuda/memory_plan.h"
#include "engine/cuda/pass.h"
#include "kernels/cuda/runtime.h"
#include "support/clock.h"

namespace fimd {

class CudaBackend final : public Backend {
 public:
  static Result<std::unique_ptr<CudaBackend>> make(const ModelSpec& spec, TokenMask mask,
                                                   const CudaOptions& options,
                                                   const std::function<void(double)>& progress);
  ~CudaBackend() override;

  std::string name() const override { return name_; }
  KvGeometry kv() const override { return geometry_; }
  int max_batch_tokens() const override { return plan_.limits.rows; }
  Status forward(std::span<const StepInput> batch, std::span<Sampled> outputs) override;
  void copy_page(int32_t from, int32_t to, int n_tokens) override;
  StateGeometry state() const override { return state_geometry_; }
  void clear_state(int32_t slot) override;
  void restore_state(int32_t checkpoint, int32_t slot) override;
  void save_state(int32_t slot, int32_t checkpoint) override;
  int max_best() const override { return cuda::kMaxBest; }
  std::span<const Sampled> likeliest(size_t i) const override;
  std::span<const float> logits(size_t i) const override;
  bool lost() const override { return lost_; }

  const MemoryPlan& plan() const { return plan_; }
  /// Memory traffic of one pass of one token, without the KV cache: each weight once.
  size_t weight_bytes_per_pass() const;
  /// How many passes had been begun when they were asked for.
  size_t passes_ahead() const { return passes_ahead_; }

 private:
  CudaBackend(const ModelSpec& spec, TokenMask mask, const CudaOptions& options);
  Status open_device();
  Status take_memory(const ModelSpec& spec);
  Status fill_memory(const std::function<void(double)>& progress);

  Status check_batch(std::span<const StepInput> batch) const;
  bool sane_states(const StepInput& input) const;
  /// One sequence's state: slots, then checkpoints.
  std::byte* state_at(int32_t index) const {
    return states_.data() +
           static_cast<size_t>(index) * static_cast<size_t>(state_geometry_.slot_bytes);
  }
  void copy_state(int32_t from, int32_t to);
  /// A part of a batch, of at most kMaxPassSequences inputs. Its samples are numbered from
  /// `first_sample`.
  Status run_pass(std::span<const StepInput> batch, std::span<Sampled> outputs,
                  size_t first_sample);
  /// What is sampled in a pass.
  struct Samples {
    std::vector<const SampleSpec*> specs;
    std::vector<bool> on_host;              // has its logits fetched, and is sampled there
    size_t first = 0;                       // of the batch's samples
    const cuda::SampleRow* rows = nullptr;  // on the device
    bool any_drawn = false;
    bool any_best = false;
  };
  Samples samples_of(std::span<const StepInput> batch, size_t first, const PassShape& shape,
                     const InputLayout& layout, const IdLists& ids) const;
  bool ids_are_there(std::span<const int32_t> ids) const;
  Status send_ids(std::span<const int32_t> ids);
  Status choose(const Samples& samples, int first, int n);
  Status fetch_logits(size_t row, size_t from);
  Status take_results(const Samples& samples, const cuda::SampleResult* results,
                      std::span<Sampled> outputs);
  // By PassShape::host.
  std::byte* inputs(int host) const {
    return inputs_.data() + static_cast<size_t>(host) * scratch_.input_bytes;
  }
  cuda::SampleResult* results(int host) const {
    return results_.as<cuda::SampleResult>() + host * plan_.limits.rows;
  }
  // Passes begun before they are asked for.
  bool may_begin_next(const StepInput& input, const PassShape& shape, const Samples& samples) const;
  std::optional<PassShape> prepare_next(const StepInput& input, const PassShape& shape);
  Status begin(const PassShape& shape);
  Status watch(const StepInput& input, const PassShape& shape);
  bool begun(const PassShape& shape, const InputLayout& layout);
  Status launch(const PassShape& shape, const PassLauncher::AfterLogits& after_logits);
  void make_graph(const PassShape& shape);
  void make_common_graphs();
  void let_go();
  /// The status of a pass, and whether the device survived it.
  Status finish(Status launched);

  const CudaOptions options_;
  const TokenMask mask_;
  Sampler sampler_;  // of samples that the device leaves to the host
  std::string name_;
  KvGeometry geometry_;
  StateGeometry state_geometry_;
  MemoryPlan plan_;
  bool lost_ = false;
  bool graphs_ok_ = true;

  // Destroyed in reverse: what uses memory before the memory.
  cuda::DeviceBuffer weights_, kv_, states_, scratch_memory_;
  cuda::PinnedBuffer inputs_, ids_, results_, best_results_;
  cuda::Stream stream_, capture_stream_;
  DeviceModel model_;
  WeightJobs jobs_;  // only while loading
  Scratch scratch_;
  std::unique_ptr<Cublas> cublas_;
  std::unique_ptr<PassLauncher> launcher_;
  GraphCache graphs_;

  std::vector<int32_t> sent_ids_;   // what scratch_.ids begins with
  std::optional<PassShape> ahead_;  // of the pass that was begun before it was asked for
  Stopwatch running_;               // since the pass that runs was begun, or was the only one
  size_t passes_ahead_ = 0;

  // Of the last forward's samples, where somebody wants them.
  std::vector<float> host_logits_;  // (samples, vocab)
  size_t n_host_logits_ = 0;
  std::vector<std::vector<Sampled>> best_;
};

}  // namespace fimd

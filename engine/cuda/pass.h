// One forward pass on the device: the launches it consists of, from its inputs to its results.
//
// Owner: a CUDA backend. Thread: one at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "engine/cuda/cublas.h"
#include "engine/cuda/device_model.h"
#include "engine/cuda/pass_inputs.h"
#include "kernels/cuda/ops.h"
#include "support/result.h"

namespace fimd {

/// Enqueues passes. All pointers must outlive it.
class PassLauncher {
 public:
  struct Host {
    std::byte* inputs = nullptr;            // page-locked
    cuda::SampleResult* results = nullptr;  // page-locked
  };
  using Hosts = std::array<Host, 2>;  // by PassShape::host
  /// Called when the logits of samples [first, first + n) and their greedy choice are enqueued
  /// (eager passes only).
  using AfterLogits = std::function<Status(int first, int n)>;

  PassLauncher(const DeviceModel& model, const Scratch& scratch, const ScratchLimits& limits,
               Cublas* cublas, const Hosts& hosts, int page_tokens)
      : model_(model),
        scratch_(scratch),
        limits_(limits),
        cublas_(cublas),
        hosts_(hosts),
        page_tokens_(page_tokens) {}

  /// Inputs to the device, all layers, results to the host.
  Status enqueue(const PassShape& shape, cudaStream_t stream, const AfterLogits& after_logits);

 private:
  struct View {  // of the inputs on the device
    const cuda::Sequence* sequences;
    const cuda::Sequence* tail_sequences;
    const cuda::SequenceState* states;
    const cuda::StateSaveAt* saves;
    const int32_t* sample_rows;
    const cuda::SampleRow* samples;
    const int32_t* pages;
  };
  /// What a layer's mixer leaves for its output product: what its heads give (null if it left what
  /// the product reads), and what is still to gate that (rows of q, k and v with the gates among
  /// them, or of a Gated DeltaNet's z), or null.
  struct Mixed {
    const float* heads;
    const float* gates;
  };

  /// Products one after another.
  struct Chain {
    std::vector<cuda::MatmulStep> steps;
    /// If the first step has no floats: enqueues what writes its input, of some rows.
    std::function<void(int begin, int rows, const cuda::Activations& to)> write_input;
  };

  void add_projections(const DeviceLayer& layer, const PassShape& shape, const float* x,
                       Chain* chain) const;
  void add_mix_out(const DeviceLayer& layer, const Mixed& mixed, float* x, Chain* chain) const;
  void add_mlp(const DeviceLayer& layer, float* x, Chain* chain) const;
  void add_logits(const float* x, Chain* chain) const;
  /// Room for what a product by `w` reads, between kernels.
  cuda::Activations room_for(const cuda::Matrix& w) const;
  /// A step that normalises (or only quantises) its input.
  cuda::MatmulStep step_of(const cuda::FloatInput& in,
                           std::initializer_list<cuda::MatmulTask> tasks) const;
  /// All steps over n rows. `next`: the chain behind it.
  void run(const Chain& chain, int n, bool wide, const Chain& next = {});
  void run_wide(const cuda::MatmulStep& step, int n);
  /// All tasks over n rows that scratch_.act_plain holds.
  void multiply_wide(std::span<const cuda::MatmulTask> tasks, int64_t cols, int n);

  // What comes between a layer's projections and its output product.
  void mix(const DeviceLayer& layer, const PassShape& shape, const View& in, bool last);
  void attend(const DeviceAttention& a, const PassShape& shape, const View& in, bool last);
  void run_delta(const DeviceLayer& layer, const PassShape& shape, const View& in, bool last);
  Mixed mixed(const DeviceLayer& layer, const PassShape& shape, bool last) const;
  Mixed gather_mixed(const DeviceLayer& layer, const Mixed& all, const int32_t* rows, int n);
  void tail(const DeviceLayer& last, const PassShape& shape, const View& in, int first, int n);

  const DeviceModel& model_;
  const Scratch& scratch_;
  const ScratchLimits limits_;
  Cublas* cublas_;
  const Hosts hosts_;
  const int page_tokens_;
  cudaStream_t stream_ = nullptr;
  Status failed_;
};

}  // namespace fimd

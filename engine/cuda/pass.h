// One forward pass on the device: its shape, its inputs, and the launches it consists of.
//
// A pass of few rows has the same launches whatever the tokens are, as long as its PassShape is the
// same: everything that changes is in one block of inputs. So it can be captured in a graph. Few
// rows are padded to a round number with rows that belong to no sequence: they are computed like
// others, but write no keys and values and attend to nothing.
//
// Owner: a CUDA backend. Thread: one at a time.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "engine/backend.h"
#include "engine/cuda/cublas.h"
#include "engine/cuda/device_model.h"
#include "kernels/cuda/ops.h"
#include "support/result.h"

namespace fimd {

/// What the launches of a pass depend on. Equal shapes, equal graphs.
struct PassShape {
  int rows = 0;            // with padding
  int sequences = 0;       // with the padding's
  int max_rows = 0;        // of one sequence, rounded up
  int keys = 0;            // of one sequence, rounded up
  int samples = 0;         // rounded up; 0: no logits
  bool every_row = false;  // row i is sample i
  /// Few rows: every weight is read once, by matmul(). Else products go through cuBLAS.
  bool small = true;
  /// Sequences of the rows that tokens are sampled from, apart from the others; only in passes of
  /// many rows.
  int tail_sequences = 0;
  int tail_max_rows = 0;

  friend auto operator<=>(const PassShape&, const PassShape&) = default;
};

/// Offsets into a pass's inputs.
struct InputLayout {
  InputLayout(const PassShape& shape, int page_tokens, int max_pages);
  /// For any pass of up to `rows` rows.
  static size_t most_bytes(int rows, int max_pages);

  size_t tokens = 0;          // int32 (rows)
  size_t sequences = 0;       // cuda::Sequence (sequences)
  size_t tail_sequences = 0;  // cuda::Sequence (tail_sequences)
  size_t states = 0;          // cuda::SequenceState (sequences)
  size_t saves = 0;           // cuda::StateSaveAt, at most one a row
  size_t sample_rows = 0;     // int32 (samples): which row each is
  size_t samples = 0;         // cuda::SampleRow (samples)
  size_t pages = 0;           // int32 (sequences, pages_per_sequence)
  size_t bytes = 0;
  int pages_per_sequence = 0;
};

/// Whether a random number decides on the token.
inline bool is_drawn(const SampleSpec& spec) {
  return spec.scored < 0 && spec.n_best == 0 && spec.params.temperature > 0 &&
         spec.params.top_k != 1;
}

/// The most sequences in one pass; a batch of more is several passes.
inline constexpr int kMaxPassSequences = 64;

/// The shape that serves `batch`: padded if it has few rows, at most `matmul_rows` (ScratchLimits).
PassShape shape_of(std::span<const StepInput> batch, int matmul_rows);

/// Where the ids that samples are restricted to go, and how many there is room for.
struct IdLists {
  std::span<int32_t> room;
  size_t used = 0;
  bool overflow = false;  // some did not fit: those samples must be made elsewhere
};

/// Writes the inputs of `batch` in `shape`.
void write_inputs(std::span<const StepInput> batch, const PassShape& shape,
                  const InputLayout& layout, int page_tokens, std::byte* to, IdLists* ids);

/// Enqueues passes. All pointers must outlive it.
class PassLauncher {
 public:
  struct Host {
    std::byte* inputs = nullptr;            // page-locked
    cuda::SampleResult* results = nullptr;  // page-locked
  };
  /// Called when the logits of samples [first, first + n) and their greedy choice are enqueued
  /// (eager passes only).
  using AfterLogits = std::function<Status(int first, int n)>;

  PassLauncher(const DeviceModel& model, const Scratch& scratch, const ScratchLimits& limits,
               Cublas* cublas, Host host, int page_tokens)
      : model_(model),
        scratch_(scratch),
        limits_(limits),
        cublas_(cublas),
        host_(host),
        page_tokens_(page_tokens) {}

  /// Inputs to the device, all layers, results to the host.
  Status enqueue(const PassShape& shape, cudaStream_t stream, const AfterLogits& after_logits);

 private:
  struct View {  // of the inputs on the device
    const int32_t* tokens;
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
  /// All steps over n rows.
  void run(const Chain& chain, int n, bool wide);
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
  const Host host_;
  const int page_tokens_;
  cudaStream_t stream_ = nullptr;
  Status failed_;
};

}  // namespace fimd

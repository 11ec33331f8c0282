// What a pass is asked for, as its kernels read it: the shape, on which the launches depend, and
// the inputs, one block that is copied to the device first.
//
// A pass of few rows has the same launches whatever the tokens are, as long as its PassShape is the
// same: everything that changes is in the inputs. So it can be captured in a graph. Few rows are
// padded to a round number with rows that belong to no sequence: they are computed like others, but
// write no keys and values and attend to nothing.
//
// Owner: a CUDA backend. Thread: one at a time.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/backend.h"
#include "kernels/cuda/ops.h"

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
  /// Which of the host's inputs and results it reads and writes: a pass that is begun while the one
  /// before it runs has the other's.
  int host = 0;

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

/// As a token: the one that the pass before sampled first.
inline constexpr TokenId kTakenToken = -1;

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

/// Writes the inputs of `batch` in `shape`. Equal inputs are equal bytes, all layout.bytes of them.
void write_inputs(std::span<const StepInput> batch, const PassShape& shape,
                  const InputLayout& layout, int page_tokens, std::byte* to, IdLists* ids);

}  // namespace fimd

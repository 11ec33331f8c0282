// What the two forms of the gated delta rule share: token after token (gated_delta.cu) and by
// chunks of tokens (gated_delta_chunked.cu).
#pragma once

#include "kernels/cuda/ops.h"

namespace fimd::cuda::delta_detail {

struct Arguments {
  DeltaShape shape;
  const float* u;      // (n_rows, channels)
  const float* alpha;  // (n_rows, n_v_heads)
  const float* beta;
  int64_t gate_stride;
  const float* decay;  // (n_v_heads)
  const float* dt_bias;
  RecurrentState state;
  const Sequence* sequences;
  const SequenceState* states;
  const StateSaveAt* saves;
  float* out;  // (n_rows, values)
};

/// Fewer rows go token after token; so do rows between saves that are closer on average, as every
/// save ends a chunk.
inline constexpr int kChunkedRows = 16;

__host__ __device__ inline bool chunks_exist(const DeltaShape& shape) {
  return (shape.k_dim == 64 || shape.k_dim == 128) && shape.v_dim % 16 == 0;
}
/// Which form computes a sequence; nothing else decides it, so neighbours never change a result.
__host__ __device__ inline bool by_chunks(const DeltaShape& shape, int n_rows, int n_saves) {
  return chunks_exist(shape) && n_rows >= kChunkedRows * (n_saves > 0 ? n_saves : 1);
}

/// Computes the sequences that by_chunks() chooses, and leaves the others alone.
void start_chunked(const Arguments& args, int n_sequences, cudaStream_t stream);

}  // namespace fimd::cuda::delta_detail

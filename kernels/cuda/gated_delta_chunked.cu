// The gated delta rule by chunks of 64 tokens, on tensor cores.
//
// With the sum G_i of log-decays up to token i of a chunk and the state S that enters it, a chunk
// of the recurrence (gated_delta.cu) is, for rows i and j of q, k, v:
//
//   A_ij = beta_i (k_i . k_j) exp(G_i - G_j) below the diagonal,  P_ij = (q_i . k_j) exp(G_i - G_j)
//   D = (I + A)^-1 (beta (V - exp(G) K S)),   out = exp(G) Q S + P D
//   S <- exp(G_end) S + K^T (exp(G_end - G) D)
//
// (Yang, Kautz, Hatamizadeh: Gated Delta Networks. D are the tokens' d of gated_delta.cu.)
//
// A CTA has 64 columns of one head's state. Four warps go from chunk to chunk with 16 columns each,
// as S^T in the layout of tensor-core results, which is also that of a first operand: S, D and
// everything else of a column stay in registers, in float32, rounded to halves only as operands.
// D comes by blocks of 16 tokens: A below the diagonal blocks, times the D before; then the
// inverse of the diagonal block. Four other warps prepare the next chunk in shared memory
// meanwhile: k and q as halves, A, P, the inverses of I + A's diagonal blocks (in float32, by
// forward substitution). Elements of the inverse are at most 1, as a token's step is a contraction
// (|k| <= 1, beta <= 1), so halves hold them and D; V and S are scaled by a power of two for their
// range.
//
// Cost of a chunk of 64 tokens x 64 columns, k_dim 128: 0.7 M multiply-adds of A and P and 1.9 M of
// the rest, 80 and 232 mma for a warp of each team; operands of 112 and 232 KB come from shared
// memory, 2.7 K cycles at 128 bytes a cycle. 48 heads of 128 columns are 96 CTAs: 4096 tokens take
// at least 64 x 1.5 us = 100 us so; u and out are 268 MB, 90 us at 3 TB/s. What it takes beyond
// that is latency: two warps to a scheduler, each with long chains of dependent products.
#include "kernels/cuda/gated_delta_prepare.cuh"
#include "kernels/cuda/gated_delta_walk.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::delta_detail {

namespace {

/// grid (column tiles, value heads, sequences)
template <int K_DIM>
__global__ void __launch_bounds__(kThreads, 1)
    chunked_kernel(const __grid_constant__ Arguments args) {
  extern __shared__ __align__(1024) char stages[];
  pdl_wait();
  const Sequence sequence = args.sequences[blockIdx.z];
  const SequenceState own = args.states[blockIdx.z];
  if (!by_chunks(args.shape, sequence.n_rows, own.n_saves)) return;
  const auto thread = static_cast<int>(threadIdx.x);
  const auto head = static_cast<int>(blockIdx.y);
  const auto stage_of = [&](int index) { return stages + index % kStages * Stage<K_DIM>::kBytes; };

  if (thread >= kTeam) {
    Preparer<K_DIM> preparer(args, sequence, head, thread - kTeam);
    Chunks chunk(args, sequence, own);
    int index = -1;  // of the chunk in the stage; the next is being fetched
    for (;; ++index) {
      if (index >= kStages) named_barrier_sync<kThreads>(kEmpty + index % kStages);
      if (index >= 0) {
        preparer.unload(stage_of(index));
        named_barrier_sync<kTeam>(kPreparing);
        chunk.advance();
      }
      const bool more = !chunk.done();
      if (more) preparer.fetch(chunk);
      if (index >= 0) {
        preparer.multiply(stage_of(index));
        preparer.invert(stage_of(index));
        named_barrier_arrive<kThreads>(kFull + index % kStages);
      }
      if (!more) break;
      preparer.fetch_rest(chunk);
      preparer.gate();
    }
    // The walkers' last arrivals.
    for (int stage = 0; stage < min(index + 1, kStages); ++stage) {
      named_barrier_sync<kThreads>(kEmpty + stage);
    }
    return;
  }

  Walker<K_DIM> walker(args, sequence, head,
                       static_cast<int>(blockIdx.x) * kCtaColumns + thread / 32 * 16, thread % 32);
  float* state = args.state.slots + own.slot * args.state.stride;
  walker.load_state(state);
  Chunks chunk(args, sequence, own);
  for (int index = -1;; ++index) {
    const int begin = chunk.begin();
    const int count = chunk.count();
    int save = chunk.save();
    if (index >= 0) {
      named_barrier_sync<kThreads>(kFull + index % kStages);
      walker.begin_chunk(stage_of(index));
      chunk.advance();
    }
    const bool more = !chunk.done();
    if (more) walker.fetch(chunk);
    if (index < 0) continue;
    walker.finish_chunk(stage_of(index), begin, count);
    named_barrier_arrive<kThreads>(kEmpty + index % kStages);
    // The states that saves ask for, and the last.
    for (; save < chunk.save() + (more ? 0 : 1); ++save) {
      walker.store_state(save < chunk.save() ? args.state.checkpoints +
                                                   args.saves[save].checkpoint * args.state.stride
                                             : state);
    }
    if (!more) return;
  }
}

template <int K_DIM>
void start(const Arguments& args, int n_sequences, cudaStream_t stream) {
  const int tiles = (args.shape.v_dim + kCtaColumns - 1) / kCtaColumns;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(args.shape.n_v_heads),
                  static_cast<unsigned>(n_sequences));
  launch(chunked_kernel<K_DIM>, grid, kThreads, kStages * Stage<K_DIM>::kBytes, stream, args);
}

}  // namespace

void start_chunked(const Arguments& args, int n_sequences, cudaStream_t stream) {
  if (args.shape.k_dim == 64) start<64>(args, n_sequences, stream);
  if (args.shape.k_dim == 128) start<128>(args, n_sequences, stream);
}

}  // namespace fimd::cuda::delta_detail

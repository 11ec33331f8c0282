// The short convolution in front of the gated delta rule, fused with the scaling of q and k to
// length 1, and the update of its tails.
//
// One CTA a row and head: a thread a channel. The rows of qkv are read kernel_width times, but from
// the L2 cache.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"

namespace fimd::cuda {

namespace {

struct Arguments {
  DeltaShape shape;
  const float* qkv;  // (n_rows, channels)
  const float* w;    // (kernel, channels)
  int kernel;
  float eps;
  RecurrentState tails;
  const Sequence* sequences;
  const SequenceState* states;
  const StateSaveAt* saves;
  int n_sequences;
  float* u;
};

/// Row `row` (0 is the pass's first) of the sequence's raw inputs; rows before it are in the tail.
__device__ float input_at(const Arguments& args, const float* tail, int row_begin, int row,
                          int64_t channel) {
  const int64_t channels = args.shape.channels();
  return row >= 0 ? args.qkv[(row_begin + row) * channels + channel]
                  : tail[(row + args.kernel - 1) * channels + channel];
}

__device__ float block_sum(float value) {
  __shared__ float partial[32];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0U, value, step);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (unsigned i = 0; i < blockDim.x / 32; ++i) sum += partial[i];
  return sum;
}

/// grid (rows, 2 n_k_heads + n_v_heads); block: at least k_dim and v_dim threads, whole warps.
__global__ void conv_kernel(const Arguments args) {
  pdl_wait();
  const DeltaShape& shape = args.shape;
  const int row = static_cast<int>(blockIdx.x);
  int index = 0;
  Sequence sequence{};
  for (; index < args.n_sequences; ++index) {
    sequence = args.sequences[index];
    if (row >= sequence.row_begin && row < sequence.row_begin + sequence.n_rows) break;
  }
  if (index == args.n_sequences) return;  // padding
  const float* tail =
      args.tails.slots + static_cast<int64_t>(args.states[index].slot) * args.tails.stride;

  const int head = static_cast<int>(blockIdx.y);
  const bool is_value = head >= 2 * shape.n_k_heads;
  const int dim = is_value ? shape.v_dim : shape.k_dim;
  const int64_t first = is_value
                            ? 2 * shape.keys() + int64_t{head - 2 * shape.n_k_heads} * shape.v_dim
                            : int64_t{head} * shape.k_dim;
  const int at = static_cast<int>(threadIdx.x);
  float value = 0;
  if (at < dim) {
    const int64_t channel = first + at;
    for (int j = 0; j < args.kernel; ++j) {
      value += args.w[j * shape.channels() + channel] *
               input_at(args, tail, sequence.row_begin,
                        row - sequence.row_begin - args.kernel + 1 + j, channel);
    }
    value /= 1.0F + expf(-value);
  }
  if (!is_value) {
    const float sum = block_sum(value * value);
    float scale = rsqrtf(sum + args.eps);
    if (head < shape.n_k_heads) scale *= rsqrtf(static_cast<float>(shape.k_dim));
    value *= scale;
  }
  if (at < dim) args.u[row * shape.channels() + first + at] = value;
}

/// Leaves the last kernel - 1 rows as the tail, after each save and at the end. grid (channels,
/// sequences).
__global__ void tail_kernel(const Arguments args) {
  pdl_wait();
  const int64_t channels = args.shape.channels();
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const Sequence sequence = args.sequences[blockIdx.y];
  if (channel >= channels || sequence.n_rows <= 0) return;
  const SequenceState own = args.states[blockIdx.y];
  float* tail = args.tails.slots + own.slot * args.tails.stride;
  const int rows = args.kernel - 1;
  const auto leave = [&](int after, float* to) {
    for (int i = 0; i < rows; ++i) {  // ascending: `to` may be `tail`
      to[i * channels + channel] =
          input_at(args, tail, sequence.row_begin, after - rows + i, channel);
    }
  };
  for (int i = own.save_begin; i < own.save_begin + own.n_saves; ++i) {
    leave(args.saves[i].after,
          args.tails.checkpoints + args.saves[i].checkpoint * args.tails.stride);
  }
  leave(sequence.n_rows, tail);
}

}  // namespace

void causal_conv1d(const DeltaShape& shape, const float* qkv, const float* w, int kernel, float eps,
                   const RecurrentState& tails, const Sequence* sequences,
                   const SequenceState* states, const StateSaveAt* saves, int n_sequences,
                   int n_rows, float* u, cudaStream_t stream) {
  const Arguments args{shape, qkv, w, kernel, eps, tails, sequences, states, saves, n_sequences, u};
  const int threads = (std::max(shape.k_dim, shape.v_dim) + 31) / 32 * 32;
  const dim3 rows(static_cast<unsigned>(n_rows),
                  static_cast<unsigned>(2 * shape.n_k_heads + shape.n_v_heads));
  launch(conv_kernel, rows, static_cast<unsigned>(threads), 0, stream, args);
  constexpr int kTailThreads = 256;
  const dim3 columns(static_cast<unsigned>((shape.channels() + kTailThreads - 1) / kTailThreads),
                     static_cast<unsigned>(n_sequences));
  launch(tail_kernel, columns, kTailThreads, 0, stream, args);
}

}  // namespace fimd::cuda

// The short convolution in front of the gated delta rule, fused with the scaling of q and k to
// length 1, and the update of its tails.
//
// A warp has a head of q or k, or as many channels of v, and a run of rows: it keeps the rows that
// the next ones need in registers, so that qkv is read once and u written once (336 MB for 4096
// rows of Qwen3.6-27B, 112 us at 3 TB/s), but for the rows in front of a run, which come from the
// L2 cache. Where all rows are one run, as in decoding, the warp also leaves the tails; otherwise a
// second kernel does when all have been read.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"

namespace fimd::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kAtOnce = 4;  // rows whose reads are under way together

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
  int n_rows;
  int run;  // rows of a warp
  float* u;
};

__device__ float4 load(const float* from) { return *reinterpret_cast<const float4*>(from); }
__device__ void store(float* to, const float4& x) { *reinterpret_cast<float4*>(to) = x; }
__device__ float silu(float x) { return x / (1.0F + expf(-x)); }
__device__ void multiply_add(float4& sum, const float4& a, const float4& b) {
  sum.x += a.x * b.x;
  sum.y += a.y * b.y;
  sum.z += a.z * b.z;
  sum.w += a.w * b.w;
}

/// Raw inputs of one sequence in four channels. Rows count from the pass's first; those before it
/// are in the tail.
struct Inputs {
  const float* rows;  // the pass's first row
  const float* tail;
  int kernel;
  int64_t channels;

  __device__ Inputs(const Arguments& args, int index, int64_t channel)
      : rows(args.qkv + args.sequences[index].row_begin * args.shape.channels() + channel),
        tail(tail_of(args, index) + channel),
        kernel(args.kernel),
        channels(args.shape.channels()) {}
  __device__ static float* tail_of(const Arguments& args, int index) {
    return args.tails.slots + args.states[index].slot * args.tails.stride;
  }
  __device__ float4 operator[](int row) const {
    return load(row >= 0 ? rows + row * channels : tail + (row + kernel - 1) * channels);
  }
};

/// Leaves the kernel - 1 rows before each save's row and before the end as tails, of four channels.
__device__ void leave_tails(const Arguments& args, int index, int64_t channel) {
  const Inputs inputs(args, index, channel);
  const SequenceState own = args.states[index];
  const auto leave = [&](int after, float* to) {
    for (int i = 0; i < args.kernel - 1; ++i) {  // ascending: `to` may be the tail itself
      store(to + i * inputs.channels + channel, inputs[after - args.kernel + 1 + i]);
    }
  };
  for (int i = own.save_begin; i < own.save_begin + own.n_saves; ++i) {
    const StateSaveAt save = args.saves[i];
    leave(save.after, args.tails.checkpoints + save.checkpoint * args.tails.stride);
  }
  leave(args.sequences[index].n_rows, Inputs::tail_of(args, index));
}

/// grid (runs of rows, heads of q and k and pieces of v in groups of kWarps). kKernel 0: any width.
/// A lane has kQuads times four channels, 32 lanes apart.
template <int kKernel, int kQuads, bool kLeavesTails>
__global__ void __launch_bounds__(kWarps * 32) conv_kernel(const __grid_constant__ Arguments args) {
  const DeltaShape& shape = args.shape;
  const int64_t channels = shape.channels();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto unit = static_cast<int>(blockIdx.y * kWarps + threadIdx.x / 32);
  const bool is_value = unit >= 2 * shape.n_k_heads;
  constexpr int kPiece = 128 * kQuads;
  const int64_t begin = is_value ? 2 * shape.keys() + int64_t{unit - 2 * shape.n_k_heads} * kPiece
                                 : int64_t{unit} * shape.k_dim;
  const int64_t end = is_value ? min(channels, begin + kPiece) : begin + shape.k_dim;
  int64_t channel[kQuads];
  bool live[kQuads];
  float4 w[kKernel > 0 ? kKernel : 1][kQuads];
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    channel[i] = begin + (lane + 32 * i) * 4;
    live[i] = channel[i] < end;
    if (!live[i]) channel[i] = 0;
#pragma unroll
    for (int j = 0; j < kKernel; ++j) w[j][i] = load(args.w + j * channels + channel[i]);
  }
  pdl_wait();
  if (begin >= end) return;
  const float length = unit < shape.n_k_heads ? rsqrtf(static_cast<float>(shape.k_dim)) : 1.0F;

  const auto finish = [&](float4(&sum)[kQuads], int64_t row) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      sum[i] = make_float4(silu(sum[i].x), silu(sum[i].y), silu(sum[i].z), silu(sum[i].w));
      if (live[i]) {
        squares +=
            sum[i].x * sum[i].x + sum[i].y * sum[i].y + sum[i].z * sum[i].z + sum[i].w * sum[i].w;
      }
    }
    float scale = 1;
    if (!is_value) {
#pragma unroll
      for (int step = 16; step > 0; step /= 2) squares += __shfl_xor_sync(~0U, squares, step);
      scale = rsqrtf(squares + args.eps) * length;
    }
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      const float4 y =
          make_float4(sum[i].x * scale, sum[i].y * scale, sum[i].z * scale, sum[i].w * scale);
      if (live[i]) store(args.u + row * channels + channel[i], y);
    }
  };

  const int stop = min(args.n_rows, static_cast<int>(blockIdx.x + 1) * args.run);
  for (int index = 0; index < args.n_sequences; ++index) {
    const Sequence sequence = args.sequences[index];
    const int from = max(static_cast<int>(blockIdx.x) * args.run, sequence.row_begin);
    const int to = min(stop, sequence.row_begin + sequence.n_rows);
    if (from >= to) continue;
    if constexpr (kKernel > 0) {
      constexpr int kBefore = kKernel - 1;
      float4 x[kBefore + kAtOnce][kQuads];
#pragma unroll
      for (int i = 0; i < kQuads; ++i) {
        const Inputs inputs(args, index, channel[i]);
#pragma unroll
        for (int j = 0; j < kBefore; ++j) x[j][i] = inputs[from - sequence.row_begin - kBefore + j];
      }
      for (int row = from; row < to; row += kAtOnce) {
#pragma unroll
        for (int t = 0; t < kAtOnce; ++t) {
          if (row + t >= to) break;
#pragma unroll
          for (int i = 0; i < kQuads; ++i) {
            x[kBefore + t][i] = load(args.qkv + (row + t) * channels + channel[i]);
          }
        }
#pragma unroll
        for (int t = 0; t < kAtOnce; ++t) {
          if (row + t >= to) break;
          float4 sum[kQuads] = {};
#pragma unroll
          for (int i = 0; i < kQuads; ++i) {
#pragma unroll
            for (int j = 0; j < kKernel; ++j) multiply_add(sum[i], w[j][i], x[t + j][i]);
          }
          finish(sum, row + t);
        }
#pragma unroll
        for (int j = 0; j < kBefore; ++j) {
#pragma unroll
          for (int i = 0; i < kQuads; ++i) x[j][i] = x[kAtOnce + j][i];
        }
      }
    } else {
      for (int row = from; row < to; ++row) {
        float4 sum[kQuads] = {};
        for (int i = 0; i < kQuads; ++i) {
          const Inputs inputs(args, index, channel[i]);
          for (int j = 0; j < args.kernel; ++j) {
            multiply_add(sum[i], load(args.w + j * channels + channel[i]),
                         inputs[row - sequence.row_begin - args.kernel + 1 + j]);
          }
        }
        finish(sum, row);
      }
    }
    if constexpr (kLeavesTails) {
#pragma unroll
      for (int i = 0; i < kQuads; ++i) {
        if (live[i]) leave_tails(args, index, channel[i]);
      }
    }
  }
}

constexpr int kTailThreads = 128;

/// grid (channels / 4, sequences)
__global__ void __launch_bounds__(kTailThreads)
    tail_kernel(const __grid_constant__ Arguments args) {
  pdl_wait();
  const int64_t channel = (static_cast<int64_t>(blockIdx.x) * kTailThreads + threadIdx.x) * 4;
  const auto index = static_cast<int>(blockIdx.y);
  if (channel >= args.shape.channels() || args.sequences[index].n_rows <= 0) return;
  leave_tails(args, index, channel);
}

template <int kKernel, int kQuads>
void start(const Arguments& args, cudaStream_t stream) {
  const auto groups = [](int64_t n, int64_t size) {
    return static_cast<unsigned>((n + size - 1) / size);
  };
  const int64_t units =
      2 * args.shape.n_k_heads + groups(args.shape.values(), int64_t{128} * kQuads);
  const dim3 grid(groups(args.n_rows, args.run), groups(units, kWarps));
  if (args.run >= args.n_rows) {
    return launch(conv_kernel<kKernel, kQuads, true>, grid, kWarps * 32, 0, stream, args);
  }
  launch(conv_kernel<kKernel, kQuads, false>, grid, kWarps * 32, 0, stream, args);
  const dim3 quads(groups(args.shape.channels() / 4, kTailThreads),
                   static_cast<unsigned>(args.n_sequences));
  launch(tail_kernel, quads, kTailThreads, 0, stream, args);
}

template <int kQuads>
void start(const Arguments& args, cudaStream_t stream) {
  switch (args.kernel) {
    case 2:
      return start<2, kQuads>(args, stream);
    case 3:
      return start<3, kQuads>(args, stream);
    case 4:
      return start<4, kQuads>(args, stream);
    default:
      return start<0, kQuads>(args, stream);
  }
}

}  // namespace

void causal_conv1d(const DeltaShape& shape, const float* qkv, const float* w, int kernel, float eps,
                   const RecurrentState& tails, const Sequence* sequences,
                   const SequenceState* states, const StateSaveAt* saves, int n_sequences,
                   int n_rows, float* u, cudaStream_t stream) {
  if (n_rows <= 0) return;
  constexpr int kOneRun = 8;  // rows: longer, another kernel for the tails costs less
  const int run = n_rows <= kOneRun ? n_rows : n_rows <= 1024 ? 4 : 16;
  const Arguments args{shape,  qkv,   w,           kernel, eps, tails, sequences,
                       states, saves, n_sequences, n_rows, run, u};
  if (shape.k_dim <= 128) return start<1>(args, stream);
  start<2>(args, stream);
}

}  // namespace fimd::cuda

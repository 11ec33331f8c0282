// The gated delta rule of one layer, token after token, for every sequence of a pass.
//
// A warp owns 8 columns of a head's state S (k_dim, v_dim) and keeps them in registers for the
// whole pass: 16 slices of k_dim/16 rows, times 2 groups of 4 columns, are its 32 lanes. Columns
// never meet, so warps never wait for each other but to load the rows of q, k and v, which the 4
// warps of a CTA (32 columns of one head) stage in shared memory, two chunks of tokens deep. With a
// the gate, b the strength and all sums over rows:
//
//   m = S^T k, p = S^T q (one butterfly over the 16 slices);   d = b (v - a m)
//   out = a p + (k . q) d;   S = a S + k d^T
//
// Cost: S is read and written once a pass (48 heads of 128 x 128 floats: 3.1 MB each way, 2 us at
// 3 TB/s); a token adds about 130 instructions to each warp. Sequences of many rows are left to
// gated_delta_chunked.cu.
#include <cuda_pipeline.h>

#include "kernels/cuda/gated_delta.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda {

namespace {

using delta_detail::Arguments;

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kSlices = 16;
constexpr int kColumns = 8;  // of a warp
constexpr int kCtaColumns = kWarps * kColumns;

/// Rows of q, k and v and the gates of some consecutive tokens of one head.
template <int K_DIM, int TOKENS>
struct Chunk {
  float q[TOKENS][K_DIM];
  float k[TOKENS][K_DIM];
  float v[TOKENS][kCtaColumns];
  float alpha[TOKENS];  // raw, before the gate functions
  float beta[TOKENS];
};

/// Sums four values of m and four of p over the 16 slices (lane bits 1..4) in eight shuffles. A
/// lane ends with one sum: of p if bit 4 is set, else of m, of column 2 * bit 3 + bit 2.
__device__ float butterfly(const float (&m)[4], const float (&p)[4], int lane) {
  const bool high = (lane & 16) != 0;
  float four[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float mine = high ? p[j] : m[j];
    const float theirs = high ? m[j] : p[j];
    four[j] = mine + __shfl_xor_sync(~0U, theirs, 16);
  }
  const bool pair = (lane & 8) != 0;
  float two[2];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const float mine = pair ? four[2 + j] : four[j];
    const float theirs = pair ? four[j] : four[2 + j];
    two[j] = mine + __shfl_xor_sync(~0U, theirs, 8);
  }
  const bool odd = (lane & 4) != 0;
  float one = (odd ? two[1] : two[0]) + __shfl_xor_sync(~0U, odd ? two[0] : two[1], 4);
  one += __shfl_xor_sync(~0U, one, 2);
  return one;
}

template <int K_DIM, int TOKENS>
__device__ void load_chunk(Chunk<K_DIM, TOKENS>& chunk, const Arguments& args, int row, int count,
                           int head, int column) {
  const DeltaShape& shape = args.shape;
  const int64_t channels = shape.channels();
  const float* q = args.u + row * channels + shape.key_head(head) * shape.k_dim;
  const float* v = args.u + row * channels + 2 * shape.keys() + head * shape.v_dim + column;
  constexpr int kQuads = K_DIM / 4;
  for (int i = threadIdx.x; i < count * kQuads; i += kThreads) {
    const int token = i / kQuads;
    const int at = i % kQuads * 4;
    const float* from = q + token * channels + at;
    __pipeline_memcpy_async(&chunk.q[token][at], from, 16);
    __pipeline_memcpy_async(&chunk.k[token][at], from + shape.keys(), 16);
  }
  for (int i = threadIdx.x; i < count * kCtaColumns; i += kThreads) {
    const int token = i / kCtaColumns;
    const int at = i % kCtaColumns;
    if (column + at < shape.v_dim) {
      __pipeline_memcpy_async(&chunk.v[token][at], v + token * channels + at, 4);
    }
  }
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const int64_t gate = (row + i) * args.gate_stride + head;
    __pipeline_memcpy_async(&chunk.alpha[i], args.alpha + gate, 4);
    __pipeline_memcpy_async(&chunk.beta[i], args.beta + gate, 4);
  }
  __pipeline_commit();
}

/// grid (column tiles, value heads, sequences)
template <int K_DIM, int TOKENS>
__global__ void __launch_bounds__(kThreads) gated_delta_kernel(const Arguments args) {
  constexpr int kRows = K_DIM / kSlices;  // of S in one lane
  __shared__ __align__(16) Chunk<K_DIM, TOKENS> chunks[2];
  __shared__ float kq[TOKENS];  // k . q of each token
  __shared__ float gate[TOKENS];
  __shared__ float strength[TOKENS];

  // The inputs were copied, and the state was written, before any kernel of this pass: both may be
  // read before the kernels in front of this one are done.
  const Sequence sequence = args.sequences[blockIdx.z];
  const SequenceState own = args.states[blockIdx.z];
  if (sequence.n_rows <= 0 || delta_detail::by_chunks(args.shape, sequence.n_rows, own.n_saves)) {
    pdl_wait();
    return;
  }
  const DeltaShape& shape = args.shape;
  const int head = blockIdx.y;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int slice = lane / 2;
  const int cta_column = blockIdx.x * kCtaColumns;
  const int in_cta = warp * kColumns + lane % 2 * 4;
  const int column = cta_column + in_cta;
  const bool live = column < shape.v_dim;  // v_dim is a multiple of 4

  const int64_t state_at =
      (int64_t{head} * K_DIM + slice * kRows) * shape.v_dim + (live ? column : 0);
  float* slot = args.state.slots + own.slot * args.state.stride + state_at;
  float s[kRows][4];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const float4 four = *reinterpret_cast<const float4*>(slot + int64_t{r} * shape.v_dim);
    s[r][0] = four.x, s[r][1] = four.y, s[r][2] = four.z, s[r][3] = four.w;
  }
  const auto store = [&](float* to) {
    if (!live) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      *reinterpret_cast<float4*>(to + int64_t{r} * shape.v_dim) =
          make_float4(s[r][0], s[r][1], s[r][2], s[r][3]);
    }
  };

  const float decay = args.decay[head];
  const float dt_bias = args.dt_bias[head];
  int save = own.save_begin;
  const int save_end = own.save_begin + own.n_saves;
  const int n = sequence.n_rows;
  pdl_wait();
  load_chunk(chunks[0], args, sequence.row_begin, min(TOKENS, n), head, cta_column);
  for (int first = 0; first < n; first += TOKENS) {
    const int count = min(TOKENS, n - first);
    Chunk<K_DIM, TOKENS>& chunk = chunks[first / TOKENS % 2];
    if (first + TOKENS < n) {
      load_chunk(chunks[(first / TOKENS + 1) % 2], args, sequence.row_begin + first + TOKENS,
                 min(TOKENS, n - first - TOKENS), head, cta_column);
      __pipeline_wait_prior(1);
    } else {
      __pipeline_wait_prior(0);
    }
    __syncthreads();
    for (int t = warp; t < count; t += kWarps) {
      float sum = 0;
      for (int i = lane; i < K_DIM; i += 32) sum += chunk.k[t][i] * chunk.q[t][i];
#pragma unroll
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
      if (lane == 0) {
        const float x = chunk.alpha[t] + dt_bias;
        const float softplus = fmaxf(x, 0.0F) + log1pf(expf(-fabsf(x)));
        kq[t] = sum;
        gate[t] = expf(decay * softplus);
        strength[t] = 1.0F / (1.0F + expf(-chunk.beta[t]));
      }
    }
    __syncthreads();

    for (int t = 0; t < count; ++t) {
      float k[kRows];
      float m[4] = {};
      float p[4] = {};
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        k[r] = chunk.k[t][slice * kRows + r];
        const float q = chunk.q[t][slice * kRows + r];
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          m[c] += s[r][c] * k[r];
          p[c] += s[r][c] * q;
        }
      }
      const float sum = butterfly(m, p, lane);
      const float a = gate[t];
      const float b = strength[t];
      float d[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float m_sum = __shfl_sync(~0U, sum, (c / 2) * 8 + (c % 2) * 4 + lane % 2);
        d[c] = b * (chunk.v[t][in_cta + c] - a * m_sum);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) s[r][c] = a * s[r][c] + k[r] * d[c];
      }
      if ((lane & 18) == 16 && live) {  // holds a sum of p, and is the first of two that do
        const int c = (lane & 8) / 4 + (lane & 4) / 4;
        const float own_d = c == 0 ? d[0] : c == 1 ? d[1] : c == 2 ? d[2] : d[3];
        const int64_t row = sequence.row_begin + first + t;
        args.out[row * shape.values() + head * shape.v_dim + column + c] = a * sum + kq[t] * own_d;
      }
      for (; save < save_end && args.saves[save].after == first + t + 1; ++save) {
        store(args.state.checkpoints + args.saves[save].checkpoint * args.state.stride + state_at);
      }
    }
    __syncthreads();
  }
  store(slot);
}

template <int K_DIM>
void start(const Arguments& args, int n_sequences, cudaStream_t stream) {
  constexpr int kTokens = K_DIM > 128 ? 8 : 16;
  const int tiles = (args.shape.v_dim + kCtaColumns - 1) / kCtaColumns;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(args.shape.n_v_heads),
                  static_cast<unsigned>(n_sequences));
  launch(gated_delta_kernel<K_DIM, kTokens>, grid, kThreads, 0, stream, args);
}

}  // namespace

bool delta_supported(const DeltaShape& shape) {
  const int k = shape.k_dim;
  return (k == 16 || k == 32 || k == 64 || k == 128 || k == 256) && shape.v_dim % 4 == 0 &&
         shape.v_dim <= 1024;
}

void gated_delta(const DeltaShape& shape, const float* u, const float* alpha, const float* beta,
                 int64_t gate_stride, const float* decay, const float* dt_bias,
                 const RecurrentState& state, const Sequence* sequences,
                 const SequenceState* states, const StateSaveAt* saves, int n_sequences,
                 int max_rows, float* out, cudaStream_t stream) {
  const Arguments args{shape,   u,     alpha,     beta,   gate_stride, decay,
                       dt_bias, state, sequences, states, saves,       out};
  if (delta_detail::by_chunks(shape, max_rows, 0)) {
    delta_detail::start_chunked(args, n_sequences, stream);
  }
  switch (shape.k_dim) {
    case 16:
      return start<16>(args, n_sequences, stream);
    case 32:
      return start<32>(args, n_sequences, stream);
    case 64:
      return start<64>(args, n_sequences, stream);
    case 128:
      return start<128>(args, n_sequences, stream);
    case 256:
      return start<256>(args, n_sequences, stream);
    default:
      return;  // delta_supported() said no
  }
}

}  // namespace fimd::cuda

// A Gated DeltaNet layer's few rows in one launch, from the projections to what the output product
// reads: convolution, gates, the delta rule, the norm of each head and its gate.
//
// The heads that share a key head are a cluster of two blocks each, 64 columns of a head's state S
// (k_dim, v_dim) to a block, so that S is read once and written once by 96 blocks for Qwen3.6-27B,
// and nothing else takes long: every block convolves its key head's q and k for itself. A column
// belongs to four lanes, which have 32 of its 128 rows each, in registers. Blocks meet twice: when
// all have read the tails of q and k, which one of them then replaces, and to add the two halves of
// a head's norm.
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"

namespace fimd::cuda {

namespace {

constexpr int kDim = 128;      // k_dim and v_dim
constexpr int kColumns = 64;   // of a block
constexpr int kThreads = 256;  // a thread has a channel of q or k
constexpr int kWarps = kThreads / 32;
constexpr int kTaps = 4;
constexpr int kRows = kDim / 4;  // of a column, in one lane
static_assert(kMaxStepRows == kWarps);

struct Rows {
  float q[kMaxStepRows][kDim];
  float k[kMaxStepRows][kDim];
  float v[kMaxStepRows][kColumns];
  float out[kMaxStepRows][kColumns];
  float kq[kMaxStepRows];  // k . q
  float gate[kMaxStepRows];
  float strength[kMaxStepRows];
  float squares[2][kMaxStepRows];  // of the halves of the head's row
};

__device__ float silu(float x) { return x / (1.0F + __expf(-x)); }

__device__ float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0U, x, step);
  return x;
}

__device__ void store_in_cluster(float* address, int rank, float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  const auto here = static_cast<uint32_t>(__cvta_generic_to_shared(address));
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(cluster_address(here, rank)), "f"(value)
               : "memory");
#else
  static_cast<void>(rank);
  *address = value;
#endif
}

/// One channel of the convolution over a sequence's rows: its raw inputs before and in the pass.
struct Channel {
  float x[kTaps - 1 + kMaxStepRows];

  __device__ Channel(const DeltaStep& step, const Sequence& sequence, const float* tail,
                     int64_t channel) {
    const int64_t channels = step.shape.channels();
    const float* rows = step.qkv + sequence.row_begin * channels + channel;
#pragma unroll
    for (int j = 0; j < kTaps - 1; ++j) x[j] = tail[j * channels + channel];
#pragma unroll
    for (int r = 0; r < kMaxStepRows; ++r) {
      x[kTaps - 1 + r] = r < sequence.n_rows ? rows[r * channels] : 0.0F;
    }
  }
  __device__ float at(int row, const float (&w)[kTaps]) const {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kTaps; ++j) sum += w[j] * x[row + j];
    return silu(sum);
  }
  /// The tail after `after` rows.
  __device__ void leave(int after, float* tail, int64_t channels, int64_t channel) const {
#pragma unroll
    for (int r = 1; r <= kMaxStepRows; ++r) {
      if (r != after) continue;  // x must be indexed by constants
#pragma unroll
      for (int j = 0; j < kTaps - 1; ++j) tail[j * channels + channel] = x[r + j];
    }
  }
  __device__ void leave_saves(const DeltaStep& step, const SequenceState& own,
                              int64_t channel) const {
    for (int i = own.save_begin; i < own.save_begin + own.n_saves; ++i) {
      const StateSaveAt save = step.saves[i];
      leave(save.after, step.tails.checkpoints + save.checkpoint * step.tails.stride,
            step.shape.channels(), channel);
    }
  }
};

/// grid (blocks of a key head's cluster, key heads, sequences)
__global__ void __launch_bounds__(kThreads)
    delta_step_kernel(const __grid_constant__ DeltaStep step) {
  __shared__ __align__(16) Rows rows;
  const DeltaShape& shape = step.shape;
  const int64_t channels = shape.channels();
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32;
  const int lane = thread % 32;
  const int rank = static_cast<int>(blockIdx.x);
  const int key_head = static_cast<int>(blockIdx.y);
  const int half = rank % 2;
  const int head = shape.grouped ? key_head * static_cast<int>(gridDim.x / 2) + rank / 2
                                 : rank / 2 * shape.n_k_heads + key_head;

  // The state and the inputs were written before any kernel of this pass: they may be read before
  // the kernels in front of this one are done.
  const Sequence sequence = step.sequences[blockIdx.z];
  const int n = sequence.n_rows;
  if (n <= 0) {  // the whole cluster
    pdl_wait();
    return;
  }
  const SequenceState own = step.states[blockIdx.z];
  // Row 16 i + 4 slice + j of S is s[4 i + j].
  const int column = warp * 8 + lane % 8;
  const int slice = lane / 8;
  const int64_t state_at = (int64_t{head} * kDim + 4 * slice) * kDim + half * kColumns + column;
  float* const slot = step.state.slots + own.slot * step.state.stride + state_at;
  float s[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) s[i] = slot[(16 * (i / 4) + i % 4) * kDim];
  const auto store_state = [&](float* to) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) to[(16 * (i / 4) + i % 4) * kDim] = s[i];
  };

  const int64_t qk_channel = thread < kDim
                                 ? int64_t{key_head} * kDim + thread
                                 : shape.keys() + int64_t{key_head} * kDim + thread - kDim;
  const int64_t v_channel =
      2 * shape.keys() + int64_t{head} * kDim + half * kColumns + thread % kColumns;
  float qk_w[kTaps];
  float v_w[kTaps];
#pragma unroll
  for (int j = 0; j < kTaps; ++j) {
    qk_w[j] = step.conv[j * channels + qk_channel];
    v_w[j] = step.conv[j * channels + v_channel];
  }
  float* const tail = step.tails.slots + own.slot * step.tails.stride;
  pdl_wait();

  const Channel qk(step, sequence, tail, qk_channel);
  float* const qk_rows = thread < kDim ? &rows.q[0][thread] : &rows.k[0][thread - kDim];
#pragma unroll
  for (int r = 0; r < kMaxStepRows; ++r) {
    if (r < n) qk_rows[r * kDim] = qk.at(r, qk_w);
  }
  if (rank == 0) qk.leave_saves(step, own, qk_channel);
  if (thread < kColumns) {
    const Channel v(step, sequence, tail, v_channel);
#pragma unroll
    for (int r = 0; r < kMaxStepRows; ++r) {
      if (r < n) rows.v[r][thread] = v.at(r, v_w);
    }
    v.leave_saves(step, own, v_channel);
    v.leave(n, tail, channels, v_channel);
  }
  __syncthreads();
  cluster_arrive();

  if (warp < n) {  // a row of each warp: scale q and k to length 1, q also by k_dim^-1/2
    float4* const q = reinterpret_cast<float4*>(rows.q[warp]) + lane;
    float4* const k = reinterpret_cast<float4*>(rows.k[warp]) + lane;
    const float4 a = *q;
    const float4 b = *k;
    const float qq = warp_sum(a.x * a.x + a.y * a.y + (a.z * a.z + a.w * a.w));
    const float kk = warp_sum(b.x * b.x + b.y * b.y + (b.z * b.z + b.w * b.w));
    const float kq = warp_sum(a.x * b.x + a.y * b.y + (a.z * b.z + a.w * b.w));
    const float q_scale = rsqrtf(qq + step.eps) * rsqrtf(static_cast<float>(kDim));
    const float k_scale = rsqrtf(kk + step.eps);
    *q = make_float4(a.x * q_scale, a.y * q_scale, a.z * q_scale, a.w * q_scale);
    *k = make_float4(b.x * k_scale, b.y * k_scale, b.z * k_scale, b.w * k_scale);
    if (lane == 0) {
      const int64_t at = (sequence.row_begin + warp) * step.gate_stride + head;
      const float x = step.alpha[at] + step.dt_bias[head];
      const float softplus = fmaxf(x, 0.0F) + log1pf(expf(-fabsf(x)));
      rows.kq[warp] = kq * q_scale * k_scale;
      rows.gate[warp] = expf(step.decay[head] * softplus);
      rows.strength[warp] = 1.0F / (1.0F + expf(-step.beta[at]));
    }
  }
  __syncthreads();

  int save = own.save_begin;
  const int save_end = own.save_begin + own.n_saves;
  for (int r = 0; r < n; ++r) {
    float m[4] = {};
    float p[4] = {};
    float k[kRows];
#pragma unroll
    for (int i = 0; i < kRows; i += 4) {
      const float4 k4 = *reinterpret_cast<const float4*>(&rows.k[r][4 * i + 4 * slice]);
      const float4 q4 = *reinterpret_cast<const float4*>(&rows.q[r][4 * i + 4 * slice]);
      k[i] = k4.x, k[i + 1] = k4.y, k[i + 2] = k4.z, k[i + 3] = k4.w;
      m[0] += s[i] * k4.x, m[1] += s[i + 1] * k4.y, m[2] += s[i + 2] * k4.z,
          m[3] += s[i + 3] * k4.w;
      p[0] += s[i] * q4.x, p[1] += s[i + 1] * q4.y, p[2] += s[i + 2] * q4.z,
          p[3] += s[i + 3] * q4.w;
    }
    float m_sum = (m[0] + m[1]) + (m[2] + m[3]);
    float p_sum = (p[0] + p[1]) + (p[2] + p[3]);
#pragma unroll
    for (int lanes = 8; lanes <= 16; lanes *= 2) {
      m_sum += __shfl_xor_sync(~0U, m_sum, lanes);
      p_sum += __shfl_xor_sync(~0U, p_sum, lanes);
    }
    const float a = rows.gate[r];
    const float d = rows.strength[r] * (rows.v[r][column] - a * m_sum);
#pragma unroll
    for (int i = 0; i < kRows; ++i) s[i] = a * s[i] + k[i] * d;
    if (slice == 0) rows.out[r][column] = a * p_sum + rows.kq[r] * d;
    if (save < save_end && step.saves[save].after == r + 1) {
      store_state(step.state.checkpoints + step.saves[save].checkpoint * step.state.stride +
                  state_at);
      ++save;
    }
  }
  store_state(slot);
  __syncthreads();

  float2 value = make_float2(0, 0);
  if (warp < n) value = *reinterpret_cast<const float2*>(&rows.out[warp][2 * lane]);
  const float squares = warp_sum(value.x * value.x + value.y * value.y);
  cluster_wait();  // all have read the tails, and run
  if (rank == 0) qk.leave(n, tail, channels, qk_channel);
  if (warp < n && lane < 2)
    store_in_cluster(&rows.squares[half][warp], rank - half + lane, squares);
  __syncwarp();
  cluster_arrive();
  cluster_wait();
  if (warp < n) {
    const float sum = rows.squares[0][warp] + rows.squares[1][warp];
    const float factor = rsqrtf(sum / static_cast<float>(kDim) + step.norm_eps);
    const int at = half * kColumns + 2 * lane;
    const int64_t row = sequence.row_begin + warp;
    const float2 z = *reinterpret_cast<const float2*>(step.z + row * step.gate_stride +
                                                      int64_t{head} * kDim + at);
    const float2 w = *reinterpret_cast<const float2*>(step.norm + at);
    *reinterpret_cast<float2*>(step.out + row * shape.values() + int64_t{head} * kDim + at) =
        make_float2(value.x * factor * w.x * silu(z.x), value.y * factor * w.y * silu(z.y));
  }
}

}  // namespace

bool delta_step_supported(const DeltaShape& shape, int kernel, int max_rows) {
  constexpr int kMostBlocks = 8;  // of a cluster
  if (shape.k_dim != kDim || shape.v_dim != kDim || kernel != kTaps || max_rows > kMaxStepRows ||
      2 * (shape.n_v_heads / shape.n_k_heads) > kMostBlocks) {
    return false;
  }
  return made_for_hopper(reinterpret_cast<const void*>(delta_step_kernel));
}

void delta_step(const DeltaStep& step, int n_sequences, cudaStream_t stream) {
  if (n_sequences <= 0) return;
  const auto cluster = static_cast<unsigned>(2 * (step.shape.n_v_heads / step.shape.n_k_heads));
  const dim3 grid(cluster, static_cast<unsigned>(step.shape.n_k_heads),
                  static_cast<unsigned>(n_sequences));
  launch_clusters(delta_step_kernel, cluster, grid, kThreads, 0, stream, step);
}

}  // namespace fimd::cuda

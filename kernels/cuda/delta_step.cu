// A Gated DeltaNet layer's few rows in one launch, from the projections to what the output product
// reads: convolution, gates, the delta rule, the norm of each head and its gate.
//
// The heads that share a key head are a cluster of two blocks each, 64 columns of a head's state S
// (k_dim, v_dim) to a block, so that S is read once and written once by 96 blocks for Qwen3.6-27B,
// and nothing else takes long: every block convolves its key head's q and k for itself. A thread
// has 8 rows of 4 columns of S in registers. Blocks meet twice: when all have read the tails of q
// and k, which one of them then replaces, and to add the two halves of a head's norm.
//
// A block asks for S before the kernel in front has ended, as soon as a block of that has left its
// multiprocessor. What is left is latency, while memory is busy with the weights of the chain
// behind: what the kernel in front wrote is asked for at once, and nothing waits for stores.
#include "kernels/cuda/delta_projections.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantize.cuh"

namespace fimd::cuda {

namespace {

constexpr int kDim = 128;        // k_dim and v_dim
constexpr int kColumns = 64;     // of a block
constexpr int kRegisters = 112;  // all that a chain's block leaves
constexpr int kTaps = 4;
constexpr int kThreads = kStepThreads;
static_assert(kThreads == 2 * kDim);  // a thread has a channel of q or k
static_assert(kMaxStepRows == kStepWarps);

struct Shared {
  float q[kMaxStepRows][kDim];  // as projected, then convolved
  float k[kMaxStepRows][kDim];
  float v[kMaxStepRows][kColumns];
  float out[kMaxStepRows][kColumns];
  float2 half[kMaxStepRows];  // squares of the head's other half
  uint64_t half_here;         // mailbox
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

constexpr int kLanes = 16;            // that share a column of S
constexpr int kRows = kDim / kLanes;  // of a column, in one lane

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0F + __expf(-x)); }

/// Of heads of kDim, in 32 bits.
__device__ __forceinline__ int keys_of(const DeltaShape& shape) { return shape.n_k_heads * kDim; }
__device__ __forceinline__ int channels_of(const DeltaShape& shape) {
  return (2 * shape.n_k_heads + shape.n_v_heads) * kDim;
}

/// A channel of the convolution: its weights, and its inputs before the next row.
struct Channel {
  float w[kTaps];
  float x[kTaps - 1];

  __device__ __forceinline__ void begin(const DeltaStep& step, const float* tail, int channel) {
    const int channels = channels_of(step.shape);
#pragma unroll
    for (int j = 0; j < kTaps; ++j) w[j] = step.conv[j * channels + channel];
#pragma unroll
    for (int j = 0; j < kTaps - 1; ++j) x[j] = __ldcg(tail + j * channels + channel);
  }
  /// What the next row, whose input is `next`, becomes.
  __device__ __forceinline__ float take(float next) {
    static_assert(kTaps == 4);
    const float sum = (w[0] * x[0] + w[1] * x[1]) + (w[2] * x[2] + w[3] * next);
    x[0] = x[1], x[1] = x[2], x[2] = next;
    return silu(sum);
  }
  __device__ __forceinline__ void leave(const DeltaStep& step, float* tail, int channel) const {
    const int channels = channels_of(step.shape);
#pragma unroll
    for (int j = 0; j < kTaps - 1; ++j) tail[j * channels + channel] = x[j];
  }
};

/// Copies 16 bytes past the L1 cache, until copies_done().
__device__ __forceinline__ void copy16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
}
__device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// What the block needs of the rows' q, k and v.
__device__ __forceinline__ void copy_rows(const DeltaStep& step, const Sequence& sequence,
                                          int key_head, int v_column, Shared& shared) {
  constexpr int kHead = kDim / 4;
  constexpr int kRow = 2 * kHead + kColumns / 4;
  const int keys = keys_of(step.shape);
#pragma unroll 1
  for (unsigned i = threadIdx.x; i < sequence.n_rows * kRow; i += kThreads) {
    const auto row = static_cast<int>(i / kRow);
    int c = static_cast<int>(i % kRow) * 4;
    // Where the four are in the block's memory, and among the row's channels.
    float* to = &shared.q[row][c];
    int channel = key_head * kDim + c;
    if (c >= 2 * kDim) {
      c -= 2 * kDim;
      to = &shared.v[row][c];
      channel = 2 * keys + v_column + c;
    } else if (c >= kDim) {
      c -= kDim;
      to = &shared.k[row][c];
      channel = keys + key_head * kDim + c;
    }
    copy16(to, step.qkv + int64_t{sequence.row_begin + row} * channels_of(step.shape) + channel);
  }
}

/// `projections`: where alpha and beta are made, or null if they are given.
template <bool PROJECTS>
__device__ __forceinline__ void run_step(const DeltaStep& step, Shared& shared,
                                         ProjectionsShared* projections) {
  const DeltaShape& shape = step.shape;
  const auto thread = static_cast<int>(threadIdx.x);
  const auto warp = static_cast<int>(threadIdx.x / 32);
  const auto lane = static_cast<int>(threadIdx.x % 32);
  const auto rank = static_cast<int>(blockIdx.x);
  const auto key_head = static_cast<int>(blockIdx.y);
  const auto half = static_cast<int>(blockIdx.x % 2);
  const int head = value_head(shape, static_cast<int>(blockIdx.x / 2));

  // The state and the inputs were written before any kernel of this pass: they may be read before
  // the kernels in front of this one are done. What those wrote is read past the L1 cache.
  const Sequence sequence = step.sequences[blockIdx.z];
  const SequenceState own = step.states[blockIdx.z];
  const int n = sequence.n_rows;
  if (n <= 0) {  // the whole cluster
    pdl_wait();
    return;
  }
  // Before anything is under way that a fence would wait for.
  const uint32_t half_here = shared_address(&shared.half_here);
  if (thread == 0) {
    mailbox_init(half_here, static_cast<uint32_t>(n * sizeof(float2)));
    if constexpr (PROJECTS) Projections::init_mailbox(n, *projections);
  }
  if constexpr (PROJECTS) cluster_arrive_relaxed();
  // S[64 (i / 4) + 4 (lane % 16) + i % 4][columns] is s[i], of four columns.
  const int column = warp * 8 + lane / kLanes * 4;
  const int64_t state_at =
      (int64_t{head} * kDim + lane % kLanes * 4) * kDim + half * kColumns + column;
  float* const slot = step.state.slots + own.slot * step.state.stride + state_at;
  constexpr auto row_of = [](int i) { return (i / 4 * 4 * kLanes + i % 4) * kDim; };
  float4 s[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) s[i] = __ldcg(reinterpret_cast<const float4*>(slot + row_of(i)));
  const auto store_state = [&](float* to) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) *reinterpret_cast<float4*>(to + row_of(i)) = s[i];
  };

  const int qk_channel =
      key_head * kDim + (thread < kDim ? thread : keys_of(shape) + thread - kDim);
  const int v_column = head * kDim + half * kColumns;  // of v, the block's first
  const int v_channel = 2 * keys_of(shape) + v_column + static_cast<int>(threadIdx.x % kColumns);
  float* const tail = step.tails.slots + own.slot * step.tails.stride;
  Channel qk;
  qk.begin(step, tail, qk_channel);
  Channel v = {};
  if (thread < kColumns) v.begin(step, tail, v_channel);
  const float decay = step.decay[head];
  const float dt_bias = step.dt_bias[head];
  Projections products;
  if constexpr (PROJECTS) products.begin(step);
  pdl_wait_for_inputs();

  copy_rows(step, sequence, key_head, v_column, shared);
  // Row `lane`'s gates, for every warp.
  float alpha = 0;
  float beta = 0;
  if (!PROJECTS && lane < n) {
    const int64_t at = (sequence.row_begin + lane) * step.gate_stride + head;
    alpha = __ldcg(step.alpha + at);
    beta = __ldcg(step.beta + at);
  }
  pdl_launch_next();  // what has just been asked for is in front of what the next kernel fetches
  if constexpr (PROJECTS) products.multiply(step, sequence, *projections);
  copies_done();
  __syncthreads();
  // In place; loops are kept short because code that runs once has to be fetched first.
  float* const qk_rows = thread < kDim ? &shared.q[0][thread] : &shared.k[0][thread - kDim];
  const bool has_v = thread < kColumns;
  int save = own.save_begin;
  const int save_end = own.save_begin + own.n_saves;
  const int left_rows = rank == 0 ? n : 0;  // compared in the loop, which would be there twice else
#pragma unroll 1
  for (int r = 0; r < n; ++r) {
    const float next = qk_rows[r * kDim];
    const float next_v = has_v ? shared.v[r][thread] : 0.0F;
    qk_rows[r * kDim] = qk.take(next);
    const float v_row = v.take(next_v);
    if (has_v) shared.v[r][thread] = v_row;
    if (save < save_end && step.saves[save].after == r + 1) {
      float* const to = step.tails.checkpoints + step.saves[save].checkpoint * step.tails.stride;
      if (r < left_rows) qk.leave(step, to, qk_channel);
      if (has_v) v.leave(step, to, v_channel);
      ++save;
    }
  }
  __syncthreads();
  // For the end.
  constexpr int kQuads = kColumns / 4;
  const int out_column = half * kColumns + 4 * (lane % kQuads);  // of row `warp`; twice in a warp
  const float4 norm = *reinterpret_cast<const float4*>(step.norm + out_column);
  float4 z = make_float4(0, 0, 0, 0);
  if (warp < n) {
    z = __ldcg(reinterpret_cast<const float4*>(step.z +
                                               (sequence.row_begin + warp) * step.gate_stride +
                                               int64_t{head} * kDim + out_column));
  }
  if constexpr (PROJECTS) {
    cluster_wait();
    Projections::send_sums(n, *projections);
  }
  // The tails are read. Nothing else is for others, and to wait for stores would take long.
  cluster_arrive_relaxed();
  if (has_v) v.leave(step, tail, v_channel);
  if constexpr (PROJECTS) {
    const float2 sums = Projections::receive(step.input, n, lane, *projections);
    alpha = sums.x;
    beta = sums.y;
  }
  const float x = alpha + dt_bias;
  const float gate = expf(decay * (fmaxf(x, 0.0F) + log1pf(expf(-fabsf(x)))));
  const float strength = 1.0F / (1.0F + expf(-beta));

  save = own.save_begin;
  const int own_column = lane % kLanes / 4;  // of the thread's four
  const bool has_out = (lane & 2) != 0;      // and not the state's answer to k
#pragma unroll 1
  for (int r = 0; r < n; ++r) {
    // S^T k and S^T q of each column; k . q, q . q and k . k.
    float sums[8] = {};
    float pairs[4] = {};
    float k[kRows];
#pragma unroll
    for (int i = 0; i < kRows; i += 4) {
      const int row = i * kLanes + lane % kLanes * 4;
      const float4 k4 = *reinterpret_cast<const float4*>(&shared.k[r][row]);
      const float4 q4 = *reinterpret_cast<const float4*>(&shared.q[r][row]);
      const float q[4] = {q4.x, q4.y, q4.z, q4.w};
      k[i] = k4.x, k[i + 1] = k4.y, k[i + 2] = k4.z, k[i + 3] = k4.w;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float4 row_s = s[i + j];
        sums[0] += row_s.x * k[i + j], sums[1] += row_s.x * q[j];
        sums[2] += row_s.y * k[i + j], sums[3] += row_s.y * q[j];
        sums[4] += row_s.z * k[i + j], sums[5] += row_s.z * q[j];
        sums[6] += row_s.w * k[i + j], sums[7] += row_s.w * q[j];
        pairs[0] += k[i + j] * q[j];
        pairs[1] += q[j] * q[j];
        pairs[2] += k[i + j] * k[i + j];
      }
    }
    const float sum = sum_of_each<kLanes>(sums, lane);
    const float product = sum_of_each<kLanes>(pairs, lane);
    const auto product_of = [&](int i) {
      return __shfl_sync(~0U, product, (lane & kLanes) + kLanes / 4 * i);
    };
    // The lengths of q and k become 1, q's also k_dim^-1/2.
    const float kq = product_of(0);
    const float q_scale = rsqrtf(product_of(1) + step.eps) * rsqrtf(static_cast<float>(kDim));
    const float k_scale = rsqrtf(product_of(2) + step.eps);
    const float a = __shfl_sync(~0U, gate, r);
    const float b = __shfl_sync(~0U, strength, r) * k_scale;
    const float d = b * (shared.v[r][column + own_column] - a * k_scale * sum);
    float update[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) update[c] = __shfl_sync(~0U, d, (lane & kLanes) + 4 * c);
    const float own_d = __shfl_xor_sync(~0U, d, 2);
    if (has_out && lane % 2 == 0) {
      shared.out[r][column + own_column] = q_scale * (a * sum + kq * own_d);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      s[i].x = a * s[i].x + k[i] * update[0];
      s[i].y = a * s[i].y + k[i] * update[1];
      s[i].z = a * s[i].z + k[i] * update[2];
      s[i].w = a * s[i].w + k[i] * update[3];
    }
    if (save < save_end && step.saves[save].after == r + 1) {
      store_state(step.state.checkpoints + step.saves[save].checkpoint * step.state.stride +
                  state_at);
      ++save;
    }
  }
  __syncthreads();

  float4 value = make_float4(0, 0, 0, 0);
  if (warp < n) value = *reinterpret_cast<const float4*>(&shared.out[warp][4 * (lane % kQuads)]);
  float half_sum =
      (value.x * value.x + value.y * value.y) + (value.z * value.z + value.w * value.w);
#pragma unroll
  for (int other = kQuads / 2; other > 0; other /= 2) {
    half_sum += __shfl_xor_sync(~0U, half_sum, other);
  }
  cluster_wait();  // all have read the tails, and are there to be sent to
  if (warp < n && lane == 0) {
    send(cluster_address(shared_address(&shared.half[warp]), rank ^ 1), make_float2(half_sum, 0),
         cluster_address(half_here, rank ^ 1));
  }
  store_state(slot);
  if (rank == 0) qk.leave(step, tail, qk_channel);
  mailbox_wait(half_here);  // every warp: what is sent here needs the block
  if (warp < n) {
    const float other = shared.half[warp].x;
    const float sum = half == 0 ? half_sum + other : other + half_sum;
    const float factor = rsqrtf(sum / static_cast<float>(kDim) + step.norm_eps);
    const int row = sequence.row_begin + warp;
    const float4 y =
        make_float4(value.x * factor * norm.x * silu(z.x), value.y * factor * norm.y * silu(z.y),
                    value.z * factor * norm.z * silu(z.z), value.w * factor * norm.w * silu(z.w));
    const int out_channel = head * kDim + out_column;
    if (step.out != nullptr) {
      if (lane < kQuads) {
        *reinterpret_cast<float4*>(step.out + int64_t{row} * shape.values() + out_channel) = y;
      }
      return;
    }
    const RowWriter writer = {step.activations, row_groups(step.n_rows)};
    writer.write(row, out_channel, y, lane < kQuads);
    // Zeros up to the end of the last k tile.
    if (head == shape.n_v_heads - 1 && half == 1 && shape.values() % kTileCols != 0) {
      writer.pad(row);
    }
  }
}

#endif

/// grid (blocks of a key head's cluster, key heads, sequences)
__global__ void __maxnreg__(kRegisters) delta_step_kernel(const __grid_constant__ DeltaStep step) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __shared__ __align__(16) Shared shared;
  run_step<false>(step, shared, nullptr);
#endif
}

__global__ void __maxnreg__(kRegisters)
    projecting_step_kernel(const __grid_constant__ DeltaStep step) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __shared__ __align__(16) Shared shared;
  __shared__ __align__(16) ProjectionsShared projections;
  run_step<true>(step, shared, &projections);
#endif
}

unsigned cluster_of(const DeltaShape& shape) {
  return static_cast<unsigned>(2 * (shape.n_v_heads / shape.n_k_heads));
}

}  // namespace

bool delta_step_supported(const DeltaShape& shape, int kernel, int max_rows) {
  constexpr int kMostBlocks = 8;  // of a cluster
  if (shape.k_dim != kDim || shape.v_dim != kDim || kernel != kTaps || max_rows > kMaxStepRows ||
      cluster_of(shape) > kMostBlocks) {
    return false;
  }
  return made_for_hopper(reinterpret_cast<const void*>(delta_step_kernel));
}

bool delta_step_projects(const DeltaShape& shape, const Matrix& alpha, const Matrix& beta) {
  const unsigned cluster = cluster_of(shape);
  return alpha.type == DType::kBF16 && beta.type == DType::kBF16 && cluster <= kMostProjecting &&
         alpha.cols % 4 == 0 && alpha.cols <= int64_t{4} * kThreads * cluster;
}

void delta_step(const DeltaStep& step, int n_sequences, cudaStream_t stream) {
  if (n_sequences <= 0) return;
  const unsigned cluster = cluster_of(step.shape);
  const dim3 grid(cluster, static_cast<unsigned>(step.shape.n_k_heads),
                  static_cast<unsigned>(n_sequences));
  const bool projects = step.input.x != nullptr;
  launch_clusters(projects ? projecting_step_kernel : delta_step_kernel, cluster, grid, kThreads, 0,
                  stream, step);
}

}  // namespace fimd::cuda

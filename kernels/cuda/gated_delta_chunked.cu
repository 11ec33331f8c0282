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
// Cost of a chunk of 64 tokens x 64 columns, k_dim 128: 304 K multiply-adds of A, P and 1.9 M of
// the rest, 232 + 72 mma for each pair of warps; 58 KB of operands are read from shared memory by
// each of the four warps, 0.3 MB with what prepares them, 2.3 K cycles at 128 bytes a cycle: this
// bounds it. 48 heads of 128 columns are 96 CTAs: 4096 tokens take at least 64 x 1.3 us = 85 us; u
// and out are 268 MB, 90 us at 3 TB/s.
#include "kernels/cuda/gated_delta.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/tensor_core.cuh"

namespace fimd::cuda::delta_detail {

namespace {

constexpr int kChunk = 64;  // tokens
constexpr int kTeam = 128;  // threads that prepare chunks, and as many that go through them
constexpr int kThreads = 2 * kTeam;
constexpr int kCtaColumns = 64;
constexpr int kStages = 2;
constexpr int kTokenTiles = kChunk / 8;
constexpr int kBlocks = kChunk / 16;

// Named barriers: a stage is full, is empty (one for each), and the preparing team's own.
constexpr int kFull = 1;
constexpr int kEmpty = kFull + kStages;
constexpr int kPreparing = kEmpty + kStages;

/// 64 rows of halves; 16-byte pieces are swizzled so that 8 rows lie in different banks.
template <int kColumns>
struct Tile {
  static constexpr uint32_t kRowBytes = kColumns * 2;
  static constexpr uint32_t kBytes = kChunk * kRowBytes;
  __device__ static uint32_t offset(int row, int piece) {
    return static_cast<uint32_t>(row) * kRowBytes + static_cast<uint32_t>(piece ^ (row & 7)) * 16;
  }
};
using Square = Tile<kChunk>;

/// One prepared chunk, bytes from the stage's beginning.
template <int K_DIM>
struct Stage {
  static constexpr uint32_t kKeys = 0;
  static constexpr uint32_t kQueries = kKeys + Tile<K_DIM>::kBytes;
  static constexpr uint32_t kA = kQueries + Tile<K_DIM>::kBytes;  // -A; (I + A)^-1 - I in blocks
  static constexpr uint32_t kP = kA + Square::kBytes;
  // Floats of each token: G in powers of 2, exp(G), exp(G_end - G), beta.
  static constexpr uint32_t kSum = kP + Square::kBytes;
  static constexpr uint32_t kThrough = kSum + kChunk * 4;
  static constexpr uint32_t kRest = kThrough + kChunk * 4;
  static constexpr uint32_t kStrength = kRest + kChunk * 4;
  static constexpr uint32_t kBytes = kStrength + kChunk * 4;
  static_assert(kBytes % 1024 == 0);
};

/// The chunks of a sequence, which end at its saves.
class Chunks {
 public:
  __device__ Chunks(const Arguments& args, const Sequence& sequence, const SequenceState& own)
      : saves_(args.saves + own.save_begin), n_saves_(own.n_saves), n_rows_(sequence.n_rows) {
    measure();
  }
  __device__ bool done() const { return begin_ >= n_rows_; }
  __device__ int begin() const { return begin_; }
  __device__ int count() const { return count_; }
  /// Goes on to the next chunk; calls leave(checkpoint) for each save between.
  template <class Leave>
  __device__ void advance(const Leave& leave) {
    begin_ += count_;
    while (save_ < n_saves_ && saves_[save_].after <= begin_) leave(saves_[save_++].checkpoint);
    measure();
  }
  __device__ void advance() {
    advance([](int) {});
  }

 private:
  __device__ void measure() {
    const int end = save_ < n_saves_ ? min(n_rows_, max(saves_[save_].after, begin_ + 1)) : n_rows_;
    count_ = min(kChunk, end - begin_);
  }
  const StateSaveAt* saves_;
  int n_saves_;
  int n_rows_;
  int save_ = 0;
  int begin_ = 0;
  int count_ = 0;
};

__device__ __forceinline__ float2 pair_at(const char* stage, uint32_t array, int token) {
  return *reinterpret_cast<const float2*>(stage + array + token * 4);
}

/// Where the float32 diagonal block of A waits for its inversion: in blocks above the diagonal of A
/// and P, which nothing else uses; blocks that one warp inverts lie in different banks.
__device__ __forceinline__ uint32_t waiting_place(uint32_t stage_a, uint32_t stage_p, int block,
                                                  int row, int piece) {
  const int first_piece = block % 2 == 0 ? 2 : 4;
  return (block < 2 ? stage_a : stage_p) +
         Square::offset(block % 2 * 16 + row, first_piece + piece);
}

/// The team that prepares chunks: 4 warps, two for A and two for P.
template <int K_DIM>
class Preparer {
 public:
  using S = Stage<K_DIM>;
  using T = Tile<K_DIM>;
  static constexpr int kQuads = K_DIM / 4;               // of a row
  static constexpr int kMine = kChunk * kQuads / kTeam;  // of q and of k in one thread

  __device__ Preparer(const Arguments& args, const Sequence& sequence, int head, int thread)
      : args_(args), row_begin_(sequence.row_begin), head_(head), thread_(thread) {}

  /// Starts reading a chunk.
  __device__ __forceinline__ void fetch(const Chunks& chunk) {
    const DeltaShape& shape = args_.shape;
    const int64_t channels = shape.channels();
    const int64_t row = row_begin_ + chunk.begin();
    const float* from = args_.u + row * channels + int64_t{shape.key_head(head_)} * K_DIM;
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int index = thread_ + i * kTeam;
      const int token = index / kQuads;
      const float* quad = from + token * channels + index % kQuads * 4;
      const bool wanted = token < chunk.count();
      const float4 zero = make_float4(0, 0, 0, 0);
      q_[i] = wanted ? *reinterpret_cast<const float4*>(quad) : zero;
      k_[i] = wanted ? *reinterpret_cast<const float4*>(quad + shape.keys()) : zero;
    }
    if (thread_ >= 32) return;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int token = 2 * thread_ + e;
      wanted_[e] = token < chunk.count();
      const int64_t gate = (row + token) * args_.gate_stride + head_;
      alpha_[e] = wanted_[e] ? args_.alpha[gate] : 0.0F;
      beta_[e] = wanted_[e] ? args_.beta[gate] : 0.0F;
    }
  }

  /// Puts what was fetched into the stage.
  __device__ __forceinline__ void unload(char* stage) {
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int index = thread_ + i * kTeam;
      const int token = index / kQuads;
      const int quad = index % kQuads;
      const uint32_t at = T::offset(token, quad / 2) + static_cast<uint32_t>(quad % 2) * 8;
      *reinterpret_cast<uint2*>(stage + S::kKeys + at) = halves(k_[i]);
      *reinterpret_cast<uint2*>(stage + S::kQueries + at) = halves(q_[i]);
    }
    if (thread_ < 32) unload_gates(stage);
  }

  /// A, P and the inverses, from the stage's q, k and gates.
  __device__ __forceinline__ void prepare(char* stage) {
    const int warp = thread_ / 32;
    const bool is_p = warp % 2 != 0;
    if (warp < 2) {
      rows_of_blocks<3>(stage, is_p);
      rows_of_blocks<0>(stage, is_p);
    } else {
      rows_of_blocks<2>(stage, is_p);
      rows_of_blocks<1>(stage, is_p);
    }
    if (is_p) return;
    __syncwarp();
    invert(stage, warp == 0 ? 3 : 2, warp == 0 ? 0 : 1);
  }

 private:
  __device__ static uint2 halves(const float4& x) {
    return make_uint2(pack_halves(x.x, x.y), pack_halves(x.z, x.w));
  }

  __device__ __forceinline__ void unload_gates(char* stage) {
    // A decay beyond 2^-58 leaves nothing that float32 would notice, and keeps sums precise.
    constexpr float kLeast = -58.0F;
    float log2_gate[2];
    float strength[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float x = alpha_[e] + args_.dt_bias[head_];
      const float softplus = fmaxf(x, 0.0F) + log1pf(expf(-fabsf(x)));
      const float g = args_.decay[head_] * softplus * kLog2E;
      log2_gate[e] = !wanted_[e] ? 0.0F : g < kLeast ? kLeast : g;
      strength[e] = wanted_[e] ? 1.0F / (1.0F + expf(-beta_[e])) : 0.0F;
    }
    float sum = log2_gate[0] + log2_gate[1];
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const float below = __shfl_up_sync(~0U, sum, step);
      if (thread_ >= step) sum += below;
    }
    const float end = __shfl_sync(~0U, sum, 31);
    float before = __shfl_up_sync(~0U, sum, 1);
    if (thread_ == 0) before = 0;
    const float sums[2] = {before + log2_gate[0], before + log2_gate[0] + log2_gate[1]};
    const auto put = [&](uint32_t array, float first, float second) {
      *reinterpret_cast<float2*>(stage + array + thread_ * 8) = make_float2(first, second);
    };
    put(S::kSum, sums[0], sums[1]);
    put(S::kThrough, exp2f(sums[0]), exp2f(sums[1]));
    put(S::kRest, exp2f(fminf(end - sums[0], 0.0F)), exp2f(fminf(end - sums[1], 0.0F)));
    put(S::kStrength, strength[0], strength[1]);
  }

  /// Row kRow of 16 x 16 blocks of A or P, up to the diagonal.
  template <int kRow>
  __device__ __forceinline__ void rows_of_blocks(char* stage, bool is_p) {
    const int lane = thread_ % 32;
    const uint32_t base = shared_address(stage);
    const int row_of_a = 16 * kRow + (lane & 15);
    const int row_of_b = (lane & 7) + ((lane >> 4) << 3);
    float sums[2 * (kRow + 1)][4] = {};
#pragma unroll
    for (int step = 0; step < K_DIM / 16; ++step) {
      uint32_t a[4];
      load_matrices(
          a, base + (is_p ? S::kQueries : S::kKeys) + T::offset(row_of_a, 2 * step + (lane >> 4)));
#pragma unroll
      for (int block = 0; block <= kRow; ++block) {
        uint32_t b[4];
        load_matrices(
            b, base + S::kKeys + T::offset(16 * block + row_of_b, 2 * step + ((lane >> 3) & 1)));
        multiply_add(sums[2 * block], a, b[0], b[1]);
        multiply_add(sums[2 * block + 1], a, b[2], b[3]);
      }
    }
    const auto* sum = reinterpret_cast<const float*>(stage + S::kSum);
    const auto* strength = reinterpret_cast<const float*>(stage + S::kStrength);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = lane / 4 + 8 * h;
      const int i = 16 * kRow + row;
      const float own = sum[i];
      const float factor = is_p ? 1.0F : strength[i];
#pragma unroll
      for (int tile = 0; tile < 2 * (kRow + 1); ++tile) {
        const int j = 8 * tile + lane % 4 * 2;
        const float2 other = pair_at(stage, S::kSum, j);
        float x = sums[tile][2 * h] * factor * exp2_fast(own - other.x);
        float y = sums[tile][2 * h + 1] * factor * exp2_fast(own - other.y);
        if (tile / 2 == kRow) {
          x = j < i || (is_p && j == i) ? x : 0.0F;
          y = j + 1 < i || (is_p && j + 1 == i) ? y : 0.0F;
        }
        if (is_p) {
          put_pair(stage + S::kP, i, j, x, y);
        } else if (tile / 2 < kRow) {
          put_pair(stage + S::kA, i, j, -x, -y);
        } else {
          const uint32_t at = waiting_place(S::kA, S::kP, kRow, row, (j % 16) / 4);
          *reinterpret_cast<float2*>(stage + at + j % 4 * 4) = make_float2(x, y);
        }
      }
    }
  }

  __device__ static void put_pair(char* square, int row, int column, float x, float y) {
    *reinterpret_cast<uint32_t*>(square + Square::offset(row, column / 8) +
                                 static_cast<uint32_t>(column % 8) * 2) = pack_halves(x, y);
  }

  /// Inverts I + A's diagonal blocks, 16 lanes for each: a lane has a column of the inverse.
  __device__ __forceinline__ void invert(char* stage, int first, int second) {
    const int lane = thread_ % 32;
    const int block = lane < 16 ? first : second;
    const int column = lane % 16;
    float t[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      t[i] = i == column ? 1.0F : 0.0F;
#pragma unroll
      for (int piece = 0; piece < (i + 3) / 4; ++piece) {
        const float4 a =
            *reinterpret_cast<const float4*>(stage + waiting_place(S::kA, S::kP, block, i, piece));
        t[i] -= a.x * t[4 * piece];
        if (4 * piece + 1 < i) t[i] -= a.y * t[4 * piece + 1];
        if (4 * piece + 2 < i) t[i] -= a.z * t[4 * piece + 2];
        if (4 * piece + 3 < i) t[i] -= a.w * t[4 * piece + 3];
      }
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const uint32_t at = Square::offset(16 * block + i, 2 * block + column / 8) +
                          static_cast<uint32_t>(column % 8) * 2;
      *reinterpret_cast<__half*>(stage + S::kA + at) = __float2half_rn(i == column ? 0.0F : t[i]);
    }
  }

  const Arguments& args_;
  int row_begin_;
  int head_;
  int thread_;
  float4 q_[kMine];
  float4 k_[kMine];
  float alpha_[2] = {};  // of tokens 2 thread_ and the next, in the first warp
  float beta_[2] = {};
  bool wanted_[2] = {};
};

/// A warp that goes through the chunks with 16 columns of the state.
template <int K_DIM>
class Walker {
 public:
  using S = Stage<K_DIM>;
  using T = Tile<K_DIM>;
  static constexpr int kStateTiles = K_DIM / 8;

  /// column: of the warp's first within the head.
  __device__ Walker(const Arguments& args, const Sequence& sequence, int head, int column, int lane)
      : args_(args), row_begin_(sequence.row_begin), head_(head), lane_(lane) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int own = column + lane / 4 + 8 * h;
      live_[h] = own < args.shape.v_dim;
      column_[h] = live_[h] ? own : 0;
    }
  }

  __device__ __forceinline__ void load_state(const float* state) {
    const float* from = state + state_at();
#pragma unroll
    for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        s_[tile][c] = live_[c / 2]
                          ? from[int64_t{8 * tile + c % 2} * args_.shape.v_dim + column_[c / 2]]
                          : 0.0F;
      }
    }
  }
  __device__ __forceinline__ void store_state(float* state) const {
    float* to = state + state_at();
#pragma unroll
    for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (live_[c / 2]) {
          to[int64_t{8 * tile + c % 2} * args_.shape.v_dim + column_[c / 2]] =
              s_[tile][c] * unscale_;
        }
      }
    }
  }

  /// Starts reading a chunk's values.
  __device__ __forceinline__ void fetch(const Chunks& chunk) {
    const DeltaShape& shape = args_.shape;
    const int64_t channels = shape.channels();
    const float* from = args_.u + (row_begin_ + chunk.begin()) * channels + 2 * shape.keys() +
                        int64_t{head_} * shape.v_dim;
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int token = token_of(tile) + c % 2;
        v_[tile][c] =
            token < chunk.count() && live_[c / 2] ? from[token * channels + column_[c / 2]] : 0.0F;
      }
    }
  }

  /// Everything that a chunk's values are needed for: leaves D's right side in d_, Q S in o_.
  __device__ __forceinline__ void begin_chunk(const char* stage) {
    fit_range();
    const uint32_t base = shared_address(stage);
    const int row = (lane_ & 7) + ((lane_ >> 4) << 3);
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) d_[tile][c] = o_[tile][c] = 0;
    }
#pragma unroll
    for (int step = 0; step < K_DIM / 16; ++step) {
      uint32_t a[4];
      pack_operand(a, s_[2 * step], s_[2 * step + 1]);
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        const uint32_t at = T::offset(16 * block + row, 2 * step + ((lane_ >> 3) & 1));
        uint32_t k[4];
        uint32_t q[4];
        load_matrices(k, base + S::kKeys + at);
        load_matrices(q, base + S::kQueries + at);
        multiply_add(d_[2 * block], a, k[0], k[1]);
        multiply_add(d_[2 * block + 1], a, k[2], k[3]);
        multiply_add(o_[2 * block], a, q[0], q[1]);
        multiply_add(o_[2 * block + 1], a, q[2], q[3]);
      }
    }
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
      const float2 through = pair_at(stage, S::kThrough, token_of(tile));
      const float2 strength = pair_at(stage, S::kStrength, token_of(tile));
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float* d = d_[tile] + 2 * h;
        float* o = o_[tile] + 2 * h;
        d[0] = strength.x * (v_[tile][2 * h] * scale_ - through.x * d[0]);
        d[1] = strength.y * (v_[tile][2 * h + 1] * scale_ - through.y * d[1]);
        o[0] *= through.x;
        o[1] *= through.y;
      }
    }
  }

  /// D, and what it adds to the outputs and to the state.
  __device__ __forceinline__ void finish_chunk(const char* stage, const Chunks& chunk) {
    const uint32_t base = shared_address(stage);
    const int row = (lane_ & 7) + ((lane_ >> 4) << 3);
    uint32_t d[kBlocks][4];  // D, and D as the end of the chunk sees it
    uint32_t rest[kBlocks][4];
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      float(&left)[4] = d_[2 * block];
      float(&right)[4] = d_[2 * block + 1];
      uint32_t b[4];
#pragma unroll
      for (int before = 0; before <= block; ++before) {
        if (before == block) pack_operand(d[block], left, right);
        load_matrices(
            b, base + S::kA + Square::offset(16 * block + row, 2 * before + ((lane_ >> 3) & 1)));
        multiply_add(left, d[before], b[0], b[1]);
        multiply_add(right, d[before], b[2], b[3]);
      }
      pack_operand(d[block], left, right);
      scale_columns(left, pair_at(stage, S::kRest, token_of(2 * block)));
      scale_columns(right, pair_at(stage, S::kRest, token_of(2 * block + 1)));
      pack_operand(rest[block], left, right);
    }
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
      for (int before = 0; before <= block; ++before) {
        uint32_t b[4];
        load_matrices(
            b, base + S::kP + Square::offset(16 * block + row, 2 * before + ((lane_ >> 3) & 1)));
        multiply_add(o_[2 * block], d[before], b[0], b[1]);
        multiply_add(o_[2 * block + 1], d[before], b[2], b[3]);
      }
    }
    store_out(chunk);

    const float through_all = pair_at(stage, S::kThrough, kChunk - 2).y;
#pragma unroll
    for (int step = 0; step < K_DIM / 16; ++step) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        s_[2 * step][c] *= through_all;
        s_[2 * step + 1][c] *= through_all;
      }
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        uint32_t b[4];
        load_matrices_transposed(
            b, base + S::kKeys + T::offset(16 * block + (lane_ & 15), 2 * step + (lane_ >> 4)));
        multiply_add(s_[2 * step], rest[block], b[0], b[1]);
        multiply_add(s_[2 * step + 1], rest[block], b[2], b[3]);
      }
    }
  }

 private:
  __device__ int64_t state_at() const {
    return (int64_t{head_} * K_DIM + lane_ % 4 * 2) * args_.shape.v_dim;
  }
  /// The first of this lane's two tokens of 8.
  __device__ int token_of(int tile) const { return 8 * tile + lane_ % 4 * 2; }

  __device__ static void scale_columns(float (&x)[4], const float2& by) {
    x[0] *= by.x;
    x[1] *= by.y;
    x[2] *= by.x;
    x[3] *= by.y;
  }

  /// Brings the largest of S and V to 1 .. 2 by a power of two: K S is then at most 2 sqrt(K_DIM),
  /// its sum with V 25, and D at most 64 times as large, which halves hold. The power depends on
  /// nothing else, so that a state saved between chunks goes on with the same bits.
  __device__ __forceinline__ void fit_range() {
    float most_v = 0;
    float most = 0;
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) most_v = fmaxf(most_v, fabsf(v_[tile][c]));
    }
#pragma unroll
    for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) most = fmaxf(most, fabsf(s_[tile][c]));
    }
    most = fmaxf(most, most_v * scale_);
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      most = fmaxf(most, __shfl_xor_sync(~0U, most, step));
    }
    if ((most >= 1.0F && most < 2.0F) || most == 0.0F || isinf(most)) return;
    constexpr int kLargest = 100;  // of the scale's exponent
    const int old = ilogbf(scale_);
    const int exponent = max(-kLargest, min(kLargest, old - ilogbf(most)));
    const float by = ldexpf(1.0F, exponent - old);
    scale_ = ldexpf(1.0F, exponent);
    unscale_ = ldexpf(1.0F, -exponent);
#pragma unroll
    for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) s_[tile][c] *= by;
    }
  }

  __device__ __forceinline__ void store_out(const Chunks& chunk) const {
    const int64_t values = args_.shape.values();
    float* to =
        args_.out + (row_begin_ + chunk.begin()) * values + int64_t{head_} * args_.shape.v_dim;
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int token = token_of(tile) + c % 2;
        if (token < chunk.count() && live_[c / 2]) {
          to[token * values + column_[c / 2]] = o_[tile][c] * unscale_;
        }
      }
    }
  }

  const Arguments& args_;
  int row_begin_;
  int head_;
  int lane_;
  bool live_[2];
  int column_[2];
  float scale_ = 1;  // of s_, d_ and o_; a power of two
  float unscale_ = 1;
  float s_[kStateTiles][4];  // S^T: (16 columns, K_DIM)
  float v_[kTokenTiles][4];  // of the chunk to come; (16 columns, tokens), like the next
  float d_[kTokenTiles][4];
  float o_[kTokenTiles][4];
};

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
    preparer.fetch(chunk);
    for (int index = 0; !chunk.done(); ++index) {
      if (index >= kStages) named_barrier_sync<kThreads>(kEmpty + index % kStages);
      preparer.unload(stage_of(index));
      named_barrier_sync<kTeam>(kPreparing);
      chunk.advance();
      if (!chunk.done()) preparer.fetch(chunk);
      preparer.prepare(stage_of(index));
      named_barrier_arrive<kThreads>(kFull + index % kStages);
    }
    return;
  }

  Walker<K_DIM> walker(args, sequence, head,
                       static_cast<int>(blockIdx.x) * kCtaColumns + thread / 32 * 16, thread % 32);
  float* state = args.state.slots + own.slot * args.state.stride;
  walker.load_state(state);
  Chunks chunk(args, sequence, own);
  Chunks next = chunk;
  walker.fetch(chunk);
  int n_chunks = 0;
  for (Chunks every = chunk; !every.done(); every.advance()) ++n_chunks;
  for (int index = 0; index < n_chunks; ++index) {
    named_barrier_sync<kThreads>(kFull + index % kStages);
    walker.begin_chunk(stage_of(index));
    next.advance();
    if (!next.done()) walker.fetch(next);
    walker.finish_chunk(stage_of(index), chunk);
    // The preparers wait only for stages that they fill again.
    if (index + kStages < n_chunks) named_barrier_arrive<kThreads>(kEmpty + index % kStages);
    chunk.advance([&](int checkpoint) {
      walker.store_state(args.state.checkpoints + checkpoint * args.state.stride);
    });
  }
  walker.store_state(state);
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

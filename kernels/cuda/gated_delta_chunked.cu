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
// at least 64 x 1.5 us = 100 us so; u and out are 268 MB, 90 us at 3 TB/s. What it takes beyond that
// is latency: two warps to a scheduler, each with long chains of dependent products.
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
  /// From the address of piece 0 or 1 of a row to that of the piece 2 step further: stages begin at
  /// multiples of 1024 bytes, so that the swizzle is an exclusive or. Rows 8 apart differ by a
  /// constant.
  __device__ static uint32_t step(uint32_t address, int step) {
    return address ^ static_cast<uint32_t>(step) * 32;
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
      : saves_(args.saves),
        n_rows_(sequence.n_rows),
        save_(own.save_begin),
        save_end_(own.save_begin + own.n_saves) {
    find_stop();
  }
  __device__ bool done() const { return begin_ >= n_rows_; }
  __device__ int begin() const { return begin_; }
  __device__ int count() const { return min(kChunk, stop_ - begin_); }
  /// The first save that is not at an earlier row than this chunk's last.
  __device__ int save() const { return save_; }
  __device__ void advance() {
    begin_ += count();
    if (begin_ < stop_) return;
    while (save_ < save_end_ && saves_[save_].after <= begin_) ++save_;
    find_stop();
  }

 private:
  __device__ void find_stop() {
    stop_ = save_ < save_end_ ? max(begin_ + 1, min(n_rows_, saves_[save_].after)) : n_rows_;
  }
  const StateSaveAt* saves_;
  int n_rows_;
  int save_;
  int save_end_;
  int begin_ = 0;
  int stop_ = 0;  // the next save, or the end
};

__device__ __forceinline__ float2 pair_at(const char* stage, uint32_t array, int token) {
  return *reinterpret_cast<const float2*>(stage + array + token * 4);
}

/// Where the float32 diagonal block of A waits for its inversion, in bytes from A's beginning: in
/// two of the blocks above the diagonals of A and P, which nothing else uses. A row is pieces 4 to
/// 7 of a row of the squares.
__device__ __forceinline__ uint32_t waiting_place(int block) {
  return (block < 2 ? 0 : Square::kBytes) +
         static_cast<uint32_t>(block % 2) * 16 * Square::kRowBytes;
}

/// The team that prepares chunks: 4 warps, two for A and two for P. Rows behind a chunk's end
/// repeat its last; with strength 0 they change nothing.
template <int K_DIM>
class Preparer {
 public:
  using S = Stage<K_DIM>;
  using T = Tile<K_DIM>;
  static constexpr int kQuads = K_DIM / 4;               // of a row
  static constexpr int kMine = kChunk * kQuads / kTeam;  // of q and of k in one thread
  static constexpr int kApart = kTeam / kQuads;          // tokens between them
  static constexpr int kSteps = K_DIM / 16;              // of a product
  static constexpr int kGateWarp = 1;                    // which has no inverses to make

  __device__ Preparer(const Arguments& args, const Sequence& sequence, int head, int thread)
      : args_(args),
        row_begin_(sequence.row_begin),
        head_(head),
        keys_at_(args.shape.key_head(head) * K_DIM),
        thread_(thread) {}

  /// Starts reading a chunk, but for the later half of q: multiply() needs the registers.
  __device__ __forceinline__ void fetch(const Chunks& chunk) {
    fetch_rows<0, kMine / 2>(chunk, q_, args_.u);
    fetch_rows<0, kMine>(chunk, k_, args_.u + args_.shape.keys());
    if (thread_ / 32 != kGateWarp) return;
    const int last = chunk.count() - 1;
    const int64_t row = row_begin_ + chunk.begin();
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int token = thread_ % 32 * 2 + e;
      wanted_[e] = token <= last;
      const int64_t at = (row + min(token, last)) * args_.gate_stride + head_;
      alpha_[e] = args_.alpha[at];
      beta_[e] = args_.beta[at];
    }
  }
  __device__ __forceinline__ void fetch_rest(const Chunks& chunk) {
    fetch_rows<kMine / 2, kMine>(chunk, q_, args_.u);
  }
  /// The gates of what was fetched.
  __device__ __forceinline__ void gate() {
    if (thread_ / 32 != kGateWarp) return;
    // A decay beyond 2^-58 leaves nothing that float32 would notice, and keeps sums precise.
    constexpr float kLeast = -58.0F;
    const float decay = args_.decay[head_] * kLog2E;
    const float dt_bias = args_.dt_bias[head_];
    float log2_gate[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float x = alpha_[e] + dt_bias;
      const float g = decay * (fmaxf(x, 0.0F) + log1pf(expf(-fabsf(x))));
      log2_gate[e] = !wanted_[e] ? 0.0F : g < kLeast ? kLeast : g;
      strength_[e] = wanted_[e] ? 1.0F / (1.0F + expf(-beta_[e])) : 0.0F;
    }
    const int lane = thread_ % 32;
    float sum = log2_gate[0] + log2_gate[1];
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const float below = __shfl_up_sync(~0U, sum, step);
      if (lane >= step) sum += below;
    }
    const float end = __shfl_sync(~0U, sum, 31);
    const float before = __shfl_up_sync(~0U, sum, 1);
    sum_[0] = (lane == 0 ? 0.0F : before) + log2_gate[0];
    sum_[1] = sum_[0] + log2_gate[1];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      through_[e] = exp2f(sum_[e]);
      rest_[e] = exp2f(fminf(end - sum_[e], 0.0F));
    }
  }

  /// Puts what was fetched into the stage.
  __device__ __forceinline__ void unload(char* stage) {
    const int quad = thread_ % kQuads;
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const uint32_t at =
          T::offset(thread_ / kQuads + i * kApart, quad / 2) + static_cast<uint32_t>(quad % 2) * 8;
      *reinterpret_cast<uint2*>(stage + S::kKeys + at) = halves(k_[i]);
      *reinterpret_cast<uint2*>(stage + S::kQueries + at) = halves(q_[i]);
    }
    if (thread_ / 32 != kGateWarp) return;
    const auto put = [&](uint32_t array, const float(&pair)[2]) {
      *reinterpret_cast<float2*>(stage + array + thread_ % 32 * 8) = make_float2(pair[0], pair[1]);
    };
    put(S::kSum, sum_);
    put(S::kThrough, through_);
    put(S::kRest, rest_);
    put(S::kStrength, strength_);
  }

  /// A and P, from the stage's q, k and gates. Warps 0 and 1 have rows 3 and 0 of
  /// blocks, warps 2 and 3 rows 2 and 1; the first of them of A, the second of P. Loops, as code
  /// that does not stay in the instruction cache is what it would wait for.
  __device__ __forceinline__ void multiply(char* stage) {
    const int warp = thread_ / 32;
    const bool is_p = warp % 2 != 0;
    const int long_row = warp < 2 ? 3 : 2;
#pragma unroll 1
    for (int i = 0; i < 2; ++i) row_of_blocks(stage, is_p, i == 0 ? long_row : 3 - long_row);
  }
  /// After multiply(), which left its blocks: the warps of A invert those on the diagonal.
  __device__ __forceinline__ void invert(char* stage) {
    const int warp = thread_ / 32;
    if (warp % 2 != 0) return;
    __syncwarp();
    invert(stage, warp == 0 ? 3 : 2, warp == 0 ? 0 : 1);
  }

 private:
  template <int kBegin, int kEnd>
  __device__ __forceinline__ void fetch_rows(const Chunks& chunk, float4 (&to)[kMine],
                                             const float* from) const {
    const int last = chunk.count() - 1;
    const auto channels = static_cast<int>(args_.shape.channels());
    from += (int64_t{row_begin_} + chunk.begin()) * channels + keys_at_;
#pragma unroll
    for (int i = kBegin; i < kEnd; ++i) {
      const int token = min(thread_ / kQuads + i * kApart, last);
      to[i] = *reinterpret_cast<const float4*>(from + token * channels + thread_ % kQuads * 4);
    }
  }

  __device__ static uint2 halves(const float4& x) {
    return make_uint2(pack_halves(x.x, x.y), pack_halves(x.z, x.w));
  }

  /// A row of blocks of 16 x 16 of A or P, up to the diagonal.
  __device__ __forceinline__ void row_of_blocks(char* stage, bool is_p, int row) {
    const int lane = thread_ % 32;
    const uint32_t base = shared_address(stage);
    const uint32_t a_from = base + (is_p ? S::kQueries : S::kKeys) +
                            T::offset(lane & 15, lane >> 4) + 16 * row * T::kRowBytes;
    const uint32_t b_from =
        base + S::kKeys + T::offset((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
    uint32_t a[kSteps][4];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) load_matrices(a[step], T::step(a_from, step));
#pragma unroll 1
    for (int column = 0; column <= row; ++column) {
      float sums[2][2][4] = {};  // two chains for each half of the columns
      uint32_t b[kSteps][4];
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        load_matrices(b[step], T::step(b_from, step) + 16 * column * T::kRowBytes);
      }
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        multiply_add(sums[step % 2][0], a[step], b[step][0], b[step][1]);
        multiply_add(sums[step % 2][1], a[step], b[step][2], b[step][3]);
      }
      finish_block(stage, is_p, row, column, sums);
    }
  }

  /// Puts a block of products of k or q with k where it belongs.
  __device__ __forceinline__ void finish_block(char* stage, bool is_p, int block_row,
                                               int block_column, const float (&sums)[2][2][4]) {
    const int lane = thread_ % 32;
    const auto* sum = reinterpret_cast<const float*>(stage + S::kSum);
    const auto* strength = reinterpret_cast<const float*>(stage + S::kStrength);
    const bool diagonal = block_row == block_column;
    char* const square = stage + (is_p ? S::kP : S::kA);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = lane / 4 + 8 * h;
      const int i = 16 * block_row + row;
      const float own = sum[i];
      const float factor = is_p ? 1.0F : -strength[i];
      // Columns from here on are 0: in blocks below the diagonal there are none.
      const int end = diagonal ? row + (is_p ? 1 : 0) : 16;
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
        const int column = 8 * tile + lane % 4 * 2;
        const int j = 16 * block_column + column;
        const float2 other = pair_at(stage, S::kSum, j);
        float x = sums[0][tile][2 * h] + sums[1][tile][2 * h];
        float y = sums[0][tile][2 * h + 1] + sums[1][tile][2 * h + 1];
        x = column < end ? x * factor * exp2_fast(own - other.x) : 0.0F;
        y = column + 1 < end ? y * factor * exp2_fast(own - other.y) : 0.0F;
        if (diagonal && !is_p) {
          const uint32_t at = waiting_place(block_row) + Square::offset(row, 4 + column / 4);
          *reinterpret_cast<float2*>(square + at + column % 4 * 4) = make_float2(x, y);
        } else {
          put_pair(square, i, j, x, y);
        }
      }
    }
  }

  __device__ static void put_pair(char* square, int row, int column, float x, float y) {
    *reinterpret_cast<uint32_t*>(square + Square::offset(row, column / 8) +
                                 static_cast<uint32_t>(column % 8) * 2) = pack_halves(x, y);
  }

  /// Inverts I + A's diagonal blocks, 16 lanes for each: a lane has a column of the inverse. What
  /// waits for it is -A.
  __device__ __forceinline__ void invert(char* stage, int first, int second) {
    const int lane = thread_ % 32;
    const int block = lane < 16 ? first : second;
    const int column = lane % 16;
    const char* const waiting = stage + S::kA + waiting_place(block);
    float t[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      t[i] = i == column ? 1.0F : 0.0F;
#pragma unroll
      for (int piece = 0; piece < (i + 3) / 4; ++piece) {
        const float4 a = *reinterpret_cast<const float4*>(waiting + Square::offset(i, 4 + piece));
        t[i] += a.x * t[4 * piece];
        if (4 * piece + 1 < i) t[i] += a.y * t[4 * piece + 1];
        if (4 * piece + 2 < i) t[i] += a.z * t[4 * piece + 2];
        if (4 * piece + 3 < i) t[i] += a.w * t[4 * piece + 3];
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
  int keys_at_;  // in a row of q or k
  int thread_;
  float4 q_[kMine];
  float4 k_[kMine];
  // Of this lane's two tokens, in the warp of the gates:
  float alpha_[2];
  float beta_[2];
  bool wanted_[2];
  float sum_[2];
  float through_[2];
  float rest_[2];
  float strength_[2];
};

/// A warp that goes through the chunks with 16 columns of the state.
template <int K_DIM>
class Walker {
 public:
  using S = Stage<K_DIM>;
  using T = Tile<K_DIM>;
  static constexpr int kStateTiles = K_DIM / 8;

  /// column: of the warp's first within the head; beyond v_dim, the warp repeats the last 16.
  __device__ Walker(const Arguments& args, const Sequence& sequence, int head, int column, int lane)
      : lane_(lane),
        v_dim_(args.shape.v_dim),
        channels_(static_cast<int>(args.shape.channels())),
        values_(static_cast<int>(args.shape.values())),
        live_(column < v_dim_) {
    const int64_t row = sequence.row_begin;
    const int own = min(column, v_dim_ - 16) + lane / 4;
    const int64_t in_row = int64_t{head} * v_dim_ + own;
    state_at_ = (int64_t{head} * K_DIM + lane % 4 * 2) * v_dim_ + own;
    v_from_ = args.u + row * channels_ + 2 * args.shape.keys() + in_row;
    out_ = args.out + row * values_ + in_row;
  }

  __device__ __forceinline__ void load_state(const float* state) {
#pragma unroll
    for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float* from = state + state_at_ + (8 * tile + e) * v_dim_;
        s_[tile][e] = from[0];
        s_[tile][e + 2] = from[8];
      }
    }
  }
  __device__ __forceinline__ void store_state(float* state) const {
    if (!live_) return;
#pragma unroll
    for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float* to = state + state_at_ + (8 * tile + e) * v_dim_;
        to[0] = s_[tile][e] * unscale_;
        to[8] = s_[tile][e + 2] * unscale_;
      }
    }
  }

  /// Starts reading a chunk's values.
  __device__ __forceinline__ void fetch(const Chunks& chunk) {
    const int last = chunk.count() - 1;
    const float* values = v_from_ + int64_t{chunk.begin()} * channels_;
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float* from = values + min(token_of(tile) + e, last) * channels_;
        v_[tile][e] = from[0];
        v_[tile][e + 2] = from[8];
      }
    }
  }

  /// Everything that a chunk's values are needed for: leaves D's right side in d_, Q S in o_.
  __device__ __forceinline__ void begin_chunk(const char* stage) {
    fit_range();
    const uint32_t from = shared_address(stage) + T::offset(row_of_operand(), (lane_ >> 3) & 1);
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
        const uint32_t at = T::step(from, step) + 16 * block * T::kRowBytes;
        uint32_t k[4];
        uint32_t q[4];
        load_matrices(k, at + S::kKeys);
        load_matrices(q, at + S::kQueries);
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
  __device__ __forceinline__ void finish_chunk(const char* stage, int begin, int count) {
    const uint32_t base = shared_address(stage);
    const uint32_t square = base + Square::offset(row_of_operand(), (lane_ >> 3) & 1);
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
        load_matrices(b, Square::step(square, before) + S::kA + 16 * block * Square::kRowBytes);
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
        load_matrices(b, Square::step(square, before) + S::kP + 16 * block * Square::kRowBytes);
        multiply_add(o_[2 * block], d[before], b[0], b[1]);
        multiply_add(o_[2 * block + 1], d[before], b[2], b[3]);
      }
    }
    store_out(begin, count);

    const uint32_t keys = base + S::kKeys + T::offset(lane_ & 15, lane_ >> 4);
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
        load_matrices_transposed(b, T::step(keys, step) + 16 * block * T::kRowBytes);
        multiply_add(s_[2 * step], rest[block], b[0], b[1]);
        multiply_add(s_[2 * step + 1], rest[block], b[2], b[3]);
      }
    }
  }

 private:
  /// Of the second operand of a product: the row of 16 whose address this lane gives.
  __device__ int row_of_operand() const { return (lane_ & 7) + ((lane_ >> 4) << 3); }
  /// exponent: -126 .. 127.
  __device__ static float power_of_2(int exponent) {
    return __uint_as_float(static_cast<uint32_t>(exponent + 127) << 23);
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
    float of_v[4] = {};  // four chains, as each step waits for the one before
    float of_s[4] = {};
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) of_v[c] = fmaxf(of_v[c], fabsf(v_[tile][c]));
    }
#pragma unroll
    for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) of_s[c] = fmaxf(of_s[c], fabsf(s_[tile][c]));
    }
    const float most = fmaxf(fmaxf(fmaxf(of_s[0], of_s[1]), fmaxf(of_s[2], of_s[3])),
                             fmaxf(fmaxf(of_v[0], of_v[1]), fmaxf(of_v[2], of_v[3])) * scale_);
    const uint32_t bits = __reduce_max_sync(~0U, __float_as_uint(most));  // not negative
    const int own = static_cast<int>(bits >> 23) - 127;                   // 2^own <= most
    if (own == 0 || bits == 0 || own == 128) return;
    constexpr int kLargest = 100;  // of the scale's exponent
    const int by_exponent =
        max(-126, min(126, max(-kLargest, min(kLargest, exponent_ - own)) - exponent_));
    const float by = power_of_2(by_exponent);
    exponent_ += by_exponent;
    scale_ = power_of_2(exponent_);
    unscale_ = power_of_2(-exponent_);
#pragma unroll
    for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
      for (int c = 0; c < 4; ++c) s_[tile][c] *= by;
    }
  }

  __device__ __forceinline__ void store_out(int begin, int count) const {
    float* outs = out_ + int64_t{begin} * values_;
    const int end = live_ ? count : 0;
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float* to = outs + (token_of(tile) + e) * values_;
        if (token_of(tile) + e < end) {
          to[0] = o_[tile][e] * unscale_;
          to[8] = o_[tile][e + 2] * unscale_;
        }
      }
    }
  }

  int lane_;
  int v_dim_;
  int channels_;
  int values_;
  bool live_;
  // This lane has two columns, 8 apart; of the first:
  int64_t state_at_;
  const float* v_from_;  // in the sequence's first row
  float* out_;
  int exponent_ = 0;  // of the scale
  float scale_ = 1;   // of s_, d_ and o_
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

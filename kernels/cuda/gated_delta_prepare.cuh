// The team of warps that prepares a chunk in shared memory: k and q as halves, gates, A, P and the
// inverses of I + A's diagonal blocks. gated_delta_chunked.cu has the formulas.
#pragma once

#include "kernels/cuda/gated_delta_chunk.cuh"

namespace fimd::cuda::delta_detail {

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

}  // namespace fimd::cuda::delta_detail

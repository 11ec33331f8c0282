// The team of warps that goes from chunk to chunk with the state in registers, and leaves outputs.
// gated_delta_chunked.cu has the formulas.
#pragma once

#include "kernels/cuda/gated_delta_chunk.cuh"

namespace fimd::cuda::delta_detail {

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

}  // namespace fimd::cuda::delta_detail

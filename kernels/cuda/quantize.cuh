// Writing activations in the order of pack.h: eight or four threads share a block of 32 columns.
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda/handed_words.cuh"
#include "kernels/cuda/pack.h"

namespace fimd::cuda {

/// 1 / b and, given that, a / b, to the bit unless they are near the ends of the range: what the
/// compiler makes of a division has a function for these.
__device__ __forceinline__ float reciprocal(float b) {
  float inverse;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(b));
  return __fmaf_rn(inverse, __fmaf_rn(-b, inverse, 1.0F), inverse);
}
__device__ __forceinline__ float quotient(float a, float b, float inverse) {
  const float q = __fmul_rn(a, inverse);
  return __fmaf_rn(inverse, __fmaf_rn(-b, q, a), q);
}

/// Where a row of activations goes. With kHands they may be words handed to other blocks of the
/// grid (handed_words.cuh), flipped.
template <bool kHands>
struct RowWriterTo {
  Activations out;
  RowGroups groups;
  uint32_t flip = 0;

  /// Columns col .. col + 3 (col a multiple of 4) of `row`. All lanes of a warp call it together
  /// with runs of 8 lanes on one block of 32 columns; a lane whose col is at least out.cols writes
  /// zeros up to the end of the last k tile, and nothing beyond. With `store` off it only takes
  /// part.
  __device__ __forceinline__ void write(int row, int col, float4 v, bool store = true) const {
    const auto cols = static_cast<int>(out.cols);
    if (col >= cols) v = make_float4(0, 0, 0, 0);
    if (out.q8 != nullptr) {
      const Codes<1> codes = codes_of<1>({v});
      if (store && col < padded_cols()) {
        const Place to = q8_place(row, col);
        const auto c = static_cast<int>(static_cast<unsigned>(col) % 32);
        *reinterpret_cast<uint32_t*>(to.codes + q8_position(c)) = codes.words[0];
        if (c == 0) *to.factors = codes.factors();
      }
    }
    if (!store || (out.bf16 == nullptr && out.plain == nullptr)) return;
    const uint2 bits = bf16_of(v);
    if (out.bf16 != nullptr && col < round_up(cols, kBf16TileCols)) {
      *reinterpret_cast<uint2*>(bf16_place(row, col) + col % 32 * 2) = bits;
    }
    if (out.plain != nullptr && col < cols) {
      *reinterpret_cast<uint2*>(out.plain + int64_t{row} * cols + col) = bits;
    }
  }

  /// Four neighbouring lanes have the block of 32 columns that begins at `col`: lane `t` of them
  /// the columns 4 t .. + 3 in `low` and 16 + 4 t .. + 3 in `high`, which are stored together. All
  /// lanes of a warp call it together; with `store` off they only take part. What write() writes,
  /// in fewer instructions; not to out.plain.
  __device__ __forceinline__ void write_block(int row, int col, int t, float4 low, float4 high,
                                              bool store = true) const {
    if (out.q8 != nullptr) {
      const Codes<2> codes = codes_of<2>({low, high});
      if (!store) return;
      store_q8(row, col, t, make_uint2(codes.words[0], codes.words[1]), codes.factors());
    }
    if (store) store_bf16(row, col, t, bf16_of(low), bf16_of(high));
  }

  /// The block of 32 quantised columns that begins at `col`, of which each lane of a warp has one:
  /// what write() writes.
  __device__ __forceinline__ void write_columns(int row, int col, int lane, float v) const {
    const float magnitude = fabsf(v);  // or no number: fmaxf() takes the other
    const float largest = __uint_as_float(
        __reduce_max_sync(~0U, magnitude == magnitude ? __float_as_uint(magnitude) : 0U));
    const float inverse = inverse_scale(largest);
    const auto code = static_cast<int8_t>(__float2int_rn(v * inverse));
    const int sum = __reduce_add_sync(~0U, static_cast<int>(code));
    uint32_t word = static_cast<uint8_t>(code);
    word |= __shfl_down_sync(~0U, word, 1) << 8;
    word |= __shfl_down_sync(~0U, word, 2) << 16;
    // A lane of four has what it would have in write_block().
    const uint2 words =
        make_uint2(__shfl_sync(~0U, word, lane % 4 * 4), __shfl_sync(~0U, word, lane % 4 * 4 + 16));
    if (lane >= 4) return;
    const float scale = scale_of(largest);
    store_q8(row, col, lane, words, make_float2(scale, scale * static_cast<float>(sum)));
  }

  /// Half of a block of BF16 activations: lane `t` of four has the columns 4 t .. + 3 from `col`
  /// on.
  __device__ __forceinline__ void write_half_block(int row, int col, int t, float4 v) const {
    put(bf16_place(row, col) + 2 * (col % 32) + 8 * t, bf16_of(v));
  }

  /// Columns that a row is written up to: whole k tiles of both kinds.
  __host__ __device__ __forceinline__ int padded_cols() const {
    return round_up(static_cast<int>(out.cols), kTileCols);
  }

  /// Zeros from the last column of a row, which ends a block of 32 columns, to the end of the last
  /// k tile. By a warp.
  __device__ __forceinline__ void pad(int row) const {
    const auto t = static_cast<int>(threadIdx.x % 4);
    const auto cols = static_cast<int>(out.cols);
    const int col = cols + static_cast<int>(threadIdx.x % 32 / 4) * 32;
    if (out.q8 != nullptr && col < padded_cols()) {
      store_q8(row, col, t, make_uint2(0, 0), make_float2(0, 0));
    }
    store_bf16(row, col, t, make_uint2(0, 0), make_uint2(0, 0));
  }

 private:
  static __device__ __forceinline__ uint2 bf16_of(const float4& v) {
    const __nv_bfloat162 pair[2] = {__floats2bfloat162_rn(v.x, v.y),
                                    __floats2bfloat162_rn(v.z, v.w)};
    return *reinterpret_cast<const uint2*>(pair);
  }
  /// A lane's codes of a block, four to a word, and what the whole block has.
  template <int kWords>
  struct Codes {
    uint32_t words[kWords];
    float scale;
    int sum;
    __device__ __forceinline__ float2 factors() const {
      return make_float2(scale, scale * static_cast<float>(sum));
    }
  };
  /// 8 / kWords neighbouring lanes share the block.
  template <int kWords>
  static __device__ __forceinline__ Codes<kWords> codes_of(const float4 (&v)[kWords]) {
    float largest = largest_of(v[0]);
#pragma unroll
    for (int i = 1; i < kWords; ++i) largest = fmaxf(largest, largest_of(v[i]));
#pragma unroll
    for (int step = 1; step < 8 / kWords; step *= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(~0U, largest, step));
    }
    const float inverse = inverse_scale(largest);
    Codes<kWords> codes;
    codes.scale = scale_of(largest);
    codes.sum = 0;
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      codes.words[i] = word_of(v[i], inverse);
      codes.sum = __dp4a(static_cast<int>(codes.words[i]), 0x01010101, codes.sum);
    }
#pragma unroll
    for (int step = 1; step < 8 / kWords; step *= 2) {
      codes.sum += __shfl_xor_sync(~0U, codes.sum, step);
    }
    return codes;
  }
  static __device__ __forceinline__ float scale_of(float largest) {
    return quotient(largest, 127.0F, 1.0F / 127.0F);
  }
  static __device__ __forceinline__ float inverse_scale(float largest) {
    return largest > 0 ? quotient(127.0F, largest, reciprocal(largest)) : 0.0F;
  }
  static __device__ __forceinline__ float largest_of(const float4& v) {
    return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
  }
  static __device__ __forceinline__ uint32_t word_of(const float4& v, float inverse) {
    const auto low =
        __byte_perm(__float2int_rn(v.x * inverse), __float2int_rn(v.y * inverse), 0x40);
    const auto high =
        __byte_perm(__float2int_rn(v.z * inverse), __float2int_rn(v.w * inverse), 0x40);
    return __byte_perm(low, high, 0x5410);
  }
  // Places: of at most kMaxMatmulRows rows, so that offsets have 32 bits; unsigned, as nothing is
  // negative, and care for signs is code.
  struct Place {
    uint8_t* codes;  // of the block of 32 columns
    float2* factors;
  };
  static __host__ __device__ __forceinline__ int round_up(unsigned cols, int tile) {
    return static_cast<int>((cols + tile - 1) / tile * tile);
  }
  __device__ __forceinline__ Place q8_place(unsigned row, unsigned col) const {
    uint8_t* group = static_cast<uint8_t*>(out.q8) +
                     (col / kTileCols * groups.count + row / 8) * q8_group_bytes(groups.rows);
    const unsigned at = col % kTileCols / 32 * groups.rows + row % 8;
    return {group + 32 * at, reinterpret_cast<float2*>(group + kTileCols * groups.rows) + at};
  }
  __device__ __forceinline__ uint8_t* bf16_place(unsigned row, unsigned col) const {
    uint8_t* group = static_cast<uint8_t*>(out.bf16) +
                     (col / kBf16TileCols * groups.count + row / 8) * bf16_group_bytes(groups.rows);
    return group + 64 * (col % kBf16TileCols / 32 * groups.rows + row % 8);
  }
  __device__ __forceinline__ void store_q8(int row, int col, int t, uint2 words,
                                           float2 factors) const {
    const Place to = q8_place(row, col);
    put(to.codes + q8_position(4 * t), words);
    if (t == 0) {
      uint2 bits = make_uint2(__float_as_uint(factors.x), __float_as_uint(factors.y));
      if (kHands && bits.y == flip) bits.y = 0;
      put(to.factors, bits);
    }
  }
  __device__ __forceinline__ void put(void* at, uint2 words) const {
    if constexpr (kHands) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
      hand_words(at, make_uint2(words.x ^ flip, words.y ^ flip));
#endif
    } else {
      *static_cast<uint2*>(at) = words;
    }
  }
  __device__ __forceinline__ void store_bf16(int row, int col, int t, uint2 low, uint2 high) const {
    if (out.bf16 == nullptr || col >= round_up(static_cast<int>(out.cols), kBf16TileCols)) return;
    uint8_t* to = bf16_place(row, col) + 8 * t;
    put(to, low);
    put(to + 32, high);
  }
};
using RowWriter = RowWriterTo<false>;

__device__ __forceinline__ float silu_mul(float gate, float up) {
  return __fdividef(gate, 1.0F + __expf(-gate)) * up;
}

/// Threads of a block that normalises rows; always as many, so that sums are made in one order.
inline constexpr int kRowThreads = 256;

/// Writes row `row` of x (n_rows, out.cols), times rsqrt(mean(x^2) + eps) * weight if there is a
/// weight. All kRowThreads threads of the block call it; scratch: 8 floats of shared memory that
/// others leave alone until the next barrier.
__device__ __forceinline__ void write_row(const float* x, const float* weight, float eps, int row,
                                          const RowWriter& writer, float* scratch) {
  const auto cols = static_cast<int>(writer.out.cols);
  const int first = 4 * static_cast<int>(threadIdx.x);
  const float* from = x + int64_t{row} * cols;
  float factor = 1;
  if (weight != nullptr) {
    float sum = 0;
#pragma unroll 4
    for (int c = first; c < cols; c += 4 * kRowThreads) {
      const float4 v = *reinterpret_cast<const float4*>(from + c);
      sum += v.x * v.x + v.y * v.y + (v.z * v.z + v.w * v.w);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
#pragma unroll
    for (int warp = 0; warp < kRowThreads / 32; ++warp) sum += scratch[warp];
    factor = rsqrtf(sum / static_cast<float>(cols) + eps);
  }
  // The end is a multiple of the 128 columns of a warp: all its lanes leave together.
  const int end = writer.padded_cols();
#pragma unroll 2
  for (int c = first; c < end; c += 4 * kRowThreads) {
    float4 v = make_float4(0, 0, 0, 0);
    if (c < cols) {
      v = *reinterpret_cast<const float4*>(from + c);
      if (weight != nullptr) {
        const float4 w = *reinterpret_cast<const float4*>(weight + c);
        v = make_float4(v.x * w.x * factor, v.y * w.y * factor, v.z * w.z * factor,
                        v.w * w.w * factor);
      }
    }
    writer.write(row, c, v);
  }
}

}  // namespace fimd::cuda

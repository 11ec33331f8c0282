// Q4_K tiles: w = d * scale * q - dmin * min per 32 columns. As many bytes as in the file: 18 lines
// of the L2 cache.
//
//   0     nibbles of q
//   2048  lower four bits of the 6-bit scales and minima: words [g][pair], whose bytes are of (row
//         g, even block), (g, odd), (g + 8, even), (g + 8, odd); the scale's below the minimum's
//   2176  [g] { their upper two bits: a word of the scales and one of the minima, with the same
//         bytes, pair p's bits 2 p and 2 p + 1; halves d, dmin of row g; d, dmin of row g + 8 }
//
// The codes of odd blocks are used as 16 q (unsigned bytes).
#pragma once

#include "kernels/cuda/formats/fragment.cuh"

namespace fimd::cuda {

/// The factors at `at` (256 bytes, as above from 2048 on), d times `even` and `odd`.
__device__ __forceinline__ Factors k_factors(const uint8_t* at, int g, int pair, float even,
                                             float odd) {
  const uint32_t low = load4(at + 16 * g + 4 * pair);
  const uint4 rows = load16(at + 128 + 16 * g);
  // The pair's upper bits to bits 4 and 5 of their bytes.
  const auto six_bits = [&](uint32_t lower, uint32_t upper) {
    constexpr uint32_t kLower = 0x0F0F0F0FU;
    const uint32_t moved = __funnelshift_r(upper, upper, static_cast<uint32_t>(2 * pair - 4));
    return ((lower & kLower) | (moved & ~kLower)) & 0x3F3F3F3FU;
  };
  const uint32_t scales = six_bits(low, rows.x);
  const uint32_t minima = six_bits(low >> 4, rows.y);
  Factors f;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint32_t delta = h == 0 ? rows.z : rows.w;
    const float step = low_half(delta);
    const float min_step = high_half(delta);
    f.scale_even[h] = __fmul_rn(step * even, byte_u(scales, 2 * h));
    f.scale_odd[h] = __fmul_rn(step * odd, byte_u(scales, 2 * h + 1));
    f.min_even[h] = __fmul_rn(min_step, byte_u(minima, 2 * h));
    f.min_odd[h] = __fmul_rn(min_step, byte_u(minima, 2 * h + 1));
  }
  return f;
}

/// Scale (`part` 0) or minimum (1) of sub-block s from the file's 12 bytes.
__device__ inline uint32_t k_scale_min(const uint8_t* b, int s, int part) {
  if (s < 4) return b[4 * part + s] & 63U;
  const uint32_t low = part == 0 ? b[4 + s] & 15U : b[4 + s] >> 4;
  return low | (b[4 * part + s - 4] >> 6) << 4;
}

/// Packing: word `index` (0..63) of the factors.
__device__ inline uint32_t k_factor_word(const RawTile& raw, int index) {
  const bool lower = index < 32;
  const int g = index % 32 >> 2, place = index & 3;  // the pair, or the word of the row's four
  if (!lower && place >= 2) {
    const int r = g + 8 * (place - 2);
    return r < raw.rows ? raw_half(raw.row(r)) | raw_half(raw.row(r) + 2) << 16 : 0;
  }
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) {
    const int r = g + 8 * (i >> 1);
    if (r >= raw.rows) continue;
    const auto of = [&](int pair, int part) {
      return k_scale_min(raw.row(r) + 4, 2 * pair + (i & 1), part);
    };
    uint32_t byte = 0;
    if (lower) {
      byte = (of(place, 0) & 15U) | (of(place, 1) & 15U) << 4;
    } else {
      for (int pair = 0; pair < 4; ++pair) byte |= of(pair, place) >> 4 << (2 * pair);
    }
    word |= byte << (8 * i);
  }
  return word;
}

struct Q4_K {
  static constexpr DType kType = DType::kQ4_K;
  static constexpr int kTileBytes = tile_bytes(kType);
  static constexpr int kUnitCols = 32;
  static constexpr int kGroups = 1;
  static constexpr bool kHasMin = true;
  static constexpr int kBlockCols = 256;
  static constexpr int kBlockBytes = 144;

  struct Codes {
    uint4 nibbles[4];
  };
  static __device__ __forceinline__ Codes load(const uint8_t* tile, int lane) {
    Codes codes;
#pragma unroll
    for (int p = 0; p < 4; ++p) codes.nibbles[p] = load16(tile + 512 * p + 16 * lane);
    return codes;
  }
  static __device__ __forceinline__ void unpack(const Codes& codes, int, int pair,
                                                uint32_t (&even)[4], uint32_t (&odd)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t w = word_of(codes.nibbles[pair], i);
      even[i] = w & 0x0F0F0F0FU;
      odd[i] = w & 0xF0F0F0F0U;
    }
  }
  static __device__ __forceinline__ void mma(int (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
    mma_u8(c, a, b0, b1);
  }
  static __device__ __forceinline__ int code(uint32_t fragment, int j) {
    return static_cast<int>((fragment >> (8 * j)) & 0xFFU);
  }
  static __device__ __forceinline__ Factors factors(const uint8_t* tile, int, int g, int pair) {
    return k_factors(tile + 2048, g, pair, 1.0F, 0.0625F);
  }

  static __device__ uint32_t word(const RawTile& raw, int index) {
    if (index >= 512) return k_factor_word(raw, index - 512);
    return nibble_word(raw, index, [](const uint8_t* row, int c) -> uint32_t {
      const uint32_t byte = row[16 + 32 * (c / 64) + c % 32];
      return c % 64 < 32 ? byte : byte >> 4;
    });
  }
};

}  // namespace fimd::cuda

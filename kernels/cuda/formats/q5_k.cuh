// Q5_K tiles: w = d * scale * q - dmin * min per 32 columns, q of five bits.
//
//   0     nibbles of the upper four bits of q
//   2048  lowest bits: word 4 lane + p belongs to pair p; bit 2 i + odd of its byte j is the lowest
//         bit of code j of a_i of block 2 p + odd
//   2560  scales, minima, d and dmin as in Q4_K
//
// Codes are used as 8 q (unsigned bytes).
#pragma once

#include "kernels/cuda/formats/q4_k.cuh"

namespace fimd::cuda {

struct Q5_K {
  static constexpr DType kType = DType::kQ5_K;
  static constexpr int kTileBytes = tile_bytes(kType);
  static constexpr int kUnitCols = 32;
  static constexpr int kGroups = 1;
  static constexpr bool kHasMin = true;
  static constexpr int kBlockCols = 256;
  static constexpr int kBlockBytes = 176;

  struct Codes {
    uint4 nibbles[4];
    uint4 lowest;
  };
  static __device__ __forceinline__ Codes load(const uint8_t* tile, int lane) {
    Codes codes;
#pragma unroll
    for (int p = 0; p < 4; ++p) codes.nibbles[p] = load16(tile + 512 * p + 16 * lane);
    codes.lowest = load16(tile + 2048 + 16 * lane);
    return codes;
  }
  static __device__ __forceinline__ void unpack(const Codes& codes, int, int pair,
                                                uint32_t (&even)[4], uint32_t (&odd)[4]) {
    const uint32_t bits = word_of(codes.lowest, pair);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t w = word_of(codes.nibbles[pair], i);
      even[i] = ((w << 4) & 0xF0F0F0F0U) | (bit_three(bits, 2 * i) & 0x08080808U);
      odd[i] = (w & 0xF0F0F0F0U) | (bit_three(bits, 2 * i + 1) & 0x08080808U);
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
    return k_factors(tile + 2560, g, pair, 0.125F, 0.125F);
  }

  static __device__ uint32_t word(const RawTile& raw, int index) {
    if (index >= 640) return k_factor_word(raw, index - 640);
    if (index < 512) {
      return nibble_word(raw, index, [](const uint8_t* row, int c) { return code5(row, c) >> 1; });
    }
    const int lane = (index - 512) >> 2, pair = index & 3;
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      const int r = (lane >> 2) + 8 * (i & 1);
      const int c = 64 * pair + 16 * (i >> 1) + 4 * (lane & 3);
      if (r >= raw.rows) continue;
      for (int j = 0; j < 4; ++j) {
        word |= (code5(raw.row(r), c + j) & 1U) << (8 * j + 2 * i);
        word |= (code5(raw.row(r), c + 32 + j) & 1U) << (8 * j + 2 * i + 1);
      }
    }
    return word;
  }

 private:
  // Bit f of every byte, moved to bit 3.
  static __device__ __forceinline__ uint32_t bit_three(uint32_t v, int f) {
    return f < 3 ? v << (3 - f) : v >> (f - 3);
  }
  static __device__ uint32_t code5(const uint8_t* row, int c) {
    const uint32_t byte = row[48 + 32 * (c / 64) + c % 32];
    const uint32_t low = c % 64 < 32 ? byte & 15U : byte >> 4;
    return low | ((row[16 + c % 32] >> (c / 32)) & 1U) << 4;
  }
};

}  // namespace fimd::cuda

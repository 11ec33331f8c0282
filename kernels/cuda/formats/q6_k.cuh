// Q6_K tiles: w = d * scale * (q - 32) per 16 columns, q of six bits.
//
//   0     nibbles of the upper four bits of q - 32 in two's complement
//   2048  lower two bits: byte 512 (p / 2) + 16 lane + 8 (p % 2) + 4 k + j belongs to pair p of
//         blocks and has for code j, from bit 0: a_2k of block 2p, a_2k of block 2p+1, a_2k+1 of
//         block 2p, a_2k+1 of block 2p+1
//   3072  the file's signed scales: half h (128 columns) of the tile at 128 h, in it [g][unit pair]
//         {(g, even), (g, odd), (g + 8, even), (g + 8, odd)}; the units of block b are a pair
//   3328  halves [g] { d of row g, d of row g + 8 }
//
// Codes are used as 4 (q - 32) (signed bytes).
#pragma once

#include "kernels/cuda/formats/fragment.cuh"

namespace fimd::cuda {

struct Q6_K {
  static constexpr DType kType = DType::kQ6_K;
  static constexpr int kTileBytes = tile_bytes(kType);
  static constexpr int kUnitCols = 16;
  static constexpr int kGroups = 2;
  static constexpr bool kHasMin = false;
  static constexpr int kBlockCols = 256;
  static constexpr int kBlockBytes = 210;

  struct Codes {
    uint4 nibbles[4];
    uint4 low[2];
  };
  static __device__ __forceinline__ Codes load(const uint8_t* tile, int lane) {
    Codes codes;
#pragma unroll
    for (int p = 0; p < 4; ++p) codes.nibbles[p] = load16(tile + 512 * p + 16 * lane);
#pragma unroll
    for (int v = 0; v < 2; ++v) codes.low[v] = load16(tile + 2048 + 512 * v + 16 * lane);
    return codes;
  }
  // The pair of units is the block 4 group + pair: a0 and a1 are its first unit, a2 and a3 its
  // second.
  static __device__ __forceinline__ void unpack(const Codes& codes, int group, int pair,
                                                uint32_t (&even)[2], uint32_t (&odd)[2]) {
    const int block = 4 * group + pair;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      even[i] = fragment(codes, block, i);
      odd[i] = fragment(codes, block, 2 + i);
    }
  }
  static __device__ __forceinline__ void mma(int (&c)[4], const uint32_t (&a)[2], uint32_t b) {
    mma_s8(c, a, b);
  }
  static __device__ __forceinline__ int code(uint32_t fragment, int j) {
    return static_cast<int8_t>(fragment >> (8 * j));
  }
  static __device__ __forceinline__ Factors factors(const uint8_t* tile, int group, int g,
                                                    int pair) {
    const uint32_t c = load4(tile + 3072 + 128 * group + 16 * g + 4 * pair);
    const uint32_t d = load4(tile + 3328 + 4 * g);
    Factors f = {};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float step = 0.25F * (h == 0 ? low_half(d) : high_half(d));
      f.scale_even[h] = __fmul_rn(step, byte_s(c, 2 * h));
      f.scale_odd[h] = __fmul_rn(step, byte_s(c, 2 * h + 1));
    }
    return f;
  }

  static __device__ uint32_t word(const RawTile& raw, int index) {
    if (index < 512) {
      return nibble_word(raw, index, [](const uint8_t* row, int c) { return code6(row, c) >> 2; });
    }
    if (index < 768) return low_word(raw, index - 512);
    if (index < 832) {
      const int at = index - 768;
      const int group = at >> 5, g = (at >> 2) & 7, pair = at & 3;
      uint32_t word = 0;
      for (int i = 0; i < 4; ++i) {
        const int r = g + 8 * (i >> 1);
        if (r < raw.rows) {
          word |= static_cast<uint32_t>(raw.row(r)[192 + 8 * group + 2 * pair + (i & 1)])
                  << (8 * i);
        }
      }
      return word;
    }
    const int g = index - 832;
    uint32_t word = 0;
    if (g < raw.rows) word = raw_half(raw.row(g) + 208);
    if (g + 8 < raw.rows) word |= raw_half(raw.row(g + 8) + 208) << 16;
    return word;
  }

 private:
  // a_i of a block: four bits where they stand or shifted up, the lower two moved to bits 2 and 3.
  static __device__ __forceinline__ uint32_t fragment(const Codes& codes, int block, int i) {
    const int pair = block / 2;
    const uint32_t w = word_of(codes.nibbles[pair], i);
    const uint32_t l = word_of(codes.low[pair / 2], 2 * (pair % 2) + i / 2);
    if (block % 2 != 0) {
      return (w & 0xF0F0F0F0U) | ((i % 2 == 0 ? l : l >> 4) & 0x0C0C0C0CU);
    }
    return ((w << 4) & 0xF0F0F0F0U) | ((i % 2 == 0 ? l << 2 : l >> 2) & 0x0C0C0C0CU);
  }
  // q - 32, six bits of two's complement.
  static __device__ uint32_t code6(const uint8_t* row, int c) {
    const int h = c / 128, k = c % 128 / 32, l = c % 32;
    const uint32_t low = (row[64 * h + 32 * (k % 2) + l] >> (4 * (k / 2))) & 15U;
    const uint32_t high = (row[128 + 32 * h + l] >> (2 * k)) & 3U;
    return (low | high << 4) ^ 32U;
  }
  static __device__ uint32_t low_word(const RawTile& raw, int index) {
    const int lane = (index >> 2) & 31, k = index & 1;
    const int pair = 2 * (index >> 7) + ((index >> 1) & 1);
    uint32_t word = 0;
    for (int i = 2 * k; i < 2 * k + 2; ++i) {
      const int r = (lane >> 2) + 8 * (i & 1);
      const int c = 64 * pair + 16 * (i >> 1) + 4 * (lane & 3);
      if (r >= raw.rows) continue;
      for (int j = 0; j < 4; ++j) {
        word |= (code6(raw.row(r), c + j) & 3U) << (8 * j + 4 * (i & 1));
        word |= (code6(raw.row(r), c + 32 + j) & 3U) << (8 * j + 4 * (i & 1) + 2);
      }
    }
    return word;
  }
};

}  // namespace fimd::cuda

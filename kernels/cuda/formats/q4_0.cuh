// Q4_0 tiles: w = d * (q - 8).
//
//   0     nibbles of q - 8 in two's complement
//   2048  halves d, [g][pair] {(g, even), (g, odd), (g + 8, even), (g + 8, odd)}
//
// Both nibbles are used as the upper half of a signed byte: 16 (q - 8).
#pragma once

#include "kernels/cuda/formats/fragment.cuh"

namespace fimd::cuda {

struct Q4_0 {
  static constexpr DType kType = DType::kQ4_0;
  static constexpr int kTileBytes = tile_bytes(kType);
  static constexpr int kUnitCols = 32;
  static constexpr int kGroups = 1;
  static constexpr bool kHasMin = false;
  static constexpr int kBlockCols = 32;
  static constexpr int kBlockBytes = 18;

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
      even[i] = (w << 4) & 0xF0F0F0F0U;
      odd[i] = w & 0xF0F0F0F0U;
    }
  }
  static __device__ __forceinline__ void mma(int (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
    mma_s8(c, a, b0, b1);
  }
  static __device__ __forceinline__ int code(uint32_t fragment, int j) {
    return static_cast<int8_t>(fragment >> (8 * j));
  }
  static __device__ __forceinline__ Factors factors(const uint8_t* tile, int, int g, int pair) {
    Factors f = {};
    half_scales(tile + 2048, g, pair, f);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      f.scale_even[h] *= 0.0625F;
      f.scale_odd[h] *= 0.0625F;
    }
    return f;
  }

  static __device__ uint32_t word(const RawTile& raw, int index) {
    if (index >= 512) return half_scale_word<kBlockBytes>(raw, index - 512);
    return nibble_word(raw, index, [](const uint8_t* row, int c) {
      const uint32_t byte = row[c / 32 * kBlockBytes + 2 + c % 16];
      return (c % 32 < 16 ? byte : byte >> 4) ^ 8U;
    });
  }
};

}  // namespace fimd::cuda

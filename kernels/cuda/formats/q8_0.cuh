// Q8_0 tiles: w = d * q.
//
//   0     codes, byte 512 b + 16 lane + 4 i + j: code j of a_i of block b
//   4096  halves d, [g][pair] {(g, even), (g, odd), (g + 8, even), (g + 8, odd)}
#pragma once

#include "kernels/cuda/formats/fragment.cuh"

namespace fimd::cuda {

struct Q8_0 {
  static constexpr DType kType = DType::kQ8_0;
  static constexpr int kTileBytes = tile_bytes(kType);
  static constexpr int kUnitCols = 32;
  static constexpr int kGroups = 1;
  static constexpr bool kHasMin = false;
  static constexpr int kBlockCols = 32;
  static constexpr int kBlockBytes = 34;

  struct Codes {
    uint4 blocks[8];
  };
  static __device__ __forceinline__ Codes load(const uint8_t* tile, int lane) {
    Codes codes;
#pragma unroll
    for (int b = 0; b < 8; ++b) codes.blocks[b] = load16(tile + 512 * b + 16 * lane);
    return codes;
  }
  static __device__ __forceinline__ void unpack(const Codes& codes, int, int pair,
                                                uint32_t (&even)[4], uint32_t (&odd)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      even[i] = word_of(codes.blocks[2 * pair], i);
      odd[i] = word_of(codes.blocks[2 * pair + 1], i);
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
    half_scales(tile + 4096, g, pair, f);
    return f;
  }

  static __device__ uint32_t word(const RawTile& raw, int index) {
    if (index >= 1024) return half_scale_word<kBlockBytes>(raw, index - 1024);
    const int block = index >> 7, lane = (index >> 2) & 31, i = index & 3;
    const int r = (lane >> 2) + 8 * (i & 1);
    if (r >= raw.rows || 32 * block >= raw.cols) return 0;
    const uint8_t* codes = raw.row(r) + block * kBlockBytes + 2 + 16 * (i >> 1) + 4 * (lane & 3);
    return codes[0] | codes[1] << 8 | codes[2] << 16 | static_cast<uint32_t>(codes[3]) << 24;
  }
};

}  // namespace fimd::cuda

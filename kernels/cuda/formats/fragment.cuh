// What the tile formats share: the tensor-core instructions, the factors of a pair of units, and
// the reading of a file's blocks when packing.
//
// A unit is the run of columns that has one scale: 32 columns, or 16 in Q6_K. A format F of this
// folder is a struct of static device functions:
//   kType, kTileBytes    as in pack.h
//   kUnitCols            32 or 16
//   kGroups              units of a tile / 8; every group's units are 0..7, its pairs 0..3
//   Codes, load()        one lane's codes of a tile, as stored
//   unpack(codes, group, pair, even, odd)
//                        A fragments of units 2 pair and 2 pair + 1; group and pair are constants
//   mma()                the product of one unit
//   kHasMin, factors(tile, group, g, pair)
//                        weight = scale * (code as the fragment has it) - min
//   kBlockCols, kBlockBytes, word(raw, index)
//                        packing: the tile's 32-bit word `index`, from the file's blocks
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/pack.h"

namespace fimd::cuda {

/// c += a . b for unsigned or signed codes and a unit of 32 columns.
__device__ __forceinline__ void mma_u8(int (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                       uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma_s8(int (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                       uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// The same for a unit of 16 columns.
__device__ __forceinline__ void mma_s8(int (&c)[4], const uint32_t (&a)[2], uint32_t b) {
  asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(b));
}
/// c += a . b for 16 columns of bf16.
__device__ __forceinline__ void mma_bf16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                         uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// The factors of a pair of units for a lane's two rows: [0] row g, [1] row g + 8.
struct Factors {
  float scale_even[2];
  float scale_odd[2];
  float min_even[2];
  float min_odd[2];
};

__device__ __forceinline__ float low_half(uint32_t v) {
  return __half2float(__ushort_as_half(static_cast<uint16_t>(v)));
}
__device__ __forceinline__ float high_half(uint32_t v) {
  return __half2float(__ushort_as_half(static_cast<uint16_t>(v >> 16)));
}
/// Byte i of v as an unsigned or a signed number.
__device__ __forceinline__ float byte_u(uint32_t v, int i) {
  return static_cast<float>((v >> (8 * i)) & 0xFFU);
}
__device__ __forceinline__ float byte_s(uint32_t v, int i) {
  return static_cast<float>(static_cast<int8_t>(v >> (8 * i)));
}

__device__ __forceinline__ uint4 load16(const uint8_t* p) {
  return *reinterpret_cast<const uint4*>(p);
}
__device__ __forceinline__ uint2 load8(const uint8_t* p) {
  return *reinterpret_cast<const uint2*>(p);
}
__device__ __forceinline__ uint32_t load4(const uint8_t* p) {
  return *reinterpret_cast<const uint32_t*>(p);
}
__device__ __forceinline__ uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/// A tile's part of a file's matrix: `rows` rows from `first`, `stride` bytes apart, of which
/// `cols` columns exist (a multiple of the block).
struct RawTile {
  const uint8_t* first;
  int64_t stride;
  int rows;
  int cols;
  __device__ const uint8_t* row(int r) const { return first + r * stride; }
};
__device__ inline uint32_t raw_half(const uint8_t* p) { return p[0] | p[1] << 8; }

/// Word `index` of a plane of nibbles; code(row pointer, column) gives the four bits.
template <class Code>
__device__ uint32_t nibble_word(const RawTile& raw, int index, Code code) {
  const int pair = index >> 7, lane = (index >> 2) & 31, i = index & 3;
  const int r = (lane >> 2) + 8 * (i & 1);
  const int c = 64 * pair + 16 * (i >> 1) + 4 * (lane & 3);
  if (r >= raw.rows) return 0;
  uint32_t word = 0;
  for (int j = 0; j < 4; ++j) {
    if (c + j < raw.cols) word |= (code(raw.row(r), c + j) & 15U) << (8 * j);
    if (c + 32 + j < raw.cols) word |= (code(raw.row(r), c + 32 + j) & 15U) << (8 * j + 4);
  }
  return word;
}

/// Q4_0 and Q8_0's scales: halves [g][pair] {(g, even), (g, odd), (g + 8, even), (g + 8, odd)}.
template <int kBlockBytes>
__device__ uint32_t half_scale_word(const RawTile& raw, int index) {
  const int r = (index >> 3) + 8 * (index & 1);
  const int block = 2 * ((index >> 1) & 3);
  if (r >= raw.rows) return 0;
  uint32_t word = 0;
  if (32 * block < raw.cols) word = raw_half(raw.row(r) + block * kBlockBytes);
  if (32 * block + 32 < raw.cols) word |= raw_half(raw.row(r) + (block + 1) * kBlockBytes) << 16;
  return word;
}
__device__ __forceinline__ void half_scales(const uint8_t* scales, int g, int pair, Factors& f) {
  const uint2 s = load8(scales + 32 * g + 8 * pair);
  f.scale_even[0] = low_half(s.x);
  f.scale_odd[0] = high_half(s.x);
  f.scale_even[1] = low_half(s.y);
  f.scale_odd[1] = high_half(s.y);
}

}  // namespace fimd::cuda

// Writing activations in the order of pack.h: eight threads share a block of 32 columns.
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda/pack.h"

namespace fimd::cuda {

/// Where a row of activations goes.
struct RowWriter {
  Activations out;
  RowGroups groups;

  /// Columns col .. col + 3 (col a multiple of 4) of `row`. All lanes of a warp call it together
  /// with runs of 8 lanes on one block of 32 columns; a lane whose col is at least out.cols writes
  /// zeros up to the end of the last k tile, and nothing beyond.
  __device__ __forceinline__ void write(int row, int64_t col, float4 v) const {
    if (col >= out.cols) v = make_float4(0, 0, 0, 0);
    const int group = row / 8, slot = row % 8;
    const bool exists = col < out.cols;
    if (out.q8 != nullptr) write_q8(group, slot, col, v);
    if (out.bf16 != nullptr || out.plain != nullptr) {
      const __nv_bfloat162 pair[2] = {__floats2bfloat162_rn(v.x, v.y),
                                      __floats2bfloat162_rn(v.z, v.w)};
      const uint2 bits = *reinterpret_cast<const uint2*>(pair);
      if (out.bf16 != nullptr && col < divide_up(out.cols, kBf16TileCols) * kBf16TileCols) {
        const int64_t tile = col / kBf16TileCols * groups.count + group;
        const auto c = static_cast<int>(col % kBf16TileCols);
        auto* to = static_cast<__nv_bfloat16*>(out.bf16) +
                   tile * (bf16_group_bytes(groups.rows) / 2) + (c / 32 * groups.rows + slot) * 32 +
                   c % 32;
        *reinterpret_cast<uint2*>(to) = bits;
      }
      if (out.plain != nullptr && exists) {
        *reinterpret_cast<uint2*>(out.plain + row * out.cols + col) = bits;
      }
    }
  }

 private:
  __device__ __forceinline__ void write_q8(int group, int slot, int64_t col, float4 v) const {
    float largest = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
#pragma unroll
    for (int step = 1; step < 8; step *= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(~0U, largest, step));
    }
    const float inverse = largest > 0 ? 127.0F / largest : 0.0F;
    const float scale = largest / 127.0F;
    const int codes[4] = {__float2int_rn(v.x * inverse), __float2int_rn(v.y * inverse),
                          __float2int_rn(v.z * inverse), __float2int_rn(v.w * inverse)};
    int sum = codes[0] + codes[1] + codes[2] + codes[3];
#pragma unroll
    for (int step = 1; step < 8; step *= 2) sum += __shfl_xor_sync(~0U, sum, step);
    if (col >= divide_up(out.cols, kTileCols) * kTileCols) return;

    auto* tile = static_cast<uint8_t*>(out.q8) +
                 (col / kTileCols * groups.count + group) * q8_group_bytes(groups.rows);
    const auto block = static_cast<int>(col % kTileCols / 32);
    const auto c = static_cast<int>(col % 32);
    const uint32_t word = (codes[0] & 255U) | (codes[1] & 255U) << 8 | (codes[2] & 255U) << 16 |
                          static_cast<uint32_t>(codes[3]) << 24;
    const int at = block * groups.rows + slot;
    *reinterpret_cast<uint32_t*>(tile + 32 * at + q8_position(c)) = word;
    if (c == 0) {
      reinterpret_cast<float2*>(tile + kTileCols * groups.rows)[at] =
          make_float2(scale, scale * static_cast<float>(sum));
    }
  }
};

/// Columns that a row is written up to: whole k tiles of both kinds.
inline int64_t written_cols(int64_t cols) { return divide_up(cols, kTileCols) * kTileCols; }

}  // namespace fimd::cuda

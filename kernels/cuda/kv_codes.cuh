// KV pages of 8-bit codes: how a row of a head becomes codes and halves again.
//
// A block of columns of a row has a scale (half), and an element is scale * (byte - 128). A page's
// rows of a head lie together: page_tokens rows of head_dim bytes, then their scales. What
// attention sees of a row is always what its codes say, also in the step that appends it.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/ops.h"

namespace fimd::cuda {

/// Where the codes of a row begin, and its scales.
struct CodeRow {
  uint8_t* codes;
  __half* scales;
};
/// The row of `slot` in a page's part of a KV head. codes: k_codes or v_codes of the pages.
__device__ __forceinline__ CodeRow code_row(uint8_t* codes, int64_t page_and_head, int page_shift,
                                            int slot, int head_dim) {
  const int blocks = head_dim / kv_code_block(head_dim);
  uint8_t* part =
      codes + ((page_and_head * static_cast<int64_t>(kv_row_bytes(head_dim))) << page_shift);
  return {part + slot * head_dim,
          reinterpret_cast<__half*>(part + (head_dim << page_shift)) + slot * blocks};
}

/// Eight codes as halves.
__device__ __forceinline__ uint4 decode_codes(uint2 codes, __half scale) {
  constexpr uint32_t kBias = 0x64006400;                          // a byte in it is 1024 + the byte
  const __half2 offset = __half2half2(__ushort_as_half(0x6480));  // 1024 + 128
  const __half2 scales = __half2half2(scale);
  uint32_t halves[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t biased =
        __byte_perm(i < 2 ? codes.x : codes.y, kBias, i % 2 == 0 ? 0x7170 : 0x7372);
    const __half2 value =
        __hmul2(__hsub2(*reinterpret_cast<const __half2*>(&biased), offset), scales);
    halves[i] = *reinterpret_cast<const uint32_t*>(&value);
  }
  return make_uint4(halves[0], halves[1], halves[2], halves[3]);
}

/// Rounds a row of halves (16-byte aligned, shared memory) to its codes, and stores those if
/// `stored`. By a whole warp, which has written the row.
__device__ __forceinline__ void encode_row(__half* row, int head_dim, const CodeRow& to,
                                           bool stored) {
  constexpr float kMostScale = 515.5F;  // 127 times it is a half
  const int chunk = static_cast<int>(threadIdx.x) % 32;
  const int block_chunks = kv_code_block(head_dim) / 8;  // 4, or 2
  __syncwarp();
  const bool mine = chunk < head_dim / 8;
  uint4 packed = make_uint4(0, 0, 0, 0);
  if (mine) packed = reinterpret_cast<const uint4*>(row)[chunk];
  const auto* values = reinterpret_cast<const __half*>(&packed);
  float most = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) most = fmaxf(most, fabsf(__half2float(values[i])));
  most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, 1));
  const float wider = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, 2));
  if (block_chunks == 4) most = wider;
  const __half scale = __float2half_ru(fminf(__fdiv_rn(most, 127.0F), kMostScale));
  const float inverse = __half2float(scale) > 0 ? __fdiv_rn(1.0F, __half2float(scale)) : 0.0F;
  uint32_t codes[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float code = rintf(__fmul_rn(__half2float(values[i]), inverse));
    const int byte = static_cast<int>(fminf(fmaxf(code, -127.0F), 127.0F)) + 128;
    codes[i / 4] |= static_cast<uint32_t>(byte) << (i % 4 * 8);
  }
  if (!mine) return;
  reinterpret_cast<uint4*>(row)[chunk] = decode_codes(make_uint2(codes[0], codes[1]), scale);
  if (!stored) return;
  reinterpret_cast<uint2*>(to.codes)[chunk] = make_uint2(codes[0], codes[1]);
  if (chunk % block_chunks == 0) to.scales[chunk / block_chunks] = scale;
}

}  // namespace fimd::cuda

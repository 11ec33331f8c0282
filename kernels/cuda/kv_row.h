// Sizes of pages of 8-bit codes. No CUDA headers.
#pragma once

namespace fimd::cuda {

/// Columns that share a scale.
constexpr int kv_code_block(int head_dim) { return head_dim % 32 == 0 ? 32 : 16; }
/// Bytes of a row of a head: codes, and scales of two bytes.
constexpr int kv_row_bytes(int head_dim) {
  return head_dim + head_dim / kv_code_block(head_dim) * 2;
}

}  // namespace fimd::cuda

// How Matrix lays weights out for SIMD, the same for every instruction set.
//
// Rows go in panels of 16. A panel's columns go in blocks of 32, and a block's bytes are ordered so
// that one 64-byte vector holds 4 consecutive columns ("a group") of all 16 rows: byte 4 r + j is
// row r, column j of the group. A dot-product instruction on it and 4 broadcast activations then
// yields 16 row sums without any shuffles. A block is 8 groups, W0..W7:
//
//   4-bit   4 vectors; the low nibbles of vector i are Wi, the high ones W(i + 4)
//   5-bit   4 vectors as above, then 1 vector whose bit g is the fifth bit of Wg
//   6-bit   4 vectors as above, then 2 vectors; field f (2 bits) of vector i is for W(4 i + f)
//   8-bit   8 vectors, Wg + 128
//
// All codes are unsigned; `code - offset` is the signed weight. A panel is all its blocks' code
// vectors, then all its blocks' scales:
//
//   Q4_0, Q5_0, Q8_0   per block: half d[16]
//   Q4_K, Q5_K   per 256 columns: half d[16], half dmin[16], then per block u8 scale[16], min[16]
//   Q6_K         per 256 columns: half d[16], then per block i8 scale[2][16] (columns 0-15, 16-31)
//
// Float types: column after column, 16 rows each, in the file's precision. Missing rows of the last
// panel are zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/dtype.h"

namespace fimd::cpu {

constexpr int kPanelRows = 16;
constexpr int kBlockCols = 32;
constexpr int kSuperBlocks = 8;  // blocks in the 256 columns of a K-quant

struct PanelLayout {
  bool is_float = false;
  size_t code_bytes = 0;   // of all blocks, or of all columns of a float panel
  size_t panel_bytes = 0;  // codes and scales, rounded up to 64
};

PanelLayout panel_layout(DType type, int64_t cols);

/// Packs rows [0, n_rows), n_rows <= 16, of `src` (GGUF bytes, row_stride apart) into one panel of
/// panel_layout(type, cols).panel_bytes, 64-byte aligned.
void pack_panel(DType type, const uint8_t* src, size_t row_stride, int n_rows, int64_t cols,
                uint8_t* panel);

}  // namespace fimd::cpu

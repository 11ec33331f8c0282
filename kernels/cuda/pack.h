// The order of packed weights and of activations in device memory, for tensor cores.
//
// A quantised matrix is cut into tiles of 16 rows x 256 columns, stored one after another: all k
// tiles of the first 16 rows, then the next 16 rows. Rows and columns beyond the matrix are zeros.
// Inside a tile (formats/<format>.cuh) codes lie as mma.sync's A fragments want them. Lane = 4 g +
// t (g = 0..7, t = 0..3) holds of each block of 32 columns four registers of four codes:
//
//      columns   4t .. 4t+3   16+4t .. 16+4t+3
//      row g        a0               a2
//      row g + 8    a1               a3
//
// The formats of 4 to 6 bits keep four bits of each code in a plane of nibbles: for the pair p of
// blocks 2p and 2p+1, lane's word i (0..3) has the four codes of a_i of block 2p in its low nibbles
// and those of block 2p+1 in its high ones. One 16-byte load per lane reads a pair:
//
//      byte 512 p + 16 lane + 4 i + j:  [ block 2p+1: a_i, code j | block 2p: a_i, code j ]
//
// A high nibble is used where it stands (the code times 16, exact in 8 bits); the factor goes into
// the scale. Nothing is re-quantised: dequantize() of a packed matrix is dequantize() of the file.
//
// Activations ("q8") are int8 codes, a scale and a sum per 32 columns, in groups of up to 8 rows. A
// group has room for T rows: 1, 2 or 4 if n_rows is that small, else 8 (kMaxMatmulRows / 8 groups):
//
//      [k tile][group] { codes [8 blocks][T rows][32], {float scale, sum} [8 blocks][T rows] }
//
// The 32 codes of a block are stored so that lane t's eight, columns 4t.. and 16+4t.., are
// adjacent. For BF16 weights, which are row-major, activations are bf16 in k tiles of 128 columns:
//
//      [k tile][group] [4 chunks][T rows][32 columns]
//
// Owner: whoever calls ops.h. Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/ops.h"

namespace fimd::cuda {

inline constexpr int kTileRows = 16;
inline constexpr int kTileCols = 256;
inline constexpr int kBlocksPerTile = kTileCols / 32;
/// BF16 weights are row-major; this is how many columns a warp takes at a time.
inline constexpr int kBf16TileCols = 128;
/// Of which these are the bytes of a row; rows lie in shared memory one behind another.
inline constexpr int kBf16TileRowBytes = 2 * kBf16TileCols;

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Bytes of a tile of 16 x 256 weights; 0 for a format without tiles.
constexpr int tile_bytes(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return 2048 + 256;
    case DType::kQ8_0:
      return 4096 + 256;
    case DType::kQ4_K:
      return 2048 + 256;
    case DType::kQ5_K:
      return 2048 + 512 + 256;
    case DType::kQ6_K:
      return 2048 + 1024 + 256 + 32;
    default:
      return 0;
  }
}

/// How n_rows rows of activations are grouped.
struct RowGroups {
  int rows;   // T: rows that a group has room for
  int count;  // groups
};
constexpr RowGroups row_groups(int n_rows) {
  if (n_rows <= 1) return {1, 1};
  if (n_rows <= 2) return {2, 1};
  if (n_rows <= 4) return {4, 1};
  return {8, static_cast<int>(divide_up(n_rows, 8))};
}
/// Bytes of one group in one k tile.
constexpr int q8_group_bytes(int rows) { return rows * (kTileCols + kBlocksPerTile * 8); }
constexpr int bf16_group_bytes(int rows) { return rows * kBf16TileCols * 2; }

/// Where column c (0..31) of a block is among the block's 32 stored codes.
constexpr int q8_position(int c) { return 8 * (c % 16 / 4) + 4 * (c / 16) + c % 4; }

}  // namespace fimd::cuda

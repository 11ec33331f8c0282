// What a Matrix and QuantizedActivations hold; for the kernels' own files.
#pragma once

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/pack.h"

namespace fimd::cpu {

struct Matrix::Impl {
  DType type = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  const uint8_t* file = nullptr;  // GGUF's bytes, for row()
  size_t file_row_bytes = 0;
  PanelLayout layout;
  int64_t panels = 0;
  AlignedBuffer packed;  // panels * layout.panel_bytes

  const uint8_t* panel(int64_t i) const {
    return reinterpret_cast<const uint8_t*>(packed.data()) +
           static_cast<size_t>(i) * layout.panel_bytes;
  }
};

// Tokens go in tiles of 16, the last one in the smallest tile that holds the rest. A tile's memory
// is (blocks, T, 32) codes and (blocks, kAuxWords, T) words; tile i starts where 16 i tokens end.
struct QuantizedActivations::Impl {
  int64_t n_tokens = 0;
  int64_t cols = 0;
  AlignedBuffer codes;
  AlignedBuffer aux;
  AlignedBuffer floats;  // (n_tokens, cols): a copy, for float weights

  int64_t tiles() const { return (n_tokens + kMaxTile - 1) / kMaxTile; }
  int64_t blocks() const { return cols / kBlockCols; }
  int tokens_in(int64_t tile) const {
    const int64_t left = n_tokens - tile * kMaxTile;
    return left < kMaxTile ? static_cast<int>(left) : kMaxTile;
  }
  int8_t* tile_codes(int64_t tile) const {
    return reinterpret_cast<int8_t*>(const_cast<std::byte*>(codes.data())) + tile * kMaxTile * cols;
  }
  float* tile_aux(int64_t tile) const {
    return reinterpret_cast<float*>(const_cast<std::byte*>(aux.data())) +
           tile * kMaxTile * blocks() * kAuxWords;
  }
  const float* row(int64_t token) const {
    return reinterpret_cast<const float*>(floats.data()) + token * cols;
  }
};

/// Index into kTileSizes of the smallest tile for n tokens, 1 <= n <= 16.
constexpr int tile_variant(int n) {
  int i = 0;
  while (kTileSizes[i] < n) ++i;
  return i;
}

}  // namespace fimd::cpu

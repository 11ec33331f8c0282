#include "kernels/cpu/pack.h"

#include <cassert>
#include <cstring>

#include "kernels/formats/codecs.h"

namespace fimd::cpu {
namespace {

// Codes of one row's block of 32, unpacked to a byte each (Q8_0: + 128).
void unpack_codes(DType type, const uint8_t* row, int64_t block, uint8_t* codes) {
  const int64_t super = block / kSuperBlocks;
  const int s = static_cast<int>(block % kSuperBlocks);
  switch (type) {
    case DType::kQ4_0: {
      const uint8_t* b = row + 18 * block + 2;
      for (int i = 0; i < 16; ++i) {
        codes[i] = b[i] & 15;
        codes[16 + i] = b[i] >> 4;
      }
      break;
    }
    case DType::kQ5_0: {
      const uint8_t* high = row + 22 * block + 2;
      const uint8_t* b = high + 4;
      for (int i = 0; i < 32; ++i) {
        const int low = i < 16 ? b[i] & 15 : b[i - 16] >> 4;
        codes[i] = static_cast<uint8_t>(low | ((high[i / 8] >> (i % 8)) & 1) << 4);
      }
      break;
    }
    case DType::kQ8_0: {
      const uint8_t* b = row + 34 * block + 2;
      for (int i = 0; i < 32; ++i) codes[i] = b[i] ^ 0x80;
      break;
    }
    case DType::kQ4_K: {
      const uint8_t* nibbles = row + 144 * super + 16 + 32 * (s / 2);
      for (int i = 0; i < 32; ++i) codes[i] = (nibbles[i] >> (4 * (s % 2))) & 15;
      break;
    }
    case DType::kQ5_K: {
      const uint8_t* high = row + 176 * super + 16;
      const uint8_t* nibbles = high + 32 + 32 * (s / 2);
      for (int i = 0; i < 32; ++i) {
        codes[i] =
            static_cast<uint8_t>(((nibbles[i] >> (4 * (s % 2))) & 15) | ((high[i] >> s) & 1) << 4);
      }
      break;
    }
    case DType::kQ6_K: {
      const uint8_t* b = row + 210 * super;
      const int h = s / 4, k = s % 4;
      for (int i = 0; i < 32; ++i) {
        const int low = (b[64 * h + 32 * (k % 2) + i] >> (4 * (k / 2))) & 15;
        const int high = (b[128 + 32 * h + i] >> (2 * k)) & 3;
        codes[i] = static_cast<uint8_t>(low | high << 4);
      }
      break;
    }
    default:
      assert(false);
  }
}

int code_vectors(DType type) {
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ4_K:
      return 4;
    case DType::kQ5_0:
    case DType::kQ5_K:
      return 5;
    case DType::kQ6_K:
      return 6;
    default:
      return 8;
  }
}

// Merges one row's codes of a block into the block's vectors (zeroed before the first row).
void place_codes(DType type, const uint8_t* codes, int r, uint8_t* block) {
  for (int g = 0; g < 8; ++g) {
    for (int j = 0; j < 4; ++j) {
      const int code = codes[4 * g + j];
      const int at = 4 * r + j;
      if (type == DType::kQ8_0) {
        block[64 * g + at] = static_cast<uint8_t>(code);
        continue;
      }
      block[64 * (g % 4) + at] |= static_cast<uint8_t>((code & 15) << (4 * (g / 4)));
      const bool five_bits = type == DType::kQ5_K || type == DType::kQ5_0;
      if (five_bits) block[256 + at] |= static_cast<uint8_t>((code >> 4) << g);
      if (type == DType::kQ6_K) {
        block[256 + 64 * (g / 4) + at] |= static_cast<uint8_t>((code >> 4) << (2 * (g % 4)));
      }
    }
  }
}

// One row's scales, in the panel's scale area.
void place_scales(DType type, const uint8_t* row, int64_t cols, int r, uint8_t* scales) {
  const int64_t blocks = cols / kBlockCols;
  const int64_t supers = blocks / kSuperBlocks;
  const auto copy_half = [](uint8_t* dst, const uint8_t* src) { std::memcpy(dst, src, 2); };
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0: {
      const int64_t size = type == DType::kQ4_0 ? 18 : type == DType::kQ5_0 ? 22 : 34;
      for (int64_t b = 0; b < blocks; ++b) copy_half(scales + 32 * b + 2 * r, row + size * b);
      break;
    }
    case DType::kQ4_K:
    case DType::kQ5_K: {
      const int64_t size = type == DType::kQ4_K ? 144 : 176;
      for (int64_t i = 0; i < supers; ++i) {
        const uint8_t* src = row + size * i;
        uint8_t* dst = scales + 320 * i;
        copy_half(dst + 2 * r, src);
        copy_half(dst + 32 + 2 * r, src + 2);
        for (int s = 0; s < kSuperBlocks; ++s) {
          int scale, min;
          formats::unpack_scale_min(src + 4, s, &scale, &min);
          dst[64 + 32 * s + r] = static_cast<uint8_t>(scale);
          dst[64 + 32 * s + 16 + r] = static_cast<uint8_t>(min);
        }
      }
      break;
    }
    case DType::kQ6_K:
      for (int64_t i = 0; i < supers; ++i) {
        const uint8_t* src = row + 210 * i;
        uint8_t* dst = scales + 288 * i;
        copy_half(dst + 2 * r, src + 208);
        for (int s = 0; s < 16; ++s) dst[32 + 16 * s + r] = src[192 + s];
      }
      break;
    default:
      assert(false);
  }
}

}  // namespace

PanelLayout panel_layout(DType type, int64_t cols) {
  PanelLayout layout;
  const auto blocks = static_cast<size_t>(cols / kBlockCols);
  size_t scale_bytes = 0;
  switch (type) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      layout.is_float = true;
      layout.code_bytes = static_cast<size_t>(cols) * kPanelRows * (type == DType::kF32 ? 4 : 2);
      break;
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
      scale_bytes = blocks * 32;
      break;
    case DType::kQ4_K:
    case DType::kQ5_K:
      scale_bytes = blocks / kSuperBlocks * 320;
      break;
    case DType::kQ6_K:
      scale_bytes = blocks / kSuperBlocks * 288;
      break;
  }
  if (!layout.is_float) {
    layout.code_bytes = blocks * 64 * static_cast<size_t>(code_vectors(type));
  }
  layout.panel_bytes = (layout.code_bytes + scale_bytes + 63) / 64 * 64;
  return layout;
}

void pack_panel(DType type, const uint8_t* src, size_t row_stride, int n_rows, int64_t cols,
                uint8_t* panel) {
  const PanelLayout layout = panel_layout(type, cols);
  std::memset(panel, 0, layout.panel_bytes);
  if (layout.is_float) {
    const size_t size = type == DType::kF32 ? 4 : 2;
    for (int r = 0; r < n_rows; ++r) {
      const uint8_t* row = src + row_stride * static_cast<size_t>(r);
      uint8_t* dst = panel + size * static_cast<size_t>(r);
      for (int64_t c = 0; c < cols; ++c) std::memcpy(dst + c * 16 * size, row + c * size, size);
    }
    return;
  }
  const size_t block_bytes = 64 * static_cast<size_t>(code_vectors(type));
  uint8_t codes[kBlockCols];
  for (int r = 0; r < n_rows; ++r) {
    const uint8_t* row = src + row_stride * static_cast<size_t>(r);
    for (int64_t b = 0; b < cols / kBlockCols; ++b) {
      unpack_codes(type, row, b, codes);
      place_codes(type, codes, r, panel + block_bytes * static_cast<size_t>(b));
    }
    place_scales(type, row, cols, r, panel + layout.code_bytes);
  }
}

}  // namespace fimd::cpu

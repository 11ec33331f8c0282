// Element types of tensors, with GGUF's numbers, and the geometry of their blocks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fimd {

enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ5_0 = 6,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct FormatInfo {
  DType type;
  const char* name;    // "Q4_K"
  int block_elements;  // 1 for the float types
  int block_bytes;
};

/// Null for a type number fimd has no kernels for.
const FormatInfo* find_format(uint32_t ggml_type);

/// Bytes of `n` elements; n is a multiple of block_elements.
size_t row_bytes(const FormatInfo& format, int64_t n);

/// Decodes `n` elements (a multiple of the block) to float, in the plainest way: the reference of
/// every other kernel. `src` needs no alignment.
void dequantize(DType type, const void* src, int64_t n, float* dst);

/// Encodes `n` floats, for tests and tools.
void quantize(DType type, const float* src, int64_t n, void* dst);

/// IEEE half precision, round to nearest even.
float half_to_float(uint16_t h);
uint16_t float_to_half(float f);

}  // namespace fimd

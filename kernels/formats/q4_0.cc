// Q4_0, 18 bytes for 32 elements: half d; 16 bytes whose low nibbles are elements 0..15 and high
// nibbles elements 16..31. w = d * (nibble - 8).
#include <algorithm>
#include <cmath>

#include "kernels/formats/codecs.h"

namespace fimd::formats {

void decode_q4_0(const uint8_t* src, float* dst) {
  const float d = load_half(src);
  for (int i = 0; i < 16; ++i) {
    dst[i] = d * static_cast<float>((src[2 + i] & 15) - 8);
    dst[16 + i] = d * static_cast<float>((src[2 + i] >> 4) - 8);
  }
}

// The reference rule: the element of largest magnitude becomes exactly -8 steps, so d carries the
// opposite sign of it. Codes come from the unrounded d.
void encode_q4_0(const float* src, uint8_t* dst) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(src[i]) > std::fabs(largest)) largest = src[i];
  }
  const float d = largest / -8.0f;
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  store_u16(dst, float_to_half(d));
  const auto code = [&](float x) {
    const float q = x * inverse + 8.5f;
    return static_cast<int>(q >= 0 ? std::min(q, 15.5f) : 0.0f);  // a NaN becomes 0
  };
  for (int i = 0; i < 16; ++i) {
    dst[2 + i] = static_cast<uint8_t>(code(src[i]) | code(src[16 + i]) << 4);
  }
}

}  // namespace fimd::formats

// Q5_0, 22 bytes for 32 elements: half d; 32 bits whose bit i is the fifth bit of element i; 16
// bytes whose low nibbles are elements 0..15 and high nibbles elements 16..31. w = d * (code - 16).
#include <algorithm>
#include <cmath>

#include "kernels/formats/codecs.h"

namespace fimd::formats {

void decode_q5_0(const uint8_t* src, float* dst) {
  const float d = load_half(src);
  for (int i = 0; i < 32; ++i) {
    const int low = i < 16 ? src[6 + i] & 15 : src[6 + i - 16] >> 4;
    const int high = (src[2 + i / 8] >> (i % 8)) & 1;
    dst[i] = d * static_cast<float>((low | high << 4) - 16);
  }
}

// As Q4_0: the element of largest magnitude becomes exactly -16 steps.
void encode_q5_0(const float* src, uint8_t* dst) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(src[i]) > std::fabs(largest)) largest = src[i];
  }
  const float d = largest / -16.0f;
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  store_u16(dst, float_to_half(d));
  std::fill(dst + 2, dst + 22, uint8_t{0});
  for (int i = 0; i < 32; ++i) {
    const float q = src[i] * inverse + 16.5f;
    const int code = static_cast<int>(q >= 0 ? std::min(q, 31.5f) : 0.0f);  // a NaN becomes 0
    dst[6 + i % 16] |= static_cast<uint8_t>((code & 15) << (i < 16 ? 0 : 4));
    dst[2 + i / 8] |= static_cast<uint8_t>((code >> 4) << (i % 8));
  }
}

}  // namespace fimd::formats

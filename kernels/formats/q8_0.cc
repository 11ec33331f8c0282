// Q8_0, 34 bytes for 32 elements: half d; 32 signed bytes. w = d * q.
#include <algorithm>
#include <cmath>

#include "kernels/formats/codecs.h"

namespace fimd::formats {

void decode_q8_0(const uint8_t* src, float* dst) {
  const float d = load_half(src);
  for (int i = 0; i < 32; ++i) dst[i] = d * static_cast<float>(static_cast<int8_t>(src[2 + i]));
}

void encode_q8_0(const float* src, uint8_t* dst) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(src[i]));
  const float d = largest / 127.0f;
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  store_u16(dst, float_to_half(d));
  for (int i = 0; i < 32; ++i) {
    const float q = std::round(src[i] * inverse);
    dst[2 + i] =
        static_cast<uint8_t>(q == q ? static_cast<int>(std::clamp(q, -127.0f, 127.0f)) : 0);
  }
}

}  // namespace fimd::formats

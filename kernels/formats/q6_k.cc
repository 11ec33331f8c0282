// Q6_K, 210 bytes for 256 elements in 16 sub-blocks of 16: ql[128] low nibbles, qh[64] upper two
// bits, 16 signed 8-bit scales, half d. w = d * scale[e / 16] * (q - 32).
//
// In half h (128 elements), quarter k (32 elements), element l: the low nibble is in
// ql[64 h + 32 (k % 2) + l], low half of the byte if k < 2; the upper bits are field k of
// qh[32 h + l].
#include <algorithm>
#include <cmath>

#include "kernels/formats/codecs.h"

namespace fimd::formats {
namespace {

constexpr int kScalesAt = 192;
constexpr int kDeltaAt = 208;

}  // namespace

void decode_q6_k(const uint8_t* src, float* dst) {
  const float d = load_half(src + kDeltaAt);
  for (int e = 0; e < 256; ++e) {
    const int h = e / 128, k = e % 128 / 32, l = e % 32;
    const int low = (src[64 * h + 32 * (k % 2) + l] >> (4 * (k / 2))) & 15;
    const int high = (src[128 + 32 * h + l] >> (2 * k)) & 3;
    const float scale = static_cast<float>(static_cast<int8_t>(src[kScalesAt + e / 16]));
    dst[e] = d * scale * static_cast<float>((low | high << 4) - 32);
  }
}

void encode_q6_k(const float* src, uint8_t* dst) {
  int8_t codes[16];
  float fits[16];
  float largest = 0;
  for (int s = 0; s < 16; ++s) {
    fits[s] = fit_symmetric(src + 16 * s, 16, 32, codes);
    if (std::fabs(fits[s]) > std::fabs(largest)) largest = fits[s];
  }
  std::fill(dst, dst + 210, uint8_t{0});
  if (largest == 0) return;
  const uint16_t d_half = float_to_half(largest / -128.0f);
  const float d = half_to_float(d_half);
  store_u16(dst + kDeltaAt, d_half);
  for (int s = 0; s < 16; ++s) {
    const int scale =
        d != 0 ? std::clamp(static_cast<int>(std::lround(fits[s] / d)), -128, 127) : 0;
    dst[kScalesAt + s] = static_cast<uint8_t>(scale);
    const float step = d * static_cast<float>(scale);
    for (int i = 0; i < 16; ++i) {
      const int e = 16 * s + i;
      const float exact = step != 0 ? src[e] / step : 0.0f;
      const int q =
          exact == exact ? static_cast<int>(std::lround(std::clamp(exact, -32.0f, 31.0f))) : 0;
      const int code = q + 32;
      const int h = e / 128, k = e % 128 / 32, l = e % 32;
      dst[64 * h + 32 * (k % 2) + l] |= static_cast<uint8_t>((code & 15) << (4 * (k / 2)));
      dst[128 + 32 * h + l] |= static_cast<uint8_t>((code >> 4) << (2 * k));
    }
  }
}

}  // namespace fimd::formats

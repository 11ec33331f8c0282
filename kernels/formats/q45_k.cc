// Q4_K and Q5_K: 256 elements in 8 sub-blocks of 32, w = d * scale[s] * q - dmin * min[s].
//
// Bytes: half d, half dmin, 12 bytes of 6-bit scales and minima, (Q5_K: 32 bytes of fifth bits),
// 128 bytes of nibbles. Nibbles of group j (64 elements): low = sub-block 2j, high = 2j + 1. The
// fifth bit of element l of sub-block s is bit s of high byte l.
#include <algorithm>
#include <cmath>

#include "kernels/formats/codecs.h"

namespace fimd::formats {
namespace {

constexpr int kSubBlocks = 8;
constexpr int kSubElements = 32;

void decode(const uint8_t* src, bool fifth_bit, float* dst) {
  const float d = load_half(src);
  const float dmin = load_half(src + 2);
  const uint8_t* high = src + 16;
  const uint8_t* nibbles = src + 16 + (fifth_bit ? 32 : 0);
  for (int s = 0; s < kSubBlocks; ++s) {
    int scale, min;
    unpack_scale_min(src + 4, s, &scale, &min);
    const float step = d * static_cast<float>(scale);
    const float offset = dmin * static_cast<float>(min);
    for (int l = 0; l < kSubElements; ++l) {
      int q = (nibbles[32 * (s / 2) + l] >> (4 * (s % 2))) & 15;
      if (fifth_bit) q |= ((high[l] >> s) & 1) << 4;
      dst[kSubElements * s + l] = step * static_cast<float>(q) - offset;
    }
  }
}

// Fits each sub-block, rounds the fits to 6 bits of a common d and dmin, then chooses the codes
// anew for the factors as stored.
void encode(const float* src, bool fifth_bit, uint8_t* dst) {
  const int max_code = fifth_bit ? 31 : 15;
  uint8_t codes[kSubElements];
  AffineFit fits[kSubBlocks];
  float largest_scale = 0, largest_min = 0;
  for (int s = 0; s < kSubBlocks; ++s) {
    fits[s] = fit_affine(src + kSubElements * s, kSubElements, max_code, codes);
    largest_scale = std::max(largest_scale, fits[s].scale);
    largest_min = std::max(largest_min, fits[s].min);
  }
  const uint16_t d_half = float_to_half(largest_scale / 63.0f);
  const uint16_t dmin_half = float_to_half(largest_min / 63.0f);
  const float d = half_to_float(d_half);
  const float dmin = half_to_float(dmin_half);

  int scales[kSubBlocks], mins[kSubBlocks];
  for (int s = 0; s < kSubBlocks; ++s) {
    const auto six_bits = [](float x, float unit) {
      return unit > 0 ? std::clamp(static_cast<int>(std::lround(x / unit)), 0, 63) : 0;
    };
    scales[s] = six_bits(fits[s].scale, d);
    mins[s] = six_bits(fits[s].min, dmin);
  }
  store_u16(dst, d_half);
  store_u16(dst + 2, dmin_half);
  pack_scale_min(scales, mins, dst + 4);
  uint8_t* high = dst + 16;
  uint8_t* nibbles = dst + 16 + (fifth_bit ? 32 : 0);
  std::fill(dst + 16, nibbles + 128, uint8_t{0});
  for (int s = 0; s < kSubBlocks; ++s) {
    const float step = d * static_cast<float>(scales[s]);
    const float offset = dmin * static_cast<float>(mins[s]);
    for (int l = 0; l < kSubElements; ++l) {
      const float exact = step > 0 ? (src[kSubElements * s + l] + offset) / step : 0.0f;
      const int q = exact > 0 ? static_cast<int>(std::min(exact + 0.5f, max_code + 0.5f)) : 0;
      nibbles[32 * (s / 2) + l] |= static_cast<uint8_t>((q & 15) << (4 * (s % 2)));
      if (fifth_bit) high[l] |= static_cast<uint8_t>((q >> 4) << s);
    }
  }
}

}  // namespace

void unpack_scale_min(const uint8_t* packed, int s, int* scale, int* min) {
  if (s < 4) {
    *scale = packed[s] & 63;
    *min = packed[4 + s] & 63;
  } else {
    const int i = s - 4;
    *scale = (packed[8 + i] & 15) | (packed[i] >> 6) << 4;
    *min = packed[8 + i] >> 4 | (packed[4 + i] >> 6) << 4;
  }
}

void pack_scale_min(const int* scales, const int* mins, uint8_t* packed) {
  for (int i = 0; i < 4; ++i) {
    packed[i] = static_cast<uint8_t>(scales[i] | (scales[4 + i] >> 4) << 6);
    packed[4 + i] = static_cast<uint8_t>(mins[i] | (mins[4 + i] >> 4) << 6);
    packed[8 + i] = static_cast<uint8_t>((scales[4 + i] & 15) | (mins[4 + i] & 15) << 4);
  }
}

void decode_q4_k(const uint8_t* src, float* dst) { decode(src, false, dst); }
void encode_q4_k(const float* src, uint8_t* dst) { encode(src, false, dst); }
void decode_q5_k(const uint8_t* src, float* dst) { decode(src, true, dst); }
void encode_q5_k(const float* src, uint8_t* dst) { encode(src, true, dst); }

}  // namespace fimd::formats

// F32, F16 and BF16: one element a block.
#include <bit>

#include "kernels/formats/codecs.h"

namespace fimd::formats {

void decode_f32(const uint8_t* src, float* dst) { std::memcpy(dst, src, sizeof(float)); }
void encode_f32(const float* src, uint8_t* dst) { std::memcpy(dst, src, sizeof(float)); }

void decode_f16(const uint8_t* src, float* dst) { *dst = load_half(src); }
void encode_f16(const float* src, uint8_t* dst) { store_u16(dst, float_to_half(*src)); }

void decode_bf16(const uint8_t* src, float* dst) {
  *dst = std::bit_cast<float>(static_cast<uint32_t>(load_u16(src)) << 16);
}

void encode_bf16(const float* src, uint8_t* dst) {
  uint32_t bits = std::bit_cast<uint32_t>(*src);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    bits |= 0x400000u;  // keep a NaN a NaN after truncation
  } else {
    bits += 0x7fffu + ((bits >> 16) & 1u);  // round half to even
  }
  store_u16(dst, static_cast<uint16_t>(bits >> 16));
}

}  // namespace fimd::formats

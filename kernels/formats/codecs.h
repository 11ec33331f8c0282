// The per-format encoders and decoders behind dtype.h's table: one block at a time, plain code.
//
// Block layouts are GGUF's. `d` and `m` are half-precision little-endian; the code reads bytes, so
// blocks need no alignment.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/formats/dtype.h"

namespace fimd::formats {

/// Decodes one block at `src` to info.block_elements floats.
using DecodeBlock = void (*)(const uint8_t* src, float* dst);
/// Encodes one block of info.block_elements floats.
using EncodeBlock = void (*)(const float* src, uint8_t* dst);

struct Codec {
  FormatInfo info;
  DecodeBlock decode;
  EncodeBlock encode;
};

void decode_f32(const uint8_t* src, float* dst);
void encode_f32(const float* src, uint8_t* dst);
void decode_f16(const uint8_t* src, float* dst);
void encode_f16(const float* src, uint8_t* dst);
void decode_bf16(const uint8_t* src, float* dst);
void encode_bf16(const float* src, uint8_t* dst);
void decode_q4_0(const uint8_t* src, float* dst);
void encode_q4_0(const float* src, uint8_t* dst);
void decode_q5_0(const uint8_t* src, float* dst);
void encode_q5_0(const float* src, uint8_t* dst);
void decode_q8_0(const uint8_t* src, float* dst);
void encode_q8_0(const float* src, uint8_t* dst);
void decode_q4_k(const uint8_t* src, float* dst);
void encode_q4_k(const float* src, uint8_t* dst);
void decode_q5_k(const uint8_t* src, float* dst);
void encode_q5_k(const float* src, uint8_t* dst);
void decode_q6_k(const uint8_t* src, float* dst);
void encode_q6_k(const float* src, uint8_t* dst);

inline uint16_t load_u16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }
inline void store_u16(uint8_t* p, uint16_t v) {
  p[0] = static_cast<uint8_t>(v);
  p[1] = static_cast<uint8_t>(v >> 8);
}
inline float load_half(const uint8_t* p) { return half_to_float(load_u16(p)); }

/// The 6-bit scale and minimum of sub-block s (0..7) of a Q4_K or Q5_K block, from its 12 bytes.
void unpack_scale_min(const uint8_t* packed, int s, int* scale, int* min);
void pack_scale_min(const int* scales, const int* mins, uint8_t* packed);

/// The affine code of one sub-block: x ~ scale * q - min with q in 0..max_code and both factors
/// >= 0, by a search for the least weighted squared error. Writes the codes.
struct AffineFit {
  float scale;
  float min;
};
AffineFit fit_affine(const float* x, int n, int max_code, uint8_t* codes);

/// The symmetric code x ~ scale * q with q in -max_code..max_code-1, weighted by x^2.
float fit_symmetric(const float* x, int n, int max_code, int8_t* codes);

}  // namespace fimd::formats

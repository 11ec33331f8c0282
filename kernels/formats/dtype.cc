#include "kernels/formats/dtype.h"

#include <bit>
#include <cassert>

#include "kernels/formats/codecs.h"

namespace fimd {
namespace {

using formats::Codec;

constexpr Codec kCodecs[] = {
    {{DType::kF32, "F32", 1, 4}, formats::decode_f32, formats::encode_f32},
    {{DType::kF16, "F16", 1, 2}, formats::decode_f16, formats::encode_f16},
    {{DType::kBF16, "BF16", 1, 2}, formats::decode_bf16, formats::encode_bf16},
    {{DType::kQ4_0, "Q4_0", 32, 18}, formats::decode_q4_0, formats::encode_q4_0},
    {{DType::kQ5_0, "Q5_0", 32, 22}, formats::decode_q5_0, formats::encode_q5_0},
    {{DType::kQ8_0, "Q8_0", 32, 34}, formats::decode_q8_0, formats::encode_q8_0},
    {{DType::kQ4_K, "Q4_K", 256, 144}, formats::decode_q4_k, formats::encode_q4_k},
    {{DType::kQ5_K, "Q5_K", 256, 176}, formats::decode_q5_k, formats::encode_q5_k},
    {{DType::kQ6_K, "Q6_K", 256, 210}, formats::decode_q6_k, formats::encode_q6_k},
};

const Codec* find_codec(uint32_t type) {
  for (const Codec& codec : kCodecs) {
    if (static_cast<uint32_t>(codec.info.type) == type) return &codec;
  }
  return nullptr;
}

}  // namespace

const FormatInfo* find_format(uint32_t ggml_type) {
  const Codec* codec = find_codec(ggml_type);
  return codec ? &codec->info : nullptr;
}

size_t row_bytes(const FormatInfo& format, int64_t n) {
  assert(n >= 0 && n % format.block_elements == 0);
  return static_cast<size_t>(n / format.block_elements) * static_cast<size_t>(format.block_bytes);
}

void dequantize(DType type, const void* src, int64_t n, float* dst) {
  const Codec* codec = find_codec(static_cast<uint32_t>(type));
  assert(codec && n >= 0 && n % codec->info.block_elements == 0);
  const auto* bytes = static_cast<const uint8_t*>(src);
  for (int64_t i = 0; i < n; i += codec->info.block_elements) {
    codec->decode(bytes, dst + i);
    bytes += codec->info.block_bytes;
  }
}

void quantize(DType type, const float* src, int64_t n, void* dst) {
  const Codec* codec = find_codec(static_cast<uint32_t>(type));
  assert(codec && n >= 0 && n % codec->info.block_elements == 0);
  auto* bytes = static_cast<uint8_t*>(dst);
  for (int64_t i = 0; i < n; i += codec->info.block_elements) {
    codec->encode(src + i, bytes);
    bytes += codec->info.block_bytes;
  }
}

float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 0x1fu;
  const uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float subnormal = static_cast<float>(mantissa) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(subnormal));
}

uint16_t float_to_half(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);   // NaN
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to infinity
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 aligns the mantissa so that the FPU rounds it, half to even.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

}  // namespace fimd

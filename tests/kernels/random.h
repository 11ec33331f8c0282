// Deterministic test data.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/formats/dtype.h"

namespace fimd::test {

inline std::vector<float> normal_floats(size_t n, uint32_t seed, float scale = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> v(n);
  for (float& x : v) x = normal(rng);
  return v;
}

inline std::vector<uint8_t> quantized(DType type, const std::vector<float>& v) {
  const FormatInfo& format = *find_format(static_cast<uint32_t>(type));
  std::vector<uint8_t> bytes(row_bytes(format, static_cast<int64_t>(v.size())));
  quantize(type, v.data(), static_cast<int64_t>(v.size()), bytes.data());
  return bytes;
}

inline const std::vector<DType>& all_types() {
  static const std::vector<DType> types = {DType::kF32,  DType::kF16,  DType::kBF16,
                                           DType::kQ4_0, DType::kQ5_0, DType::kQ8_0,
                                           DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};
  return types;
}

}  // namespace fimd::test

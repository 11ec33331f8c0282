// Random weights in a file's formats and activations as the kernels quantise them, for comparing
// with sums in double precision.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.h"
#include "kernels/formats/dtype.h"
#include "tests/gpu/device_data.h"

namespace fimd::testing {

inline const FormatInfo& format_of(DType type) { return *find_format(static_cast<uint32_t>(type)); }

/// A matrix of random blocks (every code, scale and minimum occurs) and what it decodes to.
struct FileWeights {
  DType type;
  int64_t rows;
  int64_t cols;
  std::vector<uint8_t> raw;
  std::vector<float> values;  // (rows, cols)
};

inline FileWeights random_weights(DType type, int64_t rows, int64_t cols, unsigned seed) {
  const FormatInfo& format = format_of(type);
  FileWeights w{type, rows, cols, {}, {}};
  const size_t row_size = row_bytes(format, cols);
  w.raw.resize(row_size * static_cast<size_t>(rows));
  w.values.resize(static_cast<size_t>(rows * cols));
  std::mt19937 random(seed);
  if (format.block_elements == 1) {
    const std::vector<float> values = random_floats(w.values.size(), seed, 0.05F);
    quantize(type, values.data(), rows * cols, w.raw.data());
  } else {
    for (uint8_t& byte : w.raw) byte = static_cast<uint8_t>(random());
    const auto put_half = [&](size_t at) {
      const float value = 0.0005F + 0.001F * static_cast<float>(random() % 1000) / 1000.0F;
      const uint16_t half = float_to_half(random() % 2 != 0 ? value : -value);
      w.raw[at] = static_cast<uint8_t>(half);
      w.raw[at + 1] = static_cast<uint8_t>(half >> 8);
    };
    for (size_t at = 0; at < w.raw.size(); at += static_cast<size_t>(format.block_bytes)) {
      put_half(type == DType::kQ6_K ? at + 208 : at);
      if (type == DType::kQ4_K || type == DType::kQ5_K) put_half(at + 2);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    dequantize(type, w.raw.data() + static_cast<size_t>(r) * row_size, cols,
               w.values.data() + r * cols);
  }
  return w;
}

/// The packed matrix on the device, sent in pieces of up to `piece` rows (a multiple of 16).
struct DeviceMatrix {
  cuda::DeviceBuffer data;
  cuda::Matrix matrix;
};

inline DeviceMatrix packed(const FileWeights& w, int64_t piece = 1 << 20) {
  DeviceMatrix out;
  const size_t bytes = cuda::packed_bytes(w.type, w.rows, w.cols);
  out.data = poisoned<uint8_t>(bytes);
  const size_t row_size = row_bytes(format_of(w.type), w.cols);
  for (int64_t row = 0; row < w.rows; row += piece) {
    const int64_t n = std::min(piece, w.rows - row);
    const std::vector<uint8_t> part(w.raw.begin() + row * static_cast<int64_t>(row_size),
                                    w.raw.begin() + (row + n) * static_cast<int64_t>(row_size));
    const cuda::DeviceBuffer raw = to_device(part);
    cuda::pack(w.type, raw.data(), row, n, w.rows, w.cols, out.data.data(), nullptr);
    REQUIRE(cudaGetLastError() == cudaSuccess);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  }
  out.matrix = {cuda::packed_type(w.type), out.data.data(), w.rows, w.cols};
  return out;
}

/// Round to nearest even, as a number.
inline float bf16_rounded(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  bits += 0x7FFFU + ((bits >> 16) & 1U);
  bits &= 0xFFFF0000U;
  std::memcpy(&v, &bits, 4);
  return v;
}

/// x as the products see it: eight bits and a scale per 32 columns, or bf16.
inline std::vector<float> as_quantized(const std::vector<float>& x, bool bf16) {
  std::vector<float> seen(x.size());
  for (size_t block = 0; block < x.size(); block += 32) {
    float largest = 0;
    for (size_t i = block; i < block + 32; ++i) largest = std::max(largest, std::fabs(x[i]));
    const float inverse = largest > 0 ? 127.0F / largest : 0.0F;
    for (size_t i = block; i < block + 32; ++i) {
      seen[i] = bf16 ? bf16_rounded(x[i]) : std::nearbyint(x[i] * inverse) * (largest / 127.0F);
    }
  }
  return seen;
}

/// Buffers for n_rows rows of activations, poisoned, and the struct that names them.
struct DeviceActivations {
  cuda::DeviceBuffer q8, bf16, plain;
  cuda::Activations view;
};

inline DeviceActivations make_activations(int n_rows, int64_t cols) {
  DeviceActivations out;
  out.view.cols = cols;
  if (n_rows <= cuda::kMaxMatmulRows) {
    out.q8 = poisoned<uint8_t>(cuda::q8_bytes(n_rows, cols));
    out.bf16 = poisoned<uint8_t>(cuda::bf16_bytes(n_rows, cols));
    out.view.q8 = out.q8.data();
    out.view.bf16 = out.bf16.data();
  }
  out.plain = poisoned<uint16_t>(static_cast<size_t>(n_rows * cols));
  out.view.plain = out.plain.as<__nv_bfloat16>();
  return out;
}

/// A new workspace of chains, and the struct that names it.
struct DeviceChainWorkspace {
  cuda::DeviceBuffer memory;
  cuda::ChainWorkspace view;
};
inline DeviceChainWorkspace make_chain_workspace(int64_t cols, int64_t ff) {
  const size_t bytes = cuda::chain_workspace_bytes(cols, ff);
  DeviceChainWorkspace out = {to_device(std::vector<uint8_t>(bytes)), {}};
  out.view = {out.memory.data(), bytes};
  return out;
}

}  // namespace fimd::testing

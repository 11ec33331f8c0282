// The gates around attention and around the delta rule, against their definitions.
#include <cuda_bf16.h>
#include <doctest/doctest.h>

#include <tuple>

#include "kernels/cuda/ops.h"
#include "tests/gpu/device_data.h"

namespace fimd::cuda {
namespace {

using testing::random_floats;
using testing::relative_error;
using testing::to_device;

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

std::vector<float> floats_of(const DeviceBuffer& buffer, size_t n) {
  std::vector<float> floats;
  for (const uint16_t bits : testing::to_host<uint16_t>(buffer, n)) {
    floats.push_back(testing::bf16_value(bits));
  }
  return floats;
}

constexpr double kBf16Tolerance = 4e-3;  // rounding to 8 bits, random in sign

TEST_CASE("an output gate scales what its head attended to") {
  for (const auto& [heads, head_dim, n_rows] :
       {std::tuple(3, 32, 1), std::tuple(5, 64, 7), std::tuple(24, 256, 130)}) {
    CAPTURE(heads);
    const auto cols = static_cast<size_t>(heads * head_dim);
    const size_t stride = 2 * cols + 64;  // keys and values behind
    const auto n = static_cast<size_t>(n_rows);
    const auto x = random_floats(n * cols, 1);
    const auto gates = random_floats(n * stride, 2, 3.0F);
    std::vector<double> expected;
    for (size_t i = 0; i < n * cols; ++i) {
      const size_t head = i % cols / static_cast<size_t>(head_dim);
      const size_t d = i % static_cast<size_t>(head_dim);
      const size_t gate = i / cols * stride + (2 * head + 1) * static_cast<size_t>(head_dim) + d;
      expected.push_back(x[i] * sigmoid(gates[gate]));
    }
    const auto x_device = to_device(x);
    const auto gates_device = to_device(gates);
    const auto out = testing::poisoned<uint16_t>(n * cols);
    sigmoid_mul_quantize(
        x_device.as<float>(), gates_device.as<float>(), static_cast<int64_t>(stride), head_dim,
        n_rows, {.cols = static_cast<int64_t>(cols), .plain = out.as<__nv_bfloat16>()}, nullptr);
    CHECK(relative_error(floats_of(out, n * cols), expected) < kBf16Tolerance);
  }
}

TEST_CASE("the gated norm normalises each head, then gates") {
  for (const auto& [heads, head_dim, n_rows] : {std::tuple(2, 16, 1), std::tuple(5, 64, 7),
                                                std::tuple(48, 128, 70), std::tuple(1, 32, 3)}) {
    CAPTURE(head_dim);
    const auto dim = static_cast<size_t>(head_dim);
    const size_t cols = static_cast<size_t>(heads) * dim;
    const size_t stride = cols + 32;
    const auto n = static_cast<size_t>(n_rows);
    const auto x = random_floats(n * cols, 1, 0.1F);
    const auto z = random_floats(n * stride, 2, 2.0F);
    const auto weight = random_floats(dim, 3);
    constexpr float kEps = 1e-3F;
    std::vector<double> expected;
    for (size_t i = 0; i < n * cols; ++i) {
      const size_t head = i - i % dim;
      double sum = 0;
      for (size_t d = 0; d < dim; ++d) sum += static_cast<double>(x[head + d]) * x[head + d];
      const double gate = z[i / cols * stride + i % cols];
      expected.push_back(x[i] / std::sqrt(sum / head_dim + kEps) * weight[i % dim] * gate *
                         sigmoid(gate));
    }
    const auto x_device = to_device(x);
    const auto z_device = to_device(z);
    const auto weight_device = to_device(weight);
    const auto out = testing::poisoned<uint16_t>(n * cols);
    gated_norm_quantize(x_device.as<float>(), z_device.as<float>(), static_cast<int64_t>(stride),
                        weight_device.as<float>(), head_dim, kEps, n_rows,
                        {.cols = static_cast<int64_t>(cols), .plain = out.as<__nv_bfloat16>()},
                        nullptr);
    CHECK(relative_error(floats_of(out, n * cols), expected) < kBf16Tolerance);
  }
}

}  // namespace
}  // namespace fimd::cuda

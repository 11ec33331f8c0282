// Moving test data to and from the GPU, and comparing with a reference.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda/runtime.h"

namespace fimd::testing {

/// A copy of `host` on the device; with n > host.size() the rest holds NaN bytes (0xFF).
template <class T>
cuda::DeviceBuffer to_device(const std::vector<T>& host, size_t n = 0) {
  const size_t count = std::max({host.size(), n, size_t{1}});
  auto buffer = cuda::DeviceBuffer::make(count * sizeof(T), "a test");
  REQUIRE(buffer.ok());
  REQUIRE(cudaMemset(buffer->data(), 0xFF, count * sizeof(T)) == cudaSuccess);
  REQUIRE(cudaMemcpy(buffer->data(), host.data(), host.size() * sizeof(T),
                     cudaMemcpyHostToDevice) == cudaSuccess);
  // A fill of device memory may still run, and other streams do not wait for it.
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  return std::move(*buffer);
}

/// n elements of NaN bytes, so that what a kernel forgets to write shows.
template <class T>
cuda::DeviceBuffer poisoned(size_t n) {
  return to_device(std::vector<T>{}, n);
}

template <class T>
std::vector<T> to_host(const cuda::DeviceBuffer& buffer, size_t n) {
  std::vector<T> host(n);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  REQUIRE(cudaGetLastError() == cudaSuccess);
  REQUIRE(cudaMemcpy(host.data(), buffer.data(), n * sizeof(T), cudaMemcpyDeviceToHost) ==
          cudaSuccess);
  return host;
}

/// The value of a bfloat16's bits.
inline float bf16_value(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

/// |a - b| / |b| over all elements (Euclidean); infinite if anything is not a number.
template <class A, class B>
double relative_error(const A& a, const B& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]);
    const double y = static_cast<double>(b[i]);
    if (!std::isfinite(x) || !std::isfinite(y)) return INFINITY;
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

inline std::vector<float> random_floats(size_t n, unsigned seed, float scale = 1.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace fimd::testing

// Rows of gpu_kernels_bench: recurrent layers at the shape of Qwen3.6-27B.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/ops.h"
#include "tests/bench/gpu_bench.h"

namespace fimd::bench {
namespace {

using cuda::DeltaShape;
using cuda::RecurrentState;
using cuda::Sequence;
using cuda::SequenceState;
using cuda::StateSaveAt;

constexpr DeltaShape kShape{16, 48, 128, 128};
constexpr int kKernel = 4;
constexpr float kEps = 1e-6F;

/// Normal numbers, repeated after a million of them.
float* normal(GpuBench& bench, size_t n, float scale) {
  auto* to = static_cast<float*>(bench.random_bytes(n * sizeof(float)));
  if (to == nullptr) return nullptr;
  std::mt19937 random(1);
  std::normal_distribution<float> distribution(0, scale);
  std::vector<float> values(std::min(n, (size_t{1} << 20) + 3));
  for (float& x : values) x = distribution(random);
  for (size_t at = 0; at < n; at += values.size()) {
    cudaMemcpy(to + at, values.data(), std::min(values.size(), n - at) * sizeof(float),
               cudaMemcpyHostToDevice);
  }
  return to;
}

template <class T>
T* copied(GpuBench& bench, const std::vector<T>& values) {
  void* memory = bench.random_bytes(values.size() * sizeof(T));
  if (memory != nullptr) {
    cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice);
  }
  return static_cast<T*>(memory);
}

void recurrent_case(GpuBench& bench, int n_sequences, int rows) {
  const std::string shape = "27B " + std::to_string(n_sequences) + " x " + std::to_string(rows);
  const char* const conv = "causal_conv1d";
  const char* const delta = "gated_delta";
  const char* const steps = "gated_delta by steps";
  if (!bench.wants(conv, shape) && !bench.wants(delta, shape) && !bench.wants(steps, shape)) return;
  const auto n = static_cast<size_t>(n_sequences * rows);
  const auto heads = static_cast<size_t>(kShape.n_v_heads);
  const auto channels = static_cast<size_t>(kShape.channels());
  const auto values = static_cast<size_t>(kShape.values());
  const size_t state_size = heads * static_cast<size_t>(kShape.k_dim * kShape.v_dim);
  const size_t tail_size = (kKernel - 1) * channels;
  const auto sequences_count = static_cast<size_t>(n_sequences);
  const auto layers = static_cast<size_t>(bench.copies(2 * sequences_count * state_size * 4));
  std::vector<Sequence> sequences;
  std::vector<SequenceState> own;
  std::vector<SequenceState> own_steps;
  for (int i = 0; i < n_sequences; ++i) {
    sequences.push_back({i * rows, rows, 0, 0});
    own.push_back({i, 0, 0});
    own_steps.push_back({i, 0, rows});  // a save that never comes, counted as often as rows
  }
  float* qkv = normal(bench, n * channels, 1);
  float* u = normal(bench, n * channels, 1);
  float* out = normal(bench, n * values, 1);
  float* alpha = normal(bench, n * heads, 1);
  float* beta = normal(bench, n * heads, 1);
  float* w = normal(bench, kKernel * channels, 0.5F);
  float* states = normal(bench, layers * sequences_count * state_size, 0.1F);
  float* tails = normal(bench, layers * sequences_count * tail_size, 1);
  const float* decay = copied(bench, std::vector<float>(heads, -1.0F));
  const float* dt_bias = copied(bench, std::vector<float>(heads, -2.0F));
  const Sequence* device_sequences = copied(bench, sequences);
  const SequenceState* device_own = copied(bench, own);
  const SequenceState* device_steps = copied(bench, own_steps);
  const StateSaveAt* saves = copied(bench, std::vector<StateSaveAt>(1));
  if (qkv == nullptr || u == nullptr || states == nullptr || saves == nullptr) {
    return bench.release();
  }
  const auto layer = [&](float* all, size_t size, int i) {
    const size_t at = static_cast<size_t>(i) % layers * sequences_count * size;
    return RecurrentState{all + at, nullptr, static_cast<int64_t>(size)};
  };
  const auto convolve = [&](int i, cudaStream_t stream) {
    cuda::causal_conv1d(kShape, qkv, w, kKernel, kEps, layer(tails, tail_size, i), device_sequences,
                        device_own, saves, n_sequences, static_cast<int>(n), u, stream);
  };
  const auto apply = [&](const SequenceState* which, int i, cudaStream_t stream) {
    cuda::gated_delta(kShape, u, alpha, beta, kShape.n_v_heads, decay, dt_bias,
                      layer(states, state_size, i), device_sequences, which, saves, n_sequences,
                      rows, out, stream);
  };
  convolve(0, nullptr);  // u has to be what a convolution leaves
  cudaDeviceSynchronize();
  const double u_bytes = static_cast<double>(n * channels) * 4;
  if (bench.wants(conv, shape)) {
    bench.time(conv, shape, 2 * u_bytes, convolve);
  }
  const double delta_bytes =
      u_bytes + static_cast<double>(n * values + 2 * sequences_count * state_size) * 4;
  // A token's products with the state: S^T k, S^T q and k d^T.
  const double flops = static_cast<double>(n) * static_cast<double>(state_size) * 6;
  if (bench.wants(delta, shape)) {
    bench.time(
        delta, shape, delta_bytes, [&](int i, cudaStream_t s) { apply(device_own, i, s); }, flops);
  }
  if (rows > 1 && bench.wants(steps, shape)) {
    bench.time(
        steps, shape, delta_bytes, [&](int i, cudaStream_t s) { apply(device_steps, i, s); },
        flops);
  }
  bench.release();
}

}  // namespace

void recurrent_rows(GpuBench& bench) {
  for (const int rows : {1, 8, 16, 32, 48, 64, 128, 512, 4096}) recurrent_case(bench, 1, rows);
  recurrent_case(bench, 8, 1);
  recurrent_case(bench, 4, 512);
}

}  // namespace fimd::bench

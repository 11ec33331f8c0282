// Rows of gpu_kernels_bench: a Gated DeltaNet layer of Qwen3.6-27B in a decode step, whole and by
// its launches.
#include <string>
#include <vector>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.h"
#include "tests/bench/gpu_bench.h"

namespace fimd::bench {
namespace {

using cuda::Activations;
using cuda::FloatInput;
using cuda::MatmulTask;
using cuda::Matrix;

constexpr cuda::DeltaShape kShape{16, 48, 128, 128};
constexpr int64_t kHidden = 5120;
constexpr int64_t kFf = 17408;
constexpr int kKernel = 4;

struct Part {
  int64_t rows, cols;
  DType type;
};

template <class T>
T* copied(GpuBench& bench, const std::vector<T>& values) {
  void* memory = bench.random_bytes(values.size() * sizeof(T));
  if (memory != nullptr) {
    cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice);
  }
  return static_cast<T*>(memory);
}

/// `what`: the launches that are timed: 0 projections, 1 the step, 2 out, 3 gate and up, 4 down.
void layer_rows(GpuBench& bench, int n_rows, const std::string& name,
                const std::vector<int>& what) {
  const std::string shape = "27B rows=" + std::to_string(n_rows);
  const std::string op = "delta layer " + name;
  if (!bench.wants(op, shape)) return;
  const int64_t channels = kShape.channels();
  const int64_t values = kShape.values();
  const int64_t stride = values + 2 * kShape.n_v_heads;
  const Part parts[] = {{channels, kHidden, DType::kQ4_K},
                        {values, kHidden, DType::kQ4_K},
                        {kShape.n_v_heads, kHidden, DType::kQ4_K},
                        {kShape.n_v_heads, kHidden, DType::kQ4_K},
                        {kHidden, values, DType::kQ4_K},
                        {kFf, kHidden, DType::kQ4_K},
                        {kFf, kHidden, DType::kQ4_K},
                        {kHidden, kFf, DType::kQ6_K}};
  const std::vector<int> of_launch[] = {{0, 1, 2, 3}, {}, {4}, {5, 6}, {7}};
  size_t one = 0;
  for (const Part& part : parts) one += cuda::packed_bytes(part.type, part.rows, part.cols);
  double bytes = 0;
  const int64_t state = values * kShape.k_dim;
  const int64_t tail = channels * (kKernel - 1);
  for (const int launch : what) {
    for (const int i : of_launch[launch]) {
      bytes += static_cast<double>(cuda::packed_bytes(parts[i].type, parts[i].rows, parts[i].cols));
    }
    if (launch == 1) bytes += 8.0 * static_cast<double>(state + tail);
  }
  const int copies = bench.copies(static_cast<size_t>(bytes));
  const auto floats = [&](int64_t count) {
    return static_cast<float*>(bench.random_bytes(static_cast<size_t>(count) * 4));
  };
  auto* weights = static_cast<uint8_t*>(bench.random_bytes(one * static_cast<size_t>(copies)));
  float* const x = floats(n_rows * kHidden);
  float* const norm = floats(kHidden);
  float* const qkv = floats(n_rows * channels);
  float* const gates = floats(n_rows * stride);
  float* const out = floats(n_rows * values);
  float* const conv = floats(kKernel * channels);
  float* const states = floats((state + tail) * copies);
  const float* decay = copied(bench, std::vector<float>(48, -1.0F));
  const float* dt_bias = copied(bench, std::vector<float>(48, -2.0F));
  const auto* sequences = copied(bench, std::vector<cuda::Sequence>{{0, n_rows, 0, 0}});
  const auto* own = copied(bench, std::vector<cuda::SequenceState>(1));
  const auto* saves = copied(bench, std::vector<cuda::StateSaveAt>(1));
  const cuda::ChainWorkspace workspace = bench.chain_workspace(kHidden, kFf);
  Activations quantized{.cols = kHidden};
  quantized.q8 = bench.random_bytes(cuda::q8_bytes(n_rows, kHidden));
  Activations values_q8{.cols = values};
  values_q8.q8 = bench.random_bytes(cuda::q8_bytes(n_rows, values));
  Activations between{.cols = kFf};
  between.q8 = bench.random_bytes(cuda::q8_bytes(n_rows, kFf));
  if (weights == nullptr || states == nullptr || saves == nullptr || between.q8 == nullptr) {
    return bench.release();
  }
  const bool few = n_rows <= cuda::kMaxFloatRows;
  bench.time(op, shape, bytes, [&](int i, cudaStream_t stream) {
    const uint8_t* at = weights + static_cast<size_t>(i % copies) * one;
    Matrix w[8];
    for (int j = 0; j < 8; ++j) {
      w[j] = {parts[j].type, at, parts[j].rows, parts[j].cols};
      at += cuda::packed_bytes(parts[j].type, parts[j].rows, parts[j].cols);
    }
    float* const alpha = gates + values;
    float* const own_states = states + (state + tail) * (i % copies);
    const FloatInput input{x, kHidden, norm, 1e-6F};
    for (const int launch : what) {
      if (launch == 0) {
        const MatmulTask tasks[] = {{.w = w[0], .y = qkv, .y_stride = channels},
                                    {.w = w[1], .y = gates, .y_stride = stride},
                                    {.w = w[2], .y = alpha, .y_stride = stride},
                                    {.w = w[3], .y = alpha + 48, .y_stride = stride}};
        if (few) {
          cuda::matmul(tasks, input, n_rows, stream);
        } else {
          cuda::rms_norm_quantize(x, norm, 1e-6F, n_rows, quantized, stream);
          cuda::matmul(tasks, quantized, n_rows, stream);
        }
      } else if (launch == 1) {
        cuda::delta_step({.shape = kShape,
                          .qkv = qkv,
                          .conv = conv,
                          .eps = 1e-6F,
                          .z = gates,
                          .alpha = alpha,
                          .beta = alpha + 48,
                          .gate_stride = stride,
                          .decay = decay,
                          .dt_bias = dt_bias,
                          .norm = norm,
                          .norm_eps = 1e-6F,
                          .state = {own_states, nullptr, state},
                          .tails = {own_states + state, nullptr, tail},
                          .sequences = sequences,
                          .states = own,
                          .saves = saves,
                          .out = out},
                         1, stream);
      } else if (launch == 2) {
        const MatmulTask task = {.w = w[4], .y = x, .y_stride = kHidden};  // x stays finite
        if (few) {
          cuda::matmul({&task, 1}, FloatInput{out, values}, n_rows, stream);
        } else {
          cuda::quantize(out, n_rows, values_q8, stream);
          cuda::matmul({&task, 1}, values_q8, n_rows, stream);
        }
      } else if (launch == 3) {
        const cuda::MatmulStep gate_up = {.tasks = {{.w = w[5]}, {.w = w[6]}},
                                          .floats = input,
                                          .x = quantized,
                                          .swiglu = true,
                                          .out = between};
        cuda::matmul_chain({&gate_up, 1}, n_rows, workspace, stream);
      } else {
        const MatmulTask task = {.w = w[7], .y = x, .y_stride = kHidden, .accumulate = true};
        cuda::matmul({&task, 1}, between, n_rows, stream);
      }
    }
  });
  bench.release();
}

}  // namespace

void hybrid_rows(GpuBench& bench) {
  if (!cuda::delta_step_supported(kShape, kKernel, cuda::kMaxStepRows)) return;
  for (const int n_rows : {1, 2, 8}) {
    layer_rows(bench, n_rows, "projections", {0});
    layer_rows(bench, n_rows, "step", {1});
    layer_rows(bench, n_rows, "out", {2});
    layer_rows(bench, n_rows, "gate+up", {3});
    layer_rows(bench, n_rows, "down", {4});
    layer_rows(bench, n_rows, "whole", {0, 1, 2, 3, 4});
  }
}

}  // namespace fimd::bench

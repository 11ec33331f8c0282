// A Gated DeltaNet layer's few rows in one launch, against the operations it stands for.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/ops.h"
#include "tests/gpu/device_data.h"

namespace fimd::cuda {
namespace {

using testing::poisoned;
using testing::random_floats;
using testing::relative_error;
using testing::to_device;
using testing::to_host;

constexpr float kEps = 1e-6F;
constexpr int kKernel = 4;
constexpr int kSlots = 6;
constexpr int kCheckpoints = 5;

struct Case {
  int k_heads;
  int v_heads;
  bool grouped;
  std::vector<int> rows;  // of each sequence; 0: padding
  std::vector<std::vector<StateSaveAt>> saves;
  int64_t hidden = 0;  // not 0: alpha and beta are made of rows so long
};

float as_bf16(float x) { return __bfloat162float(__float2bfloat16(x)); }

/// The product of a row of x, normalised, with a row of weights.
float product(std::span<const float> x, std::span<const float> norm, std::span<const float> w) {
  double sum = 0;
  double squares = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    sum += static_cast<double>(x[i]) * static_cast<double>(norm[i]) * static_cast<double>(w[i]);
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  const auto n = static_cast<double>(x.size());
  return static_cast<float>(sum / std::sqrt(squares / n + static_cast<double>(kEps)));
}

/// `out`, and the slots and checkpoints of states and tails.
struct Results {
  std::vector<float> out, states, tails;
};

Results run(const Case& test, bool fused, unsigned seed) {
  const DeltaShape shape{test.k_heads, test.v_heads, 128, 128, test.grouped};
  const auto channels = static_cast<size_t>(shape.channels());
  const auto values = static_cast<size_t>(shape.values());
  const auto heads = static_cast<size_t>(shape.n_v_heads);
  std::vector<Sequence> sequences;
  std::vector<SequenceState> own;
  std::vector<StateSaveAt> saves;
  int n_rows = 0;
  for (size_t i = 0; i < test.rows.size(); ++i) {
    sequences.push_back({n_rows, test.rows[i], 5, 0});
    own.push_back({static_cast<int32_t>((i * 5 + 2) % kSlots), static_cast<int32_t>(saves.size()),
                   static_cast<int32_t>(test.saves[i].size())});
    saves.insert(saves.end(), test.saves[i].begin(), test.saves[i].end());
    n_rows += test.rows[i];
  }
  const auto n = static_cast<size_t>(n_rows);
  const int64_t stride = (shape.values() + 2 * shape.n_v_heads + 3) / 4 * 4;
  std::vector<float> decay = random_floats(heads, seed + 4);
  for (float& value : decay) value = -std::exp(value);
  const auto state_size = heads * 128 * 128;
  const size_t tail_size = (kKernel - 1) * channels;
  const auto qkv = to_device(random_floats(n * channels, seed));
  const auto w = to_device(random_floats(kKernel * channels, seed + 1, 0.5F));
  std::vector<float> host_gates = random_floats(n * static_cast<size_t>(stride), seed + 2);
  const auto hidden = static_cast<size_t>(test.hidden);
  const std::vector<float> x = random_floats(n * hidden, seed + 9);
  const std::vector<float> x_norm = random_floats(hidden, seed + 10);
  std::vector<float> matrices =
      random_floats(2 * heads * hidden, seed + 11, 2 / std::sqrt(static_cast<float>(hidden + 1)));
  std::vector<__nv_bfloat16> packed(matrices.size());
  for (size_t i = 0; i < packed.size(); ++i) {
    matrices[i] = as_bf16(matrices[i]);
    packed[i] = __float2bfloat16(matrices[i]);
  }
  for (size_t i = 0; hidden > 0 && i < n * 2 * heads; ++i) {
    const size_t row = i / (2 * heads);
    const size_t of = i % (2 * heads);  // heads of alpha, then of beta
    host_gates[row * static_cast<size_t>(stride) + values + of] =
        product(std::span(x).subspan(row * hidden, hidden), x_norm,
                std::span(matrices).subspan(of * hidden, hidden));
  }
  const auto device_x = to_device(x);
  const auto device_x_norm = to_device(x_norm);
  const auto device_packed = to_device(packed);
  const auto gates = to_device(host_gates);
  const auto device_decay = to_device(decay);
  const auto dt_bias = to_device(random_floats(heads, seed + 5));
  const std::vector<float> host_norm = random_floats(128, seed + 6);
  const auto norm = to_device(host_norm);
  const auto initial_states = random_floats(state_size * (kSlots + kCheckpoints), seed + 7);
  const auto initial_tails = random_floats(tail_size * (kSlots + kCheckpoints), seed + 8);
  const auto states = to_device(initial_states);
  const auto tails = to_device(initial_tails);
  const auto device_sequences = to_device(sequences);
  const auto device_own = to_device(own);
  const auto device_saves = to_device(saves);
  const auto u = poisoned<float>(n * channels);
  const auto out = poisoned<float>(n * values);
  const auto n_sequences = static_cast<int>(sequences.size());
  const float* z = gates.as<float>();
  const float* alpha = z + values;
  const float* beta = alpha + heads;
  const RecurrentState state{states.as<float>(), states.as<float>() + kSlots * state_size,
                             static_cast<int64_t>(state_size)};
  const RecurrentState tail{tails.as<float>(), tails.as<float>() + kSlots * tail_size,
                            static_cast<int64_t>(tail_size)};
  Results results;
  if (fused) {
    REQUIRE(delta_step_supported(shape, kKernel, 8));
    DeltaStep step = {.shape = shape,
                      .qkv = qkv.as<float>(),
                      .conv = w.as<float>(),
                      .eps = kEps,
                      .z = z,
                      .alpha = alpha,
                      .beta = beta,
                      .gate_stride = stride,
                      .decay = device_decay.as<float>(),
                      .dt_bias = dt_bias.as<float>(),
                      .norm = norm.as<float>(),
                      .norm_eps = 1e-5F,
                      .state = state,
                      .tails = tail,
                      .sequences = device_sequences.as<Sequence>(),
                      .states = device_own.as<SequenceState>(),
                      .saves = device_saves.as<StateSaveAt>(),
                      .out = out.as<float>()};
    if (hidden > 0) {
      const __nv_bfloat16* weights = device_packed.as<__nv_bfloat16>();
      const Matrix alphas = {DType::kBF16, weights, test.v_heads, test.hidden};
      REQUIRE(delta_step_projects(shape, alphas, alphas));
      step.alpha = step.beta = nullptr;
      step.input = {.x = device_x.as<float>(),
                    .cols = test.hidden,
                    .norm = device_x_norm.as<float>(),
                    .eps = kEps};
      step.alpha_weights = weights;
      step.beta_weights = weights + heads * hidden;
    }
    delta_step(step, n_sequences, nullptr);
    // The same, quantised, from states as they were.
    const auto cols = static_cast<int64_t>(values);
    const auto q8 = poisoned<uint8_t>(q8_bytes(n_rows, cols));
    const auto bf16 = poisoned<uint8_t>(bf16_bytes(n_rows, cols));
    const auto expected_q8 = poisoned<uint8_t>(q8_bytes(n_rows, cols));
    const auto expected_bf16 = poisoned<uint8_t>(bf16_bytes(n_rows, cols));
    quantize(out.as<float>(), n_rows,
             {.cols = cols, .q8 = expected_q8.as<void>(), .bf16 = expected_bf16.as<void>()},
             nullptr);
    const auto states_again = to_device(initial_states);
    const auto tails_again = to_device(initial_tails);
    DeltaStep quantised = step;
    quantised.state = {states_again.as<float>(), states_again.as<float>() + kSlots * state_size,
                       static_cast<int64_t>(state_size)};
    quantised.tails = {tails_again.as<float>(), tails_again.as<float>() + kSlots * tail_size,
                       static_cast<int64_t>(tail_size)};
    quantised.out = nullptr;
    quantised.activations = {.cols = cols, .q8 = q8.as<void>(), .bf16 = bf16.as<void>()};
    quantised.n_rows = n_rows;
    delta_step(quantised, n_sequences, nullptr);
    CHECK(to_host<uint8_t>(q8, q8_bytes(n_rows, cols)) ==
          to_host<uint8_t>(expected_q8, q8_bytes(n_rows, cols)));
    CHECK(to_host<uint8_t>(bf16, bf16_bytes(n_rows, cols)) ==
          to_host<uint8_t>(expected_bf16, bf16_bytes(n_rows, cols)));
    results.out = to_host<float>(out, n * values);
  } else {
    causal_conv1d(shape, qkv.as<float>(), w.as<float>(), kKernel, kEps, tail,
                  device_sequences.as<Sequence>(), device_own.as<SequenceState>(),
                  device_saves.as<StateSaveAt>(), n_sequences, n_rows, u.as<float>(), nullptr);
    gated_delta(shape, u.as<float>(), alpha, beta, stride, device_decay.as<float>(),
                dt_bias.as<float>(), state, device_sequences.as<Sequence>(),
                device_own.as<SequenceState>(), device_saves.as<StateSaveAt>(), n_sequences, 8,
                out.as<float>(), nullptr);
    results.out = to_host<float>(out, n * values);
    for (size_t row = 0; row < n; ++row) {
      for (size_t head = 0; head < heads; ++head) {
        float* x = results.out.data() + row * values + head * 128;
        double sum = 0;
        for (int i = 0; i < 128; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        const double factor = 1 / std::sqrt(sum / 128 + 1e-5);
        for (size_t i = 0; i < 128; ++i) {
          const auto g =
              static_cast<double>(host_gates[row * static_cast<size_t>(stride) + head * 128 + i]);
          x[i] = static_cast<float>(static_cast<double>(x[i]) * factor *
                                    static_cast<double>(host_norm[i]) * g / (1 + std::exp(-g)));
        }
      }
    }
  }
  results.states = to_host<float>(states, state_size * (kSlots + kCheckpoints));
  results.tails = to_host<float>(tails, tail_size * (kSlots + kCheckpoints));
  return results;
}

TEST_CASE("one launch does to a Gated DeltaNet's few rows what several do") {
  if (!delta_step_supported({1, 1, 128, 128}, kKernel, 1)) return;  // no clusters here
  const Case cases[] = {
      {1, 1, false, {1}, {{}}},
      {2, 4, false, {1, 3}, {{}, {{2, 4}, {3, 0}}}},
      {2, 4, true, {1, 0, 2}, {{{1, 3}}, {}, {}}},
      {1, 4, false, {8, 7}, {{{1, 0}, {7, 1}, {8, 2}}, {}}},
      {16, 48, false, {1}, {{}}},  // Qwen3.6-27B
      {16, 48, false, {5, 0, 1, 8}, {{{4, 1}}, {}, {{1, 0}}, {}}},
      {3, 9, true, {2}, {{{1, 2}}}},
      {16, 48, false, {1}, {{}}, 5120},
      {16, 48, false, {5, 0, 1, 8}, {{{4, 1}}, {}, {{1, 0}}, {}}, 5120},
      {2, 4, true, {3, 1}, {{}, {{1, 2}}}, 256},
      {1, 1, false, {4}, {{}}, 36},
      {2, 2, false, {7}, {{}}, 2048},
  };
  unsigned seed = 1;
  for (const Case& test : cases) {
    CAPTURE(test.k_heads);
    CAPTURE(test.v_heads);
    seed += 100;
    const Results expected = run(test, false, seed);
    const Results actual = run(test, true, seed);
    CHECK(relative_error(actual.out, expected.out) < 1e-5);
    CHECK(relative_error(actual.states, expected.states) < 5e-6);
    CHECK(actual.tails == expected.tails);
    // Again: nothing depends on which block is first.
    const Results again = run(test, true, seed);
    CHECK(actual.out == again.out);
    CHECK(actual.states == again.states);
  }
  const Matrix bf16 = {DType::kBF16, nullptr, 4, 1024};
  const Matrix longer = {DType::kBF16, nullptr, 4, 4100};
  const Matrix q8 = {DType::kQ8_0, nullptr, 4, 1024};
  CHECK(delta_step_projects({2, 4, 128, 128}, bf16, bf16));
  CHECK_FALSE(delta_step_projects({2, 4, 128, 128}, bf16, q8));
  CHECK_FALSE(delta_step_projects({2, 4, 128, 128}, longer, longer));
  CHECK_FALSE(delta_step_projects({1, 4, 128, 128}, bf16, bf16));
  CHECK_FALSE(delta_step_supported({1, 5, 128, 128}, kKernel, 1));
  CHECK_FALSE(delta_step_supported({1, 1, 64, 128}, kKernel, 1));
  CHECK_FALSE(delta_step_supported({1, 1, 128, 128}, 3, 1));
  CHECK_FALSE(delta_step_supported({1, 1, 128, 128}, kKernel, 9));
}

}  // namespace
}  // namespace fimd::cuda

// A Gated DeltaNet layer's few rows in one launch, against the operations it stands for.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
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
};

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
  const std::vector<float> host_gates = random_floats(n * static_cast<size_t>(stride), seed + 2);
  const auto gates = to_device(host_gates);
  const auto device_decay = to_device(decay);
  const auto dt_bias = to_device(random_floats(heads, seed + 5));
  const std::vector<float> host_norm = random_floats(128, seed + 6);
  const auto norm = to_device(host_norm);
  const auto states = to_device(random_floats(state_size * (kSlots + kCheckpoints), seed + 7));
  const auto tails = to_device(random_floats(tail_size * (kSlots + kCheckpoints), seed + 8));
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
    delta_step({.shape = shape,
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
                .out = out.as<float>()},
               n_sequences, nullptr);
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
  CHECK_FALSE(delta_step_supported({1, 5, 128, 128}, kKernel, 1));
  CHECK_FALSE(delta_step_supported({1, 1, 64, 128}, kKernel, 1));
  CHECK_FALSE(delta_step_supported({1, 1, 128, 128}, 3, 1));
  CHECK_FALSE(delta_step_supported({1, 1, 128, 128}, kKernel, 9));
}

}  // namespace
}  // namespace fimd::cuda

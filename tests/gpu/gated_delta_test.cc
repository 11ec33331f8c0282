// Recurrent layers on the GPU against the CPU's, over several sequences with their own states.
#include <doctest/doctest.h>

#include "kernels/cpu/ops.h"
#include "kernels/cuda/ops.h"
#include "tests/gpu/device_data.h"

namespace fimd::cuda {
namespace {

using testing::random_floats;
using testing::relative_error;
using testing::to_device;
using testing::to_host;

constexpr float kEps = 1e-6F;

/// One layer's inputs and states for some sequences, and what the CPU makes of them.
struct Case {
  DeltaShape shape;
  int kernel = 4;
  std::vector<int> rows;                        // of each sequence
  std::vector<std::vector<StateSaveAt>> saves;  // of each sequence
  int n_slots = 5;
  int n_checkpoints = 4;
};

struct Results {
  std::vector<float> u, out, states, tails;  // states, tails: slots, then checkpoints
};

struct Inputs {
  std::vector<float> qkv, w, alpha, beta, decay, dt_bias, states, tails;
  std::vector<Sequence> sequences;
  std::vector<SequenceState> own;
  std::vector<StateSaveAt> saves;
  int n_rows = 0;
};

Inputs make_inputs(const Case& test, unsigned seed) {
  Inputs in;
  const auto channels = static_cast<size_t>(test.shape.channels());
  const auto heads = static_cast<size_t>(test.shape.n_v_heads);
  for (size_t i = 0; i < test.rows.size(); ++i) {
    in.sequences.push_back({in.n_rows, test.rows[i], 7, 0});
    in.own.push_back({static_cast<int32_t>((i * 2 + 1) % static_cast<size_t>(test.n_slots)),
                      static_cast<int32_t>(in.saves.size()),
                      static_cast<int32_t>(test.saves[i].size())});
    in.saves.insert(in.saves.end(), test.saves[i].begin(), test.saves[i].end());
    in.n_rows += test.rows[i];
  }
  const auto n = static_cast<size_t>(in.n_rows);
  in.qkv = random_floats(n * channels, seed);
  in.w = random_floats(static_cast<size_t>(test.kernel) * channels, seed + 1, 0.5F);
  in.alpha = random_floats(n * heads, seed + 2);
  in.beta = random_floats(n * heads, seed + 3);
  in.decay = random_floats(heads, seed + 4);
  for (float& value : in.decay) value = -std::exp(value);
  in.dt_bias = random_floats(heads, seed + 5);
  const auto state_size =
      static_cast<size_t>(test.shape.n_v_heads * test.shape.k_dim * test.shape.v_dim);
  const auto copies = static_cast<size_t>(test.n_slots + test.n_checkpoints);
  in.states = random_floats(state_size * copies, seed + 6);
  in.tails = random_floats(static_cast<size_t>(test.kernel - 1) * channels * copies, seed + 7);
  return in;
}

Results on_cpu(const Case& test, const Inputs& in) {
  cpu::ThreadPool pool(1);
  const DeltaShape& d = test.shape;
  const cpu::DeltaShape shape{d.n_k_heads, d.n_v_heads, d.k_dim, d.v_dim};
  const int64_t channels = d.channels();
  const int64_t state_size = int64_t{d.n_v_heads} * d.k_dim * d.v_dim;
  const int64_t tail_size = (test.kernel - 1) * channels;
  Results out{std::vector<float>(in.qkv.size()),
              std::vector<float>(static_cast<size_t>(in.n_rows * d.values())), in.states, in.tails};
  std::vector<float> alpha = in.alpha;
  std::vector<float> beta = in.beta;
  cpu::delta_gates(pool, in.decay.data(), in.dt_bias.data(), d.n_v_heads, in.n_rows, alpha.data(),
                   beta.data());
  for (size_t i = 0; i < in.sequences.size(); ++i) {
    int done = 0;
    float* state = out.states.data() + in.own[i].slot * state_size;
    float* tail = out.tails.data() + in.own[i].slot * tail_size;
    const auto run_to = [&](int end) {
      const int64_t row = in.sequences[i].row_begin + done;
      const int n = end - done;
      cpu::causal_conv1d(pool, in.qkv.data() + row * channels, tail, in.w.data(), test.kernel, n,
                         channels, out.u.data() + row * channels);
      cpu::advance_conv_tail(in.qkv.data() + row * channels, tail, test.kernel, n, channels, tail);
      cpu::normalize_qk(pool, shape, kEps, n, out.u.data() + row * channels);
      cpu::gated_delta(pool, shape, out.u.data() + row * channels, alpha.data() + row * d.n_v_heads,
                       beta.data() + row * d.n_v_heads, n, state,
                       out.out.data() + row * d.values());
      done = end;
    };
    for (const StateSaveAt& save : test.saves[i]) {
      run_to(save.after);
      std::copy_n(state, state_size,
                  out.states.data() + (test.n_slots + save.checkpoint) * state_size);
      std::copy_n(tail, tail_size, out.tails.data() + (test.n_slots + save.checkpoint) * tail_size);
    }
    if (done < test.rows[i]) run_to(test.rows[i]);
  }
  return out;
}

Results on_gpu(const Case& test, const Inputs& in) {
  const DeltaShape& d = test.shape;
  const int64_t state_size = int64_t{d.n_v_heads} * d.k_dim * d.v_dim;
  const int64_t tail_size = (test.kernel - 1) * d.channels();
  const auto n_sequences = static_cast<int>(in.sequences.size());
  const auto qkv = to_device(in.qkv);
  const auto w = to_device(in.w);
  const auto alpha = to_device(in.alpha);
  const auto beta = to_device(in.beta);
  const auto decay = to_device(in.decay);
  const auto dt_bias = to_device(in.dt_bias);
  const auto states = to_device(in.states);
  const auto tails = to_device(in.tails);
  const auto sequences = to_device(in.sequences);
  const auto own = to_device(in.own);
  const auto saves = to_device(in.saves);
  const auto out_size = static_cast<size_t>(in.n_rows * d.values());
  const auto u = testing::poisoned<float>(in.qkv.size());
  const auto out = testing::poisoned<float>(out_size);
  const RecurrentState state{states.as<float>(), states.as<float>() + test.n_slots * state_size,
                             state_size};
  const RecurrentState tail{tails.as<float>(), tails.as<float>() + test.n_slots * tail_size,
                            tail_size};
  causal_conv1d(d, qkv.as<float>(), w.as<float>(), test.kernel, kEps, tail,
                sequences.as<Sequence>(), own.as<SequenceState>(), saves.as<StateSaveAt>(),
                n_sequences, in.n_rows, u.as<float>(), nullptr);
  gated_delta(d, u.as<float>(), alpha.as<float>(), beta.as<float>(), d.n_v_heads, decay.as<float>(),
              dt_bias.as<float>(), state, sequences.as<Sequence>(), own.as<SequenceState>(),
              saves.as<StateSaveAt>(), n_sequences, in.n_rows, out.as<float>(), nullptr);
  return {to_host<float>(u, in.qkv.size()), to_host<float>(out, out_size),
          to_host<float>(states, in.states.size()), to_host<float>(tails, in.tails.size())};
}

TEST_CASE("convolution and gated delta rule compute what the CPU computes") {
  const Case cases[] = {
      {{1, 1, 16, 4}, 4, {1}, {{}}},
      {{2, 4, 32, 20}, 2, {3, 17}, {{}, {{5, 2}, {17, 0}}}},
      {{2, 2, 64, 64}, 4, {1, 1, 1}, {{{1, 3}}, {}, {}}},
      {{4, 12, 128, 128}, 4, {40, 1, 16}, {{{1, 0}, {16, 1}, {17, 2}, {40, 3}}, {}, {}}},
      {{1, 2, 256, 128}, 3, {9, 8}, {{{8, 1}}, {{1, 0}}}},
      {{16, 48, 128, 128}, 4, {70}, {{{64, 0}}}},  // Qwen3.6-27B
  };
  unsigned seed = 1;
  for (const Case& test : cases) {
    CAPTURE(test.shape.k_dim);
    REQUIRE(delta_supported(test.shape));
    const Inputs in = make_inputs(test, seed += 100);
    const Results expected = on_cpu(test, in);
    const Results actual = on_gpu(test, in);
    CHECK(relative_error(actual.u, expected.u) < 1e-5);
    CHECK(relative_error(actual.out, expected.out) < 1e-4);
    CHECK(relative_error(actual.states, expected.states) < 1e-4);
    CHECK(relative_error(actual.tails, expected.tails) == 0);
  }
}

TEST_CASE("states after one pass are those after two: bit by bit") {
  const Case whole{{4, 12, 128, 128}, 4, {50}, {{}}};
  Case first = whole;
  first.rows = {19};
  const Inputs in = make_inputs(whole, 3);
  Inputs head = in;
  head.sequences[0].n_rows = head.n_rows = 19;
  const Results once = on_gpu(whole, in);
  const Results before = on_gpu(first, head);
  Inputs rest = in;
  const auto channels = static_cast<long>(whole.shape.channels());
  rest.qkv.erase(rest.qkv.begin(), rest.qkv.begin() + 19 * channels);
  rest.alpha.erase(rest.alpha.begin(), rest.alpha.begin() + 19 * 12);
  rest.beta.erase(rest.beta.begin(), rest.beta.begin() + 19 * 12);
  rest.sequences[0].n_rows = rest.n_rows = 31;
  rest.states = before.states;
  rest.tails = before.tails;
  Case second = whole;
  second.rows = {31};
  const Results twice = on_gpu(second, rest);
  CHECK(once.states == twice.states);
  CHECK(once.tails == twice.tails);
  CHECK(std::equal(twice.out.begin(), twice.out.end(), once.out.end() - 31 * 12 * 128));
}

}  // namespace
}  // namespace fimd::cuda

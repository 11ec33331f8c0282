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
// Chunks multiply halves (relative rounding 2^-11, here about 4e-4 in sum); steps stay in float32.
constexpr double kChunkTolerance = 2e-3;
constexpr double kStepTolerance = 1e-4;

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
  const cpu::DeltaShape shape{d.n_k_heads, d.n_v_heads, d.k_dim, d.v_dim, d.grouped};
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
      if (n == 0) return;  // two saves of the same state
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

/// The largest relative error of any `piece` elements, which are one state.
double worst_error(const std::vector<float>& actual, const std::vector<float>& expected,
                   int64_t piece) {
  REQUIRE(actual.size() == expected.size());
  double worst = 0;
  for (int64_t at = 0; at < static_cast<int64_t>(actual.size()); at += piece) {
    const std::vector<float> a(actual.begin() + at, actual.begin() + at + piece);
    const std::vector<float> b(expected.begin() + at, expected.begin() + at + piece);
    worst = std::max(worst, relative_error(a, b));
  }
  return worst;
}

void check(const Case& test, const Inputs& in, double tolerance) {
  const Results expected = on_cpu(test, in);
  const Results actual = on_gpu(test, in);
  const int64_t state_size = int64_t{test.shape.n_v_heads} * test.shape.k_dim * test.shape.v_dim;
  CHECK(relative_error(actual.u, expected.u) < 1e-5);
  CHECK(relative_error(actual.out, expected.out) < tolerance);
  CHECK(worst_error(actual.states, expected.states, state_size) < tolerance);
  CHECK(relative_error(actual.tails, expected.tails) == 0);
}

TEST_CASE("convolution and gated delta rule compute what the CPU computes") {
  const Case cases[] = {
      {{1, 1, 16, 4}, 4, {1}, {{}}},
      {{2, 4, 32, 20}, 2, {3, 17}, {{}, {{5, 2}, {17, 0}}}},
      {{2, 2, 64, 64}, 4, {1, 1, 1}, {{{1, 3}}, {}, {}}},
      {{4, 12, 128, 128}, 4, {40, 1, 9}, {{{1, 0}, {16, 1}, {17, 2}, {40, 3}}, {}, {}}},
      {{1, 2, 256, 128}, 3, {9, 8}, {{{8, 1}}, {{1, 0}}}},
      {{1, 2, 256, 128}, 5, {2, 0, 3}, {{{1, 1}}, {}, {{1, 0}}}},
      {{1, 3, 128, 68}, 4, {8}, {{{2, 1}, {8, 0}}}},
      {{2, 4, 32, 64}, 4, {200}, {{{64, 0}}}},
      {{1, 1, 16, 32}, 4, {1030, 7}, {{{2, 0}}, {}}},
      {{16, 48, 128, 128}, 4, {11}, {{{4, 0}}}},  // Qwen3.6-27B
  };
  unsigned seed = 1;
  for (const Case& test : cases) {
    CAPTURE(test.shape.k_dim);
    REQUIRE(delta_supported(test.shape));
    check(test, make_inputs(test, seed += 100), kStepTolerance);
  }
}

TEST_CASE("chunks of tokens compute what the CPU computes") {
  const Case cases[] = {
      {{1, 1, 64, 64}, 4, {64}, {{}}},
      {{2, 4, 64, 48}, 2, {150, 65}, {{}, {}}},
      {{1, 2, 64, 20}, 2, {150}, {{{65, 0}}}},  // has no chunks
      {{1, 2, 128, 80, true}, 4, {77, 1, 0, 200}, {{{5, 3}}, {{1, 1}}, {}, {{199, 0}, {200, 2}}}},
      {{4, 12, 128, 128}, 4, {128, 3, 140}, {{{64, 0}, {64, 1}}, {}, {{1, 2}, {129, 3}}}},
      {{4, 12, 128, 128, true}, 4, {333}, {{{32, 0}, {100, 1}, {101, 2}, {164, 3}}}},
      {{2, 6, 64, 144}, 4, {63, 64, 65}, {{}, {{63, 0}}, {{64, 1}}}},
      {{16, 48, 128, 128}, 4, {130}, {{{64, 0}}}},  // Qwen3.6-27B
      {{1, 3, 128, 128}, 4, {4096}, {{{4000, 0}}}},
  };
  unsigned seed = 1;
  for (const Case& test : cases) {
    CAPTURE(test.shape.k_dim);
    CAPTURE(test.rows[0]);
    check(test, make_inputs(test, seed += 100), kChunkTolerance);
  }
}

TEST_CASE("every number of rows, on both sides of the choice between steps and chunks") {
  for (int rows = 1; rows <= 200; ++rows) {
    CAPTURE(rows);
    const Case test{{1, 2, 128, 32}, 4, {rows}, {{}}};
    check(test, make_inputs(test, static_cast<unsigned>(rows)), kChunkTolerance);
  }
}

TEST_CASE("chunks with extreme inputs: decays, strengths, keys all alike, large and small values") {
  const Case test{{1, 2, 128, 32}, 4, {300}, {{}}};
  const size_t channels = static_cast<size_t>(test.shape.channels());
  const size_t keys = static_cast<size_t>(test.shape.keys());
  const auto run = [&](float decay, float strength, float scale, bool alike) {
    CAPTURE(decay);
    CAPTURE(scale);
    Inputs in = make_inputs(test, 9);
    for (float& x : in.decay) x *= decay;
    for (float& x : in.beta) x += strength;
    for (float& x : in.states) x *= scale;
    for (size_t i = 0; i < in.qkv.size(); ++i) {
      const size_t channel = i % channels;
      if (channel >= 2 * keys) in.qkv[i] *= scale;
      if (alike && channel >= keys && channel < 2 * keys) {
        in.qkv[i] = 2 * in.qkv[channel] + 0.2F * in.qkv[i];
      }
    }
    check(test, in, kChunkTolerance);
  };
  run(1e-4F, 4, 1, true);
  run(1000, 0, 1, false);
  run(1, 100, 1, true);
  run(1, -100, 1, false);
  run(1, 0, 1e5F, false);
  run(1, 0, 1e-6F, false);
}

/// What a second pass computes of `whole`'s rows from `cut` on.
void check_cut(const Case& whole, int cut) {
  const auto rows = static_cast<size_t>(whole.rows[0]);
  const auto channels = static_cast<long>(whole.shape.channels());
  const auto heads = static_cast<long>(whole.shape.n_v_heads);
  Case first = whole;
  first.rows = {cut};
  first.saves = {{}};
  const Inputs in = make_inputs(whole, 3);
  Inputs head = in;
  head.own[0].n_saves = 0;
  head.sequences[0].n_rows = head.n_rows = cut;
  const Results once = on_gpu(whole, in);
  const Results before = on_gpu(first, head);
  Inputs rest = in;
  rest.qkv.erase(rest.qkv.begin(), rest.qkv.begin() + cut * channels);
  rest.alpha.erase(rest.alpha.begin(), rest.alpha.begin() + cut * heads);
  rest.beta.erase(rest.beta.begin(), rest.beta.begin() + cut * heads);
  rest.own[0].n_saves = 0;
  rest.sequences[0].n_rows = rest.n_rows = static_cast<int>(rows) - cut;
  rest.states = before.states;
  rest.tails = before.tails;
  Case second = first;
  second.rows = {rest.n_rows};
  const Results twice = on_gpu(second, rest);
  const auto slots = static_cast<long>(whole.n_slots);
  const auto end_of_slots = [&](const std::vector<float>& all) {
    return static_cast<long>(all.size()) / (slots + whole.n_checkpoints) * slots;
  };
  const long states = end_of_slots(once.states);
  const long tails = end_of_slots(once.tails);
  CHECK(std::equal(twice.states.begin(), twice.states.begin() + states, once.states.begin()));
  CHECK(std::equal(twice.tails.begin(), twice.tails.begin() + tails, once.tails.begin()));
  const auto values = static_cast<long>(whole.shape.values());
  CHECK(std::equal(twice.out.begin(), twice.out.end(), once.out.end() - rest.n_rows * values));
}

TEST_CASE("states after one pass are those after two: bit by bit") {
  check_cut({{4, 12, 128, 128}, 4, {13}, {{}}}, 6);  // token after token
  check_cut({{4, 12, 128, 128}, 4, {230}, {{}}}, 128);
  check_cut({{4, 12, 128, 128}, 4, {230}, {{{100, 0}}}}, 100);  // a save ends a chunk
}

}  // namespace
}  // namespace fimd::cuda

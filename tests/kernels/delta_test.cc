// The recurrent layers' operations against their formulas in float64, and cut into pieces.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "tests/kernels/random.h"

namespace fimd::cpu {
namespace {

using test::normal_floats;

template <class Body>
void for_each_isa(const Body& body) {
  const Isa old = current_isa();
  for (const Isa isa : supported_isas()) {
    set_isa(isa);
    INFO(isa_name(isa));
    body();
  }
  set_isa(old);
}

double worst_difference(const std::vector<double>& expected, const std::vector<float>& got) {
  REQUIRE(expected.size() == got.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(expected[i] - static_cast<double>(got[i]));
    worst = std::max(worst, std::isnan(difference) ? 1e9 : difference);
  }
  return worst;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST_CASE("causal_conv1d follows its formula, in pieces that carry the tail too") {
  ThreadPool pool(2);
  constexpr int kTokens = 23;
  for_each_isa([&] {
    for (const int kernel : {2, 4, 5}) {
      for (const int channels : {1, 6, 64, 200}) {
        const auto c_size = static_cast<size_t>(channels);
        const auto k_size = static_cast<size_t>(kernel);
        const auto x = normal_floats(c_size * kTokens, 1);
        const auto w = normal_floats(c_size * k_size, 2);
        const auto tail = normal_floats(c_size * (k_size - 1), 3);
        std::vector<double> expected(x.size());
        for (int t = 0; t < kTokens; ++t) {
          for (int c = 0; c < channels; ++c) {
            double sum = 0;
            for (int j = 0; j < kernel; ++j) {
              const int row = t - kernel + 1 + j;
              const float v = row >= 0
                                  ? x[static_cast<size_t>(row * channels + c)]
                                  : tail[static_cast<size_t>((row + kernel - 1) * channels + c)];
              sum += static_cast<double>(w[static_cast<size_t>(j * channels + c)]) * v;
            }
            expected[static_cast<size_t>(t * channels + c)] = sum * sigmoid(sum);
          }
        }
        for (const int piece : {kTokens, 1, 2, 7}) {
          CAPTURE(piece);
          std::vector<float> y(x.size());
          auto state = tail;
          for (int t = 0; t < kTokens; t += piece) {
            const int n = std::min(piece, kTokens - t);
            const float* at = x.data() + t * channels;
            causal_conv1d(pool, at, state.data(), w.data(), kernel, n, channels,
                          y.data() + t * channels);
            advance_conv_tail(at, state.data(), kernel, n, channels, state.data());
          }
          CHECK(worst_difference(expected, y) < 1e-5);
          CHECK(std::equal(state.begin(), state.end(), x.end() - (kernel - 1) * channels));
        }
      }
    }
  });
}

struct Case {
  DeltaShape shape;
  int n_tokens = 0;
};

/// The recurrence as written down, in float64. Returns out, and leaves the state in `state`.
std::vector<double> reference(const Case& c, const std::vector<float>& u,
                              const std::vector<float>& alpha, const std::vector<float>& beta,
                              const std::vector<float>& decay, const std::vector<float>& dt_bias,
                              std::vector<double>& state) {
  const DeltaShape& s = c.shape;
  const auto at = [](auto i) { return static_cast<size_t>(i); };
  std::vector<double> out;
  for (int t = 0; t < c.n_tokens; ++t) {
    const float* row = u.data() + t * s.channels();
    for (int h = 0; h < s.n_v_heads; ++h) {
      std::vector<double> q, k;
      double qq = 1e-6;
      double kk = 1e-6;
      for (int i = 0; i < s.k_dim; ++i) {
        q.push_back(row[s.key_head(h) * s.k_dim + i]);
        k.push_back(row[s.keys() + s.key_head(h) * s.k_dim + i]);
        qq += q.back() * q.back();
        kk += k.back() * k.back();
      }
      for (double& v : q) v /= std::sqrt(qq) * std::sqrt(s.k_dim);
      for (double& v : k) v /= std::sqrt(kk);
      const auto gate = at(t * s.n_v_heads + h);
      const double a = std::exp(static_cast<double>(decay[at(h)]) *
                                std::log1p(std::exp(double{alpha[gate]} + dt_bias[at(h)])));
      const double b = sigmoid(beta[gate]);
      double* S = state.data() + int64_t{h} * s.k_dim * s.v_dim;
      for (int j = 0; j < s.v_dim; ++j) {
        double memory = 0;
        for (int i = 0; i < s.k_dim; ++i) memory += (S[i * s.v_dim + j] *= a) * k[at(i)];
        const double delta = b * (row[2 * s.keys() + h * s.v_dim + j] - memory);
        double o = 0;
        for (int i = 0; i < s.k_dim; ++i) {
          S[i * s.v_dim + j] += k[at(i)] * delta;
          o += S[i * s.v_dim + j] * q[at(i)];
        }
        out.push_back(o);
      }
    }
  }
  return out;
}

TEST_CASE("gated_delta follows the recurrence, however it is cut") {
  ThreadPool pool(2);
  const Case cases[] = {{{1, 1, 1, 1}, 5},      {{2, 4, 8, 8}, 30},   {{3, 3, 5, 7}, 12},
                        {{2, 6, 128, 128}, 20}, {{1, 2, 16, 130}, 9}, {{2, 6, 8, 8, true}, 9}};
  for_each_isa([&] {
    for (const Case& c : cases) {
      const DeltaShape& s = c.shape;
      const auto rows = static_cast<size_t>(c.n_tokens);
      const auto heads = static_cast<size_t>(s.n_v_heads);
      const auto channels = static_cast<size_t>(s.channels());
      const auto values = static_cast<size_t>(s.values());
      const auto raw = normal_floats(rows * channels, 1);
      const auto raw_alpha = normal_floats(rows * heads, 2, 3);
      const auto raw_beta = normal_floats(rows * heads, 3, 2);
      auto decay = normal_floats(heads, 4);
      for (float& d : decay) d = -std::exp(d);
      const auto dt_bias = normal_floats(heads, 5);
      const auto start = normal_floats(heads * static_cast<size_t>(s.k_dim * s.v_dim), 6, 0.3F);
      std::vector<double> expected_state(start.begin(), start.end());
      const auto expected = reference(c, raw, raw_alpha, raw_beta, decay, dt_bias, expected_state);

      auto u = raw;
      auto alpha = raw_alpha;
      auto beta = raw_beta;
      normalize_qk(pool, s, 1e-6F, c.n_tokens, u.data());
      delta_gates(pool, decay.data(), dt_bias.data(), s.n_v_heads, c.n_tokens, alpha.data(),
                  beta.data());
      for (const size_t piece : {rows, size_t{1}, size_t{4}}) {
        CAPTURE(piece);
        auto state = start;
        std::vector<float> out(rows * values);
        for (size_t t = 0; t < rows; t += piece) {
          gated_delta(pool, s, u.data() + t * channels, alpha.data() + t * heads,
                      beta.data() + t * heads, static_cast<int>(std::min(piece, rows - t)),
                      state.data(), out.data() + t * values);
        }
        CHECK(worst_difference(expected, out) < 1e-4);
        CHECK(worst_difference(expected_state, state) < 1e-4);
      }
    }
  });
}

TEST_CASE("gates stay finite at the ends of their range") {
  ThreadPool pool(1);
  const std::vector<float> decay = {-1000.0F, -1e-6F, -1.0F};
  const std::vector<float> dt_bias = {0, 0, 0};
  std::vector<float> alpha = {200.0F, -200.0F, 100.0F};
  std::vector<float> beta = {200.0F, -200.0F, 0.0F};
  delta_gates(pool, decay.data(), dt_bias.data(), 3, 1, alpha.data(), beta.data());
  CHECK(alpha[0] == 0.0F);
  CHECK(alpha[1] == 1.0F);
  CHECK(alpha[2] == doctest::Approx(std::exp(-100.0F)));
  CHECK(beta[0] == 1.0F);
  CHECK(beta[1] == 0.0F);
  CHECK(beta[2] == 0.5F);
}

TEST_CASE("sigmoid_mul") {
  ThreadPool pool(2);
  for_each_isa([&] {
    for (const size_t n : {size_t{1}, size_t{37}, size_t{40000}}) {
      auto x = normal_floats(n, 1);
      const auto gate = normal_floats(n, 2, 4);
      std::vector<double> expected;
      for (size_t i = 0; i < n; ++i) expected.push_back(x[i] * sigmoid(gate[i]));
      sigmoid_mul(pool, x.data(), gate.data(), static_cast<int64_t>(n));
      CHECK(worst_difference(expected, x) < 1e-5);
    }
  });
}

}  // namespace
}  // namespace fimd::cpu

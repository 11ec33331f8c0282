#include <doctest/doctest.h>

#include <cmath>
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

TEST_CASE("isa: portable is first, the detected one is supported, names differ") {
  const auto isas = supported_isas();
  REQUIRE(!isas.empty());
  CHECK(isas.front() == Isa::kPortable);
  CHECK(std::find(isas.begin(), isas.end(), detected_isa()) != isas.end());
  for (size_t i = 1; i < isas.size(); ++i) {
    CHECK(isas[i - 1] < isas[i]);
    CHECK(std::string(isa_name(isas[i - 1])) != isa_name(isas[i]));
  }
}

TEST_CASE("rms_norm follows its formula, in place too") {
  ThreadPool pool(2);
  for_each_isa([&] {
    for (const int64_t dim : {1, 7, 16, 64, 100, 512, 897}) {
      for (const int64_t rows : {1, 3, 70}) {
        auto x = normal_floats(static_cast<size_t>(rows * dim), 3, 2.0f);
        const auto weight = normal_floats(static_cast<size_t>(dim), 4);
        std::vector<float> y(x.size());
        rms_norm(pool, x.data(), weight.data(), 1e-5f, rows, dim, y.data());
        double worst = 0;
        for (int64_t r = 0; r < rows; ++r) {
          double square = 0;
          for (int64_t i = 0; i < dim; ++i) {
            square +=
                double{x[static_cast<size_t>(r * dim + i)]} * x[static_cast<size_t>(r * dim + i)];
          }
          const double scale = 1 / std::sqrt(square / static_cast<double>(dim) + 1e-5);
          for (int64_t i = 0; i < dim; ++i) {
            const auto at = static_cast<size_t>(r * dim + i);
            worst =
                std::max(worst, std::fabs(x[at] * scale * weight[static_cast<size_t>(i)] - y[at]));
          }
        }
        CHECK(worst < 1e-5);
        rms_norm(pool, x.data(), weight.data(), 1e-5f, rows, dim, x.data());
        CHECK(x == y);
      }
    }
  });
}

TEST_CASE("rope turns pairs by position * inv_freq and leaves the rest") {
  ThreadPool pool(2);
  struct Shape {
    int heads, head_dim, rotary;
    double theta;
  };
  for_each_isa([&] {
    for (const Shape& s : {Shape{8, 64, 64, 1e5}, Shape{2, 80, 80, 1e4}, Shape{3, 128, 32, 1e6},
                           Shape{1, 96, 96, 5e5}, Shape{4, 256, 64, 1e7}, Shape{1, 8, 6, 1e4}}) {
      const std::vector<int32_t> positions = {0, 1, 5, 100, 2047, 2048, 32767, 131071};
      std::vector<float> inv_freq(static_cast<size_t>(s.rotary / 2));
      for (size_t i = 0; i < inv_freq.size(); ++i) {
        inv_freq[i] =
            static_cast<float>(std::pow(s.theta, -2.0 * static_cast<double>(i) / s.rotary));
      }
      for (const RopeStyle style : {RopeStyle::kNeox, RopeStyle::kAdjacent}) {
        const auto before =
            normal_floats(positions.size() * static_cast<size_t>(s.heads * s.head_dim), 11);
        auto x = before;
        rope(pool, x.data(), positions, s.heads, s.head_dim, s.rotary, inv_freq.data(), style);
        double worst = 0;
        for (size_t t = 0; t < positions.size(); ++t) {
          for (int h = 0; h < s.heads; ++h) {
            const size_t at = (t * static_cast<size_t>(s.heads) + static_cast<size_t>(h)) *
                              static_cast<size_t>(s.head_dim);
            std::vector<double> want(before.begin() + static_cast<int64_t>(at),
                                     before.begin() + static_cast<int64_t>(at) + s.head_dim);
            for (int i = 0; i < s.rotary / 2; ++i) {
              const double angle = double(positions[t]) * double(inv_freq[static_cast<size_t>(i)]);
              const auto lo = static_cast<size_t>(style == RopeStyle::kNeox ? i : 2 * i);
              const auto hi =
                  static_cast<size_t>(style == RopeStyle::kNeox ? i + s.rotary / 2 : 2 * i + 1);
              const double a = before[at + lo], b = before[at + hi];
              want[lo] = a * std::cos(angle) - b * std::sin(angle);
              want[hi] = b * std::cos(angle) + a * std::sin(angle);
            }
            for (int i = 0; i < s.head_dim; ++i) {
              worst = std::max(
                  worst, std::fabs(want[static_cast<size_t>(i)] - x[at + static_cast<size_t>(i)]));
            }
          }
        }
        INFO("head_dim ", s.head_dim, " rotary ", s.rotary);
        CHECK(worst < 2e-6);
      }
    }
  });
}

TEST_CASE("the largest element and the sum of exponentials, any length") {
  for_each_isa([&] {
    for (const size_t n : {1u, 3u, 16u, 31u, 100u, 511u, 513u, 16384u, 40001u}) {
      auto x = normal_floats(n, 7, 9.0f);
      const float top = *std::max_element(x.begin(), x.end());
      double sum = 0;
      for (const float v : x) sum += std::exp(double{v} - top);
      const auto size = static_cast<int64_t>(n);
      CHECK(max_of(x.data(), size) == top);
      CHECK(sum_exp(x.data(), size, top) == doctest::Approx(sum).epsilon(1e-6));
      if (n < 2) continue;
      const size_t at = n / 2;
      if (x[at] == top) continue;
      sum -= std::exp(double{x[at]} - top);
      for (const float odd : {std::nanf(""), -INFINITY, -1e30f}) {
        x[at] = odd;
        CHECK(max_of(x.data(), size) == top);
        CHECK(sum_exp(x.data(), size, top) == doctest::Approx(sum).epsilon(1e-6));
      }
    }
    CHECK(max_of(nullptr, 0) == -INFINITY);
    const float nan[] = {std::nanf("")};
    CHECK(max_of(nan, 1) == -INFINITY);
  });
}

TEST_CASE("silu_mul and add, any length") {
  ThreadPool pool(2);
  for_each_isa([&] {
    for (const size_t n : {1u, 15u, 16u, 100u, 1536u, 40001u}) {
      const auto gate = normal_floats(n, 5, 6.0f);
      const auto up = normal_floats(n, 6);
      auto x = gate;
      silu_mul(pool, x.data(), up.data(), static_cast<int64_t>(n));
      double worst = 0;
      for (size_t i = 0; i < n; ++i) {
        const double want = gate[i] / (1 + std::exp(-double{gate[i]})) * up[i];
        worst = std::max(worst, std::fabs(want - x[i]) / (1 + std::fabs(want)));
      }
      CHECK(worst < 1e-6);
      x = gate;
      add(pool, x.data(), up.data(), static_cast<int64_t>(n));
      bool same = true;
      for (size_t i = 0; i < n; ++i) same = same && x[i] == gate[i] + up[i];
      CHECK(same);
    }
    float extremes[] = {-1e30f, -200.0f, -90.0f, 90.0f, 200.0f, 1e30f};
    const float ones[] = {1, 1, 1, 1, 1, 1};
    silu_mul(pool, extremes, ones, 6);
    CHECK(std::fabs(extremes[1]) < 1e-30f);
    CHECK(std::fabs(extremes[2]) < 1e-30f);
    CHECK(extremes[3] == doctest::Approx(90.0f));
    CHECK(extremes[4] == doctest::Approx(200.0f));
    CHECK(extremes[5] == doctest::Approx(1e30f));
    float nan[] = {std::nanf("")};
    silu_mul(pool, nan, ones, 1);
    CHECK(std::isnan(nan[0]));  // a broken model must not look healthy
  });
}

}  // namespace
}  // namespace fimd::cpu

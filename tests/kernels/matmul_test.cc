#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "tests/kernels/random.h"

namespace fimd::cpu {
namespace {

using test::normal_floats;
using test::quantized;

/// Sets the instruction set and restores it.
class WithIsa {
 public:
  explicit WithIsa(Isa isa) : old_(current_isa()) { set_isa(isa); }
  ~WithIsa() { set_isa(old_); }

 private:
  Isa old_;
};

struct Case {
  int64_t rows, cols, tokens;
};

struct Problem {
  std::vector<uint8_t> bytes;
  std::vector<float> weights;  // dequantised
  std::vector<float> x;
  std::vector<float> bias;
};

Problem make_problem(DType type, const Case& c) {
  Problem p;
  const auto seed = static_cast<uint32_t>(c.rows * 31 + c.cols * 7 + c.tokens);
  p.bytes = quantized(type, normal_floats(static_cast<size_t>(c.rows * c.cols), seed, 0.1f));
  p.weights.resize(static_cast<size_t>(c.rows * c.cols));
  dequantize(type, p.bytes.data(), c.rows * c.cols, p.weights.data());
  p.x = normal_floats(static_cast<size_t>(c.tokens * c.cols), seed + 1);
  p.x[0] = 9.0f;  // an outlier
  p.bias = normal_floats(static_cast<size_t>(c.rows), seed + 2);
  return p;
}

std::vector<float> run_matmul(ThreadPool& pool, DType type, const Problem& p, const Case& c,
                              bool bias) {
  auto w = Matrix::make(type, p.bytes.data(), c.rows, c.cols);
  REQUIRE(w.ok());
  QuantizedActivations x;
  x.assign(pool, p.x.data(), c.tokens, c.cols);
  std::vector<float> y(static_cast<size_t>(c.tokens * c.rows) + 8, -77.0f);
  matmul(pool, *w, x, bias ? p.bias.data() : nullptr, y.data());
  for (int i = 0; i < 8; ++i) CHECK(y[y.size() - 1 - static_cast<size_t>(i)] == -77.0f);
  y.resize(y.size() - 8);
  return y;
}

// What rounding the activations to 8 bits may cost: half a step of each block's maximum per
// element, and as errors are independent they add in quadrature (6 sigma).
double tolerance(const Problem& p, const Case& c, int64_t row, int64_t token, bool is_float) {
  double variance = 0, magnitude = 0;
  for (int64_t b = 0; b < c.cols; b += 32) {
    double max = 0;
    const int64_t end = std::min(c.cols, b + 32);
    for (int64_t i = b; i < end; ++i) {
      max = std::max(max, std::fabs(double{p.x[static_cast<size_t>(token * c.cols + i)]}));
    }
    const double sigma = max / 127 / std::sqrt(12.0);
    for (int64_t i = b; i < end; ++i) {
      const double w = p.weights[static_cast<size_t>(row * c.cols + i)];
      variance += w * w * sigma * sigma;
      magnitude += std::fabs(w * p.x[static_cast<size_t>(token * c.cols + i)]);
    }
  }
  return 1e-6 * magnitude + 1e-6 + (is_float ? 0 : 6 * std::sqrt(variance));
}

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {{1, 256, 1},   {16, 256, 1},  {17, 512, 2},  {33, 256, 3},
                                         {48, 768, 4},  {40, 512, 5},  {15, 256, 7},  {64, 1024, 8},
                                         {31, 256, 11}, {20, 512, 13}, {16, 256, 16}, {35, 512, 17},
                                         {9, 256, 33},  {130, 256, 50}};
  return list;
}

TEST_CASE("matmul: every format and instruction set agrees with double precision") {
  ThreadPool pool(2);
  for (const Isa isa : supported_isas()) {
    const WithIsa with(isa);
    for (const DType type : test::all_types()) {
      const FormatInfo& format = *find_format(static_cast<uint32_t>(type));
      std::vector<Case> shapes = cases();
      if (format.block_elements <= 32) {
        for (const Case& c : {Case{5, 32, 1}, {18, 64, 6}, {37, 896, 9}, {16, 96, 17}}) {
          shapes.push_back(c);
        }
      }
      if (format.block_elements == 1) {
        for (const Case& c : {Case{3, 1, 1}, {18, 7, 5}, {16, 50, 17}, {100, 129, 2}}) {
          shapes.push_back(c);
        }
      }
      for (const Case& c : shapes) {
        const Problem p = make_problem(type, c);
        for (const bool bias : {false, true}) {
          const auto y = run_matmul(pool, type, p, c, bias);
          int wrong = 0;
          for (int64_t t = 0; t < c.tokens; ++t) {
            for (int64_t r = 0; r < c.rows; ++r) {
              double want = bias ? p.bias[static_cast<size_t>(r)] : 0;
              for (int64_t i = 0; i < c.cols; ++i) {
                want += double{p.weights[static_cast<size_t>(r * c.cols + i)]} *
                        p.x[static_cast<size_t>(t * c.cols + i)];
              }
              const double got = y[static_cast<size_t>(t * c.rows + r)];
              const double most = tolerance(p, c, r, t, format.block_elements == 1);
              if (!(std::fabs(got - want) <= most)) ++wrong;
            }
          }
          INFO(isa_name(isa), " ", format.name, " rows ", c.rows, " cols ", c.cols, " tokens ",
               c.tokens);
          CHECK(wrong == 0);
        }
      }
    }
  }
}

// The integer part is exact everywhere, so only the order of float sums differs.
TEST_CASE("matmul: instruction sets agree closely with the portable kernels") {
  ThreadPool pool(1);
  for (const DType type : test::all_types()) {
    for (const Case& c : cases()) {
      const Problem p = make_problem(type, c);
      std::vector<float> want;
      {
        const WithIsa with(Isa::kPortable);
        want = run_matmul(pool, type, p, c, true);
      }
      for (const Isa isa : supported_isas()) {
        const WithIsa with(isa);
        const auto got = run_matmul(pool, type, p, c, true);
        double worst = 0;
        for (size_t i = 0; i < want.size(); ++i) {
          worst = std::max(worst, double{std::fabs(got[i] - want[i])});
        }
        INFO(isa_name(isa), " ", find_format(static_cast<uint32_t>(type))->name);
        CHECK(worst <= 2e-5);
      }
    }
  }
}

TEST_CASE("matmul: a token's result does not depend on the tokens beside it or on threads") {
  const Case whole{70, 512, 21};
  for (const Isa isa : supported_isas()) {
    const WithIsa with(isa);
    for (const DType type : test::all_types()) {
      const Problem p = make_problem(type, whole);
      ThreadPool one(1), three(3);
      const auto all = run_matmul(three, type, p, whole, true);
      for (const int64_t t : {0, 7, 20}) {
        Problem single = p;
        single.x.assign(p.x.begin() + t * whole.cols, p.x.begin() + (t + 1) * whole.cols);
        const auto y = run_matmul(one, type, single, {whole.rows, whole.cols, 1}, true);
        double worst = 0;
        for (int64_t r = 0; r < whole.rows; ++r) {
          worst = std::max(worst, double{std::fabs(y[static_cast<size_t>(r)] -
                                                   all[static_cast<size_t>(t * whole.rows + r)])});
        }
        INFO(isa_name(isa), " ", find_format(static_cast<uint32_t>(type))->name, " token ", t);
        CHECK(worst == 0);
      }
    }
  }
}

TEST_CASE("matmul: extreme codes do not overflow the integer paths") {
  // All weight codes and activations at their largest magnitude, both signs.
  const Case c{16, 256, 3};
  ThreadPool pool(1);
  for (const DType type :
       {DType::kQ4_0, DType::kQ5_0, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    for (const int fill : {0x00, 0x7f, 0x80, 0xff}) {
      Problem p;
      const FormatInfo& format = *find_format(static_cast<uint32_t>(type));
      const size_t row = row_bytes(format, c.cols);
      p.bytes.assign(row * 16, static_cast<uint8_t>(fill));
      for (size_t b = 0; b < p.bytes.size(); b += static_cast<size_t>(format.block_bytes)) {
        const size_t d = b + (type == DType::kQ6_K ? 208 : 0);
        p.bytes[d] = 0;
        p.bytes[d + 1] = 0x2c;  // 1/16
        if (type == DType::kQ4_K || type == DType::kQ5_K) p.bytes[b + 2] = p.bytes[b + 3] = 0;
      }
      p.weights.resize(static_cast<size_t>(c.rows * c.cols));
      dequantize(type, p.bytes.data(), c.rows * c.cols, p.weights.data());
      p.x.assign(static_cast<size_t>(c.tokens * c.cols), 1.0f);
      for (int64_t i = 0; i < c.cols; ++i) {
        p.x[static_cast<size_t>(c.cols + i)] = -1.0f;
        p.x[static_cast<size_t>(2 * c.cols + i)] = i % 3 ? 1.0f : -1.0f;
      }
      for (const Isa isa : supported_isas()) {
        const WithIsa with(isa);
        const auto y = run_matmul(pool, type, p, c, false);
        for (int64_t t = 0; t < c.tokens; ++t) {
          double want = 0, magnitude = 0;
          for (int64_t i = 0; i < c.cols; ++i) {
            const double term = double{p.weights[static_cast<size_t>(i)]} *
                                p.x[static_cast<size_t>(t * c.cols + i)];
            want += term;
            magnitude += std::fabs(term);
          }
          INFO(isa_name(isa), " ", format.name, " fill ", fill, " token ", t);
          CHECK(std::fabs(y[static_cast<size_t>(t * c.rows)] - want) <= 1e-5 * magnitude);
        }
      }
    }
  }
}

TEST_CASE("matmul: a group equals its members one by one") {
  ThreadPool pool(3);
  const Case a{70, 256, 5}, b{16, 256, 5}, c{200, 256, 5};
  const Problem pa = make_problem(DType::kQ4_0, a), pb = make_problem(DType::kQ6_K, b),
                pc = make_problem(DType::kF16, c);
  auto wa = Matrix::make(DType::kQ4_0, pa.bytes.data(), a.rows, a.cols);
  auto wb = Matrix::make(DType::kQ6_K, pb.bytes.data(), b.rows, b.cols);
  auto wc = Matrix::make(DType::kF16, pc.bytes.data(), c.rows, c.cols);
  QuantizedActivations x;
  x.assign(pool, pa.x.data(), 5, 256);
  std::vector<float> y1(5 * 70), y2(5 * 16), y3(5 * 200), z1(5 * 70), z2(5 * 16), z3(5 * 200);
  const MatmulTask tasks[] = {{&*wa, pa.bias.data(), y1.data()},
                              {&*wb, nullptr, y2.data()},
                              {&*wc, pc.bias.data(), y3.data()}};
  matmul(pool, tasks, x);
  matmul(pool, *wa, x, pa.bias.data(), z1.data());
  matmul(pool, *wb, x, nullptr, z2.data());
  matmul(pool, *wc, x, pc.bias.data(), z3.data());
  CHECK(y1 == z1);
  CHECK(y2 == z2);
  CHECK(y3 == z3);
}

TEST_CASE("matrix: refuses shapes that do not fit, decodes rows") {
  const std::vector<uint8_t> bytes(4096);
  CHECK(!Matrix::make(DType::kQ4_0, bytes.data(), 1, 48).ok());
  CHECK(!Matrix::make(DType::kQ6_K, bytes.data(), 1, 128).ok());
  CHECK(!Matrix::make(DType::kF32, bytes.data(), 0, 8).ok());
  CHECK(!Matrix::make(DType::kF32, bytes.data(), 8, -1).ok());
  CHECK(!Matrix::make(DType::kF32, nullptr, 8, 8).ok());
  CHECK(!Matrix::make(static_cast<DType>(9), bytes.data(), 8, 32).ok());
  CHECK(!Matrix::make(DType::kF32, bytes.data(), int64_t{1} << 40, int64_t{1} << 40).ok());
  for (const DType type : test::all_types()) {
    const Problem p = make_problem(type, {19, 256, 1});
    auto w = Matrix::make(type, p.bytes.data(), 19, 256);
    REQUIRE(w.ok());
    CHECK(w->rows() == 19);
    CHECK(w->cols() == 256);
    CHECK(w->type() == type);
    std::vector<float> row(256);
    w->row(18, row.data());
    CHECK(row == std::vector<float>(p.weights.end() - 256, p.weights.end()));
  }
  Matrix empty;
  CHECK(empty.rows() == 0);
  CHECK(empty.bytes() == 0);
}

}  // namespace
}  // namespace fimd::cpu

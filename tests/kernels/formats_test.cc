#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/kernels/random.h"

namespace fimd {
namespace {

using test::normal_floats;
using test::quantized;

TEST_CASE("formats: the table's geometry is GGUF's") {
  struct Row {
    uint32_t id;
    const char* name;
    int elements, bytes;
  };
  const Row rows[] = {{0, "F32", 1, 4},       {1, "F16", 1, 2},       {2, "Q4_0", 32, 18},
                      {8, "Q8_0", 32, 34},    {12, "Q4_K", 256, 144}, {13, "Q5_K", 256, 176},
                      {14, "Q6_K", 256, 210}, {30, "BF16", 1, 2}};
  for (const Row& row : rows) {
    const FormatInfo* format = find_format(row.id);
    REQUIRE(format);
    CHECK(std::string(format->name) == row.name);
    CHECK(format->block_elements == row.elements);
    CHECK(format->block_bytes == row.bytes);
    CHECK(row_bytes(*format, 512) == size_t(512 / row.elements * row.bytes));
  }
  for (const uint32_t id : {3u, 7u, 9u, 10u, 15u, 31u, 39u, 4000000000u}) {
    CHECK(find_format(id) == nullptr);
  }
}

TEST_CASE("formats: half precision, every value both ways") {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = half_to_float(static_cast<uint16_t>(h));
    if (std::isnan(f)) {
      CHECK(std::isnan(half_to_float(float_to_half(f))));
    } else if (float_to_half(f) != h) {
      FAIL("half ", h, " does not survive");
    }
  }
  CHECK(half_to_float(0x3c00) == 1.0f);
  CHECK(half_to_float(0xc000) == -2.0f);
  CHECK(half_to_float(0x0001) == 0x1p-24f);
  CHECK(half_to_float(0x7bff) == 65504.0f);
}

TEST_CASE("formats: float to half rounds to nearest, ties to even") {
  CHECK(float_to_half(1.0f + 0x1p-11f) == 0x3c00);             // tie: down to even
  CHECK(float_to_half(1.0f + 3 * 0x1p-11f) == 0x3c02);         // tie: up to even
  CHECK(float_to_half(1.0f + 0x1p-11f + 0x1p-20f) == 0x3c01);  // above the tie
  CHECK(float_to_half(65519.0f) == 0x7bff);
  CHECK(float_to_half(65520.0f) == 0x7c00);
  CHECK(float_to_half(0x1p-25f) == 0x0000);  // tie at half the smallest subnormal
  CHECK(float_to_half(0x1.8p-25f) == 0x0001);
  CHECK(float_to_half(-0.0f) == 0x8000);
  CHECK(float_to_half(std::numeric_limits<float>::infinity()) == 0x7c00);
  // Between any two neighbours, the nearer one wins.
  for (uint32_t h = 0; h < 0x7bff; h += 7) {
    const double a = half_to_float(static_cast<uint16_t>(h));
    const double b = half_to_float(static_cast<uint16_t>(h + 1));
    CHECK(float_to_half(static_cast<float>(a + 0.4 * (b - a))) == h);
    CHECK(float_to_half(static_cast<float>(a + 0.6 * (b - a))) == h + 1);
  }
}

TEST_CASE("formats: Q4_0 bytes by hand") {
  // d = -2 (0xc000): the value of largest magnitude, 16, is code 0.
  float x[32] = {};
  x[0] = 16.0f;   // -8 steps
  x[1] = -14.0f;  // +7 steps: code 15
  x[16] = 2.0f;   // -1 step: code 7
  x[31] = -4.4f;  // 2.2 steps: code 10
  uint8_t block[18];
  quantize(DType::kQ4_0, x, 32, block);
  CHECK(block[0] == 0x00);
  CHECK(block[1] == 0xc0);
  CHECK(block[2] == 0x70);   // high: element 16, low: element 0
  CHECK(block[3] == 0x8f);   // element 17 is 0: code 8
  CHECK(block[17] == 0xa8);  // element 31: 10, element 15: 8
  float y[32];
  dequantize(DType::kQ4_0, block, 32, y);
  CHECK(y[0] == 16.0f);
  CHECK(y[1] == -14.0f);
  CHECK(y[16] == 2.0f);
  CHECK(y[31] == -4.0f);
  CHECK(y[5] == 0.0f);
}

TEST_CASE("formats: Q4_0 keeps the sign of the largest value in d") {
  std::vector<float> x(32, 0.5f);
  x[9] = -8.0f;  // d = +1
  const auto block = quantized(DType::kQ4_0, x);
  CHECK(half_to_float(static_cast<uint16_t>(block[0] | block[1] << 8)) == 1.0f);
  std::vector<float> y(32);
  dequantize(DType::kQ4_0, block.data(), 32, y.data());
  CHECK(y[9] == -8.0f);
  const std::vector<float> zeros(32, 0.0f);
  const auto zero_block = quantized(DType::kQ4_0, zeros);
  dequantize(DType::kQ4_0, zero_block.data(), 32, y.data());
  for (const float v : y) CHECK(v == 0.0f);
}

TEST_CASE("formats: Q5_0 bytes by hand") {
  // d = -1: the value of largest magnitude, 16, is code 0.
  float x[32] = {};
  x[0] = 16.0f;   // code 0
  x[1] = -15.0f;  // code 31
  x[17] = 3.0f;   // code 13
  x[31] = -2.4f;  // 2.4 steps: code 18
  uint8_t block[22];
  quantize(DType::kQ5_0, x, 32, block);
  CHECK(block[0] == 0x00);
  CHECK(block[1] == 0xbc);
  CHECK(block[2] == 0xfe);   // elements 0..7: all others are at least 16
  CHECK(block[4] == 0xfd);   // elements 16..23: element 17 is below
  CHECK(block[6] == 0x00);   // low: element 0, high: element 16 (code 16)
  CHECK(block[7] == 0xdf);   // element 17: 13, element 1: 31
  CHECK(block[21] == 0x20);  // element 31: 18, element 15: 16
  float y[32];
  dequantize(DType::kQ5_0, block, 32, y);
  CHECK(y[0] == 16.0f);
  CHECK(y[1] == -15.0f);
  CHECK(y[17] == 3.0f);
  CHECK(y[31] == -2.0f);
  CHECK(y[5] == 0.0f);
}

TEST_CASE("formats: Q8_0 bytes by hand") {
  float x[32] = {};
  x[0] = 127.0f;
  x[1] = -3.4f;
  x[31] = -127.0f;
  uint8_t block[34];
  quantize(DType::kQ8_0, x, 32, block);
  CHECK(block[0] == 0x00);
  CHECK(block[1] == 0x3c);  // d = 1
  CHECK(block[2] == 127);
  CHECK(block[3] == static_cast<uint8_t>(-3));
  CHECK(block[33] == static_cast<uint8_t>(-127));
}

TEST_CASE("formats: Q4_K and Q5_K bytes by hand") {
  uint8_t block[176] = {};
  block[1] = 0x3c;          // d = 1
  block[3] = 0x40;          // dmin = 2
  block[4 + 0] = 0xc0 | 3;  // scale 0 = 3; upper bits of scale 4 = 3
  block[4 + 1] = 5;         // scale 1 = 5
  block[4 + 4] = 0x40 | 7;  // min 0 = 7; upper bits of min 4 = 1
  block[4 + 8] = 0x92;      // scale 4 = 2 | 3 << 4 = 50; min 4 = 9 | 1 << 4 = 25
  float y[256];

  block[16] = 0xe4;            // element 0: code 4; element 32: code 14
  block[16 + 64 + 31] = 0x0b;  // element 128 + 31 (sub-block 4): code 11
  dequantize(DType::kQ4_K, block, 256, y);
  CHECK(y[0] == 3.0f * 4 - 2.0f * 7);
  CHECK(y[1] == -14.0f);
  CHECK(y[32] == 5.0f * 14);
  CHECK(y[33] == 0.0f);
  CHECK(y[159] == 50.0f * 11 - 2.0f * 25);
  CHECK(y[160] == 0.0f);

  std::memset(block + 16, 0, 160);
  block[16] = 0x02;            // fifth bit of element 0 of sub-block 1
  block[16 + 31] = 0x10;       // fifth bit of element 31 of sub-block 4
  block[48] = 0x64;            // element 0: 4, element 32: 6
  block[48 + 64 + 31] = 0x0b;  // element 159
  dequantize(DType::kQ5_K, block, 256, y);
  CHECK(y[0] == 3.0f * 4 - 14.0f);
  CHECK(y[32] == 5.0f * (6 + 16));
  CHECK(y[159] == 50.0f * (11 + 16) - 50.0f);
}

TEST_CASE("formats: Q6_K bytes by hand") {
  uint8_t block[210] = {};
  block[209] = 0x38;  // d = 0.5
  for (int s = 0; s < 16; ++s) block[192 + s] = static_cast<uint8_t>(s - 8);
  block[0] = 0x3a;              // element 0: low 10; element 64: low 3
  block[128] = 0x21;            // element 0: high 1; element 32: 0; element 64: 2; element 96: 0
  block[64 + 32 + 31] = 0xf0;   // half 1, element 31 of quarter 3: low 15
  block[128 + 32 + 31] = 0xc0;  // and high 3
  float y[256];
  dequantize(DType::kQ6_K, block, 256, y);
  CHECK(y[0] == 0.5f * -8 * (10 + 16 - 32));
  CHECK(y[64] == 0.5f * -4 * (3 + 32 - 32));
  CHECK(y[32] == 0.5f * -6 * (0 - 32));
  CHECK(y[255] == 0.5f * 7 * (63 - 32));
}

TEST_CASE("formats: round trips are as close as the bits allow") {
  struct Row {
    DType type;
    double relative_rmse;  // on normal data
  };
  const Row rows[] = {{DType::kF32, 0},       {DType::kF16, 4e-4},   {DType::kBF16, 3e-3},
                      {DType::kQ8_0, 0.0065}, {DType::kQ6_K, 0.021}, {DType::kQ5_K, 0.041},
                      {DType::kQ5_0, 0.05},   {DType::kQ4_K, 0.082}, {DType::kQ4_0, 0.10}};
  const auto x = normal_floats(256 * 64, 7, 0.05f);
  for (const Row& row : rows) {
    const auto bytes = quantized(row.type, x);
    std::vector<float> y(x.size());
    dequantize(row.type, bytes.data(), static_cast<int64_t>(y.size()), y.data());
    double error = 0, power = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      error += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
      power += double{x[i]} * x[i];
    }
    INFO(find_format(static_cast<uint32_t>(row.type))->name);
    CHECK(std::sqrt(error / power) <= row.relative_rmse);
    // Encoding what was decoded changes (almost) nothing.
    const auto again = quantized(row.type, y);
    std::vector<float> z(x.size());
    dequantize(row.type, again.data(), static_cast<int64_t>(z.size()), z.data());
    double drift = 0;
    for (size_t i = 0; i < x.size(); ++i) drift += (double{z[i]} - y[i]) * (double{z[i]} - y[i]);
    CHECK(std::sqrt(drift / power) <= row.relative_rmse / 2);
  }
}

TEST_CASE("formats: odd inputs are encoded without undefined behaviour") {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const DType type : test::all_types()) {
    for (const float odd : {inf, -inf, nan, 1e38f, -1e38f, 1e-40f, 0.0f, -0.0f}) {
      std::vector<float> x(256, 0.25f);
      x[100] = odd;
      const auto bytes = quantized(type, x);
      std::vector<float> y(256);
      dequantize(type, bytes.data(), 256, y.data());
    }
    for (const float constant : {0.0f, 1.0f, -1.0f, 1e-40f}) {
      const std::vector<float> x(256, constant);
      const auto bytes = quantized(type, x);
      std::vector<float> y(256);
      dequantize(type, bytes.data(), 256, y.data());
      for (const float v : y) CHECK(v == doctest::Approx(constant).epsilon(0.05));
    }
  }
}

}  // namespace
}  // namespace fimd

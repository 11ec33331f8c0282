// Norm, quantisation and SwiGLU: the values, and the places of pack.h that they are written to.
#include "tests/gpu/weights.h"

namespace fimd::cuda {
namespace {

using testing::bf16_value;
using testing::DeviceActivations;

constexpr int kRowCounts[] = {1, 2, 3, 5, 8, 9, 24, 64};

// Compares all three forms with `want` (n_rows, cols); codes may be off by one where the values
// differ in the last bit.
void check_activations(const DeviceActivations& got, const std::vector<float>& want, int n_rows,
                       float tolerance) {
  const int64_t cols = got.view.cols;
  const RowGroups groups = row_groups(n_rows);
  const auto plain = testing::to_host<uint16_t>(got.plain, want.size());
  std::vector<uint8_t> q8;
  std::vector<uint16_t> tiles;
  if (got.view.q8 != nullptr) {
    q8 = testing::to_host<uint8_t>(got.q8, q8_bytes(n_rows, cols));
    tiles = testing::to_host<uint16_t>(got.bf16, bf16_bytes(n_rows, cols) / 2);
  }
  size_t wrong_plain = 0, wrong_bf16 = 0, wrong_codes = 0, wrong_sums = 0, wrong_padding = 0;
  for (int row = 0; row < n_rows; ++row) {
    const int group = row / 8, slot = row % 8;
    for (int64_t block = 0; 32 * block < divide_up(cols, kTileCols) * kTileCols; ++block) {
      const auto value = [&](int c) {
        const int64_t col = 32 * block + c;
        return col < cols ? want[static_cast<size_t>(row * cols + col)] : 0.0F;
      };
      float largest = 0;
      for (int c = 0; c < 32; ++c) largest = std::max(largest, std::fabs(value(c)));
      for (int c = 0; c < 32 && 32 * block < cols; ++c) {
        const float x = value(c);
        const size_t at = static_cast<size_t>(row * cols + 32 * block + c);
        const auto far = [&](float v) {
          return !(std::fabs(v - x) <= 0.0041F * std::fabs(x) + tolerance);
        };
        wrong_plain += far(bf16_value(plain[at])) ? 1 : 0;
        if (tiles.empty()) continue;
        const int64_t tile = block / 4 * groups.count + group;
        const int64_t place =
            tile * bf16_group_bytes(groups.rows) / 2 + (block % 4 * groups.rows + slot) * 32 + c;
        wrong_bf16 += tiles[static_cast<size_t>(place)] != plain[at] ? 1 : 0;
      }
      if (q8.empty()) continue;
      const uint8_t* tile =
          q8.data() + (block / 8 * groups.count + group) * q8_group_bytes(groups.rows);
      const int64_t in_tile = block % 8 * groups.rows + slot;
      float factors[2];
      std::memcpy(factors, tile + kTileCols * groups.rows + 8 * in_tile, 8);
      int sum = 0;
      for (int c = 0; c < 32; ++c) {
        const auto code = static_cast<int8_t>(tile[32 * in_tile + q8_position(c)]);
        sum += code;
        const float error = std::fabs(static_cast<float>(code) * factors[0] - value(c));
        wrong_codes += error <= 0.502F * factors[0] + tolerance ? 0 : 1;
      }
      wrong_codes +=
          std::fabs(factors[0] * 127.0F - largest) <= 1e-5F * largest + tolerance ? 0 : 1;
      wrong_sums += factors[1] == factors[0] * static_cast<float>(sum) ? 0 : 1;
      if (32 * block >= cols) wrong_padding += factors[0] == 0 && sum == 0 ? 0 : 1;
    }
  }
  CHECK(wrong_plain == 0);
  CHECK(wrong_bf16 == 0);
  CHECK(wrong_codes == 0);
  CHECK(wrong_sums == 0);
  CHECK(wrong_padding == 0);
}

TEST_CASE("quantize: codes, sums and bf16 stand where pack.h says") {
  for (const int64_t cols : {32, 96, 256, 896, 1536, 18944}) {
    for (const int n_rows : kRowCounts) {
      CAPTURE(cols);
      CAPTURE(n_rows);
      auto x = testing::random_floats(static_cast<size_t>(n_rows * cols), 5);
      for (int c = 0; c < 32; ++c) x[static_cast<size_t>(c)] = 0;  // a block of zeros
      x[static_cast<size_t>(cols - 1)] = -300.0F;
      const DeviceBuffer device_x = testing::to_device(x);
      const DeviceActivations out = testing::make_activations(n_rows, cols);
      quantize(device_x.as<float>(), n_rows, out.view, nullptr);
      check_activations(out, x, n_rows, 0.0F);
    }
  }
}

TEST_CASE("quantize: many rows go to the plain form alone") {
  const auto x = testing::random_floats(200 * 96, 6);
  const DeviceBuffer device_x = testing::to_device(x);
  const DeviceActivations out = testing::make_activations(200, 96);
  quantize(device_x.as<float>(), 200, out.view, nullptr);
  check_activations(out, x, 200, 0.0F);
}

TEST_CASE("rms_norm_quantize") {
  for (const int64_t cols : {64, 256, 896, 3584, 5120, 8192}) {
    for (const int n_rows : {1, 3, 8, 17, 130}) {
      CAPTURE(cols);
      CAPTURE(n_rows);
      const auto x = testing::random_floats(static_cast<size_t>(n_rows * cols), 8, 3.0F);
      const auto weight = testing::random_floats(static_cast<size_t>(cols), 9);
      std::vector<float> want(x.size());
      for (int r = 0; r < n_rows; ++r) {
        double sum = 0;
        for (int64_t c = 0; c < cols; ++c) {
          const double v = x[static_cast<size_t>(r * cols + c)];
          sum += v * v;
        }
        const double factor = 1.0 / std::sqrt(sum / static_cast<double>(cols) + 1e-6);
        for (int64_t c = 0; c < cols; ++c) {
          const auto i = static_cast<size_t>(r * cols + c);
          want[i] = static_cast<float>(x[i] * factor * weight[static_cast<size_t>(c)]);
        }
      }
      const DeviceBuffer device_x = testing::to_device(x);
      const DeviceBuffer device_w = testing::to_device(weight);
      const DeviceActivations out = testing::make_activations(n_rows, cols);
      rms_norm_quantize(device_x.as<float>(), device_w.as<float>(), 1e-6F, n_rows, out.view,
                        nullptr);
      check_activations(out, want, n_rows, 2e-5F);
    }
  }
}

TEST_CASE("silu_mul_quantize: rows a stride apart") {
  for (const int n_rows : {1, 4, 7, 64, 70}) {
    const int64_t cols = 1536, stride = 3100;
    CAPTURE(n_rows);
    auto both = testing::random_floats(static_cast<size_t>(n_rows * stride), 10, 4.0F);
    both[0] = -120.0F;  // exp overflows
    std::vector<float> want(static_cast<size_t>(n_rows * cols));
    for (int r = 0; r < n_rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const double g = both[static_cast<size_t>(r * stride + c)];
        const double u = both[static_cast<size_t>(r * stride + cols + 28 + c)];
        want[static_cast<size_t>(r * cols + c)] = static_cast<float>(g / (1 + std::exp(-g)) * u);
      }
    }
    const DeviceBuffer device = testing::to_device(both);
    const DeviceActivations out = testing::make_activations(n_rows, cols);
    silu_mul_quantize(device.as<float>(), device.as<float>() + cols + 28, stride, n_rows, out.view,
                      nullptr);
    check_activations(out, want, n_rows, 1e-4F);
  }
}

TEST_CASE("gather_rows") {
  const int64_t cols = 515;
  const auto x = testing::random_floats(40 * 515, 12);
  const std::vector<int32_t> rows = {39, 0, 7, 7, 21};
  const DeviceBuffer device_x = testing::to_device(x);
  const DeviceBuffer device_rows = testing::to_device(rows);
  const DeviceBuffer y = testing::poisoned<float>(5 * 515);
  gather_rows(device_x.as<float>(), device_rows.as<int32_t>(), 5, cols, y.as<float>(), nullptr);
  const auto got = testing::to_host<float>(y, 5 * 515);
  for (size_t i = 0; i < got.size(); ++i) {
    REQUIRE(got[i] == x[static_cast<size_t>(rows[i / 515]) * 515 + i % 515]);
  }
}

TEST_CASE("copy_from_host copies whole pieces of 16 bytes, and no more") {
  for (const size_t pieces : {1, 3, 256, 257, 5000}) {
    CAPTURE(pieces);
    const size_t n = 4 * pieces;
    const auto host = PinnedBuffer::make(n * sizeof(uint32_t), "a test");
    REQUIRE(host.ok());
    for (size_t i = 0; i < n; ++i) host->as<uint32_t>()[i] = static_cast<uint32_t>(7 * i + 1);
    const DeviceBuffer device = testing::poisoned<uint32_t>(n + 4);
    copy_from_host(host->data(), device.data(), n * sizeof(uint32_t), nullptr);
    const auto got = testing::to_host<uint32_t>(device, n + 4);
    size_t wrong = 0;
    for (size_t i = 0; i < n; ++i) wrong += got[i] != 7 * i + 1 ? 1 : 0;
    for (size_t i = n; i < n + 4; ++i) wrong += got[i] != 0xFFFFFFFFU ? 1 : 0;
    CHECK(wrong == 0);
  }
}

}  // namespace
}  // namespace fimd::cuda

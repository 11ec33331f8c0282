#include "kernels/cuda/pack.h"

#include "tests/gpu/weights.h"

namespace fimd::cuda {
namespace {

using testing::bf16_value;
using testing::FileWeights;

constexpr DType kTypes[] = {DType::kQ4_0, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K,
                            DType::kQ6_K, DType::kBF16, DType::kF16,  DType::kF32};

std::vector<std::pair<int64_t, int64_t>> shapes(DType type) {
  std::vector<std::pair<int64_t, int64_t>> list = {{1, 256}, {16, 256}, {37, 768}, {176, 512}};
  if (testing::format_of(type).block_elements <= 32) {
    list.insert(list.end(), {{1, 32}, {17, 96}, {50, 288}, {16, 896}});
  }
  return list;
}

TEST_CASE("a packed matrix decodes to the file's numbers, to the bit") {
  for (const DType type : kTypes) {
    for (const auto& [rows, cols] : shapes(type)) {
      CAPTURE(testing::format_of(type).name);
      CAPTURE(rows);
      CAPTURE(cols);
      const FileWeights w = testing::random_weights(type, rows, cols, 7);
      for (const int64_t piece : {int64_t{16}, int64_t{1} << 20}) {
        const auto matrix = testing::packed(w, piece);
        const auto n = static_cast<size_t>(rows * cols);
        const DeviceBuffer dst = testing::poisoned<uint16_t>(n + 64);
        dequantize(matrix.matrix, dst.as<__nv_bfloat16>(), nullptr);
        const auto bits = testing::to_host<uint16_t>(dst, n + 64);
        size_t wrong = 0;
        for (size_t i = 0; i < n; ++i) {
          wrong += bf16_value(bits[i]) != testing::bf16_rounded(w.values[i]) ? 1 : 0;
        }
        CHECK(wrong == 0);
        for (size_t i = n; i < n + 64; ++i) CHECK(bits[i] == 0xFFFF);  // nothing beyond
      }
    }
  }
}

TEST_CASE("packing writes packed_bytes() and no more") {
  for (const DType type : kTypes) {
    const FileWeights w = testing::random_weights(type, 21, 512, 3);
    const size_t bytes = packed_bytes(type, 21, 512);
    const DeviceBuffer raw = testing::to_device(w.raw);
    const DeviceBuffer out = testing::poisoned<uint8_t>(bytes + 256);
    pack(type, raw.data(), 0, 21, 21, 512, out.data(), nullptr);
    const auto written = testing::to_host<uint8_t>(out, bytes + 256);
    for (size_t i = bytes; i < bytes + 256; ++i) REQUIRE(written[i] == 0xFF);
  }
  CHECK(packed_bytes(DType::kQ4_K, 3584, 3584) == size_t{224} * 14 * 2304);
}

TEST_CASE("embed decodes the rows of the tokens") {
  for (const DType type : kTypes) {
    for (const auto& [rows, cols] : shapes(type)) {
      const FileWeights w = testing::random_weights(type, rows, cols, 11);
      const auto matrix = testing::packed(w);
      std::vector<int32_t> tokens;
      for (int i = 0; i < 70; ++i) tokens.push_back(static_cast<int32_t>((i * 5 + 3) % rows));
      std::vector<int32_t> given = tokens;
      given[9] = given[33] = -1;  // stands for what was chosen before
      tokens[9] = tokens[33] = static_cast<int32_t>(rows / 2);
      const DeviceBuffer ids = testing::to_device(given);
      const DeviceBuffer taken = testing::to_device(std::vector{tokens[9]});
      const size_t n = tokens.size() * static_cast<size_t>(cols);
      const DeviceBuffer x = testing::poisoned<float>(n);
      embed(matrix.matrix, ids.as<int32_t>(), taken.as<int32_t>(), static_cast<int>(tokens.size()),
            x.as<float>(), nullptr);
      const auto got = testing::to_host<float>(x, n);
      size_t wrong = 0;
      for (size_t i = 0; i < n; ++i) {
        const auto row = static_cast<int64_t>(tokens[i / static_cast<size_t>(cols)]);
        float want = w.values[static_cast<size_t>(row * cols) + i % static_cast<size_t>(cols)];
        if (packed_type(type) == DType::kBF16) want = testing::bf16_rounded(want);
        wrong += got[i] != want ? 1 : 0;
      }
      CAPTURE(testing::format_of(type).name);
      CAPTURE(cols);
      CHECK(wrong == 0);
    }
  }
}

}  // namespace
}  // namespace fimd::cuda

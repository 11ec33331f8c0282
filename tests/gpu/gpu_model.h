// Random models on the GPU, and how to compare their logits.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/cuda/cuda.h"
#include "engine/gguf.h"
#include "engine/model_spec.h"
#include "tests/engine/model_support.h"
#include "tests/engine/random_model.h"
#include "tests/engine/reference_model.h"
#include "tests/gpu/device_data.h"

namespace fimd::test {

using testing::relative_error;

/// What llama.cpp's Q4_K_M makes of a model's matrices, as far as types go.
inline DType q4_k_m(const std::string& name) {
  const bool more = name.find("blk.0.") != std::string::npos;
  if (name.starts_with("token_embd") || name.starts_with("output.")) return DType::kQ6_K;
  if (more &&
      (name.find("attn_v") != std::string::npos || name.find("ffn_down") != std::string::npos)) {
    return DType::kQ6_K;
  }
  return DType::kQ4_K;
}

struct GpuModel {
  std::vector<std::byte> bytes;
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<ModelSpec> spec;

  std::unique_ptr<Backend> backend(CudaOptions options = {}) const {
    options.keep_logits = true;
    if (options.kv_bytes == 0) options.kv_bytes = int64_t{16} << 20;
    auto made = make_cuda_backend(*spec, everything(spec->vocab), options, nullptr);
    REQUIRE_MESSAGE(made.ok(), made.error().message);
    return std::move(*made);
  }
};

inline GpuModel make_model(const Shape& shape, uint32_t seed = 7) {
  GpuModel model;
  model.bytes = random_model(shape, seed);
  auto file = GgufFile::parse(model.bytes, "random");
  REQUIRE(file.ok());
  model.file = std::move(*file);
  auto spec = read_model_spec(*model.file);
  REQUIRE(spec.ok());
  model.spec = std::make_unique<ModelSpec>(std::move(*spec));
  return model;
}

/// Shapes that CUDA kernels exist for.
inline Shape gpu_shape(const std::string& arch, DType type) {
  return {.arch = arch,
          .type = type,
          .hidden = 256,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 64,
          .ff = 512,
          .layers = 2,
          .vocab = 300,
          .context = 4096};
}

inline std::vector<TokenId> some_tokens(size_t n, int vocab) {
  std::vector<TokenId> tokens(n);
  for (size_t i = 0; i < n; ++i) {
    tokens[i] = static_cast<TokenId>((i * 37 + i * i / 11 + 5) % static_cast<size_t>(vocab));
  }
  return tokens;
}

template <class A, class B>
double worst_relative(const std::vector<A>& a, const std::vector<B>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, relative_error(a[i], b[i]));
  return worst;
}

// Of a position's logits (Euclidean norm of the difference over that of the logits). Next to
// quantised weights small passes round activations to 8 bits, next to bf16 weights to bf16, and
// wide passes round both to bf16.
constexpr double kBf16Tolerance = 0.02;
constexpr double kQuantisedTolerance = 0.05;

inline void compare_with_reference(const Shape& shape) {
  CAPTURE(shape.arch);
  CAPTURE(static_cast<int>(shape.type));
  CAPTURE(shape.head_dim);
  const GpuModel model = make_model(shape);
  const auto backend = model.backend();
  const bool floats = !shape.type_of && (shape.type == DType::kF32 || shape.type == DType::kF16 ||
                                         shape.type == DType::kBF16);
  const double tolerance = floats ? kBf16Tolerance : kQuantisedTolerance;
  const auto tokens = some_tokens(100, shape.vocab);
  const auto expected = reference_logits(*model.file, tokens);
  // More than 64 rows, all at once; then pieces that matmul() takes.
  const auto wide = Feeder(*backend, pages_from(2, 8)).feed(tokens);
  CHECK(worst_relative(wide, expected) < tolerance);
  Feeder feeder(*backend, pages_from(20, 8));
  std::vector<Logits> pieces;
  for (const size_t n : {64, 1, 2, 9, 24}) {
    for (Logits& row : feeder.feed(std::span(tokens).subspan(pieces.size(), n))) {
      pieces.push_back(std::move(row));
    }
  }
  CHECK(worst_relative(pieces, expected) < tolerance);
}

/// Graphs give what single launches give; check(with, without cuBLAS) compares a prompt's rows.
template <class Check>
void compare_ways_to_launch(const Shape& shape, Check check) {
  CAPTURE(static_cast<int>(shape.type));
  const GpuModel model = make_model(shape);
  const auto backend = model.backend();
  const auto single = model.backend({.use_graphs = false});
  const auto tokens = some_tokens(150, 300);
  const std::span<const TokenId> all(tokens);
  Feeder a(*backend, pages_from(0, 8));
  Feeder b(*single, pages_from(0, 8));
  for (size_t at = 0; at < 120;) {
    // Each shape three times: launched, then from its graph.
    for (const size_t n : {1, 1, 1, 3, 3, 3, 11, 11, 11}) {
      if (at + n > all.size()) break;
      CHECK(a.feed(all.subspan(at, n)) == b.feed(all.subspan(at, n)));
      at += n;
    }
  }
  const auto narrow = model.backend({.use_cublas = false});
  const auto wide = Feeder(*backend, pages_from(10, 8)).feed(tokens);
  const auto pieces = Feeder(*narrow, pages_from(10, 8)).feed(tokens);
  check(wide, pieces);
}

}  // namespace fimd::test

// Whole models on the GPU: against the plain reference pass, and against themselves cut up in every
// way the scheduler may cut them, launched in every way the backend may launch them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/cpu_backend.h"
#include "engine/cuda/cuda.h"
#include "engine/gguf.h"
#include "engine/model_spec.h"
#include "tests/engine/model_support.h"
#include "tests/engine/random_model.h"
#include "tests/engine/reference_model.h"
#include "tests/engine/traces.h"
#include "tests/gpu/gpu_model.h"

namespace fimd {
namespace {

using namespace test;  // NOLINT: what this file is made of

TEST_CASE("logits equal those of the plain reference pass: families, heads, windows") {
  for (const char* arch : {"llama", "qwen2", "qwen3"}) {
    compare_with_reference(gpu_shape(arch, DType::kBF16));
    compare_with_reference(gpu_shape(arch, DType::kQ8_0));
  }
  for (const int head_dim : {80, 96, 128, 256}) {
    Shape shape = gpu_shape("qwen2", DType::kQ8_0);
    shape.head_dim = head_dim;
    shape.kv_heads = head_dim == 256 ? 4 : 1;
    shape.tied = false;
    compare_with_reference(shape);
  }
  Shape odd = gpu_shape("llama", DType::kBF16);
  odd.hidden = 224;
  odd.heads = 7;
  odd.kv_heads = 1;
  odd.ff = 416;
  odd.vocab = 301;
  odd.layers = 1;
  compare_with_reference(odd);
  odd.window = 9;
  compare_with_reference(odd);
  odd.linear_scaling = 4;
  compare_with_reference(odd);
}

TEST_CASE("logits equal those of the plain reference pass: every weight format") {
  for (const DType type : {DType::kF32, DType::kF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K,
                           DType::kQ5_K, DType::kQ6_K}) {
    compare_with_reference(gpu_shape("qwen2", type));
  }
  Shape mixed = gpu_shape("qwen2", DType::kQ4_K);
  mixed.type_of = q4_k_m;
  compare_with_reference(mixed);
  mixed.type_of = [](const std::string& name) {  // plain and quantised weights read the same input
    return name.find("attn_k") != std::string::npos || name.find("ffn_up") != std::string::npos
               ? DType::kF16
               : DType::kQ8_0;
  };
  mixed.tied = false;
  compare_with_reference(mixed);
}

TEST_CASE("logits equal those of the plain reference pass: as wide as real models") {
  for (const DType type : {DType::kQ4_0, DType::kBF16}) {
    Shape wide = gpu_shape("qwen2", type);  // 7B's width, then its MLP's
    wide.hidden = 3584;
    wide.heads = 7;
    wide.kv_heads = 1;
    wide.head_dim = 128;
    wide.layers = 1;
    compare_with_reference(wide);
    Shape deep = gpu_shape("qwen2", type);
    deep.ff = 18944;
    deep.layers = 1;
    compare_with_reference(deep);
  }
}

TEST_CASE("graphs, single launches and passes without cuBLAS compute the same") {
  for (const DType type : {DType::kBF16, DType::kQ4_K}) {
    const double tolerance = type == DType::kBF16 ? kBf16Tolerance : kQuantisedTolerance;
    compare_ways_to_launch(gpu_shape("qwen2", type), [&](const auto& wide, const auto& pieces) {
      CHECK(worst_relative(wide, pieces) < tolerance);
    });
  }
}

TEST_CASE("in pieces, in any pages, with others: the logits stay the same") {
  const GpuModel model = make_model(gpu_shape("qwen3", DType::kQ8_0));
  const auto tokens = some_tokens(300, 300);
  const std::span<const TokenId> all(tokens);
  const auto whole = reference_logits(*model.file, tokens);
  for (const int page_tokens : {16, 32, 64}) {
    CAPTURE(page_tokens);
    const auto backend = model.backend({.page_tokens = page_tokens});
    std::vector<int32_t> scattered = pages_from(3, 300 / page_tokens + 1);
    std::reverse(scattered.begin(), scattered.end());
    Feeder feeder(*backend, scattered);
    std::mt19937 random(static_cast<uint32_t>(page_tokens));
    double worst = 0;
    for (size_t at = 0; at < tokens.size();) {
      const size_t n = std::min(tokens.size() - at, size_t{1} + random() % 90);
      const auto piece = feeder.feed(all.subspan(at, n));
      for (size_t i = 0; i < n; ++i) {
        worst = std::max(worst, relative_error(piece[i], whole[at + i]));
      }
      at += n;
    }
    CHECK(worst < kQuantisedTolerance);
  }

  // Sequences of very different lengths in one pass, some without samples; small and wide passes.
  const auto backend = model.backend();
  for (const size_t others : {2, 7, 20, 70}) {
    CAPTURE(others);
    Feeder longest(*backend, pages_from(0, 12));
    longest.feed(all.first(200));
    std::vector<Feeder> feeders;
    for (size_t i = 0; i < others; ++i) {
      feeders.emplace_back(*backend, pages_from(12 + 2 * static_cast<int>(i), 2));
    }
    std::vector<StepInput> batch = {longest.next(all.subspan(200, 1))};
    for (size_t i = 0; i < others; ++i) {
      batch.push_back(feeders[i].next(all.first(1 + i % 3)));
      if (i % 3 == 1) batch.back().samples = {};
      if (i % 3 == 2) batch.back().samples = batch.back().samples.last(2);
    }
    for (int again = 0; again < 3; ++again) {  // launched, then from the graph
      std::vector<Sampled> sampled(1 + others * 2);
      size_t samples = 0;
      for (const StepInput& input : batch) samples += input.samples.size();
      REQUIRE(backend->forward(batch, std::span(sampled).first(samples)).ok());
      size_t row = 0;
      double worst = 0;
      for (const StepInput& input : batch) {
        for (size_t k = 0; k < input.samples.size(); ++k, ++row) {
          const size_t position =
              static_cast<size_t>(input.first) + input.tokens.size() - input.samples.size() + k;
          worst = std::max(worst, relative_error(backend->logits(row), whole[position]));
          const auto logits = backend->logits(row);
          CHECK(sampled[row].token ==
                std::max_element(logits.begin(), logits.end()) - logits.begin());
        }
      }
      CHECK(row == samples);
      CHECK(backend->logits(row).empty());
      CHECK(worst < kQuantisedTolerance);
    }
  }
}

TEST_CASE("a prompt read at once, in any length, has the logits of the reference after its end") {
  for (const DType type : {DType::kBF16, DType::kQ4_K}) {
    const GpuModel model = make_model(gpu_shape("qwen2", type));
    const auto backend = model.backend();
    const auto tokens = some_tokens(300, 300);
    const auto whole = reference_logits(*model.file, tokens);
    const SampleSpec sample;
    double worst = 0;
    for (int round = 0; round < 40; ++round) {
      // Pages that hold another prompt's keys, so that keys read too early show.
      const auto pages = pages_from(round % 3 * 10, 10);
      const size_t n = 65 + static_cast<size_t>(round * 37 % 236);
      std::vector<TokenId> other(n, static_cast<TokenId>(round));
      StepInput input;
      input.pages = pages;
      input.tokens = other;
      REQUIRE(backend->forward({&input, 1}, {}).ok());
      input.tokens = std::span(tokens).first(n);
      input.samples = {&sample, 1};
      Sampled sampled;
      REQUIRE(backend->forward({&input, 1}, {&sampled, 1}).ok());
      worst = std::max(worst, relative_error(backend->logits(0), whole[n - 1]));
    }
    CHECK(worst < (type == DType::kBF16 ? kBf16Tolerance : kQuantisedTolerance));
  }
}

TEST_CASE("a copied page serves a branch, and the original goes on undisturbed") {
  const GpuModel model = make_model(gpu_shape("qwen2", DType::kBF16));
  const auto backend = model.backend({.page_tokens = 16});
  std::vector<TokenId> tokens = some_tokens(40, 300);
  const auto whole = Feeder(*backend, pages_from(0, 3)).feed(tokens);
  // Branch at 21: page 0 is shared, page 1 copied to 9.
  backend->copy_page(1, 9, 5);
  std::vector<TokenId> branch(tokens.begin(), tokens.begin() + 21);
  branch.insert(branch.end(), {200, 201, 202});
  const auto expected = Feeder(*backend, pages_from(20, 3)).feed(branch);
  const SampleSpec sample;
  Sampled sampled;
  StepInput input;
  input.tokens = std::span<const TokenId>(branch).subspan(21);
  input.first = 21;
  const std::vector<int32_t> pages = {0, 9};
  input.pages = pages;
  input.samples = {&sample, 1};
  REQUIRE(backend->forward({&input, 1}, {&sampled, 1}).ok());
  CHECK(relative_error(backend->logits(0), expected.back()) < kBf16Tolerance);
  input.tokens = std::span<const TokenId>(tokens).last(1);
  input.first = 39;
  const std::vector<int32_t> own = pages_from(0, 3);
  input.pages = own;
  REQUIRE(backend->forward({&input, 1}, {&sampled, 1}).ok());
  CHECK(relative_error(backend->logits(0), whole.back()) < kBf16Tolerance);
}

TEST_CASE("tokens are chosen as the sampler chooses them: restricted, extra, at any temperature") {
  const GpuModel model = make_model(gpu_shape("qwen2", DType::kQ4_K));
  const auto backend = model.backend();
  Sampler sampler(everything(300));
  const auto tokens = some_tokens(30, 300);
  std::vector<TokenId> few = {7, 250, 3};
  std::vector<TokenId> many = some_tokens(700, 300);  // more than there is room for
  for (const float temperature : {0.0F, 0.9F}) {
    for (const auto* allowed : {static_cast<std::vector<TokenId>*>(nullptr), &few, &many}) {
      std::vector<SampleSpec> specs(3);
      for (size_t i = 0; i < specs.size(); ++i) {
        specs[i].params.temperature = i == 1 ? 0.0F : temperature;
        specs[i].uniform = 0.37;
        if (allowed != nullptr && i != 2) specs[i].allowed = *allowed;
      }
      const auto pages = pages_from(0, 2);
      StepInput input;
      input.tokens = tokens;
      input.pages = pages;
      input.samples = specs;
      std::vector<Sampled> sampled(specs.size());
      REQUIRE(backend->forward({&input, 1}, sampled).ok());
      for (size_t i = 0; i < specs.size(); ++i) {
        const Sampled expected = sampler.sample(backend->logits(i), specs[i]);
        CHECK(sampled[i].token == expected.token);
        CHECK(sampled[i].logprob == doctest::Approx(expected.logprob).epsilon(1e-3));
      }
    }
  }
}

TEST_CASE("impossible batches are refused and do no harm") {
  const GpuModel model = make_model(gpu_shape("qwen2", DType::kBF16));
  const auto backend = model.backend();
  const std::vector<int32_t> pages = {0};
  const auto run = [&](const std::vector<TokenId>& tokens, int first,
                       const std::vector<int32_t>& of) {
    StepInput input;
    input.tokens = tokens;
    input.first = first;
    input.pages = of;
    return backend->forward({&input, 1}, {}).ok();
  };
  CHECK(run({1, 2, 3}, 0, pages));
  CHECK_FALSE(run({}, 0, pages));
  CHECK_FALSE(run({1}, 32, pages));
  CHECK_FALSE(run({1}, -1, pages));
  CHECK_FALSE(run({-1}, 0, pages));
  CHECK_FALSE(run({300}, 0, pages));
  CHECK_FALSE(run({1}, 0, {-1}));
  CHECK_FALSE(run({1}, 0, {1 << 20}));
  CHECK(run({1, 2, 3}, 0, pages));
  CHECK_FALSE(backend->lost());
}

TEST_CASE("a model that cannot run here is refused with the reason") {
  Shape shape = gpu_shape("llama", DType::kBF16);
  shape.head_dim = 40;
  const GpuModel heads = make_model(shape);
  auto refused = make_cuda_backend(*heads.spec, everything(300), {}, nullptr);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::kUnsupported);
  CHECK(refused.error().message.find("heads of 40") != std::string::npos);

  const GpuModel model = make_model(gpu_shape("llama", DType::kBF16));
  refused =
      make_cuda_backend(*model.spec, everything(300), {.kv_bytes = int64_t{1} << 40}, nullptr);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::kResourceExhausted);
  CHECK(refused.error().message.find("lower engine.kv_cache_mb") != std::string::npos);
}

TEST_CASE("random editing sessions: logits after reuse equal those of a cold run") {
  const FakeTokenizer tokenizer({"def ", "return", "print(", "    ", "\n    ", "name", "args"});
  for (const auto& [floats, small] : {std::pair(true, false), std::pair(true, true),
                                      std::pair(false, false), std::pair(false, true)}) {
    CAPTURE(small);
    CAPTURE(floats);
    Shape shape = gpu_shape("qwen2", DType::kBF16);
    if (!floats) shape.type_of = q4_k_m;
    shape.vocab = tokenizer.vocab_size();
    const GpuModel model = make_model(shape);
    // A page of this model takes 16 KiB: the small cache evicts all the time.
    const auto warm = model.backend({.kv_bytes = small ? int64_t{640} << 10 : int64_t{16} << 20,
                                     .page_tokens = 16,
                                     .max_batch_tokens = 100});
    const auto cold = model.backend();
    const Session session = run_session(*warm, *cold, tokenizer, 90, 200);
    CAPTURE(session.worst);
    CHECK(session.worst_relative < (floats ? kBf16Tolerance : kQuantisedTolerance));
    CHECK(session.samples > 100);
    CHECK((session.evicted_pages > 0) == small);
  }
}

TEST_CASE("the shipped model's tokens are the CPU's") {
  const std::string path = "models/fimd-small.gguf";
  if (!std::filesystem::exists(path)) return;
  auto file = GgufFile::open(path);
  REQUIRE(file.ok());
  const auto spec = read_model_spec(**file);
  REQUIRE(spec.ok());
  const auto cpu = CpuBackend::make(*spec, everything(spec->vocab), {.threads = 4}, nullptr);
  REQUIRE(cpu.ok());
  auto gpu = make_cuda_backend(*spec, everything(spec->vocab),
                               {.kv_bytes = int64_t{64} << 20, .keep_logits = true}, nullptr);
  REQUIRE_MESSAGE(gpu.ok(), gpu.error().message);
  const auto tokens = some_tokens(150, 2000);
  const auto expected = Feeder(**cpu, pages_from(0, 6)).feed(tokens);
  const auto logits = Feeder(**gpu, pages_from(0, 6)).feed(tokens);
  size_t agreed = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    CHECK(relative_error(logits[i], expected[i]) < kQuantisedTolerance);
    const auto best = [](const Logits& row) {
      return std::max_element(row.begin(), row.end()) - row.begin();
    };
    agreed += best(logits[i]) == best(expected[i]) ? 1 : 0;
  }
  CHECK(agreed * 100 >= tokens.size() * 95);
}

}  // namespace
}  // namespace fimd

// Choosing tokens on the GPU as part of whole models: drawn ones, the likeliest, scored ones, and
// searches that branch, against the CPU.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "engine/cpu_backend.h"
#include "engine/cuda/cuda.h"
#include "engine/prompt_encoder.h"
#include "engine/scheduler.h"
#include "tests/engine/fakes.h"
#include "tests/engine/letter_tokens.h"
#include "tests/engine/model_support.h"
#include "tests/gpu/gpu_model.h"

namespace fimd {
namespace {

using namespace test;  // NOLINT: what this file is made of

/// Samples after the last tokens of some prompt.
std::vector<Sampled> sample(Backend& backend, std::span<const TokenId> tokens,
                            std::span<const SampleSpec> specs) {
  const auto pages = pages_from(0, static_cast<int>(tokens.size()) / backend.kv().page_tokens + 1);
  StepInput input;
  input.tokens = tokens;
  input.pages = pages;
  input.samples = specs;
  std::vector<Sampled> sampled(specs.size());
  REQUIRE(backend.forward({&input, 1}, sampled).ok());
  return sampled;
}

TEST_CASE("sampling: tokens are drawn as the sampler draws them, whatever is fetched") {
  Shape shape = gpu_shape("qwen2", DType::kQ4_K);
  shape.vocab = 6000;
  const GpuModel model = make_model(shape);
  const auto backend = model.backend();
  auto silent = make_cuda_backend(*model.spec, everything(shape.vocab),
                                  {.kv_bytes = int64_t{16} << 20}, nullptr);
  REQUIRE(silent.ok());
  Sampler sampler(everything(shape.vocab));
  const std::vector<TokenId> few = {7, 250, 3, 5999};
  const std::vector<TokenId> many = some_tokens(14000, shape.vocab);  // there is no room for those
  std::mt19937 random(11);
  int on_edges = 0;
  // Small passes, then ones with more rows than logits are kept of.
  for (const size_t n : {1, 5, 5, 40, 120}) {
    const auto tokens = some_tokens(n + 30, shape.vocab);
    std::vector<SampleSpec> specs(n);
    for (size_t i = 0; i < n; ++i) {
      SampleSpec& spec = specs[i];
      const float temperatures[] = {0.0F, 0.3F, 0.8F, 1.5F, 30.0F};  // the last: flat
      spec.params.temperature = temperatures[random() % 5];
      spec.params.top_k = random() % 4 == 0 ? 30 : 0;
      spec.params.top_p = random() % 2 == 0 ? 0.95F : 1.0F;
      spec.params.min_p = random() % 4 == 0 ? 0.05F : 0.0F;
      spec.uniform = uniform_at(n, i);
      if (random() % 6 == 0) spec.allowed = few;
      if (n == 5 && i == 2) spec.allowed = many;
    }
    const auto sampled = sample(*backend, tokens, specs);
    const auto again = sample(**silent, tokens, specs);
    for (size_t i = 0; i < n; ++i) {
      CAPTURE(i);
      CHECK(again[i].token == sampled[i].token);
      CHECK(again[i].logprob == sampled[i].logprob);
      CHECK((*silent)->logits(i).empty());
      SampleSpec spec = specs[i];
      Sampled expected = sampler.sample(backend->logits(i), spec);
      for (const double nudge : {-1e-5, 1e-5}) {  // sums are rounded otherwise
        if (expected.token == sampled[i].token) break;
        ++on_edges;
        spec.uniform = std::clamp(specs[i].uniform + nudge, 0.0, 0.9999999);
        expected = sampler.sample(backend->logits(i), spec);
      }
      CHECK(sampled[i].token == expected.token);
      CHECK(sampled[i].logprob == doctest::Approx(expected.logprob).epsilon(1e-3));
    }
  }
  CHECK(on_edges <= 2);
}

TEST_CASE("sampling: the likeliest and the scored tokens are the sampler's") {
  const GpuModel model = make_model(gpu_shape("qwen2", DType::kBF16));
  const auto backend = model.backend();
  Sampler sampler(everything(300));
  const std::vector<TokenId> few = {7, 250, 3};
  const std::vector<TokenId> many = some_tokens(700, 300);  // more than there is room for
  for (const size_t n : {3, 90}) {
    for (const bool crowded : {false, true}) {
      std::vector<SampleSpec> specs(n);
      for (size_t i = 0; i < n; ++i) {
        specs[i].params.temperature = 0.9F;  // alone it counts
        specs[i].uniform = 0.6;
        if (i % 3 == 0) specs[i].n_best = 1 + static_cast<int>(i) % backend->max_best();
        if (i % 3 == 1) specs[i].scored = static_cast<TokenId>(i * 3);
        if (i % 6 == 0) specs[i].allowed = crowded ? many : few;
      }
      const auto sampled = sample(*backend, some_tokens(n + 10, 300), specs);
      for (size_t i = 0; i < n; ++i) {
        CAPTURE(i);
        if (specs[i].n_best == 0) {
          CHECK(backend->likeliest(i).empty());
          const Sampled expected = sampler.sample(backend->logits(i), specs[i]);
          CHECK(sampled[i].token == expected.token);
          CHECK(sampled[i].logprob == doctest::Approx(expected.logprob).epsilon(1e-3));
          continue;
        }
        const auto expected = sampler.likeliest(backend->logits(i), specs[i]);
        const auto best = backend->likeliest(i);
        REQUIRE(best.size() == expected.size());
        CHECK(sampled[i].token == best.front().token);
        for (size_t k = 0; k < best.size(); ++k) {
          CHECK(best[k].token == expected[k].token);
          CHECK(best[k].logprob == doctest::Approx(expected[k].logprob).epsilon(1e-3));
        }
      }
    }
  }
  SampleSpec impossible;
  impossible.n_best = backend->max_best() + 1;
  StepInput input;
  const std::vector<TokenId> token = {1};
  const std::vector<int32_t> page = {0};
  input.tokens = token;
  input.pages = page;
  input.samples = {&impossible, 1};
  Sampled sampled;
  CHECK_FALSE(backend->forward({&input, 1}, {&sampled, 1}).ok());
  impossible = {};
  impossible.scored = 300;
  CHECK_FALSE(backend->forward({&input, 1}, {&sampled, 1}).ok());
}

/// A scheduler on a backend.
struct Engine {
  Engine(Backend& backend, const Tokenizer& tokenizer, int context_length)
      : encoder(tokenizer),
        scheduler(backend, tokenizer, encoder,
                  {.context_length = context_length, .prefill_chunk = 100}) {}

  std::shared_ptr<RecordingSink> submit(GenerationRequest request) {
    auto sink = std::make_shared<RecordingSink>();
    request.sink = sink;
    scheduler.submit(std::move(request));
    return sink;
  }
  std::shared_ptr<RecordingSink> run(const GenerationRequest& request) {
    auto sink = submit(request);
    while (scheduler.step()) {
    }
    REQUIRE(sink->done());
    REQUIRE(scheduler.cache().check() == "");
    return sink;
  }

  PromptEncoder encoder;
  Scheduler scheduler;
};

TEST_CASE("search: texts have the probability that the CPU finds, the best is its best") {
  const Shape shape = gpu_shape("qwen2", DType::kBF16);
  const LetterTokens tokenizer(shape.vocab);
  const GpuModel model = make_model(shape);
  const TokenMask mask(tokenizer, shape.vocab);
  const auto cpu = CpuBackend::make(*model.spec, mask, {.threads = 4}, nullptr);
  REQUIRE(cpu.ok());
  auto gpu = make_cuda_backend(*model.spec, mask, {.kv_bytes = int64_t{8} << 20, .page_tokens = 16},
                               nullptr);
  REQUIRE(gpu.ok());
  Engine on_gpu(**gpu, tokenizer, 400);
  Engine on_cpu(**cpu, tokenizer, 400);
  REQUIRE(on_gpu.scheduler.can_search());
  int clear = 0;
  int agreed = 0;
  std::string prompt = tokenizer.text(1, 20);
  for (int round = 0; round < 24; ++round) {
    CAPTURE(round);
    prompt += tokenizer.text(static_cast<uint32_t>(round), round % 4 == 3 ? 45 : 1);
    GenerationRequest request;
    request.prompt = {text_segment(prompt)};
    request.params.heal = false;
    request.params.max_tokens = 10;  // so that branches get pages of their own
    request.params.beam = {.width = 2 + round % 3, .margin = 50};
    const auto expected = on_cpu.run(request);
    const auto found = on_gpu.run(request);
    REQUIRE_FALSE(found->candidates.empty());
    CHECK(found->candidates.size() == expected->candidates.size());
    for (const TextCandidate& candidate : found->candidates) {
      CHECK(candidate.truncated);
      GenerationRequest score;
      score.prompt = {text_segment(prompt + candidate.text)};
      score.params = {.max_tokens = 0, .scored_bytes = candidate.text.size(), .heal = false};
      const double on_host = on_cpu.run(score)->stats().scored_logprob;
      CHECK(std::abs(candidate.logprob - on_host) < 0.15);
      CHECK(std::abs(on_gpu.run(score)->stats().scored_logprob - on_host) < 0.15);
      CHECK(candidate.text.starts_with(found->text));
    }
    const double gap = expected->candidates[0].logprob - expected->candidates[1].logprob;
    if (gap < 0.3) continue;
    ++clear;
    if (found->candidates.front().text == expected->candidates.front().text) ++agreed;
  }
  MESSAGE("the best text is the CPU's in ", agreed, " of ", clear, " clear cases");
  CHECK(clear >= 4);
  CHECK(agreed * 10 >= clear * 9);
  // Searches at once, in one pass, find what each finds alone.
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  std::vector<std::string> alone;
  for (const bool together : {false, true}) {
    for (int i = 0; i < 3; ++i) {
      GenerationRequest request;
      request.prompt = {
          text_segment(prompt.substr(static_cast<size_t>(i) * LetterTokens::kLength))};
      request.params.heal = false;
      request.params.max_tokens = 6;
      request.params.beam = {.width = 2, .margin = 50};
      if (together) {
        sinks.push_back(on_gpu.submit(request));
      } else {
        alone.push_back(on_gpu.run(request)->candidates.front().text);
      }
    }
  }
  while (on_gpu.scheduler.step()) {
  }
  for (size_t i = 0; i < sinks.size(); ++i) {
    REQUIRE(sinks[i]->done());
    CHECK(sinks[i]->candidates.front().text == alone[i]);
  }
}

/// The first line of a text that says something.
TextVerdict first_line(std::string_view text, bool ended) {
  const size_t line = text.find('\n');
  if (line != std::string_view::npos) return {TextVerdict::Kind::kComplete, line};
  if (ended) return {TextVerdict::Kind::kComplete, text.size()};
  return {};
}

/// Whether it is the same text, with the probability that rounding makes of it.
bool near(const TextCandidate& a, const TextCandidate& b) {
  return a.text == b.text && std::abs(a.logprob - b.logprob) < 0.2;
}

TEST_CASE("search: the shipped model finds the CPU's lines") {
  const std::string path = "models/fimd-small.gguf";
  std::ifstream in("tests/data/demo/tableutils.py", std::ios::binary);
  if (!std::filesystem::exists(path) || !in) return;
  std::ostringstream read;
  read << in.rdbuf();
  const std::string text = read.str();
  auto file = GgufFile::open(path);
  REQUIRE(file.ok());
  const auto spec = read_model_spec(**file);
  REQUIRE(spec.ok());
  const auto tokenizer = (*file)->tokenizer();
  REQUIRE(tokenizer.ok());
  const TokenMask mask(**tokenizer, spec->vocab);
  const auto cpu = CpuBackend::make(*spec, mask, {.threads = 8}, nullptr);
  REQUIRE(cpu.ok());
  auto gpu = make_cuda_backend(*spec, mask, {.kv_bytes = int64_t{64} << 20}, nullptr);
  REQUIRE_MESSAGE(gpu.ok(), gpu.error().message);
  Engine on_gpu(**gpu, **tokenizer, 1024);
  Engine on_cpu(**cpu, **tokenizer, 1024);
  // A way to end a text counts if its last token is among the eight likeliest, which rounding may
  // decide: then the CPU finds both sums, as its own rounding is changed.
  const auto also_on_cpu = [&](const GenerationRequest& request, const TextCandidate& found) {
    ModelSpec rounded = *spec;
    for (int i = 0; i < 10; ++i) {
      for (Block& block : rounded.blocks) block.mixer_norm.eps *= 1.05F;
      const auto other = CpuBackend::make(rounded, mask, {.threads = 8}, nullptr);
      REQUIRE(other.ok());
      const auto candidates = Engine(**other, **tokenizer, 1024).run(request)->candidates;
      REQUIRE_FALSE(candidates.empty());
      if (near(found, candidates.front())) return true;
    }
    return false;
  };
  int clear = 0;
  int agreed = 0;
  int elsewise = 0;
  for (size_t at = 4000; at + 2000 < text.size() && clear < 25; at += 487) {
    CAPTURE(at);
    GenerationRequest request;
    request.prompt = {control_segment("<|fim_prefix|>"), text_segment(text.substr(at - 1200, 1200)),
                      control_segment("<|fim_suffix|>"),
                      text_segment(text.substr(text.find('\n', at), 300)),
                      control_segment("<|fim_middle|>")};
    request.params.max_tokens = 24;
    request.params.beam = {.width = 4, .margin = 1.5, .judge = first_line};
    const auto expected = on_cpu.run(request);
    const auto found = on_gpu.run(request);
    REQUIRE_FALSE(found->candidates.empty());
    REQUIRE_FALSE(expected->candidates.empty());
    const auto& best = expected->candidates;
    if (best.size() > 1 && best[0].logprob - best[1].logprob < 0.2) continue;
    ++clear;
    if (found->candidates.front().text != best.front().text) continue;
    ++agreed;
    if (near(found->candidates.front(), best.front())) continue;
    ++elsewise;
    CHECK(also_on_cpu(request, found->candidates.front()));
  }
  MESSAGE("the best line is the CPU's in ", agreed, " of ", clear, " clear cases, ", elsewise,
          " with a sum that the CPU finds with other rounding");
  CHECK(clear >= 10);
  CHECK(agreed * 10 >= clear * 9);
  CHECK(elsewise * 10 <= agreed);
}

}  // namespace
}  // namespace fimd

// The forward pass on real (tiny) models: against transformers' logits, against the plain reference
// pass, and against itself cut up in every way the scheduler may cut it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>

#include "engine/cpu_backend.h"
#include "engine/gguf_vocab.h"
#include "tests/engine/model_support.h"
#include "tests/engine/random_model.h"
#include "tests/engine/reference_model.h"
#include "tests/json.h"

namespace fimd {
namespace {

using namespace test;  // NOLINT: what this file is made of

struct Model {
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<ModelSpec> spec;
  std::unique_ptr<CpuBackend> backend;
};

Model load(std::unique_ptr<GgufFile> file, int page_tokens = 32, int threads = 2) {
  Model model;
  model.file = std::move(file);
  auto spec = read_model_spec(*model.file);
  REQUIRE_MESSAGE(spec.ok(), spec.error().message);
  model.spec = std::make_unique<ModelSpec>(std::move(*spec));
  auto backend = CpuBackend::make(*model.spec, everything(model.spec->vocab),
                                  {.threads = threads,
                                   .kv_bytes = int64_t{4} << 20,
                                   .page_tokens = page_tokens,
                                   .max_batch_tokens = 160},
                                  nullptr);
  REQUIRE_MESSAGE(backend.ok(), backend.error().message);
  model.backend = std::move(*backend);
  return model;
}

Model load(const std::string& path, int page_tokens = 32, int threads = 2) {
  auto file = GgufFile::open(path);
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  return load(std::move(*file), page_tokens, threads);
}

constexpr const char* kFixtures[] = {"llama-tiny",  "llama-plain-tiny", "qwen2-tiny",
                                     "qwen3-tiny",  "qwen35-tiny",      "qwen35-plain-tiny",
                                     "qwen35-heads"};

/// Logits of the fixtures are about 1 in size. Activations are quantised to 8 bits only with
/// quantised weights, so float weights leave the half-precision KV cache as the largest error.
constexpr double kTolerance = 0.02;
constexpr double kShippedTolerance = 0.08;

struct Fixture {
  std::vector<std::vector<TokenId>> prompts;
  size_t vocab = 0;
  std::vector<float> logits;  // (prompt, position, vocab)
};

Fixture read_fixture(const std::string& name) {
  const std::string base = "tests/fixtures/" + name;
  const auto json = test::read_json(base + ".json");
  Fixture fixture;
  fixture.prompts = json["prompts"].get<std::vector<std::vector<TokenId>>>();
  fixture.vocab = json["vocab"].get<size_t>();
  size_t rows = 0;
  for (const auto& prompt : fixture.prompts) rows += prompt.size();
  fixture.logits.resize(rows * fixture.vocab);
  std::ifstream data(base + ".logits.bin", std::ios::binary);
  data.read(reinterpret_cast<char*>(fixture.logits.data()),
            static_cast<std::streamsize>(fixture.logits.size() * sizeof(float)));
  REQUIRE(data.gcount() == static_cast<std::streamsize>(fixture.logits.size() * sizeof(float)));
  return fixture;
}

/// The shipped model against PyTorch in float32 on the dequantised weights. Here activations are
/// rounded to 8 bits before each of 126 quantised products, so logits differ by some hundredths
/// (root mean square); logits themselves spread over about 3.
TEST_CASE("the shipped model's tokens and logits equal those of its training code") {
  const auto json = test::read_json("tests/fixtures/fimd-small/logits.json");
  const auto vocab = json["vocab"].get<size_t>();
  std::ifstream data("tests/fixtures/fimd-small/logits.bin", std::ios::binary);
  Model model = load("models/fimd-small.gguf");
  auto made = load_gguf_tokenizer(*model.file);
  REQUIRE_MESSAGE(made.ok(), made.error().message);
  const Tokenizer& tokenizer = **made;

  size_t agreed = 0;
  size_t positions = 0;
  for (const auto& prompt : json["prompts"]) {
    const auto ids = prompt["ids"].get<std::vector<TokenId>>();
    const auto text = [&](const char* key) { return prompt[key].get<std::string>(); };
    std::vector<TokenId> encoded;
    const auto control = [&](const char* name) { encoded.push_back(*tokenizer.control_id(name)); };
    if (!prompt["repo"].is_null()) {
      control("<|repo_name|>");
      tokenizer.encode(text("repo") + "\n", &encoded);
    }
    if (!prompt["path"].is_null()) {
      control("<|file_sep|>");
      tokenizer.encode(text("path") + "\n", &encoded);
    }
    control("<|fim_prefix|>");
    tokenizer.encode(text("prefix"), &encoded);
    control("<|fim_suffix|>");
    tokenizer.encode(text("suffix"), &encoded);
    control("<|fim_middle|>");
    tokenizer.encode(text("typed"), &encoded);
    CHECK(encoded == ids);

    std::vector<float> expected(vocab);
    data.read(reinterpret_cast<char*>(expected.data()),
              static_cast<std::streamsize>(vocab * sizeof(float)));
    REQUIRE(data.gcount() == static_cast<std::streamsize>(vocab * sizeof(float)));
    Feeder feeder(*model.backend, pages_from(0, 8));
    const std::vector<Logits> logits = feeder.feed(ids);
    double squares = 0;
    for (size_t i = 0; i < vocab; ++i) {
      squares += std::pow(static_cast<double>(logits.back()[i]) - expected[i], 2);
    }
    const double root_mean_square = std::sqrt(squares / static_cast<double>(vocab));
    CAPTURE(root_mean_square);
    CHECK(root_mean_square < kShippedTolerance);
    const auto argmax = prompt["argmax_per_position"].get<std::vector<TokenId>>();
    REQUIRE(argmax.size() == ids.size());
    for (size_t i = 0; i < ids.size(); ++i, ++positions) {
      const auto best = std::max_element(logits[i].begin(), logits[i].end()) - logits[i].begin();
      agreed += best == argmax[i] ? 1 : 0;
    }
  }
  CAPTURE(agreed);
  CAPTURE(positions);
  CHECK(agreed * 100 >= positions * 97);
}

TEST_CASE("logits equal those of transformers, and those of the plain reference pass") {
  for (const char* name : kFixtures) {
    CAPTURE(name);
    const Fixture fixture = read_fixture(name);
    Model model = load("tests/fixtures/" + std::string(name) + ".gguf");
    size_t row = 0;
    for (const auto& prompt : fixture.prompts) {
      Feeder feeder(*model.backend, pages_from(0, 6));
      const std::vector<Logits> logits = feeder.feed(prompt);
      const auto reference = test::reference_logits(*model.file, prompt);
      for (size_t p = 0; p < prompt.size(); ++p, ++row) {
        const std::span<const float> expected(fixture.logits.data() + row * fixture.vocab,
                                              fixture.vocab);
        CHECK(worst_difference(reference[p], expected) < 1e-3);
        CHECK(worst_difference(logits[p], expected) < kTolerance);
      }
    }
  }
}

TEST_CASE("in pieces, in any pages, with others: the logits stay the same to the bit") {
  for (const char* name : kFixtures) {
    CAPTURE(name);
    const std::string path = "tests/fixtures/" + std::string(name) + ".gguf";
    std::vector<TokenId> tokens(90);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>((i * 37 + 5) % 250);
    Model whole_model = load(path);
    const auto whole = Feeder(*whole_model.backend, pages_from(0, 3)).feed(tokens);

    for (const int page_tokens : {1, 5, 16, 32}) {
      Model model = load(path, page_tokens, page_tokens % 2 + 1);
      const int n_pages = 90 / page_tokens + 1;
      std::vector<int32_t> scattered = pages_from(3, n_pages);
      std::reverse(scattered.begin(), scattered.end());
      Feeder feeder(*model.backend, scattered);
      std::mt19937 random(static_cast<uint32_t>(page_tokens));
      size_t at = 0;
      while (at < tokens.size()) {
        const size_t n = std::min(tokens.size() - at, size_t{1} + random() % 20);
        const auto piece = feeder.feed(std::span(tokens).subspan(at, n));
        for (size_t i = 0; i < n; ++i) {
          CHECK(piece[i] == whole[at + i]);
        }
        at += n;
      }
    }

    // Two sequences in one pass, one of them without logits for its first part.
    Model model = load(path, 8);
    const std::span<const TokenId> all(tokens);
    Feeder a(*model.backend, pages_from(0, 12));
    Feeder b(*model.backend, pages_from(20, 12), 1);
    StepInput batch[2] = {a.next(all.first(30)), b.next(all.first(11))};
    batch[0].samples = {};
    std::vector<Sampled> sampled(11);
    REQUIRE(model.backend->forward(batch, sampled).ok());
    const auto same = [&](size_t row, size_t position) {
      return std::ranges::equal(model.backend->logits(row), whole[position]);
    };
    for (size_t i = 0; i < 11; ++i) CHECK(same(i, i));
    StepInput second[2] = {a.next(all.subspan(30, 1)), b.next(all.subspan(11, 40))};
    second[1].samples = second[1].samples.last(2);
    REQUIRE(model.backend->forward(second, std::span(sampled).first(3)).ok());
    CHECK(same(0, 30));
    CHECK(same(1, 49));
    CHECK(same(2, 50));
    CHECK(sampled[1].token ==
          std::max_element(whole[49].begin(), whole[49].end()) - whole[49].begin());
    CHECK(model.backend->logits(3).empty());
  }
}

TEST_CASE("a copied page serves a branch, and the original goes on undisturbed") {
  Model model = load("tests/fixtures/qwen2-tiny.gguf", 16);
  std::vector<TokenId> tokens(40);
  std::iota(tokens.begin(), tokens.end(), 30);
  const std::span<const TokenId> all(tokens);
  const auto whole = Feeder(*model.backend, pages_from(0, 3)).feed(tokens);
  // Branch at 21: page 0 is shared, page 1 copied to 9.
  model.backend->copy_page(1, 9, 5);
  std::vector<TokenId> branch(tokens.begin(), tokens.begin() + 21);
  branch.insert(branch.end(), {200, 201, 202});
  Feeder cold(*model.backend, pages_from(20, 3));
  const auto expected = cold.feed(branch);
  StepInput input;
  input.tokens = std::span<const TokenId>(branch).subspan(21);
  input.first = 21;
  const std::vector<int32_t> pages = {0, 9};
  input.pages = pages;
  const SampleSpec sample;
  input.samples = {&sample, 1};
  Sampled sampled;
  REQUIRE(model.backend->forward({&input, 1}, {&sampled, 1}).ok());
  CHECK(std::ranges::equal(model.backend->logits(0), expected.back()));
  // The original's last token once more.
  StepInput again;
  again.tokens = all.last(1);
  again.first = 39;
  const std::vector<int32_t> own = pages_from(0, 3);
  again.pages = own;
  again.samples = {&sample, 1};
  REQUIRE(model.backend->forward({&again, 1}, {&sampled, 1}).ok());
  CHECK(std::ranges::equal(model.backend->logits(0), whole.back()));
}

TEST_CASE("impossible batches are refused") {
  Model model = load("tests/fixtures/qwen2-tiny.gguf");
  const std::vector<int32_t> pages = {0};
  const auto run = [&](const std::vector<TokenId>& tokens, int first) {
    StepInput input;
    input.tokens = tokens;
    input.first = first;
    input.pages = pages;
    return model.backend->forward({&input, 1}, {}).ok();
  };
  CHECK(run({1, 2, 3}, 0));
  CHECK_FALSE(run({}, 0));
  CHECK_FALSE(run({1}, 32));
  CHECK_FALSE(run({1}, -1));
  CHECK_FALSE(run({-1}, 0));
  CHECK_FALSE(run({1000000}, 0));
}

// ---- Random models of other shapes and formats ----

void compare_with_reference(const Shape& shape, double tolerance) {
  CAPTURE(shape.arch);
  CAPTURE(static_cast<int>(shape.type));
  const auto bytes = random_model(shape, 7);
  auto file = GgufFile::parse(bytes, "random");
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  Model model = load(std::move(*file), 16);
  std::vector<TokenId> tokens(50);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i * 13 % 60);
  const auto expected = test::reference_logits(*model.file, tokens);
  const auto logits = Feeder(*model.backend, pages_from(2, 4)).feed(tokens);
  for (size_t p = 0; p < tokens.size(); ++p) {
    CHECK(worst_difference(logits[p], expected[p]) < tolerance);
  }
}

TEST_CASE("other shapes: one head, odd sizes, no grouping, windows, scaled rope, untied output") {
  compare_with_reference({}, kTolerance);
  compare_with_reference({.hidden = 20, .heads = 1, .kv_heads = 1, .head_dim = 6, .ff = 7},
                         kTolerance);
  compare_with_reference({.arch = "qwen3", .heads = 6, .kv_heads = 2, .head_dim = 16}, kTolerance);
  compare_with_reference({.arch = "llama", .heads = 4, .kv_heads = 4, .tied = false}, kTolerance);
  compare_with_reference({.arch = "llama", .window = 9}, kTolerance);
  compare_with_reference({.arch = "llama", .linear_scaling = 4}, kTolerance);
}

TEST_CASE("hybrids of other shapes: a recurrent last layer, odd sizes, long convolutions") {
  compare_with_reference({.arch = "qwen35"}, kTolerance);
  compare_with_reference({.arch = "qwen35", .layers = 3}, kTolerance);
  compare_with_reference({.arch = "qwen35", .layers = 2, .interval = 5}, kTolerance);  // all
  compare_with_reference({.arch = "qwen35", .layers = 2, .interval = 1}, kTolerance);  // none
  compare_with_reference({.arch = "qwen35",
                          .hidden = 20,
                          .head_dim = 6,
                          .ff = 7,
                          .rotary_dim = 2,
                          .k_heads = 3,
                          .v_heads = 3,
                          .k_dim = 5,
                          .v_dim = 9,
                          .conv_kernel = 7},
                         kTolerance);
  compare_with_reference(
      {.arch = "qwen35", .k_heads = 1, .v_heads = 5, .k_dim = 7, .v_dim = 70, .conv_kernel = 2},
      kTolerance);
}

TEST_CASE("a state taken back is that of a cold run, wherever passes and checkpoints fall") {
  const auto bytes = random_model({.arch = "qwen35", .layers = 4}, 9);
  auto file = GgufFile::parse(bytes, "random");
  REQUIRE(file.ok());
  Model model = load(std::move(*file), 16);
  Backend& backend = *model.backend;
  REQUIRE(backend.state().n_slots >= 3);
  std::vector<TokenId> tokens(100);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i * 17 % 60);
  const std::span<const TokenId> all(tokens);
  const auto whole = Feeder(backend, pages_from(0, 7)).feed(tokens);

  // Two sequences in one pass, one of which leaves checkpoints in its midst and at its end.
  const std::vector<StateSave> saves = {{1, 3}, {2, 0}, {40, 1}, {60, 2}};
  Feeder a(backend, pages_from(10, 7), 1);
  Feeder b(backend, pages_from(20, 7), 2);
  StepInput batch[2] = {b.next(all.first(33)), a.next(all.first(60))};
  batch[0].samples = {};
  batch[1].samples = {};
  batch[1].saves = saves;
  REQUIRE(backend.forward(batch, {}).ok());
  backend.save_state(2, 4);
  for (const auto& [checkpoint, first] :
       {std::pair{3, 1}, {0, 2}, {1, 40}, {2, 60}, {4, 33}, {1, 40}}) {
    CAPTURE(first);
    backend.restore_state(checkpoint, 0);
    const std::vector<int32_t> pages = pages_from(checkpoint == 4 ? 20 : 10, 7);
    const SampleSpec sample;
    StepInput rest;
    rest.tokens = all.subspan(static_cast<size_t>(first));
    rest.first = first;
    rest.pages = pages;
    rest.samples = {&sample, 1};
    Sampled sampled;
    REQUIRE(backend.forward({&rest, 1}, {&sampled, 1}).ok());
    CHECK(worst_difference(backend.logits(0), whole.back()) < 1e-3);
  }

  // Impossible states are refused.
  const auto refused = [&](int32_t slot, std::vector<StateSave> wrong) {
    StepInput input;
    const std::vector<int32_t> pages = {0};
    input.tokens = all.first(4);
    input.pages = pages;
    input.slot = slot;
    input.saves = wrong;
    return !backend.forward({&input, 1}, {}).ok();
  };
  CHECK(refused(-1, {}));
  CHECK(refused(backend.state().n_slots, {}));
  CHECK(refused(0, {{0, 0}}));
  CHECK(refused(0, {{5, 0}}));
  CHECK(refused(0, {{3, 0}, {3, 1}}));
  CHECK(refused(0, {{1, -1}}));
  CHECK(refused(0, {{1, backend.state().n_checkpoints}}));
  CHECK_FALSE(refused(0, {{4, 0}}));
}

TEST_CASE("every weight format") {
  for (const DType type : {DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ5_0,
                           DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    // Activations have 8 bits next to quantised weights: about 1% of a logit of size 1.
    const bool exact = type == DType::kF16 || type == DType::kBF16;
    compare_with_reference(
        {.type = type, .hidden = 256, .heads = 4, .kv_heads = 2, .head_dim = 64, .ff = 512},
        exact ? 0.03 : 0.15);
    compare_with_reference({.arch = "qwen35",
                            .type = type,
                            .hidden = 256,
                            .heads = 4,
                            .kv_heads = 2,
                            .head_dim = 64,
                            .ff = 512,
                            .rotary_dim = 16,
                            .k_heads = 2,
                            .v_heads = 4,
                            .k_dim = 64,
                            .v_dim = 64},
                           exact ? 0.03 : 0.15);
  }
}

TEST_CASE("a missing or misshapen tensor is named") {
  for (const std::string name : {"token_embd.weight", "output_norm.weight", "blk.1.attn_q.bias",
                                 "blk.1.ffn_down.weight", "blk.0.attn_norm.weight"}) {
    const auto missing = random_model({}, 1, name);
    auto file = GgufFile::parse(missing, "m");
    REQUIRE(file.ok());
    auto spec = read_model_spec(**file);
    REQUIRE_FALSE(spec.ok());
    CHECK(spec.error().message.find("'" + name + "' is missing") != std::string::npos);
    if (name == "token_embd.weight") continue;  // its rows are the vocabulary, whatever they are
    const auto misshapen = random_model({}, 1, "", name);
    file = GgufFile::parse(misshapen, "m");
    REQUIRE(file.ok());
    spec = read_model_spec(**file);
    REQUIRE_FALSE(spec.ok());
    CHECK(spec.error().message.find("'" + name + "' has shape") != std::string::npos);
  }
}

TEST_CASE("hybrids: a missing tensor, impossible sizes and experts are named") {
  const Shape shape{.arch = "qwen35"};
  const auto message = [](const std::vector<std::byte>& bytes) {
    auto file = GgufFile::parse(bytes, "m");
    REQUIRE(file.ok());
    const auto spec = read_model_spec(**file);
    return spec.ok() ? std::string() : spec.error().message;
  };
  const auto says = [&](const Shape& wrong, const char* what) {
    return message(random_model(wrong, 1)).find(what) != std::string::npos;
  };
  CHECK(message(random_model(shape, 1)).empty());
  for (const std::string name : {"blk.0.ssm_conv1d.weight", "blk.0.ssm_a", "blk.0.attn_qkv.weight",
                                 "blk.1.attn_q.weight", "blk.0.ssm_out.weight"}) {
    CHECK(message(random_model(shape, 1, name)).find("'" + name + "' is missing") !=
          std::string::npos);
  }
  CHECK(says({.arch = "qwen35", .k_heads = 3}, "value heads do not divide"));
  CHECK(says({.arch = "qwen35", .conv_kernel = 1}, "ssm.conv_kernel"));
  CHECK(says({.arch = "qwen35", .rotary_dim = 3}, "rope turns 3"));
  test::GgufWriter experts;
  experts.add_string("general.architecture", "qwen35moe");
  for (const char* key : {"block_count", "context_length", "embedding_length"}) {
    experts.add_u32(std::string("qwen35moe.") + key, 8);
  }
  experts.add_u32("qwen35moe.expert_count", 256);
  CHECK(message(experts.bytes()).find("mixture-of-experts") != std::string::npos);
}

TEST_CASE("a KV budget that is too small says what is needed") {
  auto file = GgufFile::open("tests/fixtures/qwen2-tiny.gguf");
  REQUIRE(file.ok());
  const auto spec = read_model_spec(**file);
  REQUIRE(spec.ok());
  const auto backend = CpuBackend::make(*spec, everything(spec->vocab), {.kv_bytes = 100}, nullptr);
  REQUIRE_FALSE(backend.ok());
  CHECK(backend.error().code == ErrorCode::kResourceExhausted);
  CHECK(backend.error().message.find("bytes each") != std::string::npos);
}

}  // namespace
}  // namespace fimd

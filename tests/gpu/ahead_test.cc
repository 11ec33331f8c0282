// Passes begun before they are asked for: the same tokens as without, whatever comes of the guess.
#include <doctest/doctest.h>

#include <memory>
#include <span>
#include <vector>

#include "engine/cuda/cuda_backend.h"
#include "tests/engine/model_support.h"
#include "tests/gpu/gpu_model.h"

namespace fimd {
namespace {

using namespace test;  // NOLINT: what this file is made of

std::unique_ptr<CudaBackend> make_backend(const GpuModel& model, int page_tokens = 32) {
  CudaOptions options;
  options.kv_bytes = int64_t{16} << 20;
  options.page_tokens = page_tokens;
  auto made = CudaBackend::make(*model.spec, everything(model.spec->vocab), options, nullptr);
  REQUIRE_MESSAGE(made.ok(), made.error().message);
  return std::move(*made);
}

/// A sequence that goes on, or says that it will and does not.
class Writer {
 public:
  Writer(Backend& backend, std::vector<int32_t> pages)
      : backend_(backend), pages_(std::move(pages)) {}

  Sampled read(std::span<const TokenId> tokens, bool goes_on) {
    StepInput input;
    input.tokens = tokens;
    input.first = length_;
    input.pages = pages_;
    input.samples = {&spec, 1};
    input.goes_on = goes_on;
    Sampled sampled;
    REQUIRE(backend_.forward({&input, 1}, {&sampled, 1}).ok());
    length_ += static_cast<int>(tokens.size());
    return sampled;
  }
  /// n tokens, each read after the one before was chosen. The first follows `prompt`.
  std::vector<Sampled> write(std::span<const TokenId> prompt, int n, bool goes_on) {
    std::vector<Sampled> all = {read(prompt, goes_on)};
    while (static_cast<int>(all.size()) < n) {
      const TokenId token = all.back().token;
      all.push_back(read({&token, 1}, goes_on));
    }
    return all;
  }
  void go_back_to(int length) { length_ = length; }

  SampleSpec spec;

 private:
  Backend& backend_;
  std::vector<int32_t> pages_;
  int length_ = 0;
};

void check_same(const std::vector<Sampled>& a, const std::vector<Sampled>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].token == b[i].token);
    CHECK(a[i].logprob == b[i].logprob);
  }
}

TEST_CASE("passes begun ahead give the same tokens, over ends of pages and of graphs' lengths") {
  for (const DType type : {DType::kQ4_K, DType::kBF16}) {
    const GpuModel model = make_model(gpu_shape("qwen2", type));
    const auto backend = make_backend(model, 16);
    const auto prompt = some_tokens(7, 300);
    constexpr int kTokens = 600;  // the graphs' lengths end at 512
    const auto alone = Writer(*backend, pages_from(0, 40)).write(prompt, kTokens, false);
    CHECK(backend->passes_ahead() == 0);
    const auto ahead = Writer(*backend, pages_from(40, 40)).write(prompt, kTokens, true);
    check_same(alone, ahead);
    // All but the first of each graph, whose time is not known yet.
    CHECK(backend->passes_ahead() > kTokens / 2);
  }
}

TEST_CASE("a page that is not there yet is not written to") {
  const GpuModel model = make_model(gpu_shape("llama", DType::kQ8_0));
  const auto backend = make_backend(model, 16);
  const auto prompt = some_tokens(3, 300);
  const auto expected = Writer(*backend, pages_from(0, 4)).write(prompt, 40, false);
  std::vector<Sampled> got;
  std::vector<TokenId> tokens = prompt;
  for (int length = 0; length < 42;) {
    // As the scheduler does: pages for what is computed, and no more.
    Writer writer(*backend, pages_from(10, (length + static_cast<int>(tokens.size()) + 15) / 16));
    writer.go_back_to(length);
    got.push_back(writer.read(tokens, true));
    length += static_cast<int>(tokens.size());
    tokens = {got.back().token};
  }
  check_same(expected, got);
  CHECK(backend->passes_ahead() > 20);
}

TEST_CASE("what is asked for instead of what was begun is not disturbed by it") {
  const GpuModel model = make_model(gpu_shape("qwen2", DType::kQ4_K));
  const auto backend = make_backend(model);
  const auto prompt = some_tokens(50, 300);
  const auto other_prompt = some_tokens(70, 300);
  const auto expected = Writer(*backend, pages_from(0, 4)).write(prompt, 20, false);
  const auto expected_other =
      Writer(*backend, pages_from(4, 4)).write(std::span(other_prompt).last(61), 12, false);
  Writer warm_up(*backend, pages_from(8, 4));
  check_same(expected, warm_up.write(prompt, 20, true));
  const size_t begun = backend->passes_ahead();
  CHECK(begun > 10);

  // Another token than the one that was sampled, which is then taken back.
  Writer writer(*backend, pages_from(12, 4));
  writer.write(prompt, 6, true);
  const TokenId wrong = (expected[5].token + 1) % 300;
  writer.read({&wrong, 1}, true);
  writer.go_back_to(50 + 4);
  const TokenId right = expected[4].token;
  check_same({expected.begin() + 5, expected.end()}, writer.write({&right, 1}, 15, true));

  // Another sequence, in the middle of it.
  Writer other(*backend, pages_from(16, 4));
  check_same(expected_other, other.write(std::span(other_prompt).last(61), 12, true));
  // The same place in other pages, and other pages' place.
  Writer moved(*backend, pages_from(20, 4));
  check_same(expected, moved.write(prompt, 20, true));

  // Another choice: the pass that was begun had no such token.
  Writer restricted(*backend, pages_from(24, 4));
  restricted.write(prompt, 5, true);
  const std::vector<TokenId> only = {17};
  restricted.spec.allowed = only;
  const TokenId fifth = expected[4].token;
  CHECK(restricted.read({&fifth, 1}, true).token == 17);
  restricted.spec.allowed = {};
  restricted.go_back_to(50 + 4);
  CHECK(restricted.read({&fifth, 1}, true).token == expected[5].token);

  // A copy of a page that a pass begun ahead may be writing to.
  Writer original(*backend, pages_from(28, 2));
  original.write(prompt, 8, true);
  backend->copy_page(29, 30, 50 + 7 - 32);
  Writer branch(*backend, {28, 30});
  branch.go_back_to(50 + 7);
  const TokenId eighth = expected[7].token;
  check_same({expected.begin() + 8, expected.begin() + 13}, branch.write({&eighth, 1}, 5, true));
  CHECK(backend->passes_ahead() > begun);
}

TEST_CASE("two sequences by turns, each said to go on: every guess is wrong") {
  const GpuModel model = make_model(gpu_shape("qwen3", DType::kQ4_K));
  const auto backend = make_backend(model);
  const auto a = some_tokens(40, 300);
  const auto b = std::vector<TokenId>(a.rbegin(), a.rend());
  const auto expected_a = Writer(*backend, pages_from(0, 3)).write(a, 16, false);
  const auto expected_b = Writer(*backend, pages_from(3, 3)).write(b, 16, false);
  Writer(*backend, pages_from(12, 3)).write(a, 16, true);  // times are known now
  Writer first(*backend, pages_from(6, 3));
  Writer second(*backend, pages_from(9, 3));
  std::vector<Sampled> got_a = {first.read(a, true)};
  std::vector<Sampled> got_b = {second.read(b, true)};
  const size_t before = backend->passes_ahead();
  while (got_a.size() < 16) {
    const TokenId next_a = got_a.back().token;
    got_a.push_back(first.read({&next_a, 1}, true));
    const TokenId next_b = got_b.back().token;
    got_b.push_back(second.read({&next_b, 1}, true));
  }
  check_same(expected_a, got_a);
  check_same(expected_b, got_b);
  CHECK(backend->passes_ahead() == before);
}

}  // namespace
}  // namespace fimd

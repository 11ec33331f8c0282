// Beam search and scoring in the scheduler: pages, batches and what else may go on.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/engine/stepped_engine.h"

namespace fimd {
namespace {

using test::FakeTokenizer;
using test::SinkPtr;

struct Engine : test::SteppedEngine {
  explicit Engine(int n_pages = 400, StateGeometry states = {})
      : SteppedEngine(FakeTokenizer(), nullptr, 4, n_pages, 32, 400, states) {}
};

GenerationRequest search(const std::string& text, int width, int max_tokens = 12) {
  GenerationRequest request;
  request.prompt = {text_segment(text)};
  request.params.heal = false;
  request.params.max_tokens = max_tokens;
  request.params.beam.width = width;
  request.params.beam.margin = 50;
  return request;
}

GenerationRequest score(const std::string& text, size_t bytes) {
  GenerationRequest request;
  request.prompt = {text_segment(text)};
  request.params.heal = false;
  request.params.max_tokens = 0;
  request.params.scored_bytes = bytes;
  return request;
}

const std::string kPrompt = "some text that is longer than a page or two";

TEST_CASE("a search without rivals says what greedy decoding says") {
  Engine greedy;
  const SinkPtr expected = greedy.run(search(kPrompt, 1));
  CHECK(expected->candidates.empty());  // width 1 is no search at all
  Engine engine;
  GenerationRequest request = search(kPrompt, 4);
  request.params.beam.margin = 0;  // only the best branch is left after every pass
  const SinkPtr got = engine.run(request);
  REQUIRE_FALSE(got->candidates.empty());
  CHECK(got->candidates.front().text == expected->text);
  CHECK(got->text == expected->text);
  CHECK(engine.backend.copies == greedy.backend.copies + 1);  // the prompt's last page
}

/// The sum of log-probabilities of `tail` after `head`, from the model itself.
double expected_score(const FakeTokenizer& tokenizer, const std::string& head,
                      const std::string& tail) {
  const auto model = hash_model(tokenizer);
  Sampler sampler(TokenMask(tokenizer, tokenizer.vocab_size()));
  std::vector<TokenId> tokens = tokenizer.ids(head);
  double sum = 0;
  for (const TokenId token : tokenizer.ids(tail)) {
    SampleSpec spec;
    spec.scored = token;
    sum += sampler.sample(model(tokens), spec).logprob;
    tokens.push_back(token);
  }
  return sum;
}

TEST_CASE("branches see their own tokens only: every answer has the model's own probability") {
  for (const int width : {2, 3, 5}) {
    for (const size_t length : {size_t{1}, size_t{31}, size_t{32}, kPrompt.size()}) {
      Engine engine;
      const std::string prompt = kPrompt.substr(0, length);
      const SinkPtr sink = engine.run(search(prompt, width));
      REQUIRE(sink->candidates.size() == static_cast<size_t>(width));
      for (const TextCandidate& found : sink->candidates) {
        CHECK(found.truncated);
        CHECK(found.text.size() == 12);
        CHECK(found.logprob ==
              doctest::Approx(expected_score(engine.tokenizer, prompt, found.text)).epsilon(1e-4));
        CHECK(found.text.starts_with(sink->text));
      }
      for (size_t i = 1; i < sink->candidates.size(); ++i) {
        CHECK(sink->candidates[i - 1].logprob >= sink->candidates[i].logprob);
      }
      // Nothing is kept but what the cache holds.
      CHECK(engine.scheduler.status().kv_bytes_used == 100 * engine.scheduler.cache().used_pages());
      CHECK(engine.backend.passes <= 14);
    }
  }
}

TEST_CASE("the likeliest answer is in the cache") {
  Engine engine;
  const SinkPtr sink = engine.run(search(kPrompt, 3));
  const SinkPtr next = engine.run(search(kPrompt + sink->candidates.front().text, 1));
  CHECK(next->stats().prefilled_tokens <= 2);
}

TEST_CASE("searches run together, and with other generations, as they do alone") {
  const auto prompt = [](int i) { return kPrompt.substr(static_cast<size_t>(i) * 5); };
  std::vector<std::vector<TextCandidate>> alone;
  for (int i = 0; i < 3; ++i) alone.push_back(Engine().run(search(prompt(i), 3))->candidates);
  const std::string greedy = Engine().run(search("another", 1))->text;
  Engine engine;
  std::vector<SinkPtr> sinks;
  for (int i = 0; i < 3; ++i) sinks.push_back(engine.submit(search(prompt(i), 3)));
  const SinkPtr other = engine.submit(search("another", 1));
  engine.finish();
  for (size_t i = 0; i < 3; ++i) {
    REQUIRE(sinks[i]->candidates.size() == alone[i].size());
    for (size_t k = 0; k < alone[i].size(); ++k) {
      CHECK(sinks[i]->candidates[k].text == alone[i][k].text);
    }
  }
  CHECK(other->text == greedy);
}

TEST_CASE("a cancelled search lets go of its pages within a step") {
  Engine engine;
  GenerationId id = 0;
  const SinkPtr sink = engine.submit(search(kPrompt, 4, 40), &id);
  for (int i = 0; i < 6; ++i) engine.scheduler.step();
  REQUIRE_FALSE(sink->done());
  engine.scheduler.cancel(id);
  engine.scheduler.step();
  CHECK(sink->error() == ErrorCode::kCancelled);
  CHECK(engine.scheduler.cache().check() == "");
  CHECK(engine.run(search(kPrompt, 4))->candidates == Engine().run(search(kPrompt, 4))->candidates);
}

TEST_CASE("a background search that gave up its pages finds the same afterwards") {
  const auto expected = Engine().run(search(kPrompt, 3))->candidates;
  Engine engine(100);
  GenerationRequest request = search(kPrompt, 3);
  request.priority = Priority::kBackground;
  const SinkPtr sink = engine.submit(request);
  for (int i = 0; i < 7; ++i) engine.scheduler.step();
  REQUIRE_FALSE(sink->done());
  // Needs nearly all pages.
  const SinkPtr urgent = engine.submit(search(std::string(200, 'q'), 1, 150));
  engine.finish();
  CHECK(urgent->done());
  REQUIRE(sink->done());
  REQUIRE(sink->candidates.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(sink->candidates[i].text == expected[i].text);
  }
}

TEST_CASE("a search is as wide as the backend's likeliest tokens allow") {
  const auto expected = Engine().run(search(kPrompt, 2))->candidates;
  Engine two;
  two.backend.max_best_tokens = 4;
  CHECK(two.run(search(kPrompt, 5))->candidates == expected);
  Engine none;
  none.backend.max_best_tokens = 0;
  CHECK_FALSE(none.scheduler.can_search());
  CHECK(none.run(search(kPrompt, 5))->candidates.empty());
  CHECK(none.run(score(kPrompt, 3))->error() == ErrorCode::kUnsupported);
}

TEST_CASE("where there are too few pages or recurrent state, decoding is greedy") {
  const std::string greedy = Engine().run(search(kPrompt, 1))->text;
  Engine small(30);
  const SinkPtr sink = small.run(search(kPrompt, 4));
  CHECK(sink->candidates.empty());
  CHECK(sink->text == greedy);
  Engine recurrent(400, {.n_slots = 2, .n_checkpoints = 8, .slot_bytes = 1, .checkpoint_bytes = 1});
  CHECK_FALSE(recurrent.scheduler.can_search());
  CHECK(recurrent.run(search(kPrompt, 4))->text == greedy);
  CHECK(recurrent.run(score(kPrompt, 3))->error() == ErrorCode::kUnsupported);
}

TEST_CASE("a score is the sum of the log-probabilities of the last tokens") {
  Engine engine;
  for (const size_t bytes : {size_t{1}, size_t{7}, size_t{33}, kPrompt.size() - 1}) {
    const SinkPtr sink = engine.run(score(kPrompt, bytes));
    const size_t head = kPrompt.size() - bytes;
    const double expected =
        expected_score(engine.tokenizer, kPrompt.substr(0, head), kPrompt.substr(head));
    CHECK(sink->stats().scored_logprob == doctest::Approx(expected).epsilon(1e-4));
    // The last token's own successors are of no interest, so it is not read; what comes before the
    // scored tokens is taken from the cache.
    CHECK(sink->stats().prompt_tokens == static_cast<int>(kPrompt.size()) - 1);
    CHECK(sink->stats().cached_tokens <= static_cast<int>(head) - 1);
  }
  CHECK(engine.run(score("x", 1))->error() == ErrorCode::kInvalidArgument);
}

TEST_CASE("several short readings share a pass") {
  Engine engine;
  engine.run(score(kPrompt + "a", 1));
  const int before = engine.backend.passes;
  std::vector<SinkPtr> sinks;
  for (const char* text : {"first", "other", "third"}) {
    sinks.push_back(engine.submit(score(kPrompt + text, 5)));
  }
  engine.finish();
  CHECK(engine.backend.passes == before + 1);
  for (const SinkPtr& sink : sinks) CHECK(sink->stats().scored_logprob < 0);
}

}  // namespace
}  // namespace fimd

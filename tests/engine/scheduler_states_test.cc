// The scheduler with models that have recurrent layers: slots, checkpoints and what is resumed.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "engine/checkpoint_plan.h"
#include "tests/engine/stepped_engine.h"

namespace fimd {
namespace {

using test::FakeTokenizer;
using test::hash_model;
using test::request;
using test::SinkPtr;
using test::words;
using Engine = test::SteppedEngine;

constexpr StateGeometry kStates = {4, 16, 1000, 1000};

GenerationRequest typing(const std::string& before, const std::string& after,
                         const std::string& typed, int max_tokens = 8) {
  GenerationRequest r = request("", max_tokens, "doc");
  r.prompt = {control_segment("<|fim_prefix|>"), text_segment(before),
              control_segment("<|fim_suffix|>"), text_segment(after),
              control_segment("<|fim_middle|>"), text_segment(typed)};
  r.params.heal = true;
  return r;
}

TEST_CASE("recurrent: typing and deleting compute at most 16 tokens for each key") {
  const std::string text = "    result = compute(first_value, second_value)\n";
  const FakeTokenizer tokenizer({"    ", " result", " =", " compute", "(first", "_value",
                                 ", second", "    result", "comp", "ute", "res", "sec"});
  for (const int checkpoints : {6, 16, 60}) {
    Engine engine(tokenizer, hash_model(tokenizer), 4, 400, 32, 800, {2, checkpoints, 1, 1});
    Engine cold(tokenizer, hash_model(tokenizer), 4, 400, 32, 800);
    const std::string before = words(300);
    const std::string after = words(80, 1);
    engine.run(typing(before, after, ""));
    const auto key = [&](const std::string& typed) {
      CAPTURE(checkpoints);
      CAPTURE(typed);
      const SinkPtr sink = engine.run(typing(before, after, typed));
      CHECK(sink->stats().prefilled_tokens <= 16);
      CHECK(sink->text == cold.run(typing(before, after, typed))->text);
    };
    for (size_t typed = 1; typed <= text.size(); ++typed) key(text.substr(0, typed));
    for (size_t typed = text.size(); typed-- > 0;) key(text.substr(0, typed));
    CHECK(engine.backend.restores > 0);
  }
}

TEST_CASE("recurrent: what was generated is resumed from within a few tokens") {
  Engine engine(FakeTokenizer(), nullptr, 4, 200, 32, 400, kStates);
  const SinkPtr first = engine.run(request("hello ", 40));
  const SinkPtr next = engine.run(request("hello " + first->text.substr(0, 30), 5));
  CHECK(next->stats().prefilled_tokens <= 16);
  CHECK(next->text == first->text.substr(30, 5));
}

TEST_CASE("recurrent: a change in the suffix resumes behind the text before the cursor") {
  Engine engine(FakeTokenizer(), nullptr, 4, 400, 32, 800, kStates);
  const std::string before = words(300);
  engine.run(typing(before, words(80, 1), "x"));
  const GenerationStats other = engine.run(typing(before, words(80, 2), "x"))->stats();
  CHECK(other.cached_tokens == 301 - CheckpointPlan().margin);
  // And when lines are added to the prefix.
  const GenerationStats longer = engine.run(typing(before + "new", words(80, 1), "x"))->stats();
  CHECK(longer.cached_tokens == 301 - CheckpointPlan().margin);
}

TEST_CASE("recurrent: a prompt that is given up half read goes on from there") {
  Engine engine(FakeTokenizer(), nullptr, 4, 200, 32, 400, kStates);
  GenerationId id = 0;
  const SinkPtr first = engine.submit(request(words(300)), &id);
  for (int i = 0; i < 5; ++i) engine.scheduler.step();
  engine.scheduler.cancel(id);
  engine.finish();
  CHECK(first->error() == ErrorCode::kCancelled);
  const GenerationStats stats = engine.run(request(words(300)))->stats();
  CHECK(stats.cached_tokens == 160);
}

TEST_CASE("recurrent: background work gives its slot up, and goes on where it was") {
  Engine engine(FakeTokenizer(), nullptr, 4, 200, 32, 400, {1, 8, 1, 1});
  GenerationRequest warm_up = request(words(200), 20, "warm");
  warm_up.priority = Priority::kBackground;
  const std::string expected = Engine().run(request(words(200), 20))->text;
  const SinkPtr background = engine.submit(warm_up);
  for (int i = 0; i < 3; ++i) engine.scheduler.step();
  const SinkPtr interactive = engine.submit(request(words(40, 1), 4));
  while (!interactive->done()) engine.scheduler.step();
  CHECK_FALSE(background->done());
  engine.finish();
  CHECK(background->text == expected);
  CHECK(engine.backend.tokens <= 200 + 19 + 43 + 16);
}

TEST_CASE("recurrent: more sequences than slots wait for their turn") {
  Engine engine(FakeTokenizer(), nullptr, 4, 200, 32, 400, {2, 8, 1, 1});
  std::vector<SinkPtr> sinks;
  for (int i = 0; i < 5; ++i) sinks.push_back(engine.submit(request(words(30, i), 6)));
  engine.finish();
  for (int i = 0; i < 5; ++i) {
    CHECK(sinks[static_cast<size_t>(i)]->text == Engine().run(request(words(30, i), 6))->text);
  }
}

TEST_CASE("recurrent: a failing device costs only the request it fails") {
  Engine engine(FakeTokenizer(), nullptr, 4, 200, 32, 400, {2, 4, 1, 1});
  engine.run(request(words(100)));
  engine.backend.fail_next = true;
  CHECK(engine.run(request(words(100) + "more of it"))->error() == ErrorCode::kInternal);
  CHECK(engine.scheduler.cache().check() == "");
  const std::string prompt = words(100) + "more of it";
  CHECK(engine.run(request(prompt))->text == Engine().run(request(prompt))->text);
}

TEST_CASE("a model without recurrent layers saves nothing") {
  Engine engine;
  engine.run(request(words(100), 20));
  CHECK(engine.backend.saves == 0);
  CHECK(engine.scheduler.status().state_bytes_budget == 0);
}

}  // namespace
}  // namespace fimd

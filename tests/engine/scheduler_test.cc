#include "engine/scheduler.h"

#include <doctest/doctest.h>

#include <map>
#include <numeric>
#include <random>

#include "tests/engine/stepped_engine.h"

namespace fimd {
namespace {

using test::FakeTokenizer;
using test::hash_model;
using test::recital_model;
using test::request;
using test::SinkPtr;
using test::words;
using Engine = test::SteppedEngine;

TEST_CASE("a cached prefix gives the same text as a cold run, and computes only what is new") {
  Engine warm;
  const std::string base = words(90);
  warm.run(request(base));
  for (const int cut : {90, 89, 61, 60, 40, 3}) {
    const std::string prompt = base.substr(0, static_cast<size_t>(cut)) + "XY";
    Engine cold;
    const SinkPtr expected = cold.run(request(prompt));
    const SinkPtr got = warm.run(request(prompt));
    CHECK(got->text == expected->text);
    CHECK(got->stats().cached_tokens == cut);
    CHECK(got->stats().prefilled_tokens == 2);
    CHECK(got->stats().prompt_tokens == cut + 2);
    CHECK(expected->stats().cached_tokens == 0);
    CHECK(expected->stats().prefilled_tokens == cut + 2);
  }
  CHECK(warm.backend.copies > 0);
}

TEST_CASE("what was generated is cached too: typing along computes one token") {
  Engine engine;
  const SinkPtr first = engine.run(request("hello ", 20));
  CHECK(first->text.size() == 20);
  const SinkPtr next = engine.run(request("hello " + first->text.substr(0, 10), 5));
  CHECK(next->stats().cached_tokens == 15);
  CHECK(next->stats().prefilled_tokens == 1);
  CHECK(next->text == first->text.substr(10, 5));
}

TEST_CASE("the chunk length changes nothing but the number of passes") {
  std::string text;
  for (const int chunk : {1, 3, 16, 31, 200}) {
    Engine engine(FakeTokenizer(), nullptr, 4, 200, chunk);
    const SinkPtr sink = engine.run(request(words(100), 12));
    if (text.empty()) text = sink->text;
    CHECK(sink->text == text);
    CHECK(engine.backend.passes == (100 + chunk - 1) / chunk + 11);
    CHECK(engine.backend.largest_pass == std::min(chunk, 100));
  }
}

TEST_CASE("sequences generated together say what they say alone, in one pass for each step") {
  std::vector<std::string> alone;
  for (int i = 0; i < 5; ++i) alone.push_back(Engine().run(request(words(10, i), 20))->text);
  Engine engine;
  std::vector<SinkPtr> sinks;
  for (int i = 0; i < 5; ++i) sinks.push_back(engine.submit(request(words(10, i), 20)));
  engine.finish();
  for (size_t i = 0; i < sinks.size(); ++i) CHECK(sinks[i]->text == alone[i]);
  CHECK(engine.backend.passes < 30);
}

TEST_CASE("a sequence that generates alone is said to go on, up to its last token") {
  Engine engine;
  CHECK(engine.run(request(words(50), 12))->text.size() >= 12);
  CHECK(engine.backend.foretold == 11);
  CHECK(engine.backend.came_true == 11);
  // Two at once: nobody knows which of them ends.
  const SinkPtr a = engine.submit(request(words(30, 1), 12));
  const SinkPtr b = engine.submit(request(words(30, 2), 4));
  engine.finish();
  CHECK(engine.backend.foretold < 11 + 11);
  CHECK(engine.backend.came_true == engine.backend.foretold);
  // The sink has had enough: foretold, and not true.
  const int before = engine.backend.foretold - engine.backend.came_true;
  auto sink = std::make_shared<test::RecordingSink>();
  sink->stop_after = 3;
  GenerationRequest cut = request(words(40, 3), 12);
  cut.sink = sink;
  engine.scheduler.submit(std::move(cut));
  engine.finish();
  engine.run(request(words(40, 3), 2));
  CHECK(engine.backend.foretold - engine.backend.came_true > before);
}

TEST_CASE("a long prompt does not hold up those who are generating") {
  Engine engine;
  const SinkPtr first = engine.submit(request("first", 40));
  engine.scheduler.step();
  const SinkPtr second = engine.submit(request(words(300), 4));
  while (!second->done()) {
    const size_t before = first->text.size();
    engine.scheduler.step();
    if (!first->done()) CHECK(first->text.size() == before + 1);
  }
  CHECK(second->stats().prefilled_tokens == 300);
}

TEST_CASE("requests that wait find what the one before them computed") {
  Engine engine;
  const std::string prompt = words(120);
  std::vector<SinkPtr> sinks;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    GenerationRequest candidate = request(prompt, 6);
    candidate.params.sampling.temperature = 1.0F;
    candidate.params.sampling.seed = seed;
    sinks.push_back(engine.submit(candidate));
  }
  engine.finish();
  CHECK(sinks[0]->stats().prefilled_tokens == 120);
  CHECK(sinks[1]->stats().prefilled_tokens == 1);
  CHECK(sinks[2]->stats().prefilled_tokens == 1);
  CHECK(sinks[0]->text != sinks[1]->text);
}

TEST_CASE("a cancelled request ends within one step and leaves its prefix behind") {
  Engine engine;
  GenerationId id = 0;
  const SinkPtr sink = engine.submit(request(words(300), 50), &id);
  engine.scheduler.step();
  engine.scheduler.step();
  CHECK(engine.backend.tokens == 64);
  engine.scheduler.cancel(id);
  const int passes = engine.backend.passes;
  engine.scheduler.step();
  CHECK(sink->error() == ErrorCode::kCancelled);
  CHECK(engine.backend.passes == passes);
  CHECK(engine.run(request(words(300), 1))->stats().cached_tokens == 64);

  const SinkPtr decoding = engine.submit(request("abc", 50), &id);
  engine.scheduler.step();
  engine.scheduler.step();
  engine.backend.before_forward = [&] { engine.scheduler.cancel(id); };  // in mid-pass
  engine.scheduler.step();
  CHECK_FALSE(decoding->done());
  engine.backend.before_forward = nullptr;
  engine.scheduler.step();
  CHECK(decoding->error() == ErrorCode::kCancelled);

  const SinkPtr queued = engine.submit(request("xyz", 5), &id);
  engine.scheduler.cancel(id);
  engine.finish();
  CHECK(queued->error() == ErrorCode::kCancelled);
  engine.scheduler.cancel(id);
  engine.scheduler.cancel(123456);
  engine.finish();
}

TEST_CASE("the newest request of a lane wins, others are left alone") {
  Engine engine;
  const SinkPtr a1 = engine.submit(request("one", 30, "a"));
  const SinkPtr b1 = engine.submit(request("two", 30, "b"));
  const SinkPtr none = engine.submit(request("three", 30));
  engine.scheduler.step();
  const SinkPtr a2 = engine.submit(request("four", 30, "a"));
  const SinkPtr a3 = engine.submit(request("five", 30, "a"));
  engine.scheduler.step();
  CHECK(a1->error() == ErrorCode::kCancelled);
  CHECK(a2->error() == ErrorCode::kCancelled);
  CHECK(a2->text.empty());
  engine.finish();
  CHECK(a3->stats().decoded_tokens == 30);
  CHECK(b1->stats().decoded_tokens == 30);
  CHECK(none->stats().decoded_tokens == 30);
  // A finished request is not superseded after the fact.
  engine.run(request("six", 3, "a"));
  CHECK(a3->result->ok());
}

TEST_CASE("interactive work stops background work at the next step") {
  Engine engine;
  GenerationRequest warm_up = request(words(300), 0, "warm");
  warm_up.priority = Priority::kBackground;
  const SinkPtr background = engine.submit(warm_up);
  engine.scheduler.step();
  const int done_before = engine.backend.tokens;
  const SinkPtr interactive = engine.submit(request("now", 6));
  while (!interactive->done()) engine.scheduler.step();
  CHECK(engine.backend.tokens == done_before + 3 + 5);
  CHECK_FALSE(background->done());
  engine.finish();
  CHECK(background->stats().prefilled_tokens == 300);
  CHECK(background->stats().decoded_tokens == 0);
  // The same prompt in earnest: only its last token is computed.
  CHECK(engine.run(request(words(300), 1))->stats().prefilled_tokens == 1);
  // And warming it again costs no pass at all.
  const int passes = engine.backend.passes;
  engine.run(warm_up);
  CHECK(engine.backend.passes == passes);
}

TEST_CASE("a request goes on from where the background prefill of its prompt is") {
  Engine engine;
  GenerationRequest warm_up = request(words(300), 0, "warm");
  warm_up.priority = Priority::kBackground;
  const SinkPtr background = engine.submit(warm_up);
  for (int i = 0; i < 3; ++i) engine.scheduler.step();
  const SinkPtr interactive = engine.submit(request(words(300), 1));
  engine.finish();
  CHECK(interactive->stats().cached_tokens == 96);
  CHECK(interactive->stats().prefilled_tokens == 204);
  // And the background one from where that one ended.
  CHECK(background->stats().prefilled_tokens == 96);
  CHECK(background->stats().cached_tokens == 204);
  CHECK(engine.backend.tokens == 300);
}

TEST_CASE("background work gives its pages up and starts again from the cache") {
  Engine engine(FakeTokenizer(), nullptr, 4, 30, 16);  // 120 tokens in all
  GenerationRequest speculation = request(words(60), 20);
  speculation.priority = Priority::kBackground;
  const std::string expected =
      Engine().run(request(words(60), 20))->text;  // a large pool, undisturbed
  const SinkPtr background = engine.submit(speculation);
  for (int i = 0; i < 7; ++i) engine.scheduler.step();
  CHECK_FALSE(background->text.empty());
  CHECK_FALSE(background->done());
  const SinkPtr interactive = engine.submit(request(words(80, 1), 10));
  while (!interactive->done()) engine.scheduler.step();
  CHECK_FALSE(background->done());
  engine.finish();
  CHECK(background->text == expected);
}

TEST_CASE("many requests through a small pool all say the right thing") {
  Engine engine(FakeTokenizer(), nullptr, 4, 24, 16);
  std::vector<SinkPtr> sinks;
  for (int round = 0; round < 40; ++round) {
    sinks.push_back(engine.submit(request(words(5 + round % 50, round % 4), 7)));
    if (round % 3 == 0) engine.scheduler.step();
  }
  engine.finish();
  for (int round = 0; round < 40; ++round) {
    const std::string expected = Engine().run(request(words(5 + round % 50, round % 4), 7))->text;
    CHECK(sinks[static_cast<size_t>(round)]->text == expected);
  }
  CHECK(engine.scheduler.cache().evicted_pages() > 0);
  CHECK(engine.scheduler.status().kv_bytes_used <= engine.scheduler.status().kv_bytes_budget);
}

TEST_CASE("random load: every request ends, and says the right thing if it was let to") {
  std::map<std::string, std::string> expected;
  const auto alone = [&](const std::string& prompt) {
    std::string& text = expected[prompt];
    if (text.empty()) text = Engine().run(request(prompt, 9))->text;
    return text;
  };
  for (uint32_t seed = 0; seed < 16; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return static_cast<int>(random() % n); };
    // Half of them with recurrent layers, a few slots and few checkpoints.
    StateGeometry states;
    if (seed % 2 == 1) states = {1 + below(4), 1 + below(12), 1, 1};
    Engine engine(FakeTokenizer(), nullptr, 4, 18 + below(30), 8 + below(16), 60, states);
    struct Sent {
      std::string prompt;
      GenerationId id = 0;
      SinkPtr sink;
    };
    std::vector<Sent> sent;
    for (int i = 0; i < 150; ++i) {
      Sent s;
      s.prompt = words(1 + below(50), below(3));
      GenerationRequest r = request(s.prompt, below(4) == 0 ? 0 : 9);
      if (below(3) == 0) r.lane = std::to_string(below(3));
      if (below(3) == 0) r.priority = Priority::kBackground;
      s.sink = engine.submit(r, &s.id);
      sent.push_back(std::move(s));
      for (int steps = below(6); steps > 0; --steps) engine.scheduler.step();
      if (below(4) == 0) {
        engine.scheduler.cancel(
            sent[static_cast<size_t>(below(static_cast<uint32_t>(sent.size())))].id);
      }
      REQUIRE(engine.scheduler.cache().check() == "");
    }
    int steps = 0;
    while (engine.scheduler.step() && steps < 5000) ++steps;
    CHECK(steps < 5000);
    for (const Sent& s : sent) {
      REQUIRE(s.sink->done());
      if (!s.sink->result->ok()) {
        CHECK(s.sink->error() == ErrorCode::kCancelled);
        CHECK(alone(s.prompt).starts_with(s.sink->text));
      } else if (s.sink->stats().decoded_tokens > 0) {
        CHECK(s.sink->text == alone(s.prompt));
      }
    }
    CHECK(engine.scheduler.status().active_requests == 0);
  }
}

TEST_CASE("the smallest pools still work") {
  for (int n_pages = 2; n_pages < 8; ++n_pages) {
    Engine engine(FakeTokenizer(), nullptr, 4, n_pages, 16, 400,
                  n_pages % 2 == 0 ? StateGeometry{} : StateGeometry{1, n_pages / 3, 1, 1});
    const int context = engine.scheduler.context_length();
    CHECK(context == 4 * (n_pages - 1));
    for (int i = 0; i < 30; ++i) {
      const int n = 1 + (i * 5) % (context - 1);
      const std::string prompt = words(n, i % 3 == 0 ? 0 : 1);
      const SinkPtr sink = engine.run(request(prompt, 3));
      CHECK(sink->text == Engine().run(request(prompt, 3))->text.substr(0, sink->text.size()));
      CHECK(sink->text.size() == static_cast<size_t>(std::min(3, context - n)));
    }
  }
}

TEST_CASE("limits: context, prompt, nothing to read, unknown control tokens") {
  Engine engine(FakeTokenizer(), nullptr, 4, 200, 32, 50);
  const SinkPtr full = engine.run(request(words(40), 100));
  CHECK(full->stats().reason == FinishReason::kContextFull);
  CHECK(full->text.size() == 10);
  const SinkPtr long_prompt = engine.run(request(words(50), 1));
  CHECK(long_prompt->error() == ErrorCode::kInvalidArgument);
  CHECK(long_prompt->result->error().message.find("50 tokens") != std::string::npos);
  CHECK(engine.run(request(words(50), 0))->stats().prefilled_tokens > 0);
  CHECK(engine.run(request("", 5))->error() == ErrorCode::kInvalidArgument);
  GenerationRequest unknown = request("x");
  unknown.prompt.push_back(control_segment("<|nonsense|>"));
  CHECK(engine.run(unknown)->error() == ErrorCode::kInvalidArgument);
  GenerationRequest bad_stop = request("x");
  bad_stop.params.stop_controls = {"<|nonsense|>"};
  CHECK(engine.run(bad_stop)->error() == ErrorCode::kInvalidArgument);
  // None of that hurts the next one.
  CHECK(engine.run(request("fine", 3))->text.size() == 3);
}

TEST_CASE("a failing device is reported to those it concerns") {
  Engine engine;
  const SinkPtr sink = engine.submit(request("abc", 10));
  engine.scheduler.step();
  engine.backend.fail_next = true;
  engine.finish();
  CHECK(sink->error() == ErrorCode::kInternal);
  CHECK(engine.run(request("abc", 3))->text ==
        sink->text.substr(0, 1) + Engine().run(request("abc", 3))->text.substr(1));
  Engine nan(FakeTokenizer(), [](std::span<const TokenId>) {
    return std::vector<float>(261, std::numeric_limits<float>::quiet_NaN());
  });
  CHECK(nan.run(request("abc", 3))->error() == ErrorCode::kInternal);
}

TEST_CASE("the text ends at the model's end, a stop string, a stop control, or the sink's word") {
  const std::string text = "int main() {\n  return 0;\n}\n";
  FakeTokenizer tokenizer({" return", "main", "()", " {\n", ";\n"});
  const auto recite = [&](GenerationParams params, size_t stop_after = std::string::npos) {
    Engine engine(tokenizer, recital_model(tokenizer, text));
    GenerationRequest r = request("int ");
    params.heal = false;
    r.params = params;
    const SinkPtr sink = engine.submit(r);
    sink->stop_after = stop_after;
    engine.finish();
    return sink;
  };
  const SinkPtr all = recite({});
  CHECK(all->text == text.substr(4));
  CHECK(all->stats().reason == FinishReason::kEndOfText);
  GenerationParams with_stops;
  with_stops.stop = {"n 0", "}"};
  const SinkPtr stop = recite(with_stops);
  CHECK(stop->text == "main() {\n  retur");
  CHECK(stop->stats().reason == FinishReason::kStopText);
  const SinkPtr enough = recite({}, 6);
  CHECK(enough->text == "main()");
  CHECK(enough->stats().reason == FinishReason::kStoppedBySink);
  const SinkPtr two = recite({.max_tokens = 2});
  CHECK(two->text == "main()");
  CHECK(two->stats().reason == FinishReason::kMaxTokens);
  CHECK(two->stats().decoded_tokens == 2);

  // Control tokens are never sampled, unless they were named to end the text.
  const auto wants_stop = [&](std::span<const TokenId> sequence) {
    std::vector<float> scores(static_cast<size_t>(tokenizer.vocab_size()), 0.0F);
    scores[static_cast<size_t>(*tokenizer.control_id("<|stop|>"))] = sequence.size() > 5 ? 9 : -9;
    scores['q'] = 5;
    return scores;
  };
  Engine never(tokenizer, wants_stop);
  CHECK(never.run(request("abc", 6))->text == "qqqqqq");
  Engine named(tokenizer, wants_stop);
  GenerationRequest r = request("abc", 6);
  r.params.stop_controls = {"<|stop|>"};
  CHECK(named.run(r)->text == "qqq");
}

TEST_CASE("healing: a prompt cut anywhere is continued as if it had not been cut") {
  const std::string text = "def frobnicate(self, name):\n    return self.name.strip()\n";
  const FakeTokenizer tokenizer({"def",  " frob", "nicate", "(self",   "self",  ", name", ".name",
                                 "):\n", "    ",  "   ",    " return", " self", ".strip", "()\n",
                                 "na",   "str",   "ni",     " r",      " re",   "fr"});
  for (size_t cut = 1; cut <= text.size(); ++cut) {
    Engine engine(tokenizer, recital_model(tokenizer, text));
    GenerationRequest r = request(text.substr(0, cut), 100);
    r.params.heal = true;
    const SinkPtr sink = engine.run(r);
    CHECK_MESSAGE(sink->text == text.substr(cut), "cut at ", cut);
    CHECK(sink->stats().reason == FinishReason::kEndOfText);
  }
}

TEST_CASE("healing backs up past tokens the model would not have used") {
  const FakeTokenizer tokenizer({".name", " self"});
  // The tokens of "self.na" are not the beginning of those of "self.name".
  Engine engine(tokenizer, recital_model(tokenizer, "return self.name = 1"));
  GenerationRequest r = request("return self.na", 6);
  r.params.heal = true;
  const SinkPtr sink = engine.run(r);
  CHECK(sink->text == "me = 1");
  CHECK(sink->pieces.front() == "me");  // one token, ".name"
  // Healing never reaches over a control token or into an earlier segment.
  GenerationRequest fim = request("", 6);
  fim.prompt = {control_segment("<|fim_prefix|>"), text_segment("return "),
                control_segment("<|fim_middle|>"), text_segment("")};
  fim.params.heal = true;
  CHECK(engine.run(fim)->stats().prompt_tokens == 9);
}

TEST_CASE("healing falls back to the prompt as it was when no token fits") {
  FakeTokenizer tokenizer({"name"});
  tokenizer.no_healing = true;
  Engine engine(tokenizer, recital_model(tokenizer, "the name is"));
  engine.tokenizer.no_healing = true;
  GenerationRequest r = request("the na", 20);
  r.params.heal = true;
  CHECK(engine.run(r)->text == "me is");
}

TEST_CASE("typing along a line computes a few tokens for each key") {
  const std::string text = "    result = compute(first_value, second_value)\n";
  const FakeTokenizer tokenizer({"    ", " result", " =", " compute", "(first", "_value",
                                 ", second", "    result", "comp", "ute", "res", "sec"});
  Engine engine(tokenizer, hash_model(tokenizer));
  const std::string before = words(200);
  int worst = 0;
  for (size_t typed = 0; typed <= text.size(); ++typed) {
    GenerationRequest r = request("", 8, "doc");
    r.prompt = {control_segment("<|fim_prefix|>"), text_segment(before),
                control_segment("<|fim_suffix|>"), text_segment(words(50, 1)),
                control_segment("<|fim_middle|>"), text_segment(text.substr(0, typed))};
    r.params.heal = true;
    const GenerationStats stats = engine.run(r)->stats();
    CHECK(stats.cached_tokens + stats.prefilled_tokens == stats.prompt_tokens);
    if (typed > 0) worst = std::max(worst, stats.prefilled_tokens);
  }
  CHECK(worst <= 8);
  CHECK(engine.encoder.hits() >= 2 * text.size());
}

TEST_CASE("a seed determines the text") {
  const auto run = [](uint64_t seed, bool warm) {
    Engine engine;
    GenerationRequest r = request(words(30), 20);
    r.params.sampling = {.temperature = 1.2F, .seed = seed};
    if (warm) engine.run(r);
    return engine.run(r)->text;
  };
  CHECK(run(1, false) == run(1, true));
  CHECK(run(1, false) != run(2, false));
}

TEST_CASE("sinks may use the scheduler; stopping cancels everything") {
  Engine engine;
  SinkPtr second;
  const SinkPtr first = engine.submit(request("abc", 3, "lane"));
  first->on_end = [&] { second = engine.submit(request("def", 50, "lane")); };
  while (!first->done()) engine.scheduler.step();
  CHECK(first->result->ok());
  const SinkPtr queued = engine.submit(request("ghi", 50));
  engine.scheduler.step();
  CHECK(engine.scheduler.status().active_requests == 2);
  const SinkPtr unseen = engine.submit(request("jkl", 50));
  engine.scheduler.stop();
  CHECK(second->error() == ErrorCode::kCancelled);
  CHECK(queued->error() == ErrorCode::kCancelled);
  CHECK(unseen->error() == ErrorCode::kCancelled);
  const EngineStatus status = engine.scheduler.status();
  CHECK(status.active_requests == 0);
  CHECK(status.queued_requests == 0);
  CHECK(status.decoded_tokens > 3);
}

}  // namespace
}  // namespace fimd

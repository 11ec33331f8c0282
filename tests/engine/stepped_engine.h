// A scheduler that takes steps when a test says so, over fakes.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>

#include "engine/scheduler.h"
#include "tests/engine/fakes.h"

namespace fimd::test {

using SinkPtr = std::shared_ptr<RecordingSink>;

/// A scheduler without threads.
struct SteppedEngine {
  explicit SteppedEngine(FakeTokenizer words = FakeTokenizer(), const FakeModel& model = nullptr,
                         int page_tokens = 4, int n_pages = 200, int chunk = 32, int context = 400,
                         StateGeometry states = {})
      : tokenizer(std::move(words)),
        backend(tokenizer, model ? model : hash_model(tokenizer), page_tokens, n_pages, chunk + 8,
                states),
        encoder(tokenizer),
        scheduler(backend, tokenizer, encoder,
                  {.context_length = context, .prefill_chunk = chunk}) {}

  SinkPtr submit(GenerationRequest request, GenerationId* id = nullptr) {
    auto sink = std::make_shared<RecordingSink>();
    request.sink = sink;
    const GenerationId given = scheduler.submit(std::move(request));
    if (id != nullptr) *id = given;
    return sink;
  }
  void finish() {
    while (scheduler.step()) CHECK(scheduler.cache().check() == "");
  }
  SinkPtr run(GenerationRequest request) {
    SinkPtr sink = submit(std::move(request));
    finish();
    REQUIRE(sink->done());
    return sink;
  }

  FakeTokenizer tokenizer;
  FakeBackend backend;
  PromptEncoder encoder;
  Scheduler scheduler;
};

inline GenerationRequest request(std::string text, int max_tokens = 8, std::string lane = "") {
  GenerationRequest r;
  r.prompt = {text_segment(std::move(text))};
  r.params.max_tokens = max_tokens;
  r.params.heal = false;
  r.lane = std::move(lane);
  return r;
}

inline std::string words(int n, int seed = 0) {
  std::string text;
  for (int i = 0; i < n; ++i) text += static_cast<char>('a' + (i * 7 + seed * 3 + i / 5) % 26);
  return text;
}

}  // namespace fimd::test

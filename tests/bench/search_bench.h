// A keystroke's reply through the real scheduler: greedy, and searched for with branches.
//
// The model is random, so its texts are as uncertain as can be: all branches live to the end.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/prompt_encoder.h"
#include "engine/scheduler.h"
#include "support/clock.h"
#include "tests/engine/letter_tokens.h"

namespace fimd::bench {

class SearchBench {
 public:
  SearchBench(Backend& backend, int vocab)
      : tokenizer_(vocab),
        encoder_(tokenizer_),
        scheduler_(backend, tokenizer_, encoder_, {.context_length = 8192, .prefill_chunk = 2048}) {
  }

  /// Median time of `completion` tokens after each of a few keys that add `key_tokens` to a prompt
  /// of `prefix` tokens, with up to `width` branches.
  double median_ms(int width, int prefix, int key_tokens, int completion) {
    const std::string head = tokenizer_.text(1, prefix);
    std::vector<double> ms;
    constexpr int kKeys = 12;
    constexpr int kWarmUp = 3;
    for (int key = 0; key < kKeys; ++key) {
      const auto sink = std::make_shared<Sink>();
      GenerationRequest request;
      // Apart, so that the prefix's tokens stay what they are.
      request.prompt = {
          text_segment(head),
          text_segment(tokenizer_.text(static_cast<uint32_t>(100 * width + key), key_tokens))};
      request.params.heal = false;
      request.params.max_tokens = completion;
      request.params.beam = {.width = width, .margin = 1e3};
      request.sink = sink;
      const Stopwatch watch;
      scheduler_.submit(std::move(request));
      while (scheduler_.step()) {
      }
      if (sink->error) return -1;
      if (key >= kWarmUp) ms.push_back(watch.elapsed_ms());
    }
    std::sort(ms.begin(), ms.end());
    return ms[ms.size() / 2];
  }

 private:
  struct Sink final : GenerationSink {
    Flow on_text(std::string_view, float) override { return Flow::kContinue; }
    void on_done(Result<GenerationStats> stats) override { error = !stats.ok(); }
    bool error = true;
  };

  test::LetterTokens tokenizer_;
  PromptEncoder encoder_;
  Scheduler scheduler_;
};

}  // namespace fimd::bench

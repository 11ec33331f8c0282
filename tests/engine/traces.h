// Random editing sessions through the real scheduler, checked against cold runs.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/prompt_encoder.h"
#include "engine/scheduler.h"
#include "tests/engine/fakes.h"

namespace fimd::test {

/// Passes everything on to a real backend, remembers which tokens each page holds and each state
/// has seen, and checks the logits of every sample against a second backend that computes the
/// sequence from nothing.
class CheckingBackend final : public Backend {
 public:
  CheckingBackend(Backend& warm, Backend& cold)
      : warm_(warm),
        cold_(cold),
        tokens_(static_cast<size_t>(warm.kv().n_pages) *
                static_cast<size_t>(warm.kv().page_tokens)),
        slots_(static_cast<size_t>(warm.state().n_slots)),
        checkpoints_(static_cast<size_t>(warm.state().n_checkpoints)) {}

  std::string name() const override { return "checking"; }
  KvGeometry kv() const override { return warm_.kv(); }
  int max_batch_tokens() const override { return warm_.max_batch_tokens(); }
  std::span<const float> logits(size_t i) const override { return warm_.logits(i); }
  int max_best() const override { return warm_.max_best(); }
  std::span<const Sampled> likeliest(size_t i) const override { return warm_.likeliest(i); }

  void copy_page(int32_t from, int32_t to, int n_tokens) override {
    warm_.copy_page(from, to, n_tokens);
    for (int i = 0; i < n_tokens; ++i) at(to, i) = at(from, i);
  }

  StateGeometry state() const override { return warm_.state(); }
  void clear_state(int32_t slot) override {
    warm_.clear_state(slot);
    slots_[static_cast<size_t>(slot)].clear();
  }
  void restore_state(int32_t checkpoint, int32_t slot) override {
    warm_.restore_state(checkpoint, slot);
    slots_[static_cast<size_t>(slot)] = checkpoints_[static_cast<size_t>(checkpoint)];
  }
  void save_state(int32_t slot, int32_t checkpoint) override {
    warm_.save_state(slot, checkpoint);
    checkpoints_[static_cast<size_t>(checkpoint)] = slots_[static_cast<size_t>(slot)];
  }

  Status forward(std::span<const StepInput> batch, std::span<Sampled> outputs) override {
    FIMD_RETURN_IF_ERROR(warm_.forward(batch, outputs));
    size_t sample = 0;
    for (const StepInput& input : batch) {
      const int n = input.first + static_cast<int>(input.tokens.size());
      std::vector<TokenId> sequence;
      for (int p = 0; p < n; ++p) {
        TokenId& slot =
            at(input.pages[static_cast<size_t>(p / kv().page_tokens)], p % kv().page_tokens);
        if (p >= input.first) slot = input.tokens[static_cast<size_t>(p - input.first)];
        sequence.push_back(slot);
      }
      if (!slots_.empty()) {
        std::vector<TokenId>& slot = slots_[static_cast<size_t>(input.slot)];
        slot.insert(slot.end(), input.tokens.begin(), input.tokens.end());
        CHECK(slot == sequence);
        for (const StateSave& save : input.saves) {
          checkpoints_[static_cast<size_t>(save.checkpoint)].assign(
              sequence.begin(), sequence.begin() + input.first + save.after);
        }
      }
      for (size_t k = 0; k < input.samples.size(); ++k) check(sequence, warm_.logits(sample++));
    }
    return {};
  }

  double worst = 0;           // of a logit
  double worst_relative = 0;  // of all logits of a sample: |warm - cold| / |cold|
  int samples = 0;

 private:
  TokenId& at(int32_t page, int i) {
    return tokens_[static_cast<size_t>(page) * static_cast<size_t>(kv().page_tokens) +
                   static_cast<size_t>(i)];
  }

  void check(const std::vector<TokenId>& sequence, std::span<const float> warm_logits) {
    std::vector<int32_t> pages(sequence.size() / static_cast<size_t>(cold_.kv().page_tokens) + 1);
    std::iota(pages.begin(), pages.end(), 0);
    const SampleSpec spec;
    cold_.clear_state(0);
    StepInput input;
    input.tokens = sequence;
    input.pages = pages;
    input.samples = {&spec, 1};
    Sampled sampled;
    REQUIRE(cold_.forward({&input, 1}, {&sampled, 1}).ok());
    const auto cold_logits = cold_.logits(0);
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < cold_logits.size(); ++i) {
      const auto d = static_cast<double>(std::abs(cold_logits[i] - warm_logits[i]));
      worst = std::max(worst, d);
      difference += d * d;
      norm += static_cast<double>(cold_logits[i]) * static_cast<double>(cold_logits[i]);
    }
    worst_relative = std::max(worst_relative, std::sqrt(difference / std::max(norm, 1e-30)));
    ++samples;
  }

  Backend& warm_;
  Backend& cold_;
  std::vector<TokenId> tokens_;
  std::vector<std::vector<TokenId>> slots_;
  std::vector<std::vector<TokenId>> checkpoints_;
};

/// A text with a cursor, edited at random.
class Editor {
 public:
  explicit Editor(uint32_t seed) : random_(seed) {}

  void edit() {
    const size_t what = below(11);
    if (what == 10) {  // undo, a few edits at once
      for (size_t n = 1 + below(3); n > 0 && !undo_.empty(); --n) {
        std::tie(text_, cursor_) = undo_.back();
        undo_.pop_back();
      }
      return;
    }
    undo_.emplace_back(text_, cursor_);
    switch (what) {
      case 0:
        text_.insert(cursor_, "\n");
        ++cursor_;
        break;
      case 1:  // backspace
        if (cursor_ > 0) text_.erase(--cursor_, 1);
        break;
      case 2:  // jump
        cursor_ = below(text_.size() + 1);
        break;
      case 3:  // paste
        insert(text_.substr(text_.size() / 3, 12));
        break;
      default:
        insert(std::string(1, "abcxyz (=:.\"r"[below(13)]));
    }
  }
  /// Accepts some of a suggestion.
  void accept(const std::string& suggestion) {
    if (below(4) != 0) return;
    undo_.emplace_back(text_, cursor_);
    insert(suggestion.substr(0, below(suggestion.size() + 1)));
  }

  Prompt prompt() const {
    const size_t newline = text_.rfind('\n', cursor_ == 0 ? 0 : cursor_ - 1);
    const size_t line = cursor_ == 0 || newline == std::string::npos ? 0 : newline + 1;
    return {control_segment("<|fim_prefix|>"), text_segment(text_.substr(0, line)),
            control_segment("<|fim_suffix|>"), text_segment(text_.substr(cursor_)),
            control_segment("<|fim_middle|>"), text_segment(text_.substr(line, cursor_ - line))};
  }

 private:
  size_t below(size_t n) { return random_() % n; }
  void insert(const std::string& what) {
    if (text_.size() > 120) return;
    // Only ASCII: the random model's text may be anything.
    for (const char c : what) {
      if (static_cast<unsigned char>(c) >= 0x80) return;
    }
    text_.insert(cursor_, what);
    cursor_ += what.size();
  }

  std::mt19937 random_;
  std::string text_ = "def main(args):\n    for name in args:\n        print(name)\n    return 0\n";
  size_t cursor_ = 30;
  std::vector<std::pair<std::string, size_t>> undo_;
};

struct Reuse {
  int reused = 0;    // prompt tokens found in the cache
  int computed = 0;  // and those that were not
};

/// Two editors type `keys` keys; some replies are awaited, some not, and some are searched for.
inline Reuse type_at_random(Scheduler& scheduler, int keys) {
  Editor editors[2] = {Editor(1), Editor(2)};
  std::mt19937 random(3);
  Reuse reuse;
  for (int key = 0; key < keys; ++key) {
    const size_t which = random() % 2;
    Editor& editor = editors[which];
    editor.edit();
    const auto sink = std::make_shared<RecordingSink>();
    GenerationRequest request;
    request.lane = std::to_string(which);
    request.prompt = editor.prompt();
    request.params.max_tokens = static_cast<int>(random() % 6);
    if (random() % 3 == 0) {
      request.params.beam.width = 2 + static_cast<int>(random() % 3);
    } else {
      request.params.sampling.temperature = 0.8F;
      request.params.sampling.seed = random();
    }
    if (request.params.max_tokens == 0) request.priority = Priority::kBackground;
    request.sink = sink;
    scheduler.submit(request);
    // Now and then the next key comes before the reply.
    const bool patient = random() % 3 != 0;
    for (int step = 0; (patient || step < 2) && scheduler.step(); ++step) {
    }
    REQUIRE(scheduler.cache().check() == "");
    if (!sink->done() || !sink->result->ok()) continue;
    reuse.reused += sink->stats().cached_tokens;
    reuse.computed += sink->stats().prefilled_tokens;
    editor.accept(sink->text);
  }
  while (scheduler.step()) {
  }
  return reuse;
}

/// What a session showed.
struct Session {
  double worst = 0;  // as in CheckingBackend
  double worst_relative = 0;
  int samples = 0;
  int64_t evicted_pages = 0;
  int64_t evicted_checkpoints = 0;
};

/// Types `keys` keys on `warm`, checked against `cold`.
inline Session run_session(Backend& warm, Backend& cold, const Tokenizer& tokenizer,
                           int prefill_chunk, int keys) {
  CheckingBackend backend(warm, cold);
  PromptEncoder encoder(tokenizer);
  Scheduler scheduler(backend, tokenizer, encoder,
                      {.context_length = 250, .prefill_chunk = prefill_chunk});
  const Reuse reuse = type_at_random(scheduler, keys);
  CHECK(reuse.reused > reuse.computed);
  return {backend.worst, backend.worst_relative, backend.samples, scheduler.cache().evicted_pages(),
          scheduler.cache().evicted_checkpoints()};
}

}  // namespace fimd::test

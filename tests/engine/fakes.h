// A tokenizer, a backend and a sink without a model, for tests of everything around one.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/generator.h"
#include "engine/tokenizer/tokenizer.h"

namespace fimd::test {

/// Greedy longest match over 256 single bytes and the given words. Control tokens come last.
class FakeTokenizer final : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> words = {},
                         std::vector<std::string> controls = {"<|end|>", "<|fim_prefix|>",
                                                              "<|fim_suffix|>", "<|fim_middle|>",
                                                              "<|stop|>"}) {
    for (int byte = 0; byte < 256; ++byte) texts_.emplace_back(1, static_cast<char>(byte));
    texts_.insert(texts_.end(), words.begin(), words.end());
    first_control_ = static_cast<int>(texts_.size());
    texts_.insert(texts_.end(), controls.begin(), controls.end());
    end_ = {first_control_};
  }

  void encode(std::string_view text, std::vector<TokenId>* ids) const override {
    ++encodes;
    while (!text.empty()) {
      TokenId best = static_cast<unsigned char>(text.front());
      for (TokenId id = 256; id < first_control_; ++id) {
        const std::string& word = texts_[static_cast<size_t>(id)];
        if (text.starts_with(word) && word.size() > texts_[static_cast<size_t>(best)].size()) {
          best = id;
        }
      }
      ids->push_back(best);
      text.remove_prefix(texts_[static_cast<size_t>(best)].size());
    }
  }
  std::vector<TokenId> ids(std::string_view text) const {
    std::vector<TokenId> result;
    encode(text, &result);
    return result;
  }
  std::optional<TokenId> control_id(std::string_view name) const override {
    for (TokenId id = first_control_; id < vocab_size(); ++id) {
      if (texts_[static_cast<size_t>(id)] == name) return id;
    }
    return std::nullopt;
  }
  std::string_view bytes(TokenId id) const override {
    if (id >= first_control_) return {};
    return texts_[static_cast<size_t>(id)];
  }
  TokenType type(TokenId id) const override {
    return id >= first_control_ ? TokenType::kControl : TokenType::kNormal;
  }
  int vocab_size() const override { return static_cast<int>(texts_.size()); }
  std::span<const TokenId> end_of_generation() const override { return end_; }
  std::vector<std::string> control_tokens() const override {
    return {texts_.begin() + first_control_, texts_.end()};
  }
  std::optional<TokenId> bos() const override { return std::nullopt; }
  bool add_bos() const override { return false; }
  std::vector<TokenId> compatible_with(std::string_view prefix) const override {
    std::vector<TokenId> result;
    if (no_healing) return result;
    for (TokenId id = 0; id < first_control_; ++id) {
      const std::string_view text = texts_[static_cast<size_t>(id)];
      if (text.starts_with(prefix) || prefix.starts_with(text)) result.push_back(id);
    }
    return result;
  }

  mutable int encodes = 0;
  bool no_healing = false;

 private:
  std::vector<std::string> texts_;
  TokenId first_control_ = 0;
  std::vector<TokenId> end_;
};

/// What a model says after a sequence: a score for every token.
using FakeModel = std::function<std::vector<float>(std::span<const TokenId>)>;

/// Keeps each sequence's tokens in its pages, as a device keeps keys and values there, and checks
/// that the pages it is given hold what they must. With states, likewise in slots and checkpoints.
class FakeBackend final : public Backend {
 public:
  FakeBackend(const Tokenizer& tokenizer, FakeModel model, int page_tokens = 4, int n_pages = 200,
              int max_batch = 64, StateGeometry states = {})
      : model_(std::move(model)),
        sampler_(TokenMask(tokenizer, tokenizer.vocab_size())),
        geometry_{page_tokens, n_pages, 100},
        max_batch_(max_batch),
        slots_(static_cast<size_t>(page_tokens) * static_cast<size_t>(n_pages), -1),
        states_(states),
        slot_states_(static_cast<size_t>(states.n_slots), kGarbage),
        checkpoints_(static_cast<size_t>(states.n_checkpoints), kGarbage) {}

  std::string name() const override { return "fake"; }
  KvGeometry kv() const override { return geometry_; }
  int max_batch_tokens() const override { return max_batch_; }

  Status forward(std::span<const StepInput> batch, std::span<Sampled> outputs) override {
    if (before_forward) before_forward();
    ++passes;
    check_foreseen(batch);
    last_batch = batch.size();
    best_.clear();
    if (fail_next) {
      fail_next = false;
      return Error{ErrorCode::kInternal, "the device is gone"};
    }
    size_t total = 0;
    size_t out = 0;
    for (const StepInput& input : batch) {
      total += input.tokens.size();
      std::vector<TokenId> sequence;
      for (int p = 0; p < input.first; ++p) {
        sequence.push_back(slot(input.pages, p));
        CHECK(sequence.back() >= 0);
      }
      advance_state(input, sequence);
      REQUIRE(input.samples.size() <= input.tokens.size());
      const size_t first_sample = input.tokens.size() - input.samples.size();
      for (size_t i = 0; i < input.tokens.size(); ++i) {
        slot(input.pages, input.first + static_cast<int>(i)) = input.tokens[i];
        sequence.push_back(input.tokens[i]);
        if (i < first_sample) continue;
        const std::vector<float> logits = model_(sequence);
        const SampleSpec& spec = input.samples[i - first_sample];
        CHECK(spec.n_best <= max_best_tokens);
        best_.push_back(sampler_.likeliest(logits, spec));
        outputs[out++] = sampler_.sample(logits, spec);
      }
      if (input.goes_on) foresee(input, batch.size(), outputs[out - 1].token);
    }
    CHECK(out == outputs.size());
    CHECK(total <= static_cast<size_t>(max_batch_));
    tokens += static_cast<int>(total);
    largest_pass = std::max(largest_pass, static_cast<int>(total));
    return {};
  }

  void copy_page(int32_t from, int32_t to, int n_tokens) override {
    REQUIRE(from != to);
    for (int i = 0; i < geometry_.page_tokens; ++i) {
      // What is not asked for is garbage.
      at(to, i) = i < n_tokens ? at(from, i) : kGarbageToken;
    }
    ++copies;
  }

  StateGeometry state() const override { return states_; }
  void clear_state(int32_t slot) override { slot_states_.at(static_cast<size_t>(slot)).clear(); }
  void restore_state(int32_t checkpoint, int32_t slot) override {
    slot_states_.at(static_cast<size_t>(slot)) = checkpoints_.at(static_cast<size_t>(checkpoint));
    ++restores;
  }
  void save_state(int32_t slot, int32_t checkpoint) override {
    checkpoints_.at(static_cast<size_t>(checkpoint)) = slot_states_.at(static_cast<size_t>(slot));
    ++saves;
  }

  int max_best() const override { return max_best_tokens; }
  std::span<const Sampled> likeliest(size_t i) const override { return best_.at(i); }
  std::span<const float> logits(size_t) const override { return {}; }

  int max_best_tokens = 10;
  std::function<void()> before_forward;
  bool fail_next = false;
  int passes = 0;
  int tokens = 0;
  int copies = 0;
  int restores = 0;
  int saves = 0;
  int largest_pass = 0;
  size_t last_batch = 0;
  int foretold = 0;   // passes with a sequence that was said to go on alone
  int came_true = 0;  // of these, followed by the pass that was expected

 private:
  static constexpr TokenId kGarbageToken = -7;

  TokenId& at(int32_t page, int i) {
    return slots_[static_cast<size_t>(page * geometry_.page_tokens + i)];
  }
  TokenId& slot(std::span<const int32_t> pages, int p) {
    const auto page = static_cast<size_t>(p / geometry_.page_tokens);
    REQUIRE(page < pages.size());
    return at(pages[page], p % geometry_.page_tokens);
  }

  /// As a backend that begins the next pass early: garbage behind the sequence.
  void foresee(const StepInput& input, size_t batch_size, TokenId sampled) {
    CHECK(batch_size == 1);
    ++foretold;
    const int next = input.first + static_cast<int>(input.tokens.size());
    expected_ = {{next, sampled}};
    const auto page = static_cast<size_t>(next / geometry_.page_tokens);
    if (page < input.pages.size())
      at(input.pages[page], next % geometry_.page_tokens) = kGarbageToken;
  }
  void check_foreseen(std::span<const StepInput> batch) {
    if (!expected_) return;
    const StepInput& input = batch.front();
    const bool same = batch.size() == 1 && input.tokens.size() == 1 &&
                      input.first == expected_->first && input.tokens[0] == expected_->second;
    came_true += same ? 1 : 0;
    expected_.reset();
  }

  /// A state is the tokens it has seen.
  using State = std::vector<TokenId>;
  inline static const State kGarbage = {kGarbageToken};

  void advance_state(const StepInput& input, const State& before) {
    if (states_.n_slots == 0) {
      CHECK(input.saves.empty());
      return;
    }
    State& state = slot_states_.at(static_cast<size_t>(input.slot));
    CHECK(state == before);
    int after = 0;
    for (const StateSave& save : input.saves) {
      CHECK(save.after > after);
      REQUIRE(save.after <= static_cast<int>(input.tokens.size()));
      after = save.after;
      State& to = checkpoints_.at(static_cast<size_t>(save.checkpoint));
      to = state;
      to.insert(to.end(), input.tokens.begin(), input.tokens.begin() + after);
      ++saves;
    }
    state.insert(state.end(), input.tokens.begin(), input.tokens.end());
  }

  FakeModel model_;
  Sampler sampler_;
  KvGeometry geometry_;
  int max_batch_;
  std::vector<TokenId> slots_;
  StateGeometry states_;
  std::vector<State> slot_states_;
  std::vector<State> checkpoints_;
  std::vector<std::vector<Sampled>> best_;
  std::optional<std::pair<int, TokenId>> expected_;  // position and token of the next pass
};

/// Prefers a token that is a hash of everything before it: any mix-up of tokens shows.
inline FakeModel hash_model(const FakeTokenizer& tokenizer) {
  const auto n = static_cast<size_t>(tokenizer.vocab_size());
  const auto first_control = n - tokenizer.control_tokens().size();
  return [n, first_control](std::span<const TokenId> sequence) {
    uint64_t hash = 1;
    for (const TokenId token : sequence) {
      hash = (hash ^ static_cast<uint64_t>(token)) * 0x9e3779b97f4a7c15ULL;
      hash ^= hash >> 31;
    }
    std::vector<float> scores(n);
    for (size_t id = 0; id < n; ++id) {
      const uint64_t h = (hash ^ id) * 0xbf58476d1ce4e5b9ULL;
      scores[id] = static_cast<float>((h >> 40) & 0xffff) / 8192.0F;
      // Printable text, and no early end.
      if (id < 32 || (id >= 127 && id < 256) || id >= first_control) scores[id] -= 20.0F;
    }
    return scores;
  };
}

/// Has learned one text by heart: continues it in its own tokens wherever a sequence leaves off,
/// and then ends.
inline FakeModel recital_model(const FakeTokenizer& tokenizer, const std::string& text) {
  return [&tokenizer, text](std::span<const TokenId> sequence) {
    std::string said;
    for (const TokenId token : sequence) said += tokenizer.bytes(token);
    std::vector<float> scores(static_cast<size_t>(tokenizer.vocab_size()), 0.0F);
    TokenId next = *tokenizer.control_id("<|end|>");
    if (text.starts_with(said) && said.size() < text.size()) {
      // The text's own tokens if the sequence agrees with them, else just the next byte.
      const std::vector<TokenId> canonical = tokenizer.ids(text);
      std::string upto;
      next = static_cast<unsigned char>(text[said.size()]);
      for (const TokenId token : canonical) {
        if (upto == said) next = token;
        upto += tokenizer.bytes(token);
      }
    }
    scores[static_cast<size_t>(next)] = 10.0F;
    return scores;
  };
}

/// Remembers what it is told.
class RecordingSink final : public GenerationSink {
 public:
  Flow on_text(std::string_view piece, float /*logprob*/) override {
    CHECK_FALSE(result.has_value());
    CHECK_FALSE(piece.empty());
    text += piece;
    pieces.emplace_back(piece);
    if (on_piece) on_piece();
    return text.size() >= stop_after ? Flow::kStop : Flow::kContinue;
  }
  void on_candidates(std::vector<TextCandidate> found) override {
    CHECK_FALSE(result.has_value());
    candidates = std::move(found);
  }
  void on_done(Result<GenerationStats> stats) override {
    REQUIRE_FALSE(result.has_value());
    result = std::move(stats);
    if (on_end) on_end();
  }

  bool done() const { return result.has_value(); }
  const GenerationStats& stats() const {
    REQUIRE(done());
    REQUIRE_MESSAGE(result->ok(), result->error().message);
    return result->value();
  }
  ErrorCode error() const {
    REQUIRE(done());
    REQUIRE_FALSE(result->ok());
    return result->error().code;
  }

  std::string text;
  std::vector<std::string> pieces;
  std::vector<TextCandidate> candidates;
  std::optional<Result<GenerationStats>> result;
  size_t stop_after = std::string::npos;
  std::function<void()> on_piece;
  std::function<void()> on_end;
};

}  // namespace fimd::test

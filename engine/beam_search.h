// BeamSearch: the likeliest whole texts that follow a prompt.
//
// A few branches grow side by side, one token a pass. Of all their continuations the likeliest go
// on; those that complete a text (where the judge says so, or the model) become answers. An answer
// is worth the probability of its tokens; ways that lead to the same text add up, so that a line is
// as likely as all ways to end it. Log-probabilities only fall: a branch that is less likely than
// the `width`-th answer, or far less than the best text so far, can be given up.
//
// Knows tokens and text only; whose pages hold a branch is the scheduler's affair.
// Owner: a sequence. Thread: the engine thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/generator.h"
#include "engine/sampler.h"
#include "engine/tokenizer/tokenizer.h"

namespace fimd {

class BeamSearch {
 public:
  struct Branch {
    std::vector<TokenId> tokens;  // generated
    std::string text;             // what they say, without the bytes that healing took back
    std::string healing;          // bytes that the coming tokens must still repeat
    double logprob = 0;
    int new_tokens = 0;  // beyond healing
    size_t parent = 0;   // among the branches before the last advance()
  };

  /// A text has at most max_tokens, and kMaxTakenBack more that repeat what healing took back.
  /// `stops`: control tokens that end it besides the model's own. They and the tokenizer must
  /// outlive the search.
  BeamSearch(const Tokenizer& tokenizer, BeamParams params, int max_tokens,
             std::span<const TokenId> stops, std::string healed);

  /// How many tokens are looked at after a branch, and the widest search that looks at no more than
  /// `tokens`. Several of a branch's best tokens may end the same text.
  static int looked_at(int width) { return 2 * width; }
  static int most_width(int tokens) { return tokens / 2; }

  /// What is to be sampled after branch i, until advance(). First there is one branch, without
  /// tokens.
  std::span<const SampleSpec> samples(size_t i) const { return {&specs_[i], 1}; }

  /// rows[i]: the likeliest tokens of samples(i). False: there is none, the model's output is not a
  /// number.
  bool advance(std::span<const std::span<const Sampled>> rows);

  /// Those that still grow; none: the search is over.
  const std::vector<Branch>& branches() const { return branches_; }
  bool over() const { return branches_.empty(); }

  /// The answers, likeliest first: at most `width`, and none beyond the margin.
  std::vector<TextCandidate> candidates() const;

  /// What all answers and branches that may still win begin with.
  std::string_view agreed() const { return agreed_; }

  /// If the last advance() found or improved the likeliest answer: the branch before it that this
  /// answer ended, and that branch's tokens. Otherwise -1.
  int best_parent() const { return best_parent_; }
  const std::vector<TokenId>& best_tokens() const { return best_tokens_; }

 private:
  void answer(const Branch& branch, size_t length, bool truncated);
  void prune(std::vector<Branch> grown);
  void agree();
  void keep(Branch branch);
  std::span<const TextCandidate> best_answers() const;
  bool ends_text(TokenId token) const;
  TextVerdict judge(std::string_view text, bool ended) const;

  const Tokenizer& tokenizer_;
  const BeamParams params_;
  const int max_tokens_;
  const std::span<const TokenId> stops_;
  std::vector<Branch> branches_;
  std::vector<std::vector<TokenId>> allowed_;  // of each branch: what may come, for healing
  std::vector<SampleSpec> specs_;              // likewise
  std::vector<TextCandidate> answers_;         // likeliest first
  std::string agreed_;
  int best_parent_ = -1;
  std::vector<TokenId> best_tokens_;
};

}  // namespace fimd

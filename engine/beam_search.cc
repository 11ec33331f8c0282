#include "engine/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/healing.h"

namespace fimd {

namespace {

double log_add(double a, double b) {
  return std::max(a, b) + std::log1p(std::exp(-std::abs(a - b)));
}

size_t common_length(std::string_view a, std::string_view b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return static_cast<size_t>(end - a.begin());
}

}  // namespace

BeamSearch::BeamSearch(const Tokenizer& tokenizer, BeamParams params, int max_tokens,
                       std::span<const TokenId> stops, std::string healed)
    : tokenizer_(tokenizer), params_(std::move(params)), max_tokens_(max_tokens), stops_(stops) {
  Branch first;
  first.healing = std::move(healed);
  keep(std::move(first));
}

bool BeamSearch::advance(std::span<const std::span<const Sampled>> rows) {
  best_parent_ = -1;
  std::vector<Branch> grown;
  for (size_t i = 0; i < branches_.size(); ++i) {
    if (rows[i].empty()) return false;
    for (const Sampled& next : rows[i]) {
      Branch child = branches_[i];
      child.parent = i;
      child.logprob += next.logprob;
      if (ends_text(next.token)) {
        const TextVerdict verdict = judge(child.text, true);
        if (verdict.kind == TextVerdict::Kind::kComplete) answer(child, verdict.length, false);
        continue;
      }
      std::string_view bytes = tokenizer_.bytes(next.token);
      const size_t repeated = std::min(bytes.size(), child.healing.size());
      child.healing.erase(0, repeated);
      bytes.remove_prefix(repeated);
      child.text += bytes;
      child.tokens.push_back(next.token);
      if (!bytes.empty()) ++child.new_tokens;
      TextVerdict verdict = judge(child.text, false);
      const bool full = child.new_tokens >= max_tokens_ ||
                        child.tokens.size() >= static_cast<size_t>(max_tokens_ + kMaxTakenBack);
      if (full && !child.healing.empty()) continue;
      const bool truncated = verdict.kind == TextVerdict::Kind::kOpen && full;
      if (truncated) verdict = judge(child.text, true);
      if (verdict.kind == TextVerdict::Kind::kComplete) {
        answer(child, verdict.length, truncated);
      } else if (verdict.kind == TextVerdict::Kind::kOpen) {
        grown.push_back(std::move(child));
      }
    }
  }
  prune(std::move(grown));
  agree();
  return true;
}

std::span<const TextCandidate> BeamSearch::best_answers() const {
  size_t n = 0;
  while (n < std::min(answers_.size(), static_cast<size_t>(params_.width)) &&
         answers_[n].logprob >= answers_.front().logprob - params_.margin) {
    ++n;
  }
  return std::span(answers_).first(n);
}

std::vector<TextCandidate> BeamSearch::candidates() const {
  const auto best = best_answers();
  return {best.begin(), best.end()};
}

void BeamSearch::answer(const Branch& branch, size_t length, bool truncated) {
  const std::string_view text = std::string_view(branch.text).substr(0, length);
  // The token that ended it counts as well.
  const int tokens =
      static_cast<int>(branch.tokens.size()) + (length == branch.text.size() ? 1 : 0);
  TextCandidate merged{std::string(text), branch.logprob, tokens, truncated};
  const auto known = std::find_if(answers_.begin(), answers_.end(),
                                  [&](const TextCandidate& a) { return a.text == text; });
  if (known != answers_.end()) {
    merged.logprob = log_add(known->logprob, branch.logprob);
    merged.tokens = known->logprob >= branch.logprob ? known->tokens : tokens;
    merged.truncated = known->truncated && truncated;
    answers_.erase(known);
  }
  const auto at = std::find_if(answers_.begin(), answers_.end(),
                               [&](const TextCandidate& a) { return a.logprob < merged.logprob; });
  if (at == answers_.begin()) {
    best_parent_ = static_cast<int>(branch.parent);
    best_tokens_ = branches_[branch.parent].tokens;
  }
  answers_.insert(at, std::move(merged));
}

/// Keeps the likeliest branches that may still lead to one of the best answers.
void BeamSearch::prune(std::vector<Branch> grown) {
  std::stable_sort(grown.begin(), grown.end(),
                   [](const Branch& a, const Branch& b) { return a.logprob > b.logprob; });
  const auto width = static_cast<size_t>(params_.width);
  double least = -std::numeric_limits<double>::infinity();
  if (answers_.size() >= width) least = answers_[width - 1].logprob;
  if (!answers_.empty()) least = std::max(least, answers_.front().logprob - params_.margin);
  if (!grown.empty()) least = std::max(least, grown.front().logprob - params_.margin);
  branches_.clear();
  allowed_.clear();
  specs_.clear();
  for (Branch& branch : grown) {
    if (branches_.size() >= width || branch.logprob < least) break;
    // The same text in other tokens is hardly ever worth a branch of its own.
    const bool known = std::any_of(branches_.begin(), branches_.end(), [&](const Branch& other) {
      return other.text == branch.text && other.healing == branch.healing;
    });
    if (!known) keep(std::move(branch));
  }
}

/// Unless no token repeats what the branch must repeat.
void BeamSearch::keep(Branch branch) {
  std::vector<TokenId> allowed;
  if (!branch.healing.empty()) {
    allowed = tokenizer_.compatible_with(branch.healing);
    if (allowed.empty()) return;
  }
  SampleSpec spec;
  spec.allowed = allowed;  // whose memory stays where it is
  spec.extra = stops_;
  spec.n_best = looked_at(params_.width);
  branches_.push_back(std::move(branch));
  allowed_.push_back(std::move(allowed));
  specs_.push_back(spec);
}

void BeamSearch::agree() {
  std::string_view common;
  bool first = true;
  const auto consider = [&](std::string_view text) {
    common = first ? text : common.substr(0, common_length(common, text));
    first = false;
  };
  for (const Branch& branch : branches_) consider(branch.text);
  for (const TextCandidate& answer : best_answers()) consider(answer.text);
  // What was agreed on stays agreed on, also where the token limit or rejections left nothing.
  if (common.size() > agreed_.size()) agreed_ = common;
}

bool BeamSearch::ends_text(TokenId token) const {
  const auto ends = tokenizer_.end_of_generation();
  return std::find(ends.begin(), ends.end(), token) != ends.end() ||
         std::find(stops_.begin(), stops_.end(), token) != stops_.end();
}

TextVerdict BeamSearch::judge(std::string_view text, bool ended) const {
  if (params_.judge) return params_.judge(text, ended);
  if (ended) return {TextVerdict::Kind::kComplete, text.size()};
  return {};
}

}  // namespace fimd

#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/ops.h"

namespace fimd {

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

}  // namespace

TokenMask::TokenMask(const Tokenizer& tokenizer, int64_t rows) {
  permitted_.assign(static_cast<size_t>(rows), 0);
  const int64_t known = std::min<int64_t>(rows, tokenizer.vocab_size());
  for (int64_t id = 0; id < known; ++id) {
    switch (tokenizer.type(static_cast<TokenId>(id))) {
      case TokenType::kNormal:
      case TokenType::kUserDefined:
      case TokenType::kByte:
        // An entry that stands for no bytes would be a step without progress.
        permitted_[static_cast<size_t>(id)] = !tokenizer.bytes(static_cast<TokenId>(id)).empty();
        break;
      case TokenType::kUnknown:
      case TokenType::kControl:
      case TokenType::kUnused:
        break;
    }
  }
  for (const TokenId id : tokenizer.end_of_generation()) {
    if (id >= 0 && id < rows) permitted_[static_cast<size_t>(id)] = 1;
  }
  for (size_t i = 0; i < permitted_.size();) {
    if (permitted_[i] == 0) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < permitted_.size() && permitted_[end] != 0) ++end;
    runs_.push_back({static_cast<TokenId>(i), static_cast<TokenId>(end)});
    i = end;
  }
}

double uniform_at(uint64_t seed, uint64_t n) {
  // SplitMix64 of the pair.
  uint64_t z = seed * 0xd1342543de82ef95ULL + (n + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

/// Two vectorised passes over the whole vocabulary and no copies.
Sampler::Mass Sampler::mass(std::span<const float> logits, const SampleSpec& spec) const {
  float top = kMinusInfinity;
  for (const TokenMask::Run run : mask_.runs()) {
    top = std::max(top, cpu::max_of(logits.data() + run.begin, run.end - run.begin));
  }
  for (const TokenId id : spec.extra) top = std::max(top, logits[static_cast<size_t>(id)]);
  if (!(top > kMinusInfinity)) return {kMinusInfinity, 0};
  double sum = 0;
  for (const TokenMask::Run run : mask_.runs()) {
    sum += cpu::sum_exp(logits.data() + run.begin, run.end - run.begin, top);
  }
  for (const TokenId id : spec.extra) {
    if (mask_.permitted(id)) continue;
    sum += std::exp(static_cast<double>(logits[static_cast<size_t>(id)] - top));
  }
  return {top, std::log(sum)};
}

Sampled Sampler::greedy(std::span<const float> logits, const SampleSpec& spec) const {
  const Mass all = mass(logits, spec);
  if (!(all.top > kMinusInfinity)) return {};
  const auto logprob = static_cast<float>(-all.log_sum);
  for (const TokenMask::Run run : mask_.runs()) {
    const float* begin = logits.data() + run.begin;
    const float* end = logits.data() + run.end;
    const float* found = std::find(begin, end, all.top);
    if (found != end) return {run.begin + static_cast<TokenId>(found - begin), logprob};
  }
  for (const TokenId id : spec.extra) {
    if (logits[static_cast<size_t>(id)] == all.top) return {id, logprob};
  }
  return {};
}

std::vector<Sampled> Sampler::likeliest(std::span<const float> logits, const SampleSpec& spec) {
  if (spec.n_best <= 0) return {};
  const auto n = static_cast<size_t>(spec.n_best);
  candidates_.clear();  // the best so far, best first
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  };
  const auto offer = [&](TokenId id) {
    const Candidate offered{id, logits[static_cast<size_t>(id)]};
    if (!(offered.logit > kMinusInfinity)) return;
    if (candidates_.size() == n && !better(offered, candidates_.back())) return;
    if (candidates_.size() == n) candidates_.pop_back();
    candidates_.insert(std::upper_bound(candidates_.begin(), candidates_.end(), offered, better),
                       offered);
  };
  double log_total = 0;
  if (spec.allowed.empty()) {
    const Mass all = mass(logits, spec);
    if (!(all.top > kMinusInfinity)) return {};
    log_total = all.top + all.log_sum;
    constexpr TokenId kBlock = 64;
    for (const TokenMask::Run run : mask_.runs()) {
      for (TokenId begin = run.begin; begin < run.end; begin += kBlock) {
        const TokenId end = std::min(begin + kBlock, run.end);
        const bool full = candidates_.size() == n;
        if (full && cpu::max_of(logits.data() + begin, end - begin) < candidates_.back().logit) {
          continue;
        }
        for (TokenId id = begin; id < end; ++id) offer(id);
      }
    }
    for (const TokenId id : spec.extra) {
      if (!mask_.permitted(id)) offer(id);
    }
  } else {
    float top = kMinusInfinity;
    const auto permitted = [&](TokenId id) {
      return id >= 0 && id < mask_.rows() && mask_.permitted(id);
    };
    for (const TokenId id : spec.allowed) {
      if (permitted(id)) top = std::max(top, logits[static_cast<size_t>(id)]);
    }
    if (!(top > kMinusInfinity)) return {};
    double sum = 0;
    for (const TokenId id : spec.allowed) {
      if (!permitted(id)) continue;
      sum += std::exp(static_cast<double>(logits[static_cast<size_t>(id)] - top));
      offer(id);
    }
    log_total = top + std::log(sum);
  }
  std::vector<Sampled> best;
  for (const Candidate& c : candidates_) {
    best.push_back({c.token, static_cast<float>(c.logit - log_total)});
  }
  return best;
}

Sampled Sampler::score(std::span<const float> logits, const SampleSpec& spec) const {
  const Mass all = mass(logits, spec);
  if (!(all.top > kMinusInfinity)) return {};
  const double logit = logits[static_cast<size_t>(spec.scored)];
  return {spec.scored, static_cast<float>(logit - all.top - all.log_sum)};
}

void Sampler::collect(std::span<const float> logits, const SampleSpec& spec) {
  candidates_.clear();
  const auto take = [&](TokenId id) {
    const float logit = logits[static_cast<size_t>(id)];
    if (logit > kMinusInfinity) candidates_.push_back({id, logit});
  };
  if (!spec.allowed.empty()) {
    for (const TokenId id : spec.allowed) {
      if (id >= 0 && id < mask_.rows() && mask_.permitted(id)) take(id);
    }
    return;
  }
  for (const TokenMask::Run run : mask_.runs()) {
    for (TokenId id = run.begin; id < run.end; ++id) take(id);
  }
  for (const TokenId id : spec.extra) {
    if (!mask_.permitted(id)) take(id);
  }
}

Sampled Sampler::sample(std::span<const float> logits, const SampleSpec& spec) {
  if (spec.scored >= 0) return score(logits, spec);
  const bool greedy_wanted = !(spec.params.temperature > 0) || spec.params.top_k == 1;
  if (greedy_wanted && spec.allowed.empty()) return greedy(logits, spec);

  collect(logits, spec);
  if (candidates_.empty()) return {};
  // Ties go to the lower id, so that the order is total and a seed determines the text.
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  };
  const Candidate top = *std::min_element(candidates_.begin(), candidates_.end(), better);
  double total = 0;
  for (const Candidate& c : candidates_)
    total += std::exp(static_cast<double>(c.logit - top.logit));
  const double log_total = std::log(total);
  const auto result = [&](const Candidate& c) {
    return Sampled{c.token, static_cast<float>(c.logit - top.logit - log_total)};
  };
  if (greedy_wanted) return result(top);

  // min-p and top-k cut without sorting everything; top-p then needs the order.
  const double temperature = spec.params.temperature;
  const auto weight = [&](const Candidate& c) {
    return std::exp(static_cast<double>(c.logit - top.logit) / temperature);
  };
  if (spec.params.min_p > 0) {
    std::erase_if(candidates_, [&](const Candidate& c) {
      return weight(c) < static_cast<double>(spec.params.min_p) && c.token != top.token;
    });
  }
  const auto top_k = static_cast<size_t>(std::max(spec.params.top_k, 0));
  if (top_k > 0 && top_k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(top_k) - 1,
                     candidates_.end(), better);
    candidates_.resize(top_k);
    std::sort(candidates_.begin(), candidates_.end(), better);
  }
  double sum = 0;
  for (const Candidate& c : candidates_) sum += weight(c);
  if (spec.params.top_p < 1.0F) {
    std::sort(candidates_.begin(), candidates_.end(), better);
    const double wanted = std::max(0.0, static_cast<double>(spec.params.top_p)) * sum;
    double reached = 0;
    size_t kept = 0;
    while (kept < candidates_.size()) {
      reached += weight(candidates_[kept++]);
      if (reached >= wanted) break;
    }
    candidates_.resize(std::max<size_t>(kept, 1));
    sum = reached;
  }
  double left = spec.uniform * sum;
  for (const Candidate& c : candidates_) {
    left -= weight(c);
    if (left < 0) return result(c);
  }
  return result(candidates_.back());
}

}  // namespace fimd

#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace fimd {

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// exp(x) for x <= 0 to about 2e-7 relative, in a form compilers vectorise. Below -87 it is 0.
inline float exp_negative(float x) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  const float clamped = x > -87.0F ? x : -87.0F;  // also if x is not a number
  const float n = static_cast<float>(static_cast<int32_t>(clamped * kLog2E - 0.5F));
  const float r = clamped - n * kLn2High - n * kLn2Low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const float scale = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return x < -87.0F ? 0.0F : p * scale;
}

float max_of(const float* values, size_t n) {
  float best = kMinusInfinity;
  for (size_t i = 0; i < n; ++i) best = values[i] > best ? values[i] : best;
  return best;
}

double sum_exp(const float* values, size_t n, float top) {
  constexpr size_t kBlock = 512;
  double sum = 0;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t end = std::min(n, begin + kBlock);
    float lanes[16] = {};
    size_t i = begin;
    for (; i + 16 <= end; i += 16) {
      for (size_t k = 0; k < 16; ++k) lanes[k] += exp_negative(values[i + k] - top);
    }
    for (; i < end; ++i) lanes[0] += exp_negative(values[i] - top);
    for (const float lane : lanes) sum += lane;
  }
  return sum;
}

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

/// Greedy over the whole vocabulary: two vectorised passes and no copies.
Sampled Sampler::greedy(std::span<const float> logits, const SampleSpec& spec) const {
  float top = kMinusInfinity;
  for (const TokenMask::Run run : mask_.runs()) {
    top =
        std::max(top, max_of(logits.data() + run.begin, static_cast<size_t>(run.end - run.begin)));
  }
  for (const TokenId id : spec.extra) top = std::max(top, logits[static_cast<size_t>(id)]);
  if (!(top > kMinusInfinity)) return {};
  double sum = 0;
  TokenId best = -1;
  for (const TokenMask::Run run : mask_.runs()) {
    const float* begin = logits.data() + run.begin;
    const auto n = static_cast<size_t>(run.end - run.begin);
    sum += sum_exp(begin, n, top);
    if (best < 0) {
      const float* found = std::find(begin, begin + n, top);
      if (found != begin + n) best = run.begin + static_cast<TokenId>(found - begin);
    }
  }
  for (const TokenId id : spec.extra) {
    if (mask_.permitted(id)) continue;
    sum += std::exp(static_cast<double>(logits[static_cast<size_t>(id)] - top));
    if (best < 0 && logits[static_cast<size_t>(id)] == top) best = id;
  }
  return {best, static_cast<float>(-std::log(sum))};
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

// Feeding a backend by hand, without tokenizer or scheduler.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/sampler.h"
#include "tests/engine/all_tokens.h"

namespace fimd::test {

using Logits = std::vector<float>;

/// A sequence fed in pieces; collects the logits of every token.
class Feeder {
 public:
  Feeder(Backend& backend, std::vector<int32_t> pages, int32_t slot = 0)
      : backend_(backend), pages_(std::move(pages)), slot_(slot) {
    if (backend.state().n_slots > 0) backend.clear_state(slot);
  }

  StepInput next(std::span<const TokenId> tokens) {
    samples_.assign(tokens.size(), {});
    StepInput input;
    input.tokens = tokens;
    input.first = at_;
    input.pages = pages_;
    input.samples = samples_;
    input.slot = slot_;
    at_ += static_cast<int>(tokens.size());
    return input;
  }
  std::vector<Logits> feed(std::span<const TokenId> tokens) {
    const StepInput input = next(tokens);
    std::vector<Sampled> sampled(tokens.size());
    const Status status = backend_.forward({&input, 1}, sampled);
    REQUIRE(status.ok());
    std::vector<Logits> logits;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto row = backend_.logits(i);
      logits.emplace_back(row.begin(), row.end());
    }
    return logits;
  }

 private:
  Backend& backend_;
  std::vector<int32_t> pages_;
  int32_t slot_;
  std::vector<SampleSpec> samples_;
  int at_ = 0;
};

inline std::vector<int32_t> pages_from(int first, int n) {
  std::vector<int32_t> pages(static_cast<size_t>(n));
  std::iota(pages.begin(), pages.end(), first);
  return pages;
}

template <class A, class B>
double worst_difference(const A& a, const B& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return worst;
}

}  // namespace fimd::test

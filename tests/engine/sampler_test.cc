#include "engine/sampler.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "tests/engine/fakes.h"

namespace fimd {
namespace {

using test::FakeTokenizer;

constexpr int kRows = 270;  // 256 bytes, 5 control tokens, the rest padding

std::vector<float> flat() { return std::vector<float>(kRows, 0.0F); }

Sampler make_sampler() { return Sampler(TokenMask(FakeTokenizer(), kRows)); }

std::map<TokenId, int> histogram(const std::vector<float>& logits, SampleSpec spec, int n) {
  Sampler sampler = make_sampler();
  std::map<TokenId, int> counts;
  for (int i = 0; i < n; ++i) {
    spec.uniform = uniform_at(42, static_cast<uint64_t>(i));
    ++counts[sampler.sample(logits, spec).token];
  }
  return counts;
}

TEST_CASE("greedy takes the best permitted token, the lowest of equals") {
  Sampler sampler = make_sampler();
  auto logits = flat();
  CHECK(sampler.sample(logits, {}).token == 0);
  logits[100] = logits[200] = 3.0F;
  CHECK(sampler.sample(logits, {}).token == 100);
  logits[257] = 50.0F;  // a control token
  logits[265] = 60.0F;  // padding
  CHECK(sampler.sample(logits, {}).token == 100);
  logits[256] = 40.0F;  // the end of generation
  CHECK(sampler.sample(logits, {}).token == 256);
  const TokenId extra[] = {257};
  SampleSpec spec;
  spec.extra = extra;
  CHECK(sampler.sample(logits, spec).token == 257);
  const TokenId allowed[] = {5, 7, 265};
  spec.allowed = allowed;
  logits[7] = 0.5F;
  CHECK(sampler.sample(logits, spec).token == 7);
}

TEST_CASE("log-probabilities are those of the softmax over what is permitted") {
  Sampler sampler = make_sampler();
  auto logits = flat();
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = 10.0F * std::sin(static_cast<float>(i) * 1.7F) - 300.0F;
  }
  logits[33] = -290.5F;
  logits[34] = -2000.0F;
  double sum = 0;
  double top = -1e9;
  for (size_t i = 0; i <= 256; ++i) top = std::max<double>(top, logits[i]);
  for (size_t i = 0; i <= 256; ++i) sum += std::exp(logits[i] - top);
  const Sampled greedy = sampler.sample(logits, {});
  CHECK(greedy.logprob == doctest::Approx(-std::log(sum)).epsilon(1e-5));
  SampleSpec hot;
  hot.params.temperature = 1.0F;
  hot.uniform = 0.3;
  const Sampled sampled = sampler.sample(logits, hot);
  CHECK(sampled.logprob ==
        doctest::Approx(logits[static_cast<size_t>(sampled.token)] - top - std::log(sum))
            .epsilon(1e-4));
}

TEST_CASE("frequencies follow the temperature") {
  auto logits = std::vector<float>(kRows, -100.0F);
  logits[10] = std::log(6.0F);
  logits[20] = std::log(3.0F);
  logits[30] = std::log(1.0F);
  constexpr int kN = 20000;
  SampleSpec spec;
  spec.params.temperature = 1.0F;
  auto counts = histogram(logits, spec, kN);
  CHECK(counts[10] == doctest::Approx(0.6 * kN).epsilon(0.03));
  CHECK(counts[20] == doctest::Approx(0.3 * kN).epsilon(0.03));
  CHECK(counts[30] == doctest::Approx(0.1 * kN).epsilon(0.06));
  spec.params.temperature = 0.5F;  // 36 : 9 : 1
  counts = histogram(logits, spec, kN);
  CHECK(counts[10] == doctest::Approx(36.0 / 46 * kN).epsilon(0.03));
  CHECK(counts[30] == doctest::Approx(1.0 / 46 * kN).epsilon(0.15));
}

TEST_CASE("top-k, top-p and min-p cut where they should") {
  auto logits = std::vector<float>(kRows, -100.0F);
  logits[10] = std::log(50.0F);
  logits[20] = std::log(30.0F);
  logits[30] = std::log(15.0F);
  logits[40] = std::log(5.0F);
  const auto kept = [&](SamplingParams params) {
    params.temperature = 1.0F;
    SampleSpec spec;
    spec.params = params;
    std::vector<TokenId> ids;
    for (const auto& [id, n] : histogram(logits, spec, 3000)) ids.push_back(id);
    return ids;
  };
  CHECK(kept({}) == std::vector<TokenId>{10, 20, 30, 40});
  CHECK(kept({.top_k = 1}) == std::vector<TokenId>{10});
  CHECK(kept({.top_k = 3}) == std::vector<TokenId>{10, 20, 30});
  CHECK(kept({.top_k = 1000}) == std::vector<TokenId>{10, 20, 30, 40});
  CHECK(kept({.top_p = 0.45F}) == std::vector<TokenId>{10});
  CHECK(kept({.top_p = 0.55F}) == std::vector<TokenId>{10, 20});
  CHECK(kept({.top_p = 0.9F}) == std::vector<TokenId>{10, 20, 30});
  CHECK(kept({.top_p = 0.0F}) == std::vector<TokenId>{10});
  CHECK(kept({.min_p = 0.2F}) == std::vector<TokenId>{10, 20, 30});
  CHECK(kept({.min_p = 0.5F}) == std::vector<TokenId>{10, 20});
  CHECK(kept({.min_p = 2.0F}) == std::vector<TokenId>{10});
  CHECK(kept({.top_k = 3, .top_p = 0.8F}) == std::vector<TokenId>{10, 20});
}

TEST_CASE("what is not a number is never sampled") {
  Sampler sampler = make_sampler();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  auto logits = std::vector<float>(kRows, nan);
  SampleSpec hot;
  hot.params.temperature = 1.0F;
  CHECK(sampler.sample(logits, {}).token == -1);
  CHECK(sampler.sample(logits, hot).token == -1);
  logits.assign(kRows, -std::numeric_limits<float>::infinity());
  CHECK(sampler.sample(logits, {}).token == -1);
  logits[65] = 1.0F;
  CHECK(sampler.sample(logits, {}).token == 65);
  CHECK(sampler.sample(logits, hot).token == 65);
}

TEST_CASE("uniform numbers are uniform and depend on seed and index") {
  double sum = 0;
  for (uint64_t i = 0; i < 10000; ++i) {
    const double u = uniform_at(7, i);
    CHECK(u >= 0.0);
    CHECK(u < 1.0);
    sum += u;
  }
  CHECK(sum / 10000 == doctest::Approx(0.5).epsilon(0.02));
  CHECK(uniform_at(1, 0) != uniform_at(2, 0));
  CHECK(uniform_at(1, 0) != uniform_at(1, 1));
  CHECK(uniform_at(3, 5) == uniform_at(3, 5));
}

}  // namespace
}  // namespace fimd

#include <cmath>
#include <memory>
#include <string>

#include "engine/sampler.h"
#include "kernels/cuda/ops.h"
#include "tests/gpu/device_data.h"

namespace fimd::cuda {
namespace {

using testing::poisoned;
using testing::random_floats;
using testing::to_device;
using testing::to_host;

/// A vocabulary of which about one token in eight, in runs, is a control token.
class SomeTokens final : public Tokenizer {
 public:
  SomeTokens(int n, unsigned seed) {
    std::mt19937 random(seed);
    while (static_cast<int>(types_.size()) < n) {
      const bool control = random() % 8 == 0;
      const size_t run = 1 + random() % 100;
      types_.insert(types_.end(), run, control ? TokenType::kControl : TokenType::kNormal);
    }
    types_.resize(static_cast<size_t>(n));
  }
  void encode(std::string_view, std::vector<TokenId>*) const override {}
  std::optional<TokenId> control_id(std::string_view) const override { return std::nullopt; }
  std::string_view bytes(TokenId) const override { return "x"; }
  TokenType type(TokenId id) const override { return types_[static_cast<size_t>(id)]; }
  int vocab_size() const override { return static_cast<int>(types_.size()); }
  std::span<const TokenId> end_of_generation() const override { return {}; }
  std::vector<std::string> control_tokens() const override { return {}; }
  std::optional<TokenId> bos() const override { return std::nullopt; }
  bool add_bos() const override { return false; }
  std::vector<TokenId> compatible_with(std::string_view) const override { return {}; }

 private:
  std::vector<TokenType> types_;
};

/// Rows of logits with their lists, chosen from on the GPU and by the engine's sampler.
struct Rows {
  Rows(int n, int64_t vocab, unsigned seed)
      : n(n),
        vocab(vocab),
        mask(SomeTokens(static_cast<int>(vocab) - 5, seed), vocab),
        logits(random_floats(static_cast<size_t>(n * vocab), seed + 1, 4.0F)),
        rows(static_cast<size_t>(n)),
        specs(static_cast<size_t>(n)) {}

  void add_list(int row, std::vector<TokenId> list, bool allowed) {
    SampleRow& r = rows[static_cast<size_t>(row)];
    (allowed ? r.allowed_begin : r.extra_begin) = static_cast<int32_t>(ids.size());
    (allowed ? r.n_allowed : r.n_extra) = static_cast<int32_t>(list.size());
    ids.insert(ids.end(), list.begin(), list.end());
    lists.push_back(std::make_unique<std::vector<TokenId>>(std::move(list)));
    SampleSpec& spec = specs[static_cast<size_t>(row)];
    (allowed ? spec.allowed : spec.extra) = *lists.back();
  }

  float& logit(int row, TokenId id) { return logits[static_cast<size_t>(row * vocab + id)]; }

  std::vector<uint32_t> bits() const {
    std::vector<uint32_t> words(static_cast<size_t>((vocab + 31) / 32));
    for (TokenId id = 0; id < vocab; ++id) {
      if (mask.permitted(id)) words[static_cast<size_t>(id / 32)] |= 1U << (id % 32);
    }
    return words;
  }

  /// Twice, as counters must be left as they were found. `then`: drawn or best; its results.
  enum class Then { kNothing, kDraw, kBest };
  std::vector<SampleResult> run(Then then) const {
    const DeviceBuffer device_logits = to_device(logits);
    const DeviceBuffer device_mask = to_device(bits());
    const DeviceBuffer device_rows = to_device(rows);
    const DeviceBuffer device_ids = to_device(ids, 1);
    const DeviceBuffer workspace = to_device(std::vector<char>(sample_workspace_bytes(n)));
    const auto n_rows = static_cast<size_t>(n);
    const DeviceBuffer results = poisoned<SampleResult>(n_rows);
    const DeviceBuffer best = poisoned<SampleResult>(n_rows * kMaxBest);
    const auto call = [&](const auto& operation, const DeviceBuffer& to) {
      operation(device_logits.as<float>(), n, vocab, device_mask.as<uint32_t>(),
                device_rows.as<SampleRow>(), device_ids.as<int32_t>(), to.as<SampleResult>(),
                workspace.data(), nullptr);
    };
    for (int again = 0; again < 2; ++again) {
      call(sample_greedy, results);
      if (then == Then::kDraw) call(sample_drawn, results);
      if (then == Then::kBest) call(sample_best, best);
    }
    if (then == Then::kBest) return to_host<SampleResult>(best, n_rows * kMaxBest);
    const auto got = to_host<SampleResult>(results, n_rows);
    if (then == Then::kNothing && n <= kMaxSampleRows) {
      int32_t left = 0;  // for embed()
      REQUIRE(cudaMemcpy(&left, sampled_token(workspace.data()), sizeof left,
                         cudaMemcpyDeviceToHost) == cudaSuccess);
      CHECK(left == got.front().token);
    }
    return got;
  }

  void check() {
    const auto got = run(Then::kNothing);
    Sampler sampler(mask);
    for (int i = 0; i < n; ++i) {
      INFO("row " << i << " of " << n << ", vocabulary " << vocab);
      SampleSpec spec = specs[static_cast<size_t>(i)];
      spec.params.temperature = 0;
      const std::span<const float> row(logits.data() + i * vocab, static_cast<size_t>(vocab));
      const Sampled expected = sampler.sample(row, spec);
      CHECK(got[static_cast<size_t>(i)].token == expected.token);
      CHECK(got[static_cast<size_t>(i)].logprob == doctest::Approx(expected.logprob).epsilon(1e-4));
    }
  }

  /// Draws of rows with parameters: the sampler's, but for numbers that fall on an edge.
  void check_draws(int undecided_at_most = 0) {
    for (int i = 0; i < n; ++i) {
      const SampleSpec& spec = specs[static_cast<size_t>(i)];
      SampleRow& row = rows[static_cast<size_t>(i)];
      row.temperature = spec.params.temperature;
      row.top_k = spec.params.top_k;
      row.top_p = spec.params.top_p;
      row.min_p = spec.params.min_p;
      row.uniform = spec.uniform;
    }
    const auto got = run(Then::kDraw);
    Sampler sampler(mask);
    int undecided = 0;
    for (int i = 0; i < n; ++i) {
      const SampleResult& result = got[static_cast<size_t>(i)];
      SampleSpec spec = specs[static_cast<size_t>(i)];
      INFO("row " << i << " of " << n << ", vocabulary " << vocab << ", temperature "
                  << spec.params.temperature << ", top-k " << spec.params.top_k << ", top-p "
                  << spec.params.top_p << ", min-p " << spec.params.min_p << ", uniform "
                  << spec.uniform);
      if (result.token == kUndecided) {
        ++undecided;
        continue;
      }
      const std::span<const float> row(logits.data() + i * vocab, static_cast<size_t>(vocab));
      const double uniform = spec.uniform;
      Sampled expected = sampler.sample(row, spec);
      for (const double nudge : {-1e-5, 1e-5}) {
        if (expected.token == result.token) break;
        spec.uniform = std::clamp(uniform + nudge, 0.0, 0.9999999);
        expected = sampler.sample(row, spec);
      }
      CHECK(result.token == expected.token);
      CHECK(result.logprob == doctest::Approx(expected.logprob).epsilon(1e-4));
    }
    CHECK(undecided <= undecided_at_most);
  }

  /// The n_best of each spec.
  void check_best() {
    for (size_t i = 0; i < specs.size(); ++i) rows[i].n_best = specs[i].n_best;
    const auto got = run(Then::kBest);
    Sampler sampler(mask);
    for (int i = 0; i < n; ++i) {
      const SampleSpec& spec = specs[static_cast<size_t>(i)];
      INFO("row " << i << " of " << n << ", vocabulary " << vocab << ", " << spec.n_best
                  << " tokens");
      const std::span<const float> row(logits.data() + i * vocab, static_cast<size_t>(vocab));
      const auto expected = sampler.likeliest(row, spec);
      const auto found = std::span(got).subspan(static_cast<size_t>(i) * kMaxBest, kMaxBest);
      for (size_t k = 0; k < static_cast<size_t>(spec.n_best); ++k) {
        CHECK(found[k].token == (k < expected.size() ? expected[k].token : -1));
        if (k >= expected.size()) continue;
        CHECK(found[k].logprob == doctest::Approx(expected[k].logprob).epsilon(1e-4));
      }
    }
  }

  int n;
  int64_t vocab;
  TokenMask mask;
  std::vector<float> logits;
  std::vector<SampleRow> rows;
  std::vector<SampleSpec> specs;
  std::vector<int32_t> ids;
  std::vector<std::unique_ptr<std::vector<TokenId>>> lists;
};

TokenId first_not_permitted(const TokenMask& mask, TokenId from) {
  while (mask.permitted(from)) ++from;
  return from;
}

TEST_CASE("the greedy choice is the sampler's") {
  unsigned seed = 1;
  for (const int64_t vocab : {int64_t{270}, int64_t{32003}, int64_t{152064}, int64_t{256000}}) {
    for (const int n : {1, 7}) {
      Rows rows(n, vocab, seed += 10);
      rows.check();
    }
  }
  Rows(70, 5000, 99).check();  // more rows than one launch takes
}

TEST_CASE("of equal logits the lowest id wins, permitted before extra") {
  Rows rows(6, 20000, 3);
  const TokenId control = first_not_permitted(rows.mask, 100);
  const TokenId later = first_not_permitted(rows.mask, control + 1);
  std::vector<TokenId> permitted;
  for (TokenId id = 0; permitted.size() < 5000; ++id) {
    if (rows.mask.permitted(id)) permitted.push_back(id);
  }
  for (int row = 0; row < rows.n; ++row) {
    rows.logit(row, permitted[4900]) = rows.logit(row, permitted[700]) = 60;
    rows.logit(row, control) = rows.logit(row, later) = 60;
  }
  rows.add_list(1, {later, control}, false);     // the permitted ones still win
  rows.add_list(2, {later, control, 7}, false);  // of the extra ones, the first of the list
  rows.logit(2, later) = rows.logit(2, control) = 61;
  rows.add_list(3, {permitted[4900], permitted[700], control, permitted[3]}, true);
  for (float* logit = &rows.logit(4, 0); logit <= &rows.logit(4, 19999); ++logit) {
    *logit = logit - &rows.logit(4, 0) == permitted[0] ? -0.0F : 0.0F;
  }
  rows.add_list(5, {19999, -4, 1 << 30, control}, true);  // padding, and no tokens at all
  rows.check();
}

TEST_CASE("what is not a number is never chosen") {
  Rows rows(4, 40000, 4);
  for (TokenId id = 0; id < rows.vocab; ++id) {
    rows.logit(0, id) = NAN;
    rows.logit(1, id) = -INFINITY;
    if (id % 3 != 0) rows.logit(2, id) = NAN;
    if (id % 1000 != 0) rows.logit(3, id) = -INFINITY;
  }
  rows.check();
}

TEST_CASE("draws are the sampler's") {
  std::mt19937 random(5);
  unsigned seed = 1000;
  for (const int64_t vocab : {int64_t{300}, int64_t{40001}, int64_t{152064}}) {
    Rows rows(60, vocab, seed += 10);
    for (int i = 0; i < rows.n; ++i) {
      SampleSpec& spec = rows.specs[static_cast<size_t>(i)];
      spec.params.temperature = i % 7 == 6 ? 0.0F : 0.1F + 0.1F * static_cast<float>(random() % 12);
      const int top_ks[] = {0, 1, 2, 40, 500};
      const float top_ps[] = {1.0F, 0.95F, 0.5F, 0.0F};
      const float min_ps[] = {0.0F, 0.02F, 0.3F};
      spec.params.top_k = top_ks[random() % 5];
      spec.params.top_p = top_ps[random() % 4];
      spec.params.min_p = min_ps[random() % 3];
      spec.uniform = uniform_at(seed, static_cast<uint64_t>(i));
      // As language models have it: few tokens far above the rest.
      for (int k = 0; k < 30; ++k) {
        rows.logit(i, static_cast<TokenId>(random() % static_cast<unsigned>(vocab - 5))) += 15.0F;
      }
      if (i % 5 == 0) rows.add_list(i, {first_not_permitted(rows.mask, 50), 3, 4}, false);
      if (i % 5 == 1) rows.add_list(i, {7, 8, 9, 100, 200, 201, 250}, true);
      if (i == 12) {
        for (TokenId id = 0; id < vocab; ++id) rows.logit(i, id) = NAN;
      }
    }
    rows.check_draws(vocab > 1000 ? 6 : 0);
  }
}

TEST_CASE("draws from flat logits are right, or left to the host") {
  Rows rows(6, 30000, 77);
  for (int i = 0; i < rows.n; ++i) {
    SampleSpec& spec = rows.specs[static_cast<size_t>(i)];
    spec.params.temperature = 1;
    spec.uniform = uniform_at(7, static_cast<uint64_t>(i));
    if (i % 2 == 1) spec.params.top_p = 0.9F;
    for (TokenId id = 0; id < rows.vocab; ++id)
      rows.logit(i, id) = i < 4 ? 1.0F : rows.logit(i, id) / 100;
  }
  rows.check_draws(3);
}

TEST_CASE("the likeliest tokens are the sampler's") {
  unsigned seed = 500;
  for (const int64_t vocab : {int64_t{270}, int64_t{32003}, int64_t{152064}, int64_t{300007}}) {
    for (const int n : {1, 9}) {
      Rows rows(n, vocab, seed += 10);
      for (int i = 0; i < n; ++i) {
        const int sizes[] = {8, 1, 0, kMaxBest, 5};
        rows.specs[static_cast<size_t>(i)].n_best = sizes[i % 5];
        if (i % 3 == 1) rows.add_list(i, {first_not_permitted(rows.mask, 50), 3, 4}, false);
        if (i == 5) rows.add_list(i, {7, 8, 9, 100, 200, 201, 250}, true);
        if (i % 4 == 3) {  // many are equal
          for (TokenId id = 0; id < vocab; ++id) {
            rows.logit(i, id) = std::round(rows.logit(i, id) / 4);
          }
        }
        if (i == 6) {
          for (TokenId id = 0; id < vocab; ++id) {
            if (id % 83 != 0) rows.logit(i, id) = id % 2 == 0 ? NAN : -INFINITY;
          }
        }
        if (i == 8) {
          for (TokenId id = 0; id < vocab; ++id) rows.logit(i, id) = NAN;
        }
      }
      rows.check_best();
      rows.check();  // the counters are as they were
    }
  }
  // A list of more than a block takes at once, in no order.
  Rows rows(kMaxSampleRows, 40000, 9000);
  std::vector<TokenId> list;
  for (int i = 0; i < 30000; ++i) list.push_back(static_cast<TokenId>(i * 7919LL % 40000));
  for (int i = 0; i < rows.n; ++i) rows.specs[static_cast<size_t>(i)].n_best = 1 + i % kMaxBest;
  for (int i = 0; i < rows.n; i += 9) rows.add_list(i, list, true);
  rows.check_best();
}

TEST_CASE("a token that is asked for has the sampler's probability") {
  Rows rows(12, 50000, 321);
  for (int i = 0; i < rows.n; ++i) {
    SampleSpec& spec = rows.specs[static_cast<size_t>(i)];
    spec.scored = i * 4000 % 49000;
    spec.params.temperature = 0.7F;  // makes no difference
    rows.rows[static_cast<size_t>(i)].scored = spec.scored;
    if (i % 3 == 0) rows.logit(i, spec.scored) = 30;
  }
  rows.logit(5, rows.specs[5].scored) = -50;
  rows.check();
  rows.check_draws();
}

}  // namespace
}  // namespace fimd::cuda

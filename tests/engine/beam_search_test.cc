#include "engine/beam_search.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "tests/engine/fakes.h"

namespace fimd {
namespace {

using test::FakeTokenizer;

/// Texts and how likely each of their tokens is: a model as a table.
using Table = std::map<std::string, std::map<std::string, double>>;

/// Runs a search to its end over a model that knows only `table`: after a text, what may follow and
/// with which probability ("" ends it).
struct Run {
  Run(const FakeTokenizer& tokenizer, const Table& table, BeamParams params, int max_tokens = 8,
      const std::string& healed = "")
      : search(tokenizer, std::move(params), max_tokens, {}, healed),
        sampler(TokenMask(tokenizer, tokenizer.vocab_size())) {
    while (!search.over()) {
      std::vector<std::vector<Sampled>> rows;
      for (size_t i = 0; i < search.branches().size(); ++i) {
        const auto& branch = search.branches()[i];
        std::vector<float> row(static_cast<size_t>(tokenizer.vocab_size()), -40.0F);
        std::string said;
        for (const TokenId token : branch.tokens) said += tokenizer.bytes(token);
        if (const auto found = table.find(said); found != table.end()) {
          for (const auto& [text, p] : found->second) {
            const TokenId id =
                text.empty() ? *tokenizer.control_id("<|end|>") : tokenizer.ids(text).front();
            row[static_cast<size_t>(id)] = static_cast<float>(std::log(p));
          }
        }
        rows.push_back(sampler.likeliest(row, search.samples(i).front()));
      }
      const std::vector<std::span<const Sampled>> spans(rows.begin(), rows.end());
      widest = std::max(widest, rows.size());
      REQUIRE(search.advance(spans));
      agreed.emplace_back(search.agreed());
    }
  }

  BeamSearch search;
  Sampler sampler;
  size_t widest = 0;
  std::vector<std::string> agreed;  // after each pass
};

BeamParams width(int n) {
  BeamParams params;
  params.width = n;
  params.margin = 5;
  return params;
}

TEST_CASE("the likeliest text wins, not the likeliest first token") {
  const FakeTokenizer tokenizer;
  const Table table = {{"", {{"a", 0.55}, {"b", 0.45}}},
                       {"a", {{"x", 0.5}, {"y", 0.5}}},
                       {"ax", {{"", 1.0}}},
                       {"ay", {{"", 1.0}}},
                       {"b", {{"z", 1.0}}},
                       {"bz", {{"", 1.0}}}};
  const Run run(tokenizer, table, width(3));
  const auto found = run.search.candidates();
  REQUIRE(found.size() == 3);
  CHECK(found[0].text == "bz");
  CHECK(found[0].logprob == doctest::Approx(std::log(0.45)));
  CHECK(found[0].tokens == 3);
  CHECK(found[1].logprob == doctest::Approx(std::log(0.275)));
  // One branch is what greedy decoding says.
  const Run greedy(tokenizer, table, width(1));
  CHECK(greedy.search.candidates().front().text == "ax");
  CHECK(greedy.widest == 1);
}

TEST_CASE("ways to the same text add up") {
  const FakeTokenizer tokenizer({"ab"});
  const auto first_line = [](std::string_view text, bool ended) -> TextVerdict {
    const size_t line = text.find('\n');
    if (line != std::string_view::npos) return {TextVerdict::Kind::kComplete, line};
    if (ended) return {TextVerdict::Kind::kComplete, text.size()};
    return {};
  };
  const Table table = {{"", {{"a", 0.4}, {"c", 0.6}}},
                       {"a", {{"", 0.5}, {"\n", 0.5}}},
                       {"c", {{"", 0.3}, {"d", 0.4}, {"\n", 0.3}}},
                       {"cd", {{"", 1.0}}}};
  BeamParams params = width(3);
  params.judge = first_line;
  const auto found = Run(tokenizer, table, params).search.candidates();
  REQUIRE(found.size() == 3);
  CHECK(found[0].text == "a");
  CHECK(found[0].logprob == doctest::Approx(std::log(0.4)));
  CHECK(found[1].text == "c");
  CHECK(found[1].logprob == doctest::Approx(std::log(0.36)));
  CHECK(found[2].text == "cd");
  CHECK(found[2].logprob == doctest::Approx(std::log(0.24)));
}

TEST_CASE("what is given up: more than the width, and texts beyond the margin") {
  const FakeTokenizer tokenizer;
  const Table table = {{"", {{"a", 0.5}, {"b", 0.3}, {"c", 0.15}, {"d", 0.05}}},
                       {"a", {{"", 1.0}}},
                       {"b", {{"", 1.0}}},
                       {"c", {{"", 1.0}}},
                       {"d", {{"", 1.0}}}};
  CHECK(Run(tokenizer, table, width(2)).search.candidates().size() == 2);
  CHECK(Run(tokenizer, table, width(8)).search.candidates().size() == 4);
  BeamParams narrow = width(8);
  narrow.margin = 1.3;  // a factor of 3.7
  const Run run(tokenizer, table, narrow);
  CHECK(run.search.candidates().size() == 3);
  CHECK(run.widest == 3);
}

TEST_CASE("a verdict may reject a text, and an end that comes too early") {
  const FakeTokenizer tokenizer;
  const Table table = {{"", {{"", 0.6}, {"\n", 0.3}, {"a", 0.1}}},
                       {"\n", {{"b", 1.0}}},
                       {"\nb", {{"", 1.0}}},
                       {"a", {{"", 1.0}}}};
  BeamParams params = width(4);
  params.judge = [](std::string_view text, bool ended) -> TextVerdict {
    if (text.starts_with("\n") || (ended && text.empty())) {
      return {TextVerdict::Kind::kRejected, 0};
    }
    if (ended) return {TextVerdict::Kind::kComplete, text.size()};
    return {};
  };
  const auto found = Run(tokenizer, table, params).search.candidates();
  REQUIRE(found.size() == 1);
  CHECK(found[0].text == "a");
}

TEST_CASE("what all texts begin with is known early, and never taken back") {
  const FakeTokenizer tokenizer;
  const Table table = {
      {"", {{"r", 1.0}}},   {"r", {{"e", 1.0}}},   {"re", {{"t", 0.6}, {"f", 0.4}}},
      {"ret", {{"", 1.0}}}, {"ref", {{"s", 1.0}}}, {"refs", {{"", 1.0}}}};
  const Run run(tokenizer, table, width(3));
  REQUIRE(run.agreed.size() == 5);
  CHECK(run.agreed[0] == "r");
  for (size_t i = 1; i < run.agreed.size(); ++i) CHECK(run.agreed[i] == "re");
  for (const auto& found : run.search.candidates()) CHECK(found.text.starts_with("re"));
}

TEST_CASE("healed bytes are repeated and do not count as text") {
  const FakeTokenizer tokenizer({"name", "na"});
  // After "self." the bytes "na" were taken back.
  const Table table = {{"", {{"na", 0.3}, {"name", 0.2}, {"x", 0.5}}},
                       {"na", {{"p", 1.0}}},
                       {"nap", {{"", 1.0}}},
                       {"name", {{"", 1.0}}}};
  const auto found = Run(tokenizer, table, width(4), 8, "na").search.candidates();
  REQUIRE(found.size() == 2);
  CHECK(found[0].text == "p");
  CHECK(found[0].logprob == doctest::Approx(std::log(0.6)).epsilon(0.01));
  CHECK(found[1].text == "me");
  CHECK(found[1].logprob == doctest::Approx(std::log(0.4)).epsilon(0.01));
}

TEST_CASE("the token limit ends a text") {
  const FakeTokenizer tokenizer;
  const Table table = {{"", {{"a", 1.0}}}, {"a", {{"b", 1.0}}}, {"ab", {{"c", 1.0}}}};
  const auto found = Run(tokenizer, table, width(2), 2).search.candidates();
  REQUIRE(found.size() == 1);
  CHECK(found[0].text == "ab");
  CHECK(found[0].truncated);
}

TEST_CASE("logits that are not numbers are noticed") {
  const FakeTokenizer tokenizer;
  BeamSearch search(tokenizer, width(2), 8, {}, "");
  Sampler sampler(TokenMask(tokenizer, tokenizer.vocab_size()));
  const std::vector<float> row(static_cast<size_t>(tokenizer.vocab_size()),
                               std::numeric_limits<float>::quiet_NaN());
  const std::vector<Sampled> best = sampler.likeliest(row, search.samples(0).front());
  CHECK(best.empty());
  const std::span<const Sampled> rows[] = {best};
  CHECK_FALSE(search.advance(rows));
}

TEST_CASE("a branch whose bytes no token repeats is given up") {
  FakeTokenizer tokenizer({"na"});
  BeamSearch search(tokenizer, width(2), 8, {}, "nam");
  CHECK(search.samples(0).front().allowed.size() == 2);  // "n" and "na"
  tokenizer.no_healing = true;
  const std::vector<Sampled> best = {{tokenizer.ids("na").front(), -0.5F}};
  const std::span<const Sampled> rows[] = {best};
  REQUIRE(search.advance(rows));
  CHECK(search.over());
  CHECK(search.candidates().empty());
}

}  // namespace
}  // namespace fimd

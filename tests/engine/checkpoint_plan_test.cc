#include "engine/checkpoint_plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

namespace fimd {
namespace {

using Positions = std::vector<int>;

TEST_CASE("the places an edit shows at: ends of segments, the last one's beginning, the end") {
  // snippet | control | prefix | control | suffix | control | typed
  const std::vector<TokenRange> segments = {{1, 101}, {102, 302}, {303, 383}, {384, 420}};
  const Positions got = plan_checkpoints({}, segments, 419);
  for (const int expected : {97, 298, 383, 416, 418}) {
    CAPTURE(expected);
    CHECK(std::find(got.begin(), got.end(), expected) != got.end());
  }
}

TEST_CASE("nothing typed yet; one segment; hardly any tokens") {
  const std::vector<TokenRange> empty_end = {{0, 50}, {51, 51}};
  CHECK(plan_checkpoints({}, empty_end, 51) == Positions{48, 50});
  const std::vector<TokenRange> one = {{0, 20}};
  CHECK(plan_checkpoints({}, one, 20) == Positions{16, 19});
  CHECK(plan_checkpoints({}, one, 1) == Positions{});
  CHECK(plan_checkpoints({}, one, 2) == Positions{1});
  CHECK(plan_checkpoints({}, {}, 0) == Positions{});
}

TEST_CASE("no two neighbours near the cursor are further apart than the spacing") {
  const std::vector<TokenRange> segments = {{0, 3000}, {3001, 3500}};
  const CheckpointPlan plan;
  const Positions got = plan_checkpoints(plan, segments, 3500);
  for (size_t i = 1; i < got.size(); ++i) {
    const int limit = got[i] > 3500 - plan.near_tokens + plan.near_spacing
                          ? plan.near_spacing + plan.least_gap
                          : plan.far_spacing + plan.near_spacing;
    CHECK(got[i] - got[i - 1] <= limit);
  }
  CHECK(got.front() <= plan.far_spacing);
}

TEST_CASE("prompts that share a beginning share the positions in it") {
  const std::vector<TokenRange> a = {{0, 2900}, {2901, 3000}, {3001, 3010}};
  const std::vector<TokenRange> b = {{0, 2900}, {2901, 3300}, {3301, 3350}};
  const Positions from_a = plan_checkpoints({}, a, 3010);
  const Positions from_b = plan_checkpoints({}, b, 3350);
  for (const int position : {512, 1024, 1536, 2048, 2560, 2896}) {
    CHECK(std::find(from_a.begin(), from_a.end(), position) != from_a.end());
    CHECK(std::find(from_b.begin(), from_b.end(), position) != from_b.end());
  }
}

TEST_CASE("whatever the prompt: ascending, within it, no more than allowed, the end among them") {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    CheckpointPlan plan;
    plan.most = 1 + static_cast<int>(random() % 30);
    std::vector<TokenRange> segments;
    int at = 0;
    for (size_t i = random() % 8; i > 0; --i) {
      at += static_cast<int>(random() % 3);
      const int begin = at;
      at += static_cast<int>(random() % (round % 2 == 0 ? 2000 : 20));
      segments.push_back({begin, at});
    }
    const int healed = static_cast<int>(random() % 5);
    const int n = std::max(at - healed, 0);
    const Positions got = plan_checkpoints(plan, segments, n);
    CHECK(static_cast<int>(got.size()) <= plan.most);
    CHECK(std::is_sorted(got.begin(), got.end()));
    CHECK(std::adjacent_find(got.begin(), got.end()) == got.end());
    if (n < 2) {
      CHECK(got.empty());
      continue;
    }
    CHECK(got.front() > 0);
    CHECK(got.back() == n - 1);
  }
}

}  // namespace
}  // namespace fimd

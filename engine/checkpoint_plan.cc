#include "engine/checkpoint_plan.h"

#include <algorithm>

namespace fimd {

std::vector<int> plan_checkpoints(const CheckpointPlan& plan, std::span<const TokenRange> segments,
                                  int n_tokens) {
  std::vector<int> chosen;  // most important first
  const auto choose = [&](int position, int gap) {
    if (position <= 0 || position >= n_tokens) return;
    if (static_cast<int>(chosen.size()) >= plan.most) return;
    const bool near = std::any_of(chosen.begin(), chosen.end(),
                                  [&](int other) { return std::abs(other - position) < gap; });
    if (!near) chosen.push_back(position);
  };
  // Not the end itself: a prompt that comes again must compute a token to have logits.
  choose(n_tokens - 1, 1);
  // Where the last segment begins, as seen from a prompt that ends there.
  if (!segments.empty()) choose(segments.back().begin - 1, 1);
  choose((n_tokens - 2) / plan.backspace * plan.backspace, 1);
  for (size_t i = segments.size(); i-- > 0;) {
    const TokenRange& segment = segments[i];
    if (i + 1 < segments.size()) {
      choose(std::max(segment.end - plan.margin, segment.begin), plan.least_gap);
    }
  }
  const auto choose_multiples = [&](int spacing, int from, int gap) {
    // Multiples, so that prompts which share a beginning choose the same positions in it.
    for (int p = (n_tokens - 1) / spacing * spacing; p > 0 && p >= from; p -= spacing) {
      choose(p, gap);
    }
  };
  choose_multiples(plan.near_spacing, n_tokens - plan.near_tokens, plan.least_gap);
  int spacing = plan.far_spacing;
  while (n_tokens / spacing > std::max(plan.most / 2, 1)) spacing *= 2;
  choose_multiples(spacing, 0, plan.near_spacing);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace fimd

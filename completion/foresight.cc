#include "completion/foresight.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "completion/post_filters.h"
#include "completion/text_util.h"

namespace fimd {
namespace {

// What follows is read up to the end of a line, but not much further than this: the beginning
// tells most.
constexpr size_t kFollowingBytes = 32;
// The text may change the tokens of a word typed right before it, which is compared as well.
constexpr size_t kWordBytes = 16;
// A choice that has this share of the probability is hardly ever overruled.
constexpr double kSureShare = 0.85;

/// The beginning of `after`, to the end of its first line that is not blank.
std::string_view beginning(std::string_view after) {
  const size_t content = after.find_first_not_of(" \t\n");
  if (content == std::string_view::npos) return {};
  const size_t line_end = std::min(after.find('\n', content), after.size() - 1) + 1;
  if (line_end - content <= kFollowingBytes) return after.substr(0, line_end);
  return after.substr(0, floor_to_code_point(after, content + kFollowingBytes));
}

/// Bytes at the end of `typed` whose tokens may depend on what follows: a word and a character.
size_t unsettled_bytes(std::string_view typed) {
  size_t n = 0;
  while (n < std::min(typed.size(), kWordBytes) && is_word_byte(typed[typed.size() - 1 - n])) ++n;
  return std::min(n + 1, typed.size());
}

}  // namespace

Foresight::Foresight(const FimFormat& format, PromptParts parts, CursorContext context)
    : format_(format), parts_(std::move(parts)), context_(std::move(context)) {}

std::optional<Reading> Foresight::reading(std::string_view text) const {
  const Filtered filtered = polish(text, context_, LineMode::kSingle, TextEnd::kComplete);
  const Placement placed = place(filtered.text, context_);
  const std::string_view suffix = parts_.suffix;
  const std::string_view following =
      beginning(suffix.substr(std::min(placed.replaced, suffix.size())));
  if (following.empty()) return std::nullopt;
  std::string read = parts_.typed;
  read += placed.text;
  read += following;
  Reading reading;
  reading.scored_bytes = unsettled_bytes(parts_.typed) + placed.text.size() + following.size();
  reading.prompt = render_reading(format_, parts_, std::move(read));
  if (reading.prompt.empty()) return std::nullopt;
  return reading;
}

std::vector<TextCandidate> choices_of(std::span<const TextCandidate> candidates,
                                      const CursorContext& context) {
  std::vector<TextCandidate> choices;
  std::vector<std::string> shown;
  for (const TextCandidate& candidate : candidates) {
    const TextEnd end = candidate.truncated ? TextEnd::kTruncated : TextEnd::kComplete;
    const Filtered filtered = polish(candidate.text, context, LineMode::kSingle, end);
    // To say nothing may be the best.
    if (!filtered.dropped_by.empty() && !is_blank(candidate.text)) continue;
    const auto known = std::find(shown.begin(), shown.end(), trim(filtered.text));
    if (known != shown.end()) {
      double& sum = choices[static_cast<size_t>(known - shown.begin())].logprob;
      sum += std::log1p(std::exp(candidate.logprob - sum));
      continue;
    }
    shown.emplace_back(trim(filtered.text));
    choices.push_back(candidate);
  }
  if (choices.empty() && !candidates.empty()) choices.push_back(candidates.front());
  std::stable_sort(
      choices.begin(), choices.end(),
      [](const TextCandidate& a, const TextCandidate& b) { return a.logprob > b.logprob; });
  if (choices.size() > kMostChoices) choices.resize(kMostChoices);
  return choices;
}

bool worth_reading(std::span<const TextCandidate> choices) {
  if (choices.size() < 2) return false;
  double all = 0;
  for (const TextCandidate& choice : choices)
    all += std::exp(choice.logprob - choices.front().logprob);
  return 1 / all < kSureShare;
}

}  // namespace fimd

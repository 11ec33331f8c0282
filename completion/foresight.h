// Foresight: which of a few texts fits best between what stands before and after the cursor.
//
// Small models look too little at the text after the cursor, but read from left to right they know
// well what may follow a line. So the texts that a beam search found are read once more in place,
// each with the beginning of what follows it, and the score of a text is
//
//   log p(text | prefix, suffix) + kReadingWeight * log p(text, what follows | prefix).
//
// The reading shares the prompt's tokens up to the suffix, so it costs the tokens of the texts.
//
// A value, pure; any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "completion/cursor_context.h"
#include "completion/fim_format.h"

namespace fimd {

inline constexpr double kReadingWeight = 0.5;

/// A prompt whose end is to be scored.
struct Reading {
  Prompt prompt;
  size_t scored_bytes = 0;
};

class Foresight {
 public:
  Foresight(const FimFormat& format, PromptParts parts, CursorContext context);

  /// How `text` reads in its place, once polished. Nothing if there is nothing to foresee: no text
  /// follows, or the model's prompts begin with it.
  std::optional<Reading> reading(std::string_view text) const;

 private:
  FimFormat format_;
  PromptParts parts_;
  CursorContext context_;
};

/// No more than so many are read: those behind hardly ever win.
inline constexpr size_t kMostChoices = 3;

/// The candidates without those that the post-filters drop; where they leave the same of several,
/// the likeliest with the probability of all; the best kMostChoices, likeliest first. If they drop
/// all, the likeliest candidate.
std::vector<TextCandidate> choices_of(std::span<const TextCandidate> candidates,
                                      const CursorContext& context);

/// Whether the likeliest choice leaves so much to the others that reading them may change it.
bool worth_reading(std::span<const TextCandidate> choices);

}  // namespace fimd

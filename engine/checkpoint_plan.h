// Where in a prompt the state of recurrent layers is worth keeping.
//
// A recurrent state cannot be cut back, so the next prompt resumes at the last position that both
// share and that a checkpoint was made at. Prompts of one document share everything up to where an
// edit shows in them, and that is nearly always near one of a few places: the prompt's end (keys),
// the beginning of its last segment (the cursor's line or lines), the ends of the other segments
// (the text before the cursor grew by lines; a snippet changed).
//
// Pure function, any thread.
#pragma once

#include <span>
#include <vector>

namespace fimd {

struct CheckpointPlan {
  /// Taken back from a segment's end: what follows may change how its last bytes are tokenised.
  int margin = 4;
  /// The second position before the end, for deleting and for words whose tokens change as they
  /// grow: the last multiple of this.
  int backspace = 8;
  /// Distance in the last near_tokens, and in the rest (cursor jumps).
  int near_spacing = 64;
  int near_tokens = 256;
  int far_spacing = 512;
  /// Tokens between those that are generated: what accepting part of a suggestion costs at most.
  int generated_spacing = 16;
  /// Others nearer than this to one of the places above are not worth a checkpoint.
  int least_gap = 16;
  /// At most so many. far_spacing grows until its share is at most half of them.
  int most = 24;
};

/// The tokens of a text segment.
struct TokenRange {
  int begin = 0;
  int end = 0;
};

/// Positions, ascending, in (0, n_tokens). `segments`: ascending; the last one is that which grows
/// with every key.
std::vector<int> plan_checkpoints(const CheckpointPlan& plan, std::span<const TokenRange> segments,
                                  int n_tokens);

}  // namespace fimd

// Stop rules: where streamed text has said enough.
//
// find_stop() is a pure function of the text so far; StopWatch adds the questions for the syntax
// tree and is what a generation's sink asks after every piece, on the engine's thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "completion/cursor_context.h"
#include "completion/line_mode.h"
#include "engine/generator.h"

namespace fimd {

struct Stop {
  size_t length = 0;  // bytes of the text that are kept
  std::string_view rule;
};

/// Longest replies in lines, whatever the token limit allows.
inline constexpr size_t kMaxLines = 24;

/// The earliest point at which a rule ends `text`, which was generated at the cursor of `context`
/// and uses "\n"; absent while it may go on. Rules, by name:
///   "end of line"         single line: a line break after some content, or any line break if
///                         something follows on the cursor's line
///   "blank lines"         nothing but line breaks
///   "unmatched bracket"   closes a bracket that was closed already, or none at all
///   "block closed"        closed the bracket that encloses the block, and the line is over
///   "dedent"              a line less indented than the first one
///   "next line repeated"  the line that follows the cursor's anyway
///   "repetition"          goes round in circles
///   "line limit"
std::optional<Stop> find_stop(std::string_view text, const CursorContext& context, LineMode mode);

/// The same for the texts of a beam search of one line. Texts that say nothing at all are rejected
/// on an empty line, where somebody wants one; elsewhere that may be right.
TextVerdict line_verdict(std::string_view text, bool ended, const CursorContext& context);

/// The offset of the first closing bracket in `text` that must not be there: everything it could
/// close is closed by the text after the cursor. Brackets that stand right after the cursor on its
/// line may be repeated, since the suggestion then replaces them.
std::optional<size_t> excess_closer(std::string_view text, const CursorContext& context);

/// The length of `text` up to which it does not go round in circles; absent if it does not.
std::optional<size_t> repetition_start(std::string_view text);

/// Asks find_stop(), and the syntax tree at every new line. Made per generation; one thread at a
/// time.
class StopWatch {
 public:
  StopWatch(DocumentPtr document, size_t cursor, CursorContext context, LineMode mode);

  std::optional<Stop> check(std::string_view text);
  /// The same for text that will not grow: a last line counts as complete.
  std::optional<Stop> check_final(std::string_view text);

 private:
  std::optional<Stop> ask_syntax(std::string_view text);

  CursorContext context_;
  LineMode mode_;
  std::optional<Continuation> continuation_;
  size_t asked_lines_ = 0;
};

}  // namespace fimd

// Post-filters: from the text a model said to the text worth showing.
//
// Each is a pure function that is tested on its own; polish() applies them in order. Texts use
// "\n" until place() turns them into an edit of the document. Any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "completion/cursor_context.h"
#include "completion/line_mode.h"

namespace fimd {

/// How a generation came to its end, which decides whether its last words can be trusted.
enum class TextEnd {
  kComplete,   // the model or a stop rule ended it
  kTruncated,  // token limit, time limit
};

/// Text after a filter, and the filter's name if it took all of it away.
struct Filtered {
  std::string text;
  std::string_view dropped_by;  // empty: `text` may be shown
};

// The filters, in the order of polish().

/// Truncated text loses its last, unfinished line if it has others, else its last, unfinished word.
std::string cut_unfinished(std::string_view text, TextEnd end);
/// What a request for one line shows: the rest of the cursor's line, or the line after it if the
/// text begins with a line break and nothing but blanks follows the cursor.
std::string_view first_line(std::string_view text, const CursorContext& context);
/// Trailing blanks go, except where more code follows on the cursor's line.
std::string cut_trailing_blanks(std::string_view text, const CursorContext& context);
/// Text from the first line on that repeats the lines after the cursor goes; everything goes if
/// the cursor's whole line would repeat the next or the previous one.
std::string cut_repeated_lines(std::string_view text, const CursorContext& context);
/// Closing brackets that the text after the cursor already has go, with what follows them.
std::string cut_excess_closers(std::string_view text, const CursorContext& context);
/// Code that stands on the cursor's line anyway goes from the end of the text, or from the middle
/// on if the text ran past it.
std::string cut_line_overlap(std::string_view text, const CursorContext& context);
/// Brackets that the text opened and forgot are closed, where it seems to have meant to.
std::string close_open_brackets(std::string_view text, const CursorContext& context, LineMode mode,
                                TextEnd end);

/// All of the above, and whitespace-only or garbled text dropped.
Filtered polish(std::string_view text, const CursorContext& context, LineMode mode, TextEnd end);

/// An edit: `text` in place of the `replaced` bytes after the cursor.
struct Placement {
  std::string text;
  size_t replaced = 0;

  friend bool operator==(const Placement&, const Placement&) = default;
};

/// How polished text enters the document: brackets and quotes right after the cursor that the text
/// closes itself are replaced, not doubled. What text and replaced bytes end in alike is left out
/// of both, so that the edit is a plain insertion whenever it can be.
Placement place(std::string_view text, const CursorContext& context);

}  // namespace fimd

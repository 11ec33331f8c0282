// CursorContext: what surrounds a cursor, gathered once per request for the line mode, the stop
// rules and the post-filters. A plain value, so that those are pure functions of it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "context/document.h"
#include "context/syntax_queries.h"

namespace fimd {

struct CursorContext {
  std::string typed;                    // the cursor's line up to the cursor
  std::string rest;                     // and after it, without the line break
  std::string previous_line;            // nearest non-blank line above
  std::vector<std::string> next_lines;  // the next few non-blank lines below
  /// Closing brackets that the text before the cursor calls for, innermost first; how many of them
  /// the text after the cursor lacks; and how many it has that nothing before the cursor opened.
  std::string open_closers;
  size_t missing_closers = 0;
  size_t surplus_closers = 0;
  std::string_view free_closers;  // that need no opener: `)` behind a shell's case patterns
  Place place = Place::kCode;
  char quote = 0;            // of the string that the cursor is in and that began on its line
  std::string line_comment;  // "#", "//"; empty if unknown
  std::string line_break = "\n";

  /// Brackets mean nothing here: in a comment or in a string of several lines.
  bool ignores_brackets() const {
    return place == Place::kComment || (place == Place::kString && quote == 0);
  }
  bool rest_is_blank() const;
};

CursorContext cursor_context(const Document& document, size_t cursor);

}  // namespace fimd

// Documentation comments: from what a model wrote to lines in the language's form.
//
// Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "context/definitions.h"
#include "support/result.h"

namespace fimd {

/// The text of a comment without its marks, or of text that has none: lines without common
/// indentation, no blank ones at the ends. Of code with a comment only the comment is taken.
std::string doc_text(DocStyle style, std::string_view written);

/// An error, for the user, unless `text` may be documentation of `place` (something in words,
/// without repetition, and not the code again).
Status check_doc_text(std::string_view text, std::string_view code);

/// `text` as whole lines, the last line break included. Long lines of prose are broken at
/// `columns`.
std::string doc_comment(const DocPlace& place, std::string_view text, size_t columns = 100);

/// How a model that fills in code is brought to write a comment: `open` stands before the cursor,
/// `close` behind it, and the text ends before the first of `stops`.
struct DocFill {
  std::string open;
  std::string close;
  std::vector<std::string> stops;
};
DocFill doc_fill(const DocPlace& place);

/// What such a model wrote behind `open`, as documentation: its first paragraph, without tags.
std::string filled_doc_text(const DocPlace& place, std::string_view written);

}  // namespace fimd

// Documentation by filling in: for models that have no chat template.
//
// The comment is opened where the language has it, and the model fills it in from the code that
// follows. Several candidates are drawn and the likeliest of those that pass the checks is taken.
// Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "completion/completer.h"
#include "context/definitions.h"

namespace fimd {

/// The document with the comment opened, and the cursor in it.
struct DocFillSpot {
  DocumentPtr document;
  size_t cursor = 0;
};
Result<DocFillSpot> open_comment(const Document& document, const DocPlace& place);

/// Whether the text generated so far goes beyond the comment.
bool beyond_comment(const DocPlace& place, std::string_view written);

struct DocCandidate {
  std::string written;
  double mean_logprob = 0;
};
/// The documentation among what was written, the likeliest that speaks
/// of what the name says; an error if none will do.
Result<std::string> choose_doc_text(const DocPlace& place, std::string_view code,
                                    const std::vector<DocCandidate>& candidates);

/// The edit of the document: [place.begin, place.end) becomes the returned text, in the document's
/// line breaks. An error if that would break the syntax or change nothing.
Result<std::string> documented_lines(const Document& document, const DocPlace& place,
                                     std::string_view text);

}  // namespace fimd

#include "completion/commands/document_fill.h"

#include <algorithm>

#include "completion/commands/doc_comment.h"
#include "completion/text_util.h"
#include "context/syntax_queries.h"

namespace fimd {
namespace {

Result<DocumentPtr> with_text(const Document& document, size_t begin, size_t end,
                              std::string text) {
  const TextChange change{Range{document.position_at(begin, PositionEncoding::kUtf8),
                                document.position_at(end, PositionEncoding::kUtf8)},
                          std::move(text)};
  return document.apply({change}, document.version(), PositionEncoding::kUtf8);
}

std::string_view mark_of(DocStyle style) {
  switch (style) {
    case DocStyle::kTripleSlash:
      return "///";
    case DocStyle::kSlashes:
      return "//";
    case DocStyle::kDashes:
      return "---";
    case DocStyle::kHash:
      return "#";
    default:
      return "";
  }
}

}  // namespace

Result<DocFillSpot> open_comment(const Document& document, const DocPlace& place) {
  const DocFill fill = doc_fill(place);
  const std::string_view line_break = line_break_of(document.text());
  const std::string open = with_line_breaks(fill.open, line_break);
  DocFillSpot spot;
  FIMD_ASSIGN_OR_RETURN(spot.document, with_text(document, place.begin, place.begin,
                                                 open + with_line_breaks(fill.close, line_break)));
  spot.cursor = place.begin + open.size();
  return spot;
}

bool beyond_comment(const DocPlace& place, std::string_view written) {
  const std::string_view mark = mark_of(place.style);
  if (mark.empty()) return false;
  const size_t last = written.rfind('\n');
  if (last == std::string_view::npos) return false;
  const std::string_view line = trim(written.substr(last + 1));
  return !line.empty() && !line.starts_with(mark) && !mark.starts_with(line);
}

Result<std::string> choose_doc_text(const DocPlace& place, std::string_view code,
                                    const std::vector<DocCandidate>& candidates) {
  std::vector<DocCandidate> ranked = candidates;
  std::stable_sort(ranked.begin(), ranked.end(), [](const DocCandidate& a, const DocCandidate& b) {
    return a.mean_logprob > b.mean_logprob;
  });
  Error error{ErrorCode::kNotFound, "the model found no description: it wrote nothing"};
  bool failed = false;
  for (const DocCandidate& candidate : ranked) {
    std::string text = filled_doc_text(place, candidate.written);
    Status status = check_doc_text(text, code);
    // A small model's marks of having run out of ideas.
    for (const std::string_view word : {"TODO", "FIXME", "XXX", "<code>", "http://", "https://"}) {
      if (status.ok() && text.find(word) != std::string::npos) {
        status = Error{ErrorCode::kNotFound, "the model found no description: \"" + text + "\""};
      }
    }
    if (status.ok()) return text;
    if (!failed) error = status.error();
    failed = true;
  }
  return error;
}

Result<std::string> documented_lines(const Document& document, const DocPlace& place,
                                     std::string_view text) {
  std::string lines = with_line_breaks(doc_comment(place, text), line_break_of(document.text()));
  if (document.text().compare(place.begin, place.end - place.begin, lines) == 0) {
    return Error{ErrorCode::kNotFound, "the model suggests no change"};
  }
  FIMD_ASSIGN_OR_RETURN(const DocumentPtr after,
                        with_text(document, place.begin, place.end, lines));
  const size_t end = place.begin + lines.size();
  const bool broken_before = has_syntax_error(document, place.begin, place.end);
  if (!broken_before && has_syntax_error(*after, place.begin, end)) {
    return Error{ErrorCode::kNotFound, "what the model wrote is no comment of this language"};
  }
  return lines;
}

}  // namespace fimd

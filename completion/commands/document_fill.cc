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

std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> parts;
  for (const std::string_view word : identifiers(text)) {
    for (std::string& part : identifier_parts(word)) {
      if (part.size() >= 3) parts.push_back(std::move(part));
    }
  }
  std::sort(parts.begin(), parts.end());
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  return parts;
}

/// How many of `parts` a text speaks of: `read_config` is about reading some configuration. Word
/// forms are not told apart.
double spoken_of(const std::vector<std::string>& parts, const std::vector<std::string>& words) {
  return static_cast<double>(
      std::count_if(parts.begin(), parts.end(), [&](const std::string& part) {
        return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
          const size_t stem = std::min<size_t>(4, std::min(part.size(), word.size()));
          return word.compare(0, stem, part, 0, stem) == 0;
        });
      }));
}

/// Share of the name that a text speaks of.
double speaks_of_name(std::string_view text, std::string_view name) {
  const std::vector<std::string> parts = parts_of(name);
  return parts.empty() ? 0 : spoken_of(parts, parts_of(text)) / static_cast<double>(parts.size());
}

/// A description speaks of what the name says: a small model likes to write what stands above many
/// functions. Where the name says nothing, it speaks of the code.
bool is_related(std::string_view text, std::string_view name, std::string_view code) {
  if (!parts_of(name).empty()) return speaks_of_name(text, name) > 0;
  return spoken_of(parts_of(code), parts_of(text)) >= 3;
}

/// Counts on: 1, 2, 3, 4 ...
bool enumerates(std::string_view text) {
  size_t numbers = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (digit && (i == 0 || !is_word_byte(text[i - 1]))) ++numbers;
  }
  return numbers > 3;
}

/// `x` is quoted but the code has no x.
bool quotes_unknown(std::string_view text, std::string_view code) {
  for (size_t at = text.find('`'); at != std::string_view::npos;) {
    const size_t end = text.find('`', at + 1);
    if (end == std::string_view::npos) return true;
    if (code.find(text.substr(at + 1, end - at - 1)) == std::string_view::npos) return true;
    at = text.find('`', end + 1);
  }
  return false;
}

// What it is worth, in log-probability, to speak of what the name says.
constexpr double kNameBonus = 1.0;

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
  for (DocCandidate& candidate : ranked) {
    candidate.mean_logprob += kNameBonus * speaks_of_name(candidate.written, place.code.name);
  }
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
    const std::string_view said =
        place.style == DocStyle::kSlashes ? std::string_view(candidate.written) : text;
    if (status.ok() && (quotes_unknown(text, code) || enumerates(text) ||
                        !is_related(said, place.code.name, code))) {
      status = Error{ErrorCode::kNotFound, "the model found no description: \"" + text + "\""};
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

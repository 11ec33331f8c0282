#include "completion/cursor_context.h"

#include <algorithm>

#include "completion/brackets.h"
#include "completion/text_util.h"

namespace fimd {
namespace {

constexpr size_t kLongestLine = 4096;  // bytes of a line that are looked at
constexpr size_t kNextLines = 4;
constexpr size_t kFarthestLine = 64;       // lines looked through for non-blank ones
constexpr size_t kSuffixScan = 16 * 1024;  // bytes looked through for closing brackets

bool is_shell(std::string_view language_id) {
  return language_id == "shellscript" || language_id == "bash" || language_id == "sh" ||
         language_id == "zsh";
}

char open_quote(std::string_view typed, std::string_view line_comment) {
  const BracketScan scan = scan_brackets(typed, 0, line_comment);
  return !scan.open.empty() && is_quote(scan.open.back()) ? scan.open.back() : '\0';
}

}  // namespace

bool CursorContext::rest_is_blank() const { return is_blank(rest); }

CursorContext cursor_context(const Document& document, size_t cursor) {
  const std::string_view text = document.text();
  cursor = floor_to_code_point(text, cursor);
  const size_t line = document.line_of(cursor);
  const size_t line_end = std::max(document.line_end(line), cursor);

  CursorContext context;
  size_t typed_begin = document.line_start(line);
  if (cursor - typed_begin > kLongestLine)
    typed_begin = floor_to_code_point(text, cursor - kLongestLine);
  context.typed = text.substr(typed_begin, cursor - typed_begin);
  const size_t rest_end = line_end - cursor > kLongestLine
                              ? floor_to_code_point(text, cursor + kLongestLine)
                              : line_end;
  context.rest = text.substr(cursor, rest_end - cursor);
  context.line_break = line_break_of(text.substr(0, std::min<size_t>(text.size(), 1U << 16U)));

  for (size_t i = line; i-- > 0 && line - i <= kFarthestLine;) {
    if (is_blank(document.line_text(i))) continue;
    context.previous_line = document.line_text(i).substr(0, kLongestLine);
    break;
  }
  const size_t last = std::min(document.line_count(), line + 1 + kFarthestLine);
  for (size_t i = line + 1; i < last && context.next_lines.size() < kNextLines; ++i) {
    if (is_blank(document.line_text(i))) continue;
    context.next_lines.emplace_back(document.line_text(i).substr(0, kLongestLine));
  }

  context.line_comment = line_comment(document.language());
  if (is_shell(document.language_id())) context.free_closers = ")";
  context.place = place_at(document, cursor);
  if (context.place == Place::kString) {
    context.quote = open_quote(context.typed, context.line_comment);
  }
  if (!context.ignores_brackets()) {
    context.open_closers = open_brackets(document, cursor);
    const std::string_view after = text.substr(cursor, kSuffixScan);
    const BracketScan scan = scan_brackets(after, context.quote, context.line_comment);
    // Each closer in turn belongs to the innermost bracket of its kind that is still open; those
    // passed over are never closed.
    size_t next = 0;
    size_t closed = 0;
    for (size_t at : scan.unmatched) {
      if (!is_closer(after[at])) continue;
      const size_t match = context.open_closers.find(after[at], next);
      if (match == std::string::npos) {
        ++context.surplus_closers;
      } else {
        next = match + 1;
        ++closed;
      }
    }
    context.missing_closers = context.open_closers.size() - closed;
  }
  return context;
}

}  // namespace fimd

#include "completion/post_filters.h"

#include <algorithm>
#include <vector>

#include "completion/brackets.h"
#include "completion/stop_rules.h"
#include "completion/text_util.h"

namespace fimd {
namespace {

constexpr size_t kMinEchoWordBytes = 3;
// Shorter rests of a line may occur in generated text by chance.
constexpr size_t kMinOverlapInside = 4;
constexpr size_t kMaxRepairs = 4;

size_t word_bytes(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), is_word_byte));
}

/// Bytes of `rest` that the text says again: the brackets it closes, and what agrees after them.
size_t replaced_bytes(std::string_view text, const CursorContext& context) {
  if (context.ignores_brackets()) return 0;
  const std::string_view rest = context.rest;
  const BracketScan scan = scan_brackets(text, context.quote, context.line_comment);
  size_t replaced = 0;
  size_t after = 0;  // in `text`, behind the last bracket that was matched
  for (size_t at : scan.unmatched) {
    size_t next = replaced;
    if (!is_quote(text[at])) next = rest.find_first_not_of(" \t", replaced);
    if (next == std::string_view::npos || next >= rest.size() || rest[next] != text[at]) break;
    replaced = next + 1;
    after = at + 1;
  }
  if (replaced == 0) return 0;
  // `;` after `)`, ` {` after `)`: the same on both sides.
  const std::string_view more_text = text.substr(after);
  const std::string_view more_rest = trim_right(rest.substr(replaced));
  if (!more_rest.empty() && !more_text.empty()) {
    if (more_text.starts_with(more_rest)) return replaced + more_rest.size();
    if (more_rest.starts_with(more_text)) return replaced + more_text.size();
  }
  return replaced;
}

bool ends_like_a_finished_line(std::string_view text) {
  const std::string_view trimmed = trim_right(text);
  if (trimmed.empty()) return false;
  const char c = trimmed.back();
  return is_word_byte(c) || is_closer(c) || is_quote(c);
}

}  // namespace

std::string cut_unfinished(std::string_view text, TextEnd end) {
  if (end == TextEnd::kComplete) return std::string(text);
  const size_t last_break = text.rfind('\n');
  if (last_break != std::string_view::npos && !is_blank(text.substr(0, last_break))) {
    return std::string(trim_right(text.substr(0, last_break)));
  }
  size_t kept = text.size();
  while (kept > 0 && is_word_byte(text[kept - 1])) --kept;
  // One long word: better a part of it than nothing.
  return std::string(is_blank(text.substr(0, kept)) ? text : text.substr(0, kept));
}

std::string_view first_line(std::string_view text, const CursorContext& context) {
  // The next line may be suggested at the end of a finished one, but not in the middle of one.
  const size_t content =
      context.rest_is_blank() ? std::min(text.find_first_not_of(" \t\n"), text.size()) : 0;
  return text.substr(0, std::min(text.find('\n', content), text.size()));
}

std::string cut_trailing_blanks(std::string_view text, const CursorContext& context) {
  const std::string_view trimmed = trim_right(text);
  const std::string_view rest = context.rest;
  const bool code_follows =
      !rest.empty() && !only_closers(rest) && !only_closers(rest.substr(0, 1)) && rest[0] != '.';
  if (code_follows && trimmed.size() < text.size() && text[trimmed.size()] != '\n') {
    return std::string(text.substr(0, trimmed.size() + 1));
  }
  return std::string(trimmed);
}

std::string cut_repeated_lines(std::string_view text, const CursorContext& context) {
  if (!context.rest_is_blank() && !only_closers(context.rest)) return std::string(text);
  const std::vector<std::string_view> lines = split_lines(text);
  const std::string first = context.typed + std::string(lines.front());
  const bool nothing_typed = is_blank(context.typed);
  const auto same = [](std::string_view a, std::string_view b) {
    return trim_right(a) == trim_right(b) && word_bytes(a) >= kMinEchoWordBytes;
  };
  if (!is_blank(lines.front())) {
    if (!context.next_lines.empty() && same(first, context.next_lines.front())) return {};
    if (nothing_typed && lines.size() == 1 && same(first, context.previous_line)) return {};
  }
  if (context.next_lines.empty()) return std::string(text);
  for (size_t i = 1; i < lines.size(); ++i) {
    if (trim_right(lines[i]) != trim_right(context.next_lines.front())) continue;
    const size_t known = std::min(context.next_lines.size(), lines.size() - i);
    size_t agree = 1;
    while (agree < known && trim(lines[i + agree]) == trim(context.next_lines[agree])) ++agree;
    // A short line says too little by itself; where it is a bracket, the brackets decide.
    if (word_bytes(lines[i]) < kMinEchoWordBytes && agree < 2) continue;
    const auto length = static_cast<size_t>(lines[i].data() - text.data());
    return std::string(trim_right(text.substr(0, length)));
  }
  return std::string(text);
}

std::string cut_excess_closers(std::string_view text, const CursorContext& context) {
  const auto at = excess_closer(text, context);
  if (!at) return std::string(text);
  const std::string_view kept = text.substr(0, *at);
  return std::string(trim_right(kept));
}

std::string cut_line_overlap(std::string_view text, const CursorContext& context) {
  const std::string_view rest = trim_right(context.rest);
  const std::string_view bare = trim(rest);
  if (bare.empty()) return std::string(text);
  if (!only_closers(rest)) {
    const size_t inside = bare.size() >= kMinOverlapInside ? text.find(bare) : std::string::npos;
    if (inside != std::string_view::npos) return std::string(text.substr(0, inside));
    // The end of the text is the beginning of what follows: take the longest such overlap that
    // says something.
    for (size_t length = std::min(text.size(), rest.size()); length > 0; --length) {
      if (!text.ends_with(rest.substr(0, length))) continue;
      const bool word_cut =
          length < rest.size() && is_word_byte(rest[length - 1]) && is_word_byte(rest[length]);
      const bool starts_word = length < text.size() && is_word_byte(rest.front()) &&
                               is_word_byte(text[text.size() - length - 1]);
      if (word_cut || starts_word || is_blank(rest.substr(0, length))) continue;
      // A lone closing bracket may belong to the text: the brackets decide.
      if (only_closers(rest.substr(0, length)) && length < rest.size()) continue;
      return std::string(text.substr(0, text.size() - length));
    }
    return std::string(text);
  }
  // `;` or `,` after the cursor.
  if (bare.find_first_not_of(";,:") == std::string_view::npos && trim_right(text).ends_with(bare)) {
    const std::string_view trimmed = trim_right(text);
    return std::string(trimmed.substr(0, trimmed.size() - bare.size()));
  }
  return std::string(text);
}

std::string close_open_brackets(std::string_view text, const CursorContext& context, LineMode mode,
                                TextEnd end) {
  std::string out(text);
  // The text after the cursor may close what the text opens.
  if (context.ignores_brackets() || context.surplus_closers > 0) return out;
  const BracketScan scan = scan_brackets(text, context.quote, context.line_comment);
  if (scan.open.empty() || scan.open.size() > kMaxRepairs) return out;
  // An open quote is as likely an apostrophe, or the end of a string that began on another line.
  if (is_quote(scan.open.back())) return out;
  const bool several_lines = text.find('\n') != std::string_view::npos;
  const bool blocks = scan.open.find_first_not_of('{') == std::string::npos;
  if (blocks) {
    // A block left open is only closed where it was cut off; otherwise its opener is the end of
    // the line that was asked for.
    if (mode == LineMode::kSingle || !several_lines || end != TextEnd::kTruncated) return out;
    if (is_opener(trim_right(text).back())) return out;
    std::vector<std::string> indents;  // of the lines that opened the blocks still open
    size_t begin = 0;
    for (std::string_view line : split_lines(text)) {
      begin = static_cast<size_t>(line.data() - text.data()) + line.size();
      const size_t depth =
          scan_brackets(text.substr(0, begin), context.quote, context.line_comment).open.size();
      const std::string whole = indents.empty() && line.data() == text.data()
                                    ? context.typed + std::string(line)
                                    : std::string(line);
      if (depth < indents.size()) indents.resize(depth);
      while (indents.size() < depth) indents.emplace_back(leading_blanks(whole));
    }
    for (auto it = indents.rbegin(); it != indents.rend(); ++it) out += "\n" + *it + "}";
    return out;
  }
  // A call or list left open at the end of a line goes on with the next one if the text says so.
  if (!ends_like_a_finished_line(text)) return out;
  if (!context.next_lines.empty() && context.rest_is_blank()) {
    const std::string_view next = trim(context.next_lines.front());
    const std::string line = context.typed + std::string(split_lines(text).front());
    if (is_closer(next.front()) || indentation(context.next_lines.front()) > indentation(line)) {
      return out;
    }
  }
  out = trim_right(out);
  for (auto it = scan.open.rbegin(); it != scan.open.rend(); ++it) {
    if (*it == '{' && (several_lines || mode != LineMode::kSingle)) break;
    out += closing_of(*it);
  }
  return out;
}

Filtered polish(std::string_view text, const CursorContext& context, LineMode mode, TextEnd end) {
  if (!is_clean_text(text)) return {{}, "garbled"};
  if (is_blank(text)) return {{}, "blank"};
  std::string out = cut_unfinished(text, end);
  if (mode == LineMode::kSingle) out = std::string(first_line(out, context));
  out = cut_trailing_blanks(out, context);
  out = cut_repeated_lines(out, context);
  if (is_blank(out)) return {{}, "repeated line"};
  out = cut_excess_closers(out, context);
  if (is_blank(out)) return {{}, "unmatched bracket"};
  out = cut_line_overlap(out, context);
  if (out.empty()) return {{}, "repeats the line"};
  out = close_open_brackets(out, context, mode, end);
  out = cut_trailing_blanks(out, context);
  if (is_blank(out)) return {{}, "blank"};
  // The brackets may all be there already.
  const Placement placed = place(out, context);
  if (is_blank(placed.text)) return {{}, "nothing new"};
  return {std::move(out), {}};
}

Placement place(std::string_view text, const CursorContext& context) {
  const size_t replaced = replaced_bytes(text, context);
  const std::string_view old = std::string_view(context.rest).substr(0, replaced);
  size_t alike = 0;
  while (alike < std::min(text.size(), old.size()) &&
         text[text.size() - 1 - alike] == old[old.size() - 1 - alike]) {
    ++alike;
  }
  while (floor_to_code_point(text, text.size() - alike) != text.size() - alike) --alike;
  return {std::string(text.substr(0, text.size() - alike)), replaced - alike};
}

}  // namespace fimd

#include "completion/stop_rules.h"

#include <algorithm>
#include <vector>

#include "completion/brackets.h"
#include "completion/text_util.h"

namespace fimd {
namespace {

constexpr size_t kMaxLeadingBlankLines = 2;
// A line repeats the next one only if it says something: `}` and `end` may well come twice.
constexpr size_t kMinEchoWordBytes = 4;
// The tail that is looked at for repetition, and how often its period must fit into it.
constexpr size_t kRepetitionTail = 240;
constexpr size_t kMinRepetition = 48;
constexpr size_t kMinPeriods = 3;
constexpr size_t kMinShortPeriods = 16;  // for units such as "0, "

void take_earlier(std::optional<Stop>* best, size_t length, std::string_view rule) {
  if (!*best || length < (*best)->length) *best = Stop{length, rule};
}

size_t word_bytes(std::string_view line) {
  return static_cast<size_t>(std::count_if(line.begin(), line.end(), is_word_byte));
}

std::optional<Stop> end_of_line(std::string_view text, const CursorContext& context) {
  if (!context.rest_is_blank()) {
    const size_t at = text.find('\n');
    if (at == std::string_view::npos) return std::nullopt;
    return Stop{at, "end of line"};
  }
  const size_t content = text.find_first_not_of(" \t\n");
  if (content == std::string_view::npos) return std::nullopt;
  const size_t at = text.find('\n', content);
  if (at == std::string_view::npos) return std::nullopt;
  return Stop{at, "end of line"};
}

std::optional<Stop> blank_lines(std::string_view text) {
  const size_t content = std::min(text.find_first_not_of(" \t\n"), text.size());
  const auto breaks = static_cast<size_t>(std::count(text.begin(), text.begin() + content, '\n'));
  if (breaks <= kMaxLeadingBlankLines) return std::nullopt;
  return Stop{0, "blank lines"};
}

/// A line of the generated text with what it is compared by.
struct Line {
  size_t begin = 0;
  size_t end = 0;  // without its line break
  bool complete = false;
};

std::vector<Line> lines_of(std::string_view text, bool final) {
  std::vector<Line> lines;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) {
      lines.push_back({begin, text.size(), final});
      break;
    }
    lines.push_back({begin, end, true});
    begin = end + 1;
  }
  return lines;
}

/// Drops the line break (and blank lines) before `begin`, so that a cut there leaves whole lines.
size_t before_line(std::string_view text, size_t begin) {
  return trim_right(text.substr(0, begin)).size();
}

/// The first generated line that repeats the text after the cursor.
std::optional<Stop> echo(std::string_view text, const std::vector<Line>& lines,
                         const CursorContext& context) {
  if (context.next_lines.empty()) return std::nullopt;
  const std::string_view next = trim_right(context.next_lines.front());
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!lines[i].complete) continue;
    const std::string_view generated = text.substr(lines[i].begin, lines[i].end - lines[i].begin);
    std::string whole;
    if (i == 0) whole = context.typed;
    whole += generated;
    if (trim_right(whole) != next) continue;
    if (word_bytes(next) < kMinEchoWordBytes) {
      // Too little to tell: the line after it must agree as well.
      if (context.next_lines.size() < 2 || i + 1 >= lines.size() || !lines[i + 1].complete)
        continue;
      const std::string_view following =
          text.substr(lines[i + 1].begin, lines[i + 1].end - lines[i + 1].begin);
      if (trim_right(following) != trim_right(context.next_lines[1])) continue;
    }
    return Stop{i == 0 ? 0 : before_line(text, lines[i].begin), "next line repeated"};
  }
  return std::nullopt;
}

/// A line indented less than the first one with content. A closing bracket that the text is to
/// provide belongs to the block in spite of its indentation.
std::optional<Stop> dedent(std::string_view text, const std::vector<Line>& lines,
                           const CursorContext& context) {
  std::optional<size_t> base;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view generated = text.substr(lines[i].begin, lines[i].end - lines[i].begin);
    std::string whole;
    if (i == 0) whole = context.typed;
    whole += generated;
    if (is_blank(whole)) continue;
    if (i == 0 && is_blank(generated)) continue;
    const size_t columns = indentation(whole);
    if (!base) {
      base = columns;
    } else if (columns < *base) {
      const char first = trim(whole).front();
      if (is_closer(first)) continue;                              // judged by its brackets
      if (first == '#' && context.line_comment == "//") continue;  // a preprocessor line
      return Stop{before_line(text, lines[i].begin), "dedent"};
    }
  }
  return std::nullopt;
}

/// The end of the line on which the text closed the block that the cursor is in.
std::optional<Stop> block_closed(std::string_view text, const CursorContext& context,
                                 const std::vector<Line>& lines) {
  if (context.ignores_brackets()) return std::nullopt;
  for (const Line& line : lines) {
    if (!line.complete) continue;
    const BracketScan scan =
        scan_brackets(text.substr(0, line.end), context.quote, context.line_comment);
    const bool closed = std::any_of(scan.unmatched.begin(), scan.unmatched.end(),
                                    [&](size_t at) { return text[at] == '}'; });
    if (closed && scan.open.empty()) return Stop{line.end, "block closed"};
  }
  return std::nullopt;
}

std::optional<Stop> find(std::string_view text, const CursorContext& context, LineMode mode,
                         bool final) {
  std::optional<Stop> best;
  const auto consider = [&best](const std::optional<Stop>& stop) {
    if (stop) take_earlier(&best, stop->length, stop->rule);
  };
  consider(blank_lines(text));
  if (const auto at = excess_closer(text, context)) {
    // The line that holds nothing but the bracket goes as well.
    const size_t kept = trim_right(text.substr(0, *at)).size();
    const bool alone = text.substr(kept, *at - kept).find('\n') != std::string_view::npos;
    take_earlier(&best, alone ? kept : *at, "unmatched bracket");
  }
  if (const auto at = repetition_start(text)) take_earlier(&best, *at, "repetition");
  const std::vector<Line> lines = lines_of(text, final);
  consider(echo(text, lines, context));
  if (mode == LineMode::kSingle) {
    consider(end_of_line(text, context));
    return best;
  }
  consider(block_closed(text, context, lines));
  consider(dedent(text, lines, context));
  if (lines.size() > kMaxLines) take_earlier(&best, lines[kMaxLines - 1].end, "line limit");
  return best;
}

}  // namespace

std::optional<size_t> excess_closer(std::string_view text, const CursorContext& context) {
  if (context.ignores_brackets()) return std::nullopt;
  const BracketScan scan = scan_brackets(text, context.quote, context.line_comment);
  const std::string_view rest = context.rest;
  size_t in_rest = 0;  // how far the rest of the line has been used up
  bool matching = true;
  size_t depth = 0;  // brackets opened before the cursor that the text has closed
  for (size_t at : scan.unmatched) {
    const char c = text[at];
    if (is_quote(c)) {  // closes the string; an auto-closed quote after the cursor is replaced
      if (matching && in_rest < rest.size() && rest[in_rest] == c) {
        ++in_rest;
      } else {
        matching = false;
      }
      continue;
    }
    if (depth >= context.open_closers.size() || context.open_closers[depth] != c) {
      if (context.free_closers.find(c) != std::string_view::npos) continue;
      return at;
    }
    ++depth;
    if (matching) {
      const size_t next = rest.find_first_not_of(" \t", in_rest);
      if (next != std::string_view::npos && rest[next] == c) {
        in_rest = next + 1;
        continue;  // replaced
      }
      matching = false;
    }
    // Not on the cursor's line: it must be one that is missing altogether.
    const size_t replaced = static_cast<size_t>(std::count_if(
        rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(in_rest), is_closer));
    if (depth > context.missing_closers + replaced) return at;
  }
  return std::nullopt;
}

std::optional<size_t> repetition_start(std::string_view text) {
  // Three equal lines in a row.
  const std::vector<std::string_view> lines = split_lines(text);
  for (size_t i = 2; i < lines.size(); ++i) {
    if (is_blank(lines[i]) || lines[i] != lines[i - 1] || lines[i] != lines[i - 2]) continue;
    if (word_bytes(lines[i]) < kMinEchoWordBytes) continue;
    if (i + 1 == lines.size()) continue;  // the last one may still grow
    return static_cast<size_t>(lines[i - 2].data() + lines[i - 2].size() - text.data());
  }
  // A tail that is the same few bytes over and over: its period by the failure function of Knuth,
  // Morris and Pratt, computed on the reversed tail so that the end is what must repeat.
  if (text.size() < kMinRepetition) return std::nullopt;
  const std::string_view window = text.substr(text.size() - std::min(text.size(), kRepetitionTail));
  const size_t n = window.size();
  const auto at = [&](size_t i) { return window[n - 1 - i]; };
  std::vector<size_t> border(n, 0);
  for (size_t i = 1, k = 0; i < n; ++i) {
    while (k > 0 && at(i) != at(k)) k = border[k - 1];
    if (at(i) == at(k)) ++k;
    border[i] = k;
    const size_t length = i + 1;
    const size_t period = length - k;
    if (length < kMinRepetition || length / period < kMinPeriods) continue;
    // Rules and runs of blanks repeat by nature.
    const std::string_view unit = window.substr(n - period);
    const size_t words = word_bytes(unit);
    if (words == 0 || (words == 1 && length / period < kMinShortPeriods)) continue;
    size_t run = length;  // as far back as the period holds
    while (run < text.size() &&
           text[text.size() - 1 - run] == text[text.size() - 1 - run + period]) {
      ++run;
    }
    return text.size() - run + period;
  }
  return std::nullopt;
}

std::optional<Stop> find_stop(std::string_view text, const CursorContext& context, LineMode mode) {
  return find(text, context, mode, false);
}

TextVerdict line_verdict(std::string_view text, bool ended, const CursorContext& context) {
  using Kind = TextVerdict::Kind;
  const std::optional<Stop> stop = find(text, context, LineMode::kSingle, ended);
  if (!stop && !ended) return {};
  const size_t length = stop ? std::min(stop->length, text.size()) : text.size();
  const bool says_nothing = is_blank(text.substr(0, length));
  const bool on_empty_line = is_blank(context.typed) && context.rest_is_blank();
  if (says_nothing && (on_empty_line || stop)) return {Kind::kRejected, 0};
  return {Kind::kComplete, length};
}

StopWatch::StopWatch(DocumentPtr document, size_t cursor, CursorContext context, LineMode mode)
    : context_(std::move(context)), mode_(mode) {
  if (mode_ != LineMode::kSingle) continuation_.emplace(std::move(document), cursor, cursor);
}

std::optional<Stop> StopWatch::ask_syntax(std::string_view text) {
  if (!continuation_) return std::nullopt;
  const auto end = mode_ == LineMode::kBlock ? continuation_->block_end(text)
                                             : continuation_->statement_end(text);
  if (!end || *end == 0) return std::nullopt;
  return Stop{std::min(*end, text.size()),
              mode_ == LineMode::kBlock ? "block complete" : "statement complete"};
}

std::optional<Stop> StopWatch::check(std::string_view text) {
  std::optional<Stop> stop = find(text, context_, mode_, false);
  const auto lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  if (mode_ != LineMode::kSingle && lines > asked_lines_) {
    asked_lines_ = lines;
    const auto syntax = ask_syntax(text);
    if (syntax && (!stop || syntax->length < stop->length)) stop = syntax;
  }
  return stop;
}

std::optional<Stop> StopWatch::check_final(std::string_view text) {
  std::optional<Stop> stop = find(text, context_, mode_, true);
  const auto syntax = ask_syntax(text);
  if (syntax && syntax->length < text.size() && (!stop || syntax->length < stop->length)) {
    stop = syntax;
  }
  return stop;
}

}  // namespace fimd

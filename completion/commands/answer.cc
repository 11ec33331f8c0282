#include "completion/commands/answer.h"

#include <algorithm>
#include <array>
#include <vector>

#include "completion/text_util.h"

namespace fimd {
namespace {

constexpr size_t kQuoted = 160;  // bytes of an unusable answer in the message about it

/// Length of the run of fence characters that begins a line, behind at most three blanks.
size_t fence_length(std::string_view line, char* mark) {
  size_t at = 0;
  while (at < line.size() && at < 4 && line[at] == ' ') ++at;
  if (at == line.size() || at > 3 || (line[at] != '`' && line[at] != '~')) return 0;
  size_t end = at;
  while (end < line.size() && line[end] == line[at]) ++end;
  if (end - at < 3) return 0;
  *mark = line[at];
  // What follows ``` on its line names a language and holds no ` (else it is code in a sentence).
  if (*mark == '`' && line.find('`', end) != std::string_view::npos) return 0;
  return end - at;
}

bool closes(std::string_view line, char mark, size_t length) {
  char found = 0;
  const size_t run = fence_length(line, &found);
  return run >= length && found == mark && is_blank(line.substr(line.find(mark) + run));
}

std::string quoted(std::string_view answer) {
  std::string_view line = trim(answer);
  line = line.substr(0, std::min(line.find('\n'), line.size()));
  std::string out(line.substr(0, floor_to_code_point(line, kQuoted)));
  if (out.size() < line.size()) out += "…";
  return out;
}

/// Models asked for code like to leave out what they would not change.
bool leaves_out(std::string_view line, std::string_view original) {
  const std::string_view text = trim(line);
  const bool comment = text.starts_with("#") || text.starts_with("//") || text.starts_with("--") ||
                       text.starts_with("/*");
  if (!comment || original.find(text) != std::string_view::npos) return false;
  if (text.find("...") == std::string_view::npos && text.find("…") == std::string_view::npos) {
    return false;
  }
  for (const std::string_view word :
       {"rest", "existing", "remain", "unchanged", "same", "other", "previous", "omitted"}) {
    if (text.find(word) != std::string_view::npos) return true;
  }
  return false;
}

void drop_blank_ends(std::vector<std::string_view>* lines) {
  while (!lines->empty() && is_blank(lines->back())) lines->pop_back();
  while (!lines->empty() && is_blank(lines->front())) lines->erase(lines->begin());
}

/// Least indentation of the lines behind the first; none if there are no others.
std::optional<size_t> least_indent(const std::vector<std::string_view>& lines) {
  std::optional<size_t> least;
  for (size_t i = 1; i < lines.size(); ++i) {
    if (is_blank(lines[i])) continue;
    const size_t here = indentation(lines[i]);
    least = std::min(least.value_or(here), here);
  }
  return least;
}

/// Whether there is indentation, and none of it has a `foreign` blank.
bool indents_without(const std::vector<std::string_view>& lines, char foreign) {
  bool found = false;
  for (const std::string_view line : lines) {
    const std::string_view blanks = leading_blanks(line);
    if (is_blank(line) || blanks.empty()) continue;
    if (blanks.find(foreign) != std::string_view::npos) return false;
    found = true;
  }
  return found;
}

/// Blanks at the beginning of each line become tabs, the smallest indentation one of them.
std::vector<std::string> with_tabs(const std::vector<std::string_view>& lines) {
  size_t unit = 0;
  for (const std::string_view line : lines) {
    const size_t width = leading_blanks(line).size();
    if (is_blank(line) || width < 2) continue;
    unit = unit == 0 ? width : std::min(unit, width);
  }
  std::vector<std::string> out;
  for (const std::string_view line : lines) {
    const size_t width = leading_blanks(line).size();
    if (unit == 0 || is_blank(line)) {
      out.emplace_back(line);
    } else {
      out.push_back(std::string(width / unit, '\t') + std::string(width % unit, ' ') +
                    std::string(line.substr(width)));
    }
  }
  return out;
}

}  // namespace

std::string_view without_thought(std::string_view answer) {
  std::string_view text = trim(answer);
  constexpr std::string_view kOpen = "<think>";
  constexpr std::string_view kClose = "</think>";
  if (text.starts_with(kOpen)) {
    const size_t close = text.find(kClose);
    if (close == std::string_view::npos) return {};
    text.remove_prefix(close + kClose.size());
  } else if (text.starts_with(kClose)) {
    text.remove_prefix(kClose.size());
  }
  return trim(text);
}

std::optional<CodeBlock> first_code_block(std::string_view answer) {
  size_t at = 0;
  while (at < answer.size()) {
    size_t line_end = std::min(answer.find('\n', at), answer.size());
    char mark = 0;
    const size_t length = fence_length(answer.substr(at, line_end - at), &mark);
    at = std::min(line_end + 1, answer.size());
    if (length == 0) continue;
    CodeBlock block;
    const size_t begin = at;
    size_t end = answer.size();
    while (at < answer.size()) {
      line_end = std::min(answer.find('\n', at), answer.size());
      if (closes(answer.substr(at, line_end - at), mark, length)) {
        block.closed = true;
        end = at;
        break;
      }
      at = std::min(line_end + 1, answer.size());
    }
    std::string_view text = answer.substr(begin, end - begin);
    if (text.ends_with('\n')) text.remove_suffix(1);
    if (is_blank(text) && block.closed) {
      at = std::min(line_end + 1, answer.size());
      continue;  // an empty block says nothing; there may be another
    }
    block.text = text;
    block.end = block.closed ? std::min(line_end, answer.size()) : answer.size();
    return block;
  }
  return std::nullopt;
}

bool has_whole_block(std::string_view answer) {
  if (!answer.ends_with('`') && !answer.ends_with('~') && !answer.ends_with('\n')) return false;
  const auto block = first_code_block(without_thought(answer));
  return block && block->closed;
}

std::string_view shown_so_far(std::string_view answer) {
  const size_t blanks = std::min(answer.find_first_not_of(" \t\r\n"), answer.size());
  std::string_view text = answer.substr(blanks);
  constexpr std::string_view kOpen = "<think>";
  constexpr std::string_view kClose = "</think>";
  if (kOpen.starts_with(text.substr(0, kOpen.size())) ||
      kClose.starts_with(text.substr(0, kClose.size()))) {
    const size_t close = text.find(kClose);
    if (close == std::string_view::npos) return {};
    text.remove_prefix(close + kClose.size());
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  }
  return text;
}

std::optional<size_t> circling(std::string_view answer) {
  constexpr size_t kTail = 800;
  constexpr size_t kLongestPeriod = 200;
  if (answer.size() < kTail) return std::nullopt;
  const std::string_view tail = answer.substr(answer.size() - kTail);
  // Knuth-Morris-Pratt: the shortest period of the tail.
  std::array<size_t, kTail> border{};
  for (size_t i = 1, k = 0; i < kTail; ++i) {
    while (k > 0 && tail[i] != tail[k]) k = border[k - 1];
    if (tail[i] == tail[k]) ++k;
    border[i] = k;
  }
  const size_t period = kTail - border[kTail - 1];
  if (period > kLongestPeriod) return std::nullopt;
  // Rules and table lines repeat one character.
  if (period == 1 && kTail < answer.size() && answer.size() < 2 * kTail) return std::nullopt;
  size_t begin = answer.size() - kTail;
  while (begin > 0 && answer[begin - 1] == answer[begin - 1 + period]) --begin;
  return floor_to_code_point(answer, begin + period);
}

std::string fence_for(std::string_view code) {
  size_t longest = 2;
  size_t run = 0;
  for (const char c : code) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return std::string(longest + 1, '`');
}

std::string reindented(std::string_view code, std::string_view original) {
  std::vector<std::string_view> shown = split_lines(original);
  std::vector<std::string_view> lines = split_lines(code);
  drop_blank_ends(&shown);
  drop_blank_ends(&lines);
  if (shown.empty() || lines.empty()) return std::string(code);

  std::vector<std::string> converted;
  if (indents_without(shown, ' ') && indents_without(lines, '\t')) {
    converted = with_tabs(lines);
    lines.assign(converted.begin(), converted.end());
  }
  const std::string_view base = leading_blanks(shown.front());
  const std::string_view have = leading_blanks(lines.front());
  const size_t want_width = indentation(shown.front());
  const size_t have_width = indentation(lines.front());

  // Only the first line may have lost its indentation: the others then stand to it as they do in
  // the original.
  bool only_first = false;
  const auto shown_least = least_indent(shown);
  const auto least = least_indent(lines);
  if (have_width < want_width && least && shown_least && *least >= want_width) {
    const auto original_step =
        static_cast<ptrdiff_t>(*shown_least) - static_cast<ptrdiff_t>(want_width);
    const auto as_is = static_cast<ptrdiff_t>(*least) - static_cast<ptrdiff_t>(want_width);
    only_first = as_is == original_step;
  }

  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    std::string_view line = lines[i];
    if (is_blank(line)) continue;
    if (have == base || (only_first && i > 0)) {
      out += line;
      continue;
    }
    // Off with what the answer's first line has, on with what the original's has.
    size_t take = 0;
    while (take < have.size() && take < line.size() && line[take] == have[take]) ++take;
    out += base;
    out += line.substr(take);
  }
  return out;
}

Result<std::string> replacement(std::string_view answer, std::string_view original,
                                bool truncated) {
  const std::string unix_answer = with_unix_line_breaks(answer);
  const std::string_view text = without_thought(unix_answer);
  const auto block = first_code_block(text);
  if (truncated && (!block || !block->closed)) {
    return Error{ErrorCode::kResourceExhausted,
                 "the answer became too long and was cut off; select less code"};
  }
  if (text.empty()) return Error{ErrorCode::kNotFound, "the model gave no answer"};
  if (!block || is_blank(block->text)) {
    return Error{ErrorCode::kNotFound, "the model answered without code: \"" + quoted(text) + "\""};
  }
  if (!is_clean_text(block->text)) {
    return Error{ErrorCode::kCorrupt, "the model's answer is garbled"};
  }
  for (const std::string_view line : split_lines(block->text)) {
    if (leaves_out(line, original)) {
      return Error{ErrorCode::kNotFound, "the model left out parts of the code: \"" +
                                             std::string(trim(line)) + "\"; select less code"};
    }
  }
  std::string code = reindented(block->text, original);
  std::vector<std::string_view> shown = split_lines(original);
  drop_blank_ends(&shown);
  std::string before;
  for (const std::string_view line : shown) {
    if (!before.empty()) before += '\n';
    before += line;
  }
  if (trim_right(code) == trim_right(before)) {
    return Error{ErrorCode::kNotFound, "the model suggests no change"};
  }
  return code;
}

}  // namespace fimd

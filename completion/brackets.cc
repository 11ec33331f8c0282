#include "completion/brackets.h"

namespace fimd {
namespace {

constexpr size_t kNone = std::string_view::npos;

/// The offset of the quote that ends a string whose text begins at `from`, or kNone if the line
/// (for backquotes: the text) ends before.
size_t string_end(std::string_view text, size_t from, char quote) {
  for (size_t i = from; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      return i;
    } else if (text[i] == '\n' && quote != '`') {
      return kNone;
    }
  }
  return kNone;
}

bool is_triple(std::string_view text, size_t at) {
  return at + 2 < text.size() && text[at] != '`' && text[at + 1] == text[at] &&
         text[at + 2] == text[at];
}

}  // namespace

char closing_of(char opener) {
  switch (opener) {
    case '(':
      return ')';
    case '[':
      return ']';
    case '{':
      return '}';
    default:
      return opener;
  }
}

bool is_closer(char c) { return c == ')' || c == ']' || c == '}'; }
bool is_opener(char c) { return c == '(' || c == '[' || c == '{'; }
bool is_quote(char c) { return c == '"' || c == '\'' || c == '`'; }

bool only_closers(std::string_view rest) {
  return rest.find_first_not_of(" \t\r\n)]}>\"'`;,:") == std::string_view::npos;
}

BracketScan scan_brackets(std::string_view text, char quote, std::string_view line_comment) {
  BracketScan scan;
  size_t i = 0;
  if (quote != 0) {
    const size_t end = string_end(text, 0, quote);
    if (end == kNone) {
      const size_t line_end = text.find('\n');
      if (line_end == kNone || quote == '`') return scan;  // all of it is string
      i = line_end;
    } else {
      scan.unmatched.push_back(end);
      i = end + 1;
    }
  }
  while (i < text.size()) {
    const char c = text[i];
    const std::string_view here = text.substr(i);
    if ((!line_comment.empty() && here.starts_with(line_comment)) ||
        (here.starts_with("//") && line_comment.empty())) {
      const size_t line_end = text.find('\n', i);
      if (line_end == kNone) break;
      i = line_end;
    } else if (here.starts_with("/*")) {
      const size_t end = text.find("*/", i + 2);
      if (end == kNone) break;
      i = end + 2;
    } else if (is_quote(c)) {
      if (is_triple(text, i)) {
        const size_t end = text.find(text.substr(i, 3), i + 3);
        if (end == kNone) {
          scan.open += c;
          break;
        }
        i = end + 3;
        continue;
      }
      const size_t end = string_end(text, i + 1, c);
      if (end != kNone) {
        i = end + 1;
      } else if (text.find('\n', i) == kNone) {
        scan.open += c;
        break;
      } else {
        ++i;  // an apostrophe, a lifetime, or a string cut off by the end of its line
      }
    } else {
      if (is_opener(c)) {
        scan.open += c;
      } else if (is_closer(c)) {
        if (!scan.open.empty() && closing_of(scan.open.back()) == c) {
          scan.open.pop_back();
        } else if (scan.open.empty()) {
          scan.unmatched.push_back(i);
        }
        // A closer of the wrong kind inside an opened bracket is ignored: typing is in progress.
      }
      ++i;
    }
  }
  return scan;
}

}  // namespace fimd

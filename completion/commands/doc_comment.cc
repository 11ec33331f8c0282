#include "completion/commands/doc_comment.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "completion/text_util.h"

namespace fimd {
namespace {

constexpr size_t kMaxDocBytes = 8192;
constexpr size_t kMaxFilledLines = 4;

std::string_view line_mark(DocStyle style) {
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

/// `line` without the mark of a line comment; false if it is none.
bool strip_line_mark(std::string_view* line) {
  const std::string_view text = trim(*line);
  for (const std::string_view mark : {"///", "//!", "//", "---", "--", "#"}) {
    if (!text.starts_with(mark)) continue;
    if (mark == "#" && (text.starts_with("#!") || text.starts_with("#["))) return false;
    *line = text.substr(mark.size());
    return true;
  }
  return false;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    out += lines[i];
  }
  return out;
}

/// Trims the lines' ends, drops blank ones around, takes off common indentation. The first line of
/// a docstring stands behind its quotes and counts for none.
std::string tidy(std::vector<std::string> lines, bool first_counts) {
  size_t common = std::string::npos;
  for (size_t i = 0; i < lines.size(); ++i) {
    lines[i] = std::string(trim_right(lines[i]));
    if (lines[i].empty() || (i == 0 && !first_counts)) continue;
    common = std::min(common, leading_blanks(lines[i]).size());
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i == 0 && !first_counts) {
      lines[i] = std::string(trim(lines[i]));
    } else if (common != std::string::npos) {
      lines[i].erase(0, std::min(common, lines[i].size()));
    }
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  while (!lines.empty() && lines.front().empty()) lines.erase(lines.begin());
  if (!lines.empty()) lines.front() = std::string(trim(lines.front()));
  return joined(lines);
}

std::vector<std::string> own_lines(std::string_view text) {
  std::vector<std::string> out;
  for (const std::string_view line : split_lines(text)) out.emplace_back(line);
  return out;
}

/// The inside of /** ... */ without the stars that begin its lines.
std::string block_text(std::string_view inside) {
  std::vector<std::string> lines;
  for (std::string_view line : split_lines(inside)) {
    const std::string_view text = trim(line);
    if (!lines.empty() && text.starts_with('*')) {
      lines.emplace_back(text.substr(1));
    } else {
      lines.emplace_back(lines.empty() ? text : line);
    }
  }
  return tidy(std::move(lines), false);
}

bool is_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return std::isalpha(byte) != 0 || byte >= 0x80U;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (size_t i = 0; i <= text.size(); ++i) {
    const bool inside = i < text.size() && (is_word(text[i]) || text[i] == '\'');
    if (inside) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(text[i])));
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

Error unusable(const std::string& why) {
  return {ErrorCode::kNotFound, "the model found no description: " + why};
}

bool is_prose(std::string_view line) {
  return !line.empty() && is_word(line.front()) && line.find("  ") == std::string_view::npos;
}

/// Prose longer than `width` is broken at blanks; all else stays as it is.
std::vector<std::string> wrapped(std::string_view text, size_t width) {
  std::vector<std::string> out;
  for (std::string_view line : split_lines(text)) {
    while (line.size() > width && is_prose(line)) {
      const size_t at = line.rfind(' ', width);
      if (at == std::string_view::npos || at == 0) break;
      out.emplace_back(line.substr(0, at));
      line.remove_prefix(at + 1);
    }
    out.emplace_back(line);
  }
  return out;
}

}  // namespace

std::string doc_text(DocStyle style, std::string_view written) {
  const std::string unix_text = with_unix_line_breaks(written);
  const std::string_view text = unix_text;
  if (style == DocStyle::kDocstring) {
    for (const std::string_view quotes : {R"(""")", "'''"}) {
      const size_t open = text.find(quotes);
      if (open == std::string_view::npos) continue;
      const size_t begin = open + quotes.size();
      const size_t close = std::min(text.find(quotes, begin), text.size());
      return tidy(own_lines(text.substr(begin, close - begin)), false);
    }
    return tidy(own_lines(text), true);
  }
  const size_t block = text.find("/*");
  std::vector<std::string> lines;
  for (std::string_view line : split_lines(text)) {
    const bool before_block = block == std::string_view::npos || line.data() < text.data() + block;
    if (!before_block && lines.empty()) break;
    if (strip_line_mark(&line)) {
      lines.emplace_back(line);
    } else if (!lines.empty()) {
      break;
    }
  }
  if (!lines.empty()) return tidy(std::move(lines), true);
  if (block != std::string_view::npos) {
    size_t begin = block + 2;
    while (begin < text.size() && (text[begin] == '*' || text[begin] == '!') &&
           text.substr(begin, 2) != "*/") {
      ++begin;
    }
    const size_t close = std::min(text.find("*/", begin), text.size());
    return block_text(text.substr(begin, close - begin));
  }
  return tidy(own_lines(text), true);
}

Status check_doc_text(std::string_view text, std::string_view code) {
  if (is_blank(text)) return unusable("it wrote nothing");
  if (text.size() > kMaxDocBytes) return unusable("what it wrote is too long");
  if (!is_clean_text(text)) return unusable("what it wrote is garbled");
  const std::vector<std::string> words = words_of(text);
  if (words.size() < 2) return unusable("\"" + std::string(text) + "\"");
  size_t repeated = 0;
  for (size_t i = 1; i < words.size(); ++i) repeated += words[i] == words[i - 1] ? 1 : 0;
  if (repeated > words.size() / 12) return unusable("it repeats itself");
  // Three words in a row, again and again. Longer texts may say the same twice.
  std::map<std::string, size_t> triples;
  for (size_t i = 2; i < words.size(); ++i) {
    const size_t times = ++triples[words[i - 2] + " " + words[i - 1] + " " + words[i]];
    if (times > 1 + words.size() / 40) return unusable("it repeats itself");
  }
  std::vector<std::string_view> seen;
  for (const std::string_view line : split_lines(text)) {
    const std::string_view content = trim(line);
    if (content.size() < 12) continue;
    if (std::find(seen.begin(), seen.end(), content) != seen.end()) {
      return unusable("it repeats itself");
    }
    seen.push_back(content);
    for (const std::string_view of_code : split_lines(code)) {
      if (trim(of_code) == content) return unusable("it wrote the code again");
    }
  }
  return {};
}

std::string doc_comment(const DocPlace& place, std::string_view text, size_t columns) {
  const size_t used = indentation(place.indent) + 8;
  const size_t width = columns > used + 20 ? columns - used : 20;
  std::string safe(text);
  const auto replace_all = [&safe](std::string_view what, std::string_view with) {
    for (size_t at = 0; (at = safe.find(what, at)) != std::string::npos; at += with.size()) {
      safe.replace(at, what.size(), with);
    }
  };
  const std::string& indent = place.indent;
  std::string out;
  switch (place.style) {
    case DocStyle::kDocstring: {
      replace_all(R"(""")", "'''");
      if (safe.ends_with('"')) safe += ' ';
      const std::vector<std::string> lines = wrapped(safe, width);
      // A backslash would begin an escape.
      out += indent + (safe.find('\\') == std::string::npos ? "" : "r") + R"(""")";
      for (size_t i = 0; i < lines.size(); ++i) {
        if (i > 0 && !lines[i].empty()) out += indent;
        out += lines[i];
        if (lines.size() > 1) out += '\n';
      }
      out += (lines.size() > 1 ? indent : "") + R"(""")" + "\n";
      return out;
    }
    case DocStyle::kBlock: {
      replace_all("*/", "* /");
      const std::vector<std::string> lines = wrapped(safe, width);
      if (lines.size() == 1) return indent + "/** " + lines.front() + " */\n";
      out += indent + "/**\n";
      for (const std::string& line : lines) {
        out += indent + (line.empty() ? " *" : " * " + line) + "\n";
      }
      return out + indent + " */\n";
    }
    default: {
      const std::string mark(line_mark(place.style));
      for (const std::string& line : wrapped(safe, width)) {
        out += indent + (line.empty() ? mark : mark + " " + line) + "\n";
      }
      return out;
    }
  }
}

DocFill doc_fill(const DocPlace& place) {
  const std::string& indent = place.indent;
  switch (place.style) {
    case DocStyle::kDocstring:
      // Unclosed: models trained on real files then close it themselves where it ends.
      return {indent + R"(""")", "\n", {R"(""")", "\n\n"}};
    case DocStyle::kBlock:
      return {indent + "/**\n" + indent + " * ", "\n" + indent + " */\n", {"*/", " * @"}};
    default: {
      const std::string mark(line_mark(place.style));
      // Go's comments begin with the name.
      const std::string begin =
          place.style == DocStyle::kSlashes ? mark + " " + place.code.name + " " : mark + " ";
      return {indent + begin, "\n", {"\n\n"}};
    }
  }
}

std::string filled_doc_text(const DocPlace& place, std::string_view written) {
  const std::string unix_text = with_unix_line_breaks(written);
  const std::string mark(place.style == DocStyle::kBlock ? "*" : line_mark(place.style));
  std::vector<std::string> lines;
  for (const std::string_view raw : split_lines(unix_text)) {
    std::string_view line = trim(raw);
    if (!lines.empty() && !mark.empty()) {
      if (!line.starts_with(mark)) break;  // the code below, or what the model takes for it
      line = trim(line.substr(mark.size()));
    }
    const bool tag = line.starts_with('@') || line.starts_with(':') || line.starts_with('\\');
    const bool section = line.ends_with(':') && line.find(' ') == std::string_view::npos;
    if (tag || (line.empty() && !lines.empty()) || section) break;
    if (line.empty()) continue;
    lines.emplace_back(line);
    if (lines.size() == kMaxFilledLines) break;
  }
  std::string text = joined(lines);
  if (place.style == DocStyle::kSlashes && !text.empty()) text = place.code.name + " " + text;
  if (!text.empty() && (is_word(text.back()) || text.back() == '`' || text.back() == ')')) {
    text += '.';
  }
  return text;
}

}  // namespace fimd

#include "lsp/commands/source_file.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "lsp/paths.h"

namespace fimd::lsp {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxFileBytes = uintmax_t{16} << 20;

std::string project_folder(const fs::path& file) {
  std::error_code ignored;
  for (fs::path dir = file.parent_path(); dir != dir.root_path(); dir = dir.parent_path()) {
    if (fs::exists(dir / ".git", ignored)) return dir.string();
  }
  return file.parent_path().string();
}

/// Lines with their breaks.
std::vector<std::string_view> whole_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return lines;
}

void add_line(char mark, std::string_view line, std::string* out) {
  *out += mark;
  *out += line;
  if (!line.ends_with('\n')) *out += "\n\\ No newline at end of file\n";
}

}  // namespace

Result<SourceFile> read_source(const std::string& name) {
  std::error_code error;
  const fs::path path = fs::absolute(name, error).lexically_normal();
  const uintmax_t size = fs::file_size(path, error);
  if (error) return Error{ErrorCode::kNotFound, path.string() + ": " + error.message()};
  if (size > kMaxFileBytes) {
    return Error{ErrorCode::kUnsupported, path.string() + " has more than 16 MiB"};
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return Error{ErrorCode::kIo, "cannot read " + path.string()};
  SourceFile file;
  file.path = path.string();
  file.folder = project_folder(path);
  file.document = Document::open(uri_of_path(file.path), "", 0, text.str());
  return file;
}

std::optional<uint32_t> positive_number(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0) return std::nullopt;
  return value;
}

std::optional<FileLines> parse_file_lines(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return FileLines{text};
  const std::string_view lines = std::string_view(text).substr(colon + 1);
  const size_t dash = lines.find('-');
  const auto first = positive_number(lines.substr(0, dash));
  // The name itself may hold a colon, but not what looks like a mistaken line.
  if (!first) {
    const bool meant = !lines.empty() && lines.find_first_not_of("0123456789-") == lines.npos;
    return meant ? std::nullopt : std::optional(FileLines{text});
  }
  const auto last = dash == lines.npos ? first : positive_number(lines.substr(dash + 1));
  if (!last || *last < *first) return std::nullopt;
  return FileLines{text.substr(0, colon), *first - 1, *last - 1, false};
}

std::string unified_diff(const std::string& name, std::string_view before, std::string_view after) {
  constexpr size_t kContext = 3;
  if (before == after) return "";
  const auto old_lines = whole_lines(before);
  const auto new_lines = whole_lines(after);
  size_t head = 0;
  const size_t shorter = std::min(old_lines.size(), new_lines.size());
  while (head < shorter && old_lines[head] == new_lines[head]) ++head;
  size_t tail = 0;
  while (tail < shorter - head &&
         old_lines[old_lines.size() - 1 - tail] == new_lines[new_lines.size() - 1 - tail]) {
    ++tail;
  }
  const size_t from = head - std::min(head, kContext);
  const size_t behind = std::min(tail, kContext);
  const size_t old_end = old_lines.size() - tail;
  const size_t new_end = new_lines.size() - tail;
  const auto place = [&](size_t end) {
    const size_t count = end + behind - from;
    // An empty side is named by the line before it.
    return std::to_string(count == 0 ? from : from + 1) + "," + std::to_string(count);
  };
  std::string out =
      "--- " + name + "\n+++ " + name + "\n@@ -" + place(old_end) + " +" + place(new_end) + " @@\n";
  for (size_t i = from; i < head; ++i) add_line(' ', old_lines[i], &out);
  for (size_t i = head; i < old_end; ++i) add_line('-', old_lines[i], &out);
  for (size_t i = head; i < new_end; ++i) add_line('+', new_lines[i], &out);
  for (size_t i = old_end; i < old_end + behind; ++i) add_line(' ', old_lines[i], &out);
  return out;
}

}  // namespace fimd::lsp

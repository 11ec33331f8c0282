// A file that a command of the program is about, as an editor would have it open.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "context/document.h"
#include "support/result.h"

namespace fimd::lsp {

struct SourceFile {
  std::string path;      // absolute
  std::string folder;    // of the project: the nearest one above with a repository, else its own
  DocumentPtr document;  // valid UTF-8
};

/// At most 16 MiB.
Result<SourceFile> read_source(const std::string& path);

/// A number from 1 on.
std::optional<uint32_t> positive_number(std::string_view text);

/// FILE, FILE:LINE or FILE:LINE-LINE, counted from 1. The file's own name may hold colons.
struct FileLines {
  std::string path;
  uint32_t first = 0;  // zero-based
  uint32_t last = 0;
  bool whole = true;  // no line was given
};
std::optional<FileLines> parse_file_lines(const std::string& text);

/// What `diff -u` says of two versions of a file; "" if they are equal. Changes are one hunk.
std::string unified_diff(const std::string& name, std::string_view before, std::string_view after);

}  // namespace fimd::lsp

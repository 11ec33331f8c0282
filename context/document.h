// Document: an immutable snapshot of one open file: text, version, line index and syntax tree.
//
// The io thread makes a new snapshot for every change; snapshots are shared as shared_ptr<const
// Document> and may be read from any thread. All offsets inside fimd are UTF-8 byte offsets; the
// client's position encoding is translated here and nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/result.h"

namespace fimd {

class Language;    // context/language.h: grammar, queries, comment tokens
class SyntaxTree;  // context/syntax_tree.h: RAII around a tree-sitter tree

enum class PositionEncoding { kUtf8, kUtf16, kUtf32 };

/// Zero-based, `character` counted in the client's encoding.
struct Position {
  uint32_t line = 0;
  uint32_t character = 0;
};

struct Range {
  Position start;
  Position end;
};

/// One LSP content change: the whole text if `range` is absent.
struct TextChange {
  std::optional<Range> range;
  std::string text;
};

class Document {
 public:
  /// `language_id` is LSP's; an unknown one falls back to the path's extension, then to no syntax.
  /// Invalid UTF-8 in `text` is replaced by U+FFFD.
  static std::shared_ptr<const Document> open(std::string uri, std::string language_id,
                                              int64_t version, std::string text);

  /// The snapshot after `changes`, applied in order and reparsed incrementally. Positions past the
  /// end of a line clamp to it (as LSP says); a line past the end of the document (other than the
  /// one right behind the last, which clients use for the end) or start > end is an error.
  Result<std::shared_ptr<const Document>> apply(const std::vector<TextChange>& changes,
                                                int64_t version, PositionEncoding encoding) const;

  const std::string& uri() const { return uri_; }
  const std::string& path() const { return path_; }  // from a file: uri, percent-decoded; else ""
  const std::string& language_id() const { return language_id_; }
  int64_t version() const { return version_; }
  const std::string& text() const { return text_; }
  const Language* language() const { return language_; }  // null: unknown, no syntax
  const SyntaxTree* tree() const { return tree_.get(); }  // null: no syntax

  size_t line_count() const { return line_starts_.size(); }
  size_t line_start(size_t line) const { return line_starts_[line]; }
  /// The end of a line without its line break ("\n", "\r\n" or "\r").
  size_t line_end(size_t line) const;
  size_t line_of(size_t offset) const;
  std::string_view line_text(size_t line) const;  // without its line break

  Result<size_t> offset_at(Position position, PositionEncoding encoding) const;
  Position position_at(size_t offset, PositionEncoding encoding) const;

  /// Where the last change to this document ended (a guess of the cursor); absent before any
  /// change.
  std::optional<size_t> last_edit_offset() const { return last_edit_offset_; }

  ~Document();

 private:
  Document();
  void index_lines();
  /// line_starts_ after text_[begin, old_end) became text_[begin, new_end).
  void reindex_lines(size_t begin, size_t old_end, size_t new_end);

  std::string uri_;
  std::string path_;
  std::string language_id_;
  int64_t version_ = 0;
  std::string text_;
  std::vector<size_t> line_starts_;
  const Language* language_ = nullptr;
  std::shared_ptr<const SyntaxTree> tree_;
  std::optional<size_t> last_edit_offset_;
  // Parses that took too long in a row, and how many edits to let pass before the next try.
  uint32_t parse_failures_ = 0;
  uint32_t parses_to_skip_ = 0;
};

using DocumentPtr = std::shared_ptr<const Document>;

}  // namespace fimd

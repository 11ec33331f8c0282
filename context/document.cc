#include "context/document.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "context/language.h"
#include "context/syntax_tree.h"
#include "context/text.h"

namespace fimd {
namespace {

// Opening may take a moment; a keystroke may not.
constexpr double kOpenParseMs = 500;
constexpr double kEditParseMs = 60;

}  // namespace

Document::Document() = default;
Document::~Document() = default;

std::shared_ptr<const Document> Document::open(std::string uri, std::string language_id,
                                               int64_t version, std::string text) {
  const std::shared_ptr<Document> document(new Document());
  document->path_ = uri_to_path(uri);
  document->uri_ = std::move(uri);
  document->language_id_ = std::move(language_id);
  document->version_ = version;
  document->text_ = repair_utf8(std::move(text));
  document->index_lines();
  const std::string& name = document->path_.empty() ? document->uri_ : document->path_;
  document->language_ = find_language(document->language_id_, name);
  if (document->language_ != nullptr) {
    document->tree_ = SyntaxTree::parse(*document->language_, document->text_, kOpenParseMs);
  }
  return document;
}

Result<std::shared_ptr<const Document>> Document::apply(const std::vector<TextChange>& changes,
                                                        int64_t version,
                                                        PositionEncoding encoding) const {
  const std::shared_ptr<Document> next(new Document());
  next->uri_ = uri_;
  next->path_ = path_;
  next->language_id_ = language_id_;
  next->language_ = language_;
  next->version_ = version;
  next->text_ = text_;
  next->line_starts_ = line_starts_;
  next->last_edit_offset_ = last_edit_offset_;
  next->parse_failures_ = parse_failures_;
  next->parses_to_skip_ = parses_to_skip_;

  std::vector<TSInputEdit> edits;
  for (const TextChange& change : changes) {
    size_t begin = 0;
    size_t end = next->text_.size();
    if (change.range) {
      FIMD_ASSIGN_OR_RETURN(begin, next->offset_at(change.range->start, encoding));
      FIMD_ASSIGN_OR_RETURN(end, next->offset_at(change.range->end, encoding));
      if (begin > end) {
        return Error{ErrorCode::kInvalidArgument,
                     "the change's range ends before it starts in " + uri_};
      }
    }
    const std::string inserted = repair_utf8(change.text);
    if (change.range) {
      const size_t new_end = begin + inserted.size();
      std::string text;
      text.reserve(next->text_.size() - (end - begin) + inserted.size());
      text.append(next->text_, 0, begin).append(inserted).append(next->text_, end);
      if (tree_ != nullptr) edits.push_back(make_edit(next->text_, begin, end, text, new_end));
      next->text_ = std::move(text);
      next->reindex_lines(begin, end, new_end);
      next->last_edit_offset_ = new_end;
    } else {
      // The whole text, as some clients always send: the edit is what differs from the old one.
      const std::string& old = next->text_;
      const size_t shorter = std::min(old.size(), inserted.size());
      size_t front = 0;
      while (front < shorter && old[front] == inserted[front]) ++front;
      front = floor_to_code_point(old, front);
      front = std::min(front, floor_to_code_point(inserted, front));
      size_t back = 0;
      while (back < shorter - front &&
             old[old.size() - 1 - back] == inserted[inserted.size() - 1 - back]) {
        ++back;
      }
      while (back > 0 &&
             floor_to_code_point(inserted, inserted.size() - back) != inserted.size() - back) {
        --back;
      }
      const size_t new_end = inserted.size() - back;
      if (tree_ != nullptr && (front != old.size() || front != inserted.size())) {
        edits.push_back(make_edit(old, front, old.size() - back, inserted, new_end));
      }
      if (front != old.size() || front != inserted.size()) next->last_edit_offset_ = new_end;
      next->text_ = inserted;
      next->index_lines();
    }
  }

  if (language_ == nullptr) return DocumentPtr(next);
  if (tree_ != nullptr) {
    next->tree_ = edits.empty() ? tree_ : tree_->reparse(next->text_, edits, kEditParseMs);
  } else if (parses_to_skip_ > 0) {
    --next->parses_to_skip_;
  } else {
    next->tree_ = SyntaxTree::parse(*language_, next->text_, kEditParseMs);
  }
  if (next->tree_ != nullptr) {
    next->parse_failures_ = 0;
  } else if (parses_to_skip_ == 0) {
    // Too slow to parse: try again ever more rarely, so that typing stays responsive.
    next->parse_failures_ = std::min(parse_failures_ + 1, 10u);
    next->parses_to_skip_ = 1u << next->parse_failures_;
  }
  return DocumentPtr(next);
}

void Document::index_lines() {
  line_starts_.assign(1, 0);
  append_line_starts(text_, 0, text_.size(), &line_starts_);
}

void Document::reindex_lines(size_t begin, size_t old_end, size_t new_end) {
  // A break's meaning depends on its neighbours ("\r" before "\n"), so one byte around the edit is
  // read again. Starts <= begin - 1 come from breaks that end before that byte and stay.
  const size_t scan_begin = begin > 0 ? begin - 1 : 0;
  const size_t scan_end = std::min(new_end + 1, text_.size());
  const size_t old_scan_end = old_end + (scan_end - new_end);
  const auto keep = std::upper_bound(line_starts_.begin() + 1, line_starts_.end(), scan_begin);
  const auto tail = std::upper_bound(keep, line_starts_.end(), old_scan_end);
  std::vector<size_t> starts(line_starts_.begin(), keep);
  starts.reserve(line_starts_.size() + 8);
  append_line_starts(text_, scan_begin, scan_end, &starts);
  for (auto it = tail; it != line_starts_.end(); ++it) starts.push_back(*it - old_end + new_end);
  line_starts_ = std::move(starts);
}

size_t Document::line_end(size_t line) const {
  assert(line < line_starts_.size());
  if (line + 1 == line_starts_.size()) return text_.size();
  size_t end = line_starts_[line + 1] - 1;
  if (text_[end] == '\n' && end > line_starts_[line] && text_[end - 1] == '\r') --end;
  return end;
}

size_t Document::line_of(size_t offset) const {
  const auto next = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
  return static_cast<size_t>(next - line_starts_.begin()) - 1;
}

std::string_view Document::line_text(size_t line) const {
  const size_t begin = line_start(line);
  return std::string_view(text_).substr(begin, line_end(line) - begin);
}

Result<size_t> Document::offset_at(Position position, PositionEncoding encoding) const {
  if (position.line >= line_count()) {
    // The line behind the last is how some clients name the end of a document.
    if (position.line == line_count()) return text_.size();
    return Error{ErrorCode::kInvalidArgument, "line " + std::to_string(position.line) +
                                                  " is past the " + std::to_string(line_count()) +
                                                  " lines of " + uri_};
  }
  return line_start(position.line) +
         byte_offset(line_text(position.line), position.character, encoding);
}

Position Document::position_at(size_t offset, PositionEncoding encoding) const {
  offset = floor_to_code_point(text_, offset);
  const size_t line = line_of(offset);
  offset = std::min(offset, line_end(line));
  const std::string_view before =
      std::string_view(text_).substr(line_start(line), offset - line_start(line));
  return {static_cast<uint32_t>(line), static_cast<uint32_t>(encoded_length(before, encoding))};
}

}  // namespace fimd

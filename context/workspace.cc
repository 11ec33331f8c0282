#include "context/workspace.h"

#include <algorithm>
#include <utility>

namespace fimd {
namespace {

constexpr size_t kRecentlyClosed = 10;
constexpr size_t kVisits = 64;
constexpr size_t kSamePlaceLines = 10;  // a move within so many lines is no new visit

std::string normalised(std::string path) {
  std::replace(path.begin(), path.end(), '\\', '/');
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string_view last_component(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

/// The longest of `folders` that contains `path`; null if none does.
const std::string* folder_of(const std::vector<std::string>& folders, std::string_view path) {
  const std::string* best = nullptr;
  for (const std::string& folder : folders) {
    const bool inside = path.size() > folder.size() + 1 && path.starts_with(folder) &&
                        (folder.back() == '/' || path[folder.size()] == '/');
    if (inside && (best == nullptr || folder.size() > best->size())) best = &folder;
  }
  return best;
}

}  // namespace

void Workspace::set_folders(std::vector<std::string> paths) {
  folders_.clear();
  for (std::string& path : paths) {
    if (!path.empty()) folders_.push_back(normalised(std::move(path)));
  }
}

DocumentPtr Workspace::open(std::string uri, std::string language_id, int64_t version,
                            std::string text) {
  DocumentPtr document =
      Document::open(std::move(uri), std::move(language_id), version, std::move(text));
  std::erase_if(recently_closed_,
                [&](const DocumentPtr& closed) { return closed->uri() == document->uri(); });
  open_[document->uri()] = document;
  used_[document->uri()] = ++tick_;
  return document;
}

Result<DocumentPtr> Workspace::change(const std::string& uri,
                                      const std::vector<TextChange>& changes, int64_t version,
                                      PositionEncoding encoding) {
  const auto found = open_.find(uri);
  if (found == open_.end()) {
    return Error{ErrorCode::kNotFound, "a change came for " + uri + ", which is not open"};
  }
  FIMD_ASSIGN_OR_RETURN(DocumentPtr next, found->second->apply(changes, version, encoding));
  found->second = next;
  if (next->last_edit_offset()) note(uri, next->line_of(*next->last_edit_offset()), true);
  return next;
}

Status Workspace::close(const std::string& uri) {
  const auto found = open_.find(uri);
  if (found == open_.end()) {
    return Error{ErrorCode::kNotFound, uri + " is not open, so it cannot be closed"};
  }
  recently_closed_.insert(recently_closed_.begin(), std::move(found->second));
  if (recently_closed_.size() > kRecentlyClosed) {
    const std::string& gone = recently_closed_.back()->uri();
    std::erase_if(visits_, [&](const Visit& visit) { return visit.uri == gone; });
    recently_closed_.pop_back();
  }
  open_.erase(found);
  used_.erase(uri);
  return {};
}

DocumentPtr Workspace::find(std::string_view uri) const {
  const auto found = open_.find(uri);
  return found == open_.end() ? nullptr : found->second;
}

std::vector<DocumentPtr> Workspace::documents() const {
  std::vector<std::pair<uint64_t, DocumentPtr>> order;
  order.reserve(open_.size());
  for (const auto& [uri, document] : open_) {
    const auto used = used_.find(uri);
    order.emplace_back(used == used_.end() ? 0 : used->second, document);
  }
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<DocumentPtr> documents;
  documents.reserve(order.size());
  for (auto& [tick, document] : order) documents.push_back(std::move(document));
  return documents;
}

void Workspace::visit(const std::string& uri, size_t offset) {
  const DocumentPtr document = find(uri);
  if (document != nullptr) note(uri, document->line_of(offset), false);
}

void Workspace::note(const std::string& uri, size_t line, bool edited) {
  used_[uri] = ++tick_;
  const auto same_place = [&](const Visit& visit) {
    const size_t distance = visit.line > line ? visit.line - line : line - visit.line;
    return visit.uri == uri && distance <= kSamePlaceLines;
  };
  const auto old = std::find_if(visits_.begin(), visits_.end(), same_place);
  if (old != visits_.end()) {
    edited = edited || old->edited;
    visits_.erase(old);
  } else if (visits_.size() >= kVisits) {
    visits_.erase(visits_.begin());
  }
  visits_.push_back({uri, line, tick_, edited});
}

std::string Workspace::relative_path(const Document& document) const {
  const std::string path = normalised(document.path());
  if (path.empty()) return std::string(last_component(document.uri()));
  const std::string* folder = folder_of(folders_, path);
  if (folder == nullptr) return std::string(last_component(path));
  return path.substr(folder->size() + (folder->back() == '/' ? 0 : 1));
}

std::string Workspace::folder_name(const Document& document) const {
  const std::string* folder = folder_of(folders_, normalised(document.path()));
  return folder == nullptr ? "" : std::string(last_component(*folder));
}

}  // namespace fimd

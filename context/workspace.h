// Workspace: the open documents of one editor session, and where its user has been lately.
//
// Owner: one Session (lsp/). Thread: the io thread only; the snapshots it hands out are
// free-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "context/document.h"

namespace fimd {

/// A place the user edited or looked at, newest last.
struct Visit {
  std::string uri;
  size_t line = 0;
  uint64_t tick = 0;  // grows with every visit of the workspace
  bool edited = false;
};

class Workspace {
 public:
  void set_folders(std::vector<std::string> paths);
  const std::vector<std::string>& folders() const { return folders_; }

  DocumentPtr open(std::string uri, std::string language_id, int64_t version, std::string text);
  Result<DocumentPtr> change(const std::string& uri, const std::vector<TextChange>& changes,
                             int64_t version, PositionEncoding encoding);
  Status close(
      const std::string& uri);  // the text stays available as a recent document for a while

  DocumentPtr find(std::string_view uri) const;  // null if not open
  std::vector<DocumentPtr> documents() const;    // open ones, most recently used first
  /// Last snapshots of closed documents, most recently closed first.
  const std::vector<DocumentPtr>& recently_closed() const { return recently_closed_; }

  /// Notes that the user's cursor is there (a completion request, a focus notification).
  void visit(const std::string& uri, size_t offset);
  const std::vector<Visit>& visits() const { return visits_; }

  /// Path of a document relative to the workspace folder that contains it; the file name if none
  /// does.
  std::string relative_path(const Document& document) const;
  /// Last component of that folder; "" if none.
  std::string folder_name(const Document& document) const;

 private:
  void note(const std::string& uri, size_t line, bool edited);

  std::vector<std::string> folders_;
  std::map<std::string, DocumentPtr, std::less<>> open_;
  std::map<std::string, uint64_t, std::less<>> used_;  // tick of the last use of an open document
  std::vector<DocumentPtr> recently_closed_;           // newest first
  std::vector<Visit> visits_;
  uint64_t tick_ = 0;
};

}  // namespace fimd

// SuggestionCache: suggestions computed before, found again by the text around the cursor.
//
// An entry is anchored at the line on which its generation began, so that it is found while the
// user types what it says (also over several lines, and with brackets that the editor closes or
// skips), and again after typing something else and deleting it. Text far from the cursor does not
// matter.
//
// Owner: one per editor session. Thread: the io thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "completion/line_mode.h"
#include "context/document.h"

namespace fimd {

/// A cursor, remembered by its surroundings.
struct Anchor {
  uint64_t before = 0;          // hash of the text before the cursor's line
  std::vector<uint64_t> after;  // of the text after the cursor: whole, then less 1, 2, ... closers
  std::string typed;            // the cursor's line up to the cursor

  friend bool operator==(const Anchor&, const Anchor&) = default;
};

Anchor anchor_at(const Document& document, size_t cursor);

/// Hashes of one document's surroundings of a cursor, each computed once.
class AnchorProbe {
 public:
  AnchorProbe(const Document& document, size_t cursor);

  /// If the document is what `anchor` was made for, except for text typed since: that text, from
  /// the start of the anchor's line to the cursor. It begins with the anchor's own typed part. At
  /// most `max_lines` line breaks have been typed.
  std::optional<std::string> typed_since(const Anchor& anchor, size_t max_lines);

 private:
  struct Line {
    size_t begin = 0;
    uint64_t before = 0;
  };
  const Line& line(size_t back);

  const Document& document_;
  size_t cursor_;
  std::vector<Line> lines_;  // the cursor's line, the one above, ...
  std::vector<uint64_t> after_;
};

/// A text the model said at an anchor, polished, not yet placed.
struct CachedCandidate {
  std::string text;
  double mean_logprob = 0;

  friend bool operator==(const CachedCandidate&, const CachedCandidate&) = default;
};

class SuggestionCache {
 public:
  explicit SuggestionCache(size_t capacity = 100);

  /// Replaces what was known for the same anchor. No candidates: the model had nothing to say.
  void put(const std::string& uri, Anchor anchor, std::vector<CachedCandidate> candidates,
           LineMode mode, std::string outcome);

  struct Hit {
    std::vector<CachedCandidate> candidates;  // what is left of them, best first
    LineMode mode = LineMode::kSingle;
    bool exact = false;   // nothing was typed since
    std::string outcome;  // why there are no candidates
  };
  /// The most recently used entry that agrees with the text before the cursor and has something
  /// left to say (or that knows there is nothing to say exactly here).
  std::optional<Hit> find(const Document& document, size_t cursor);

  void forget(const std::string& uri);
  void clear();
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string uri;
    Anchor anchor;
    std::vector<CachedCandidate> candidates;
    LineMode mode = LineMode::kSingle;
    std::string outcome;
    size_t lines = 0;  // line breaks in the longest candidate
  };

  size_t capacity_;
  std::list<Entry> entries_;  // most recently used first
};

}  // namespace fimd

// Gatherer: text of other documents that belongs in the prompt.
//
// Candidates are windows of 20-40 lines, aligned to definitions where there is a tree: around
// places recently edited or visited, definitions of names used near the cursor, and windows that
// share rare identifiers with the text around the cursor. The chosen ones are deduplicated, free of
// excluded text, and cut to a token budget.
//
// A prompt begins with the snippets, so a different choice costs a prefill of everything after
// them. The choice for a document is therefore kept until it is worth a change: the cursor left the
// place it was made for, the budget changed, or another document was edited, opened or closed AND
// the new choice is clearly better. Typing in one place never changes it.
//
// Owner: one per editor session. Thread: the io thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "context/document.h"
#include "context/exclusion.h"
#include "context/workspace.h"

namespace fimd {

struct Snippet {
  std::string path;  // relative, as the prompt shows it
  std::string text;  // whole lines, without the last line break
  std::string uri;
  size_t first_line = 0;  // zero-based
  size_t line_count = 0;
  size_t tokens = 0;  // of path and text as counted by the injected function
  double score = 0;

  friend bool operator==(const Snippet&, const Snippet&) = default;
};

using CountTokensFn = std::function<size_t(std::string_view)>;

struct GathererOptions {
  size_t max_snippets = 8;
  size_t max_documents = 32;        // most recently used ones are looked at
  size_t cursor_window_lines = 40;  // lines around the cursor that snippets are compared with
  size_t moved_lines = 60;          // cursor moves beyond this always reconsider
  double replace_gain = 1.25;       // a new choice must score this much better than the old one
  size_t tokens_per_snippet_overhead = 3;  // separators around path and text
};

class Gatherer {
 public:
  /// Both must outlive the gatherer.
  Gatherer(const Workspace* workspace, const Exclusion* exclusion, GathererOptions options = {});
  ~Gatherer();

  /// Snippets for a prompt at `offset` of `document`, least relevant first (the most relevant
  /// stands next to the current file), at most `budget_tokens` in all. `count` is only called for
  /// text not counted before.
  std::vector<Snippet> gather(const DocumentPtr& document, size_t offset, size_t budget_tokens,
                              const CountTokensFn& count);

  /// Drops what is remembered of a closed document.
  void forget(const std::string& uri);
  /// Drops every choice and index (exclusion or tokenizer changed).
  void clear();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fimd

// SnippetIndex: the windows of other documents that a prompt may quote, and how well they fit a
// cursor. One entry per document, rebuilt when its version changes.
//
// Owner: Gatherer. Thread: the io thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "context/document.h"
#include "context/exclusion.h"
#include "context/workspace.h"

namespace fimd {

using Term = uint32_t;  // hash of an identifier or of a part of one

/// Sorted, without repeats: whole identifiers and their parts of at least three letters.
std::vector<Term> terms_of(std::string_view text);
Term term_of(std::string_view identifier);
/// Hashes of a text's lines without outer blanks, sorted; lines too short to tell are left out.
std::vector<uint64_t> line_hashes(std::string_view text);
/// Share of `part` that is in `whole`; both sorted. 0 if `part` is empty.
double containment(const std::vector<uint64_t>& part, const std::vector<uint64_t>& whole);

/// 20-40 lines, where possible whole definitions.
struct Window {
  size_t first_line = 0;
  size_t line_count = 0;
  std::string text;
  std::vector<Term> terms;
  std::vector<Term> defines;     // names whose definition begins here
  std::vector<uint64_t> lines;   // line_hashes()
  double weight = 0;             // sum of its terms' idf
  std::optional<size_t> tokens;  // counted when first asked for
};

struct IndexedDocument {
  DocumentPtr document;
  std::string path;  // relative
  bool usable = false;
  uint64_t stamp = 0;  // of this text; no other text of any document has it
  std::vector<Window> windows;
};

/// Windows of a text, secrets redacted.
std::vector<Window> make_windows(const Document& document);

class SnippetIndex {
 public:
  SnippetIndex(const Workspace* workspace, const Exclusion* exclusion)
      : workspace_(workspace), exclusion_(exclusion) {}

  /// Makes the index hold just these documents (current versions). Returns whether anything
  /// changed.
  bool update(const std::vector<DocumentPtr>& documents);
  void clear();

  IndexedDocument* find(const std::string& uri);
  std::map<std::string, IndexedDocument>& documents() { return documents_; }

  /// How rare a term is among all windows.
  double idf(Term term) const;
  /// Brings Window::weight up to date; call after update() changed something.
  void weigh();

 private:
  void add(const DocumentPtr& document);
  void remove(const IndexedDocument& entry);

  const Workspace* workspace_;
  const Exclusion* exclusion_;
  std::map<std::string, IndexedDocument> documents_;
  std::unordered_map<Term, uint32_t> frequency_;  // windows that have the term
  size_t windows_ = 0;
  uint64_t stamps_ = 0;
};

}  // namespace fimd

#include "context/snippet_index.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "context/language.h"
#include "context/lexer.h"
#include "context/syntax_queries.h"
#include "context/syntax_tree.h"
#include "context/text.h"

namespace fimd {
namespace {

constexpr size_t kMinLines = 20;
constexpr size_t kMaxLines = 40;
constexpr size_t kMaxLineBytes = 400;
constexpr size_t kMaxWindowBytes = 4000;
constexpr size_t kMaxDefinitions = 2000;
constexpr size_t kMinHashedLine = 4;

uint64_t fnv(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

Term fold(uint64_t hash) { return static_cast<Term>(hash ^ (hash >> 32)); }

template <class T>
void sort_unique(std::vector<T>* values) {
  std::sort(values->begin(), values->end());
  values->erase(std::unique(values->begin(), values->end()), values->end());
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

/// Words that every text of a language has say nothing about what it is about.
bool is_common(std::string_view word) {
  static constexpr std::string_view kCommon[] = {
      "and",  "as",       "auto", "bool",   "break",  "case",   "char", "class",   "const",
      "def",  "do",       "else", "end",    "false",  "float",  "fn",   "for",     "from",
      "func", "function", "if",   "import", "in",     "int",    "is",   "let",     "local",
      "new",  "nil",      "None", "not",    "null",   "or",     "pass", "public",  "return",
      "self", "static",   "std",  "string", "struct", "switch", "the",  "then",    "this",
      "true", "type",     "use",  "var",    "void",   "while",  "with", "private", "include"};
  return std::find(std::begin(kCommon), std::end(kCommon), word) != std::end(kCommon);
}

/// Belongs to the definition below it: a comment, decorator or attribute.
bool leads_definition(std::string_view line, std::string_view comment) {
  line = trimmed(line);
  if (line.empty()) return false;
  return (!comment.empty() && line.starts_with(comment)) || line.starts_with('@') ||
         line.starts_with("#[") || line.starts_with("/*") || line.starts_with('*') ||
         line.starts_with("template");
}

struct DefinedName {
  size_t line;
  Term name;
};

/// Lines at which a window may begin, and where names are defined.
void find_cuts(const Document& document, const std::vector<std::string_view>& lines,
               std::vector<size_t>* cuts, std::vector<DefinedName>* names) {
  if (document.tree() == nullptr) return;
  const std::string_view comment = line_comment(document.language());
  for (const Definition& definition :
       collect_definitions(*document.tree(), document.text(), kMaxDefinitions)) {
    const size_t own = document.line_of(definition.begin);
    size_t first = own;
    while (first > 0 && first < lines.size() && leads_definition(lines[first - 1], comment)) {
      --first;
    }
    names->push_back({own, term_of(definition.name)});
    if ((definition.roles & (kFunction | kType)) == 0) continue;
    cuts->push_back(first);
    cuts->push_back(document.line_of(definition.end > 0 ? definition.end - 1 : 0) + 1);
  }
}

}  // namespace

Term term_of(std::string_view identifier) { return fold(fnv(identifier)); }

std::vector<Term> terms_of(std::string_view text) {
  std::vector<Term> terms;
  std::string lower;
  for (const std::string_view word : identifiers(text)) {
    if (is_common(word)) continue;
    terms.push_back(term_of(word));
    // Parts, split as identifier_parts() does but without its allocations.
    lower.clear();
    size_t part = 0;
    const auto flush = [&](bool whole) {
      if (lower.size() - part >= 3 && !(whole && part == 0)) {
        terms.push_back(fold(fnv(std::string_view(lower).substr(part)) * 31));
      }
      part = lower.size();
    };
    for (size_t i = 0; i < word.size(); ++i) {
      const char c = word[i];
      const bool upper = c >= 'A' && c <= 'Z';
      if (c == '_' || c == '$') {
        flush(false);
        continue;
      }
      const bool next_lower = i + 1 < word.size() && word[i + 1] >= 'a' && word[i + 1] <= 'z';
      const bool after_lower = i > 0 && !(word[i - 1] >= 'A' && word[i - 1] <= 'Z');
      if (upper && lower.size() > part && (after_lower || next_lower)) flush(false);
      lower.push_back(upper ? static_cast<char>(c + 32) : c);
    }
    flush(false);
  }
  sort_unique(&terms);
  return terms;
}

std::vector<uint64_t> line_hashes(std::string_view text) {
  std::vector<uint64_t> hashes;
  for (const std::string_view line : split_lines(text)) {
    const std::string_view content = trimmed(line);
    if (content.size() >= kMinHashedLine) hashes.push_back(fnv(content));
  }
  sort_unique(&hashes);
  return hashes;
}

double containment(const std::vector<uint64_t>& part, const std::vector<uint64_t>& whole) {
  if (part.empty()) return 0;
  size_t shared = 0;
  for (const uint64_t hash : part) {
    shared += std::binary_search(whole.begin(), whole.end(), hash) ? 1 : 0;
  }
  return static_cast<double>(shared) / static_cast<double>(part.size());
}

std::vector<Window> make_windows(const Document& document) {
  const std::optional<std::string> redacted = redact_secrets(document.text());
  const std::vector<std::string_view> lines =
      split_lines(redacted ? std::string_view(*redacted) : std::string_view(document.text()));
  std::vector<size_t> cuts;
  std::vector<DefinedName> names;
  find_cuts(document, lines, &cuts, &names);
  if (cuts.empty()) {
    // Without definitions, paragraphs.
    for (size_t i = 1; i < lines.size(); ++i) {
      if (is_blank(lines[i - 1]) && !is_blank(lines[i])) cuts.push_back(i);
    }
  }
  cuts.push_back(0);
  cuts.push_back(lines.size());
  std::erase_if(cuts, [&](size_t line) { return line > lines.size(); });
  sort_unique(&cuts);

  std::vector<Window> windows;
  const auto emit = [&](size_t first, size_t last) {
    while (first < last && is_blank(lines[first])) ++first;
    while (first < last && is_blank(lines[last - 1])) --last;
    if (first == last) return;
    Window window;
    window.first_line = first;
    window.line_count = last - first;
    for (size_t i = first; i < last; ++i) {
      if (lines[i].size() > kMaxLineBytes) return;  // data, most likely
      if (i > first) window.text.push_back('\n');
      window.text.append(lines[i]);
    }
    if (window.text.size() > kMaxWindowBytes) return;
    window.terms = terms_of(window.text);
    window.lines = line_hashes(window.text);
    for (const DefinedName& name : names) {
      if (name.line >= first && name.line < last) window.defines.push_back(name.name);
    }
    sort_unique(&window.defines);
    if (!window.terms.empty()) windows.push_back(std::move(window));
  };
  // Neighbouring pieces are joined up to kMinLines; long ones are split, at a blank line if any.
  size_t first = 0;
  for (size_t i = 1; i < cuts.size(); ++i) {
    const size_t begin = cuts[i - 1];
    const size_t end = cuts[i];
    if (begin > first && (end - first > kMaxLines || begin - first >= kMinLines)) {
      emit(first, begin);
      first = begin;
    }
    while (end - first > kMaxLines) {
      size_t split = first + kMaxLines;
      for (size_t line = split; line > first + kMinLines; --line) {
        if (is_blank(lines[line - 1])) {
          split = line;
          break;
        }
      }
      emit(first, split);
      first = split;
    }
  }
  emit(first, lines.size());
  return windows;
}

bool SnippetIndex::update(const std::vector<DocumentPtr>& documents) {
  bool changed = false;
  for (auto it = documents_.begin(); it != documents_.end();) {
    const bool kept = std::any_of(documents.begin(), documents.end(),
                                  [&](const DocumentPtr& d) { return d->uri() == it->first; });
    if (kept) {
      ++it;
      continue;
    }
    remove(it->second);
    it = documents_.erase(it);
    changed = true;
  }
  for (const DocumentPtr& document : documents) {
    const auto found = documents_.find(document->uri());
    if (found != documents_.end()) {
      if (found->second.document == document) continue;
      // The same text under a new version number, as after a save.
      if (found->second.document->text() == document->text()) {
        found->second.document = document;
        continue;
      }
      remove(found->second);
      documents_.erase(found);
    }
    add(document);
    changed = true;
  }
  return changed;
}

void SnippetIndex::clear() {
  documents_.clear();
  frequency_.clear();
  windows_ = 0;
}

IndexedDocument* SnippetIndex::find(const std::string& uri) {
  const auto found = documents_.find(uri);
  return found == documents_.end() ? nullptr : &found->second;
}

void SnippetIndex::add(const DocumentPtr& document) {
  IndexedDocument entry;
  entry.document = document;
  entry.path = workspace_->relative_path(*document);
  entry.stamp = ++stamps_;
  entry.usable = exclusion_->reason(*workspace_, *document).empty();
  if (entry.usable) entry.windows = make_windows(*document);
  for (const Window& window : entry.windows) {
    ++windows_;
    for (const Term term : window.terms) ++frequency_[term];
  }
  documents_.insert_or_assign(document->uri(), std::move(entry));
}

void SnippetIndex::remove(const IndexedDocument& entry) {
  for (const Window& window : entry.windows) {
    --windows_;
    for (const Term term : window.terms) {
      const auto found = frequency_.find(term);
      if (found != frequency_.end() && --found->second == 0) frequency_.erase(found);
    }
  }
}

double SnippetIndex::idf(Term term) const {
  const auto found = frequency_.find(term);
  const double count = found == frequency_.end() ? 0 : found->second;
  return std::log((1.0 + static_cast<double>(windows_)) / (1.0 + count)) + 0.1;
}

void SnippetIndex::weigh() {
  for (auto& [uri, entry] : documents_) {
    for (Window& window : entry.windows) {
      window.weight = 0;
      for (const Term term : window.terms) window.weight += idf(term);
    }
  }
}

}  // namespace fimd

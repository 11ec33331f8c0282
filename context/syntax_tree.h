// SyntaxTree: RAII around a tree-sitter tree, and nodes to walk it.
//
// A tree belongs to one immutable text and is never edited: an incremental parse edits a copy
// (cheap, subtrees are shared and reference-counted atomically), so trees may be read from any
// thread. Only this folder includes tree-sitter.
#pragma once

#include <tree_sitter/api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "context/language.h"

namespace fimd {

/// Larger texts are not parsed.
inline constexpr size_t kMaxSyntaxBytes = 2 << 20;

/// Row (breaks at "\n" only) and byte column, as tree-sitter counts.
TSPoint point_at(std::string_view text, size_t offset);

/// Describes to a tree that bytes [begin, old_end) of `old_text` became [begin, new_end) of the new
/// text, the rest being equal.
TSInputEdit make_edit(std::string_view old_text, size_t begin, size_t old_end,
                      std::string_view new_text, size_t new_end);

class SyntaxTree {
 public:
  /// Null if the text is too large or the parse takes more CPU time than `timeout_ms`.
  static std::shared_ptr<const SyntaxTree> parse(const Language& language, std::string_view text,
                                                 double timeout_ms);
  /// Equal to a full parse of `text`, which is this tree's text after `edits` in order (each
  /// relative to the text after those before it).
  std::shared_ptr<const SyntaxTree> reparse(std::string_view text,
                                            const std::vector<TSInputEdit>& edits,
                                            double timeout_ms) const;

  ~SyntaxTree();
  SyntaxTree(const SyntaxTree&) = delete;
  SyntaxTree& operator=(const SyntaxTree&) = delete;

  const Language& language() const { return *language_; }
  TSNode root() const { return ts_tree_root_node(tree_); }
  uint16_t roles(TSNode node) const { return language_->roles(ts_node_symbol(node)); }

  /// Nodes from the root down to the smallest one that has bytes on both sides of `offset` or, with
  /// `touching`, ends right there.
  std::vector<TSNode> path_to(size_t offset, bool touching) const;
  /// Like path_to, for the smallest node that holds all of [begin, end).
  std::vector<TSNode> path_to_range(size_t begin, size_t end) const;

  /// Whether an error or a missing token touches [begin, end].
  bool has_error_in(size_t begin, size_t end) const;

  /// The whole tree as an S-expression with byte ranges, for tests.
  std::string dump() const;

 private:
  SyntaxTree(const Language& language, TSTree* tree) : language_(&language), tree_(tree) {}
  static std::shared_ptr<const SyntaxTree> run(const Language& language, std::string_view text,
                                               const TSTree* old_tree, double timeout_ms);

  const Language* language_;
  TSTree* tree_;
};

/// A named definition: function, type, or a variable outside of functions.
struct Definition {
  std::string_view name;  // of the text it was collected from
  size_t begin = 0;       // with decorators, export, template<...> and comments right above
  size_t end = 0;
  uint16_t roles = 0;  // kFunction, kType or kVariable
};

/// Definitions of a text in order: those at top level and the members of types, not those inside
/// functions. At most `limit`.
std::vector<Definition> collect_definitions(const SyntaxTree& tree, std::string_view text,
                                            size_t limit);

/// Name of a definition node; "" if it has none.
std::string_view definition_name(const SyntaxTree& tree, std::string_view text, TSNode node);

}  // namespace fimd

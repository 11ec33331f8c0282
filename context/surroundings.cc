#include "context/surroundings.h"

#include <algorithm>
#include <string>

#include "context/syntax_tree.h"
#include "context/text.h"

namespace fimd {
namespace {

bool is_opener(std::string_view type) { return type == "(" || type == "[" || type == "{"; }
bool is_closer(std::string_view type) { return type == ")" || type == "]" || type == "}"; }

constexpr size_t kResynchronised = 4;

/// A docstring counts as nothing, so it must be lexed, not skipped.
bool is_lone_string(const SyntaxTree& tree, TSNode node) {
  return ts_node_child_count(node) == 1 && (tree.roles(ts_node_child(node, 0)) & kString) != 0;
}

/// In a language without closing brackets: the end of the last simple statement inside `compound`,
/// or the start of the innermost compound statement that has none yet.
size_t anchor_inside(const SyntaxTree& tree, TSNode compound) {
  size_t anchor = ts_node_start_byte(compound);
  TSNode node = compound;
  for (int depth = 0; depth < 200; ++depth) {
    const uint32_t count = ts_node_named_child_count(node);
    if (count == 0) break;
    node = ts_node_named_child(node, count - 1);
    while (!ts_node_is_null(node) && (tree.roles(node) & kComment) != 0) {
      node = ts_node_prev_named_sibling(node);
    }
    if (ts_node_is_null(node) || is_lone_string(tree, node)) break;
    const uint16_t roles = tree.roles(node);
    if ((roles & kNewlineEnds) != 0) return ts_node_end_byte(node);
    if ((roles & kStatement) != 0) anchor = ts_node_start_byte(node);
  }
  return anchor;
}

void find_anchor(const SyntaxTree& tree, size_t offset, Surroundings* out) {
  const std::vector<TSNode> path = tree.path_to(offset, false);
  const bool by_indentation = tree.language().spec().blocks == BlockStyle::kIndentation;
  BracketStack stack;
  // Statements without errors since the last with one: behind a few, what the parser makes of the
  // text can be trusted again.
  size_t clean = kResynchronised;
  TSTreeCursor cursor = ts_tree_cursor_new(tree.root());
  for (size_t depth = 0; depth < path.size(); ++depth) {
    const TSNode node = path[depth];
    const uint16_t roles = tree.roles(node);
    if ((roles & (kString | kComment)) != 0) break;
    // What the parser could not make sense of is lexed from before it, unless it found its way.
    if (ts_node_is_error(node)) clean = 0;
    if (!ts_tree_cursor_goto_first_child(&cursor)) break;
    bool found_next = false;
    do {
      const TSNode child = ts_tree_cursor_current_node(&cursor);
      if (depth + 1 < path.size() && ts_node_eq(child, path[depth + 1])) {
        found_next = true;
        break;
      }
      if (ts_node_start_byte(child) >= offset) break;
      const size_t end = ts_node_end_byte(child);
      if (!ts_node_is_named(child)) {
        const std::string_view type = ts_node_type(child);
        if (is_opener(type) && !ts_node_is_missing(child)) {
          stack.open(type[0], ts_node_start_byte(child));
          const bool block = (roles & (kBlock | kStatement | kType | kFunction)) != 0;
          if (type == "{" && block && clean >= kResynchronised) {
            out->anchor = end;
            out->anchor_stack = stack;
          }
        } else if (is_closer(type) && !ts_node_is_missing(child)) {
          stack.close(type[0]);
        }
      } else if (ts_node_has_error(child)) {
        clean = 0;
      } else if ((tree.roles(child) & (kStatement | kImport)) != 0 && end < offset &&
                 !is_lone_string(tree, child)) {
        if (++clean < kResynchronised) continue;
        // Without closing brackets, what is behind a compound statement may belong to it.
        const bool open_ended = by_indentation && (tree.roles(child) & kNewlineEnds) == 0;
        out->anchor = open_ended ? anchor_inside(tree, child) : end;
        out->anchor_stack = stack;
      }
    } while (ts_tree_cursor_goto_next_sibling(&cursor));
    if (!found_next || clean < kResynchronised) break;
  }
  ts_tree_cursor_delete(&cursor);
}

}  // namespace

Surroundings surroundings_of(const Document& document, size_t offset) {
  Surroundings out;
  const std::string_view text = std::string_view(document.text()).substr(0, offset);
  const Language* language = document.language();
  if (document.tree() != nullptr) find_anchor(*document.tree(), offset, &out);
  out.brackets = out.anchor_stack;
  out.logical_line = out.anchor;
  if (out.anchor > 0 && !is_blank(text.substr(out.anchor - 1, 1))) {
    const size_t at = out.anchor - 1;
    const TokenKind kind = text[at] == '{' ? TokenKind::kOpen : TokenKind::kPunctuation;
    out.last = Token{kind, at, out.anchor};
    out.logical_line = document.line_start(document.line_of(at));
  }
  const size_t base = out.brackets.open_ones().size();
  const bool patterns = language != nullptr && (language->spec().quirks & kCasePatterns) != 0;
  Lexer lexer(text, language, out.anchor);
  while (const auto token = lexer.next()) {
    const bool string = token->kind == TokenKind::kString;
    if (string || token->kind == TokenKind::kComment) {
      if (!token->terminated && token->end == text.size()) {
        out.place = string ? Place::kString : Place::kComment;
        out.place_begin = token->begin;
        break;
      }
      if (!string) continue;
    }
    // A new logical line begins with the first token behind a line break outside of brackets. A
    // block's own braces do not make what is in them one line.
    const auto& open = out.brackets.open_ones();
    const bool nested = open.size() > base && open.back().closer != '}';
    if (!out.last ||
        (!nested &&
         text.substr(out.last->end, token->begin - out.last->end).find_first_of("\r\n") !=
             std::string_view::npos)) {
      out.logical_line = token->begin;
    }
    if (token->kind == TokenKind::kOpen) {
      out.brackets.open(text[token->begin], token->begin);
    } else if (token->kind == TokenKind::kClose) {
      const char closer = text[token->begin];
      const bool pattern = patterns && closer == ')' && (open.empty() || open.back().closer != ')');
      if (!pattern) out.brackets.close(closer);
    }
    out.last = token;
  }
  return out;
}

bool is_block_brace(const Document& document, size_t offset) {
  const std::string& text = document.text();
  if (offset >= text.size() || text[offset] != '{') return false;
  if (document.tree() != nullptr) {
    const std::vector<TSNode> path = document.tree()->path_to(offset + 1, true);
    if (path.size() >= 2 && std::string_view(ts_node_type(path.back())) == "{") {
      const TSNode parent = path[path.size() - 2];
      if (!ts_node_is_error(parent)) {
        const uint16_t roles = document.tree()->roles(parent);
        return (roles & (kBlock | kStatement | kFunction | kType)) != 0;
      }
    }
  }
  // By what stands before it: a header's end or nothing, rather than an operator.
  size_t i = offset;
  while (i > 0 && (text[i - 1] == ' ' || text[i - 1] == '\t')) --i;
  if (i == 0) return true;
  const char before = text[i - 1];
  if (before == '>') return i < 2 || text[i - 2] == '=' || text[i - 2] == '-' || i == offset - 1;
  if (is_word_byte(before)) {
    size_t begin = i;
    while (begin > 0 && is_word_byte(text[begin - 1])) --begin;
    const std::string_view word = std::string_view(text).substr(begin, i - begin);
    return word != "return" && word != "in" && word != "yield" && word != "await";
  }
  return before == ')' || before == ';' || before == '{' || before == '}' || before == '\n' ||
         before == '\r' || before == '"';
}

}  // namespace fimd

#include "context/definitions.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "context/language.h"
#include "context/syntax_tree.h"
#include "context/text.h"

namespace fimd {
namespace {

constexpr uint16_t kDefinition = kFunction | kType | kVariable;

TSNode field(TSNode node, std::string_view name) {
  return ts_node_child_by_field_name(node, name.data(), static_cast<uint32_t>(name.size()));
}

std::string_view kind_of(TSNode node) { return ts_node_type(node); }

/// Holds definitions without being one that a person means by a place inside it: a namespace, the
/// file itself, and the blocks right below these.
bool is_container(const SyntaxTree& tree, TSNode node) {
  for (int depth = 0; depth < 4; ++depth) {
    const std::string_view kind = kind_of(node);
    for (const std::string_view container :
         {"namespace_definition", "mod_item", "foreign_mod_item", "internal_module", "module",
          "ambient_declaration", "linkage_specification", "preproc_ifdef", "preproc_if",
          "preproc_else", "preproc_elif"}) {
      if (kind == container) return true;
    }
    const TSNode parent = ts_node_parent(node);
    if (ts_node_is_null(parent)) return true;
    if ((tree.roles(node) & kBlock) == 0) return false;
    node = parent;
  }
  return false;
}

/// A function or class as opposed to a mere mention (`struct s *p`).
bool is_definition(const SyntaxTree& tree, TSNode node) {
  const uint16_t roles = tree.roles(node);
  if ((roles & (kFunction | kType)) == 0 || is_container(tree, node)) return false;
  return !kind_of(node).ends_with("_specifier") || !ts_node_is_null(field(node, "body"));
}

size_t begin_of(TSNode node) { return ts_node_start_byte(node); }

/// Some grammars count the line break into a node.
size_t end_of(TSNode node, std::string_view text) {
  size_t end = std::min<size_t>(ts_node_end_byte(node), text.size());
  while (end > begin_of(node) && std::string_view(" \t\r\n").find(text[end - 1]) != text.npos) {
    --end;
  }
  return end;
}

CodeRegion region_of(const SyntaxTree& tree, std::string_view text, TSNode node) {
  return {std::string(definition_name(tree, text, node)), begin_of(node), end_of(node, text)};
}

/// Decorators, export, template<> and `struct s { } v;` stand around what they define: the whole.
TSNode unwrapped(const SyntaxTree& tree, std::string_view text, TSNode node) {
  const std::string_view name = definition_name(tree, text, node);
  while (true) {
    const TSNode parent = ts_node_parent(node);
    if (ts_node_is_null(parent) || is_container(tree, parent)) return node;
    const uint16_t roles = tree.roles(parent);
    if ((roles & (kDefinition | kStatement)) == 0 || (roles & kBlock) != 0) return node;
    const size_t end = end_of(parent, text);
    if (end > end_of(node, text) + 2 || definition_name(tree, text, parent) != name) return node;
    node = parent;
  }
}

size_t first_character(const Document& document, size_t line) {
  const std::string_view text = document.line_text(line);
  const size_t blanks = std::min(text.find_first_not_of(" \t"), text.size());
  return document.line_start(line) + blanks;
}

/// The node that begins at a line's first character and can be documented, with all around it that
/// begins there too. Null if there is none.
TSNode documentable_at(const SyntaxTree& tree, const Document& document, size_t line) {
  const size_t at = first_character(document, line);
  const TSNode none = {};
  if (at >= document.line_end(line)) return none;
  TSNode found = none;
  const std::vector<TSNode> path = tree.path_to(at + 1, true);
  for (size_t i = 1; i < path.size(); ++i) {
    const TSNode node = path[i];
    if (begin_of(node) != at) continue;
    const uint16_t roles = tree.roles(node);
    if (is_container(tree, node) || (roles & (kComment | kImport)) != 0) continue;
    const uint16_t above = tree.roles(path[i - 1]);
    const bool member = (above & kBlock) != 0 && i >= 2 && (tree.roles(path[i - 2]) & kType) != 0;
    const bool top = is_container(tree, path[i - 1]);
    const bool defines = is_definition(tree, node) ||
                         ((top || member) && (roles & (kVariable | kFunction)) != 0) ||
                         (member && (roles & kStatement) != 0);
    if (defines && !definition_name(tree, document.text(), node).empty()) {
      found = node;
      break;
    }
  }
  return found;
}

TSNode definition_around(const SyntaxTree& tree, const Document& document, size_t offset) {
  const std::string_view text = document.text();
  const std::vector<TSNode> path = tree.path_to(std::min(offset, text.size()), true);
  for (size_t i = path.size(); i-- > 1;) {
    if (!is_definition(tree, path[i]) || definition_name(tree, text, path[i]).empty()) continue;
    return unwrapped(tree, text, path[i]);
  }
  return {};
}

size_t anchor_of(const Document& document, size_t offset) {
  const size_t line = document.line_of(std::min(offset, document.text().size()));
  return std::max(std::min(offset, document.text().size()), first_character(document, line));
}

// ---- documentation ----

std::optional<DocStyle> style_of(const Language& language) {
  const std::string_view name = language.name();
  if (name == "python") return DocStyle::kDocstring;
  if (name == "rust" || name == "cpp" || name == "cuda") return DocStyle::kTripleSlash;
  if (name == "go") return DocStyle::kSlashes;
  if (name == "lua") return DocStyle::kDashes;
  if (name == "bash") return DocStyle::kHash;
  if (language.spec().block_comment_open == "/*") return DocStyle::kBlock;
  return std::nullopt;
}

bool is_documentation(std::string_view comment, DocStyle style) {
  switch (style) {
    case DocStyle::kDocstring:
      return false;
    case DocStyle::kBlock:
    case DocStyle::kTripleSlash:
      return comment.starts_with("/**") || comment.starts_with("///") ||
             comment.starts_with("/*!") || comment.starts_with("//!");
    case DocStyle::kSlashes:
      return (comment.starts_with("//") && !comment.starts_with("//go:")) ||
             comment.starts_with("/*");
    case DocStyle::kDashes:
      return comment.starts_with("--");
    case DocStyle::kHash:
      return comment.starts_with("#") && !comment.starts_with("#!");
  }
  return false;
}

/// Belongs to the definition below it: documentation stands above.
bool is_attribute(TSNode node, std::string_view text) {
  return kind_of(node) == "attribute_item" || text.starts_with("//go:");
}

std::string_view text_of(TSNode node, std::string_view text) {
  return text.substr(begin_of(node), end_of(node, text) - begin_of(node));
}

bool begins_its_line(const Document& document, size_t offset) {
  return first_character(document, document.line_of(offset)) == offset;
}

Result<DocPlace> place_above(const SyntaxTree& tree, const Document& document, TSNode node,
                             DocPlace place) {
  const std::string_view text = document.text();
  size_t top = begin_of(node);
  const auto before = [&](TSNode at) { return ts_node_prev_sibling(at); };
  const auto adjacent = [&](TSNode above) {
    return !ts_node_is_null(above) && begins_its_line(document, begin_of(above)) &&
           document.line_of(end_of(above, text)) + 1 == document.line_of(top);
  };
  TSNode at = before(node);
  while (adjacent(at) && is_attribute(at, text_of(at, text))) {
    top = begin_of(at);
    at = before(at);
  }
  if (!begins_its_line(document, top)) {
    return Error{ErrorCode::kUnsupported,
                 "'" + place.code.name + "' does not begin on a line of its own"};
  }
  place.code.begin = top;
  const size_t line = document.line_of(top);
  place.begin = place.end = document.line_start(line);
  place.indent = text.substr(place.begin, top - place.begin);
  while (adjacent(at) && (tree.roles(at) & kComment) != 0 &&
         is_documentation(text_of(at, text), place.style)) {
    top = begin_of(at);
    place.begin = document.line_start(document.line_of(top));
    at = before(at);
  }
  return place;
}

/// The function or class itself, inside what stands around it.
TSNode core_of(TSNode node) {
  while (kind_of(node) == "decorated_definition") {
    const TSNode inner = field(node, "definition");
    if (ts_node_is_null(inner)) break;
    node = inner;
  }
  return node;
}

Result<DocPlace> place_inside(const SyntaxTree& tree, const Document& document, TSNode node,
                              DocPlace place) {
  const std::string_view text = document.text();
  const TSNode core = core_of(node);
  const TSNode body = field(core, "body");
  if (ts_node_is_null(body) || ts_node_named_child_count(body) == 0) {
    return Error{ErrorCode::kUnsupported, "'" + place.code.name + "' has no body yet"};
  }
  // Comments may stand between the colon and the block.
  size_t first = begin_of(body);
  if (document.line_of(first) == document.line_of(begin_of(core)) ||
      !begins_its_line(document, first)) {
    return Error{ErrorCode::kUnsupported,
                 "the body of '" + place.code.name + "' does not begin on a line of its own"};
  }
  const TSNode statement = ts_node_named_child(body, 0);
  first = begin_of(statement);
  const size_t line = document.line_of(first);
  place.begin = place.end = document.line_start(line);
  place.indent = text.substr(place.begin, first - place.begin);
  TSNode value = statement;
  if (kind_of(value) == "expression_statement" && ts_node_named_child_count(value) == 1) {
    value = ts_node_named_child(value, 0);
  }
  if ((tree.roles(value) & kString) != 0) {
    const size_t last = document.line_of(end_of(value, text));
    // Something may follow on its line: then only a person can tell what is to become of it.
    const std::string_view rest =
        text.substr(end_of(value, text), document.line_end(last) - end_of(value, text));
    if (!is_blank(rest)) {
      return Error{ErrorCode::kUnsupported,
                   "code follows the docstring of '" + place.code.name + "' on its line"};
    }
    place.end = last + 1 < document.line_count() ? document.line_start(last + 1) : text.size();
  }
  return place;
}

}  // namespace

std::optional<CodeRegion> code_around(const Document& document, size_t offset) {
  const SyntaxTree* tree = document.tree();
  if (tree == nullptr) return std::nullopt;
  const std::string_view text = document.text();
  const size_t at = anchor_of(document, offset);
  // The character at the cursor counts, not the one before it: `}` of one function may touch the
  // next one's beginning. At the end of a line there is only the one before.
  const bool at_end = at >= document.line_end(document.line_of(at));
  const size_t inside = at_end ? at : at + 1;
  if (const TSNode node = definition_around(*tree, document, inside); !ts_node_is_null(node)) {
    return region_of(*tree, text, node);
  }
  const std::vector<TSNode> path = tree->path_to(std::min(inside, text.size()), true);
  for (size_t i = 1; i < path.size(); ++i) {
    if (is_container(*tree, path[i]) || !ts_node_is_named(path[i])) continue;
    CodeRegion region = region_of(*tree, text, path[i]);
    if (region.begin < region.end && region.end >= at) return region;
    return std::nullopt;
  }
  return std::nullopt;
}

Result<DocPlace> doc_place(const Document& document, size_t begin, size_t end) {
  const SyntaxTree* tree = document.tree();
  const Language* language = document.language();
  const auto style = language == nullptr ? std::nullopt : style_of(*language);
  if (!style) {
    return Error{ErrorCode::kUnsupported,
                 "fimd does not know how " +
                     (language == nullptr ? "this language" : std::string(language->name())) +
                     " is documented"};
  }
  if (tree == nullptr) {
    return Error{ErrorCode::kUnsupported, "the file is too large for its syntax to be known"};
  }
  const std::string_view text = document.text();
  begin = std::min(begin, text.size());
  end = std::clamp(end, begin, text.size());
  TSNode node = {};
  size_t line = document.line_of(begin);
  const size_t last = document.line_of(end);
  // From the documentation above one goes down to the definition.
  bool only_comments = true;
  for (; line < document.line_count() && (line <= last || only_comments); ++line) {
    node = documentable_at(*tree, document, line);
    if (!ts_node_is_null(node)) break;
    const size_t at = first_character(document, line);
    if (at >= document.line_end(line)) {
      only_comments = false;
      continue;
    }
    const std::vector<TSNode> path = tree->path_to(at + 1, true);
    const bool comment = (tree->roles(path.back()) & kComment) != 0 ||
                         std::any_of(path.begin(), path.end(), [&](TSNode part) {
                           return (tree->roles(part) & kComment) != 0 ||
                                  kind_of(part) == "attribute_item" || kind_of(part) == "decorator";
                         });
    if (!comment) only_comments = false;
  }
  if (ts_node_is_null(node)) {
    const size_t at = anchor_of(document, begin);
    const bool at_end = at >= document.line_end(document.line_of(at));
    node = definition_around(*tree, document, at_end ? at : at + 1);
    // A function may be the value of a constant at the top level.
    if (const auto around = code_around(document, begin); ts_node_is_null(node) && around) {
      node = documentable_at(*tree, document, document.line_of(around->begin));
    }
  }
  if (ts_node_is_null(node)) {
    return Error{ErrorCode::kNotFound, "there is no function or class here to document"};
  }
  DocPlace place;
  place.style = *style;
  place.code = region_of(*tree, text, node);
  const TSNode core = core_of(node);
  const bool inside = *style == DocStyle::kDocstring;
  if (inside && (tree->roles(core) & (kFunction | kType)) == 0) {
    return Error{ErrorCode::kUnsupported, "only functions and classes have docstrings"};
  }
  return inside ? place_inside(*tree, document, node, std::move(place))
                : place_above(*tree, document, node, std::move(place));
}

}  // namespace fimd

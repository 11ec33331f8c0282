#include "context/syntax_queries.h"

#include <algorithm>

#include "context/language.h"
#include "context/lexer.h"
#include "context/surroundings.h"
#include "context/syntax_tree.h"
#include "context/text.h"

namespace fimd {
namespace {

// Brackets around a cursor that are looked at: looking one up costs as much as the text is deep.
constexpr size_t kMaxLevels = 32;

bool contains(const std::vector<std::string_view>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

std::string_view token_text(const Document& document, const Token& token) {
  return std::string_view(document.text()).substr(token.begin, token.end - token.begin);
}

/// First token at or behind `offset` (which is code) that is no comment.
std::optional<Token> next_token(const Document& document, size_t offset) {
  Lexer lexer(document.text(), document.language(), offset);
  while (auto token = lexer.next()) {
    if (token->kind != TokenKind::kComment) return token;
  }
  return std::nullopt;
}

size_t indent_at(const Document& document, size_t offset) {
  return indentation(document.line_text(document.line_of(offset)));
}

/// By the tree: exact where nothing near the cursor is broken.
Place tree_place(const SyntaxTree& tree, std::string_view text, size_t offset) {
  Place place = Place::kCode;
  for (const TSNode node : tree.path_to(offset, true)) {
    const uint16_t roles = tree.roles(node);
    const size_t end = ts_node_end_byte(node);
    if ((roles & kComment) != 0) {
      const size_t begin = ts_node_start_byte(node);
      const std::string_view spelled = text.substr(begin, end - begin);
      // A line comment alone is unterminated to the lexer, unless the node holds its line break.
      const std::optional<Token> token = Lexer(spelled, &tree.language()).next();
      const bool closed = token && token->terminated;
      if (!(closed && offset == end)) place = Place::kComment;
    } else if ((roles & kString) != 0) {
      place = offset < end ? Place::kString : Place::kCode;
    } else if ((roles & kInterpolation) != 0 && offset < end) {
      place = Place::kCode;
    }
  }
  return place;
}

/// `function name.of:it(...)` whose list ends at `close`.
bool is_function_header(const Document& document, size_t logical_line, size_t close) {
  const std::string& text = document.text();
  bool pending = false;  // behind `function`, before its parameters
  bool header = false;
  size_t depth = 0;
  Lexer lexer(std::string_view(text).substr(0, close + 1), document.language(), logical_line);
  while (const auto token = lexer.next()) {
    if (token->kind == TokenKind::kWord && token_text(document, *token) == "function") {
      pending = true;
      header = false;
    } else if (token->kind == TokenKind::kOpen) {
      if (pending) header = true;
      if (pending) depth = 0;
      pending = false;
      ++depth;
    } else if (token->kind == TokenKind::kClose) {
      if (depth > 0 && --depth == 0 && header && token->begin == close) return true;
      if (depth == 0) header = false;
    }
  }
  return false;
}

/// Whether the block behind a header on the line of `header` has nothing yet, given what comes
/// next.
bool nothing_below(const Document& document, size_t header, size_t offset,
                   const std::optional<Token>& next) {
  if (!next) return true;
  if (document.line_of(next->begin) == document.line_of(offset)) return false;
  return indent_at(document, next->begin) <= indent_at(document, header);
}

/// `case 1:` and `default:` in languages with braces.
bool behind_case_label(const Document& document, const Surroundings& around,
                       const std::optional<Token>& next) {
  const auto is_label = [&](size_t offset) {
    const auto word = next_token(document, offset);
    return word &&
           (token_text(document, *word) == "case" || token_text(document, *word) == "default");
  };
  if (token_text(document, *around.last) != ":" || !is_label(around.logical_line)) return false;
  return !next || next->kind == TokenKind::kClose || is_label(next->begin);
}

}  // namespace

Place place_at(const Document& document, size_t offset) {
  offset = std::min(offset, document.text().size());
  const SyntaxTree* tree = document.tree();
  if (tree != nullptr) {
    const size_t line = document.line_start(document.line_of(offset));
    if (!tree->has_error_in(line, offset)) return tree_place(*tree, document.text(), offset);
  }
  return surroundings_of(document, offset).place;
}

bool inside_string(const Document& document, size_t offset) {
  return place_at(document, offset) == Place::kString;
}

bool inside_comment(const Document& document, size_t offset) {
  return place_at(document, offset) == Place::kComment;
}

bool inside_call_arguments(const Document& document, size_t offset) {
  offset = std::min(offset, document.text().size());
  const std::string& text = document.text();
  const Surroundings around = surroundings_of(document, offset);
  const auto& open = around.brackets.open_ones();
  size_t levels = 0;
  for (auto bracket = open.rbegin(); bracket != open.rend(); ++bracket) {
    if (++levels > kMaxLevels) return false;
    if (bracket->closer == '}' && is_block_brace(document, bracket->offset)) return false;
    if (bracket->closer != ')') continue;
    if (document.tree() != nullptr) {
      const std::vector<TSNode> path = document.tree()->path_to(bracket->offset + 1, true);
      const TSNode parent = path.size() >= 2 ? path[path.size() - 2] : path.back();
      if ((document.tree()->roles(parent) & kArguments) != 0) return true;
      if (!ts_node_is_error(parent)) continue;
    }
    // A name before the parenthesis, but no keyword and not a definition's own name.
    size_t end = bracket->offset;
    while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '!')) --end;
    size_t begin = end;
    while (begin > 0 && is_word_byte(text[begin - 1])) --begin;
    if (begin == end) {
      if (end > 0 && (text[end - 1] == ')' || text[end - 1] == ']')) return true;
      continue;
    }
    const std::string_view name = std::string_view(text).substr(begin, end - begin);
    for (const std::string_view keyword :
         {"if", "for", "while", "switch", "catch", "return", "and", "or", "not", "in", "function",
          "func", "fn", "match", "elif", "else", "case", "sizeof", "with"}) {
      if (name == keyword) begin = end;
    }
    if (begin == end) continue;
    size_t before = begin;
    while (before > 0 && text[before - 1] == ' ') --before;
    size_t word = before;
    while (word > 0 && is_word_byte(text[word - 1])) --word;
    const std::string_view definer = std::string_view(text).substr(word, before - word);
    if (definer == "def" || definer == "fn" || definer == "func" || definer == "function") continue;
    return true;
  }
  return false;
}

bool at_empty_block(const Document& document, size_t offset) {
  offset = std::min(offset, document.text().size());
  const Language* language = document.language();
  if (place_at(document, offset) != Place::kCode) return false;
  Surroundings around = surroundings_of(document, offset);
  if (!around.last || around.place != Place::kCode) return false;
  const std::optional<Token> next = next_token(document, offset);
  const BlockStyle style = language == nullptr ? BlockStyle::kBrackets : language->spec().blocks;

  if (style == BlockStyle::kIndentation) {
    if (around.last->kind == TokenKind::kString) {
      // Behind a docstring: a string alone on its logical line.
      const size_t first = around.last->begin;
      const size_t line = document.line_start(document.line_of(first));
      const std::string_view before = std::string_view(document.text()).substr(line, first - line);
      const bool alone =
          is_blank(before) || (before.find_first_not_of(" \trRuUbBfF") == std::string_view::npos);
      if (!alone) return false;
      around = surroundings_of(document, line);
      if (!around.last) return false;
    }
    const Token& last = *around.last;
    if (token_text(document, last) != ":" || !around.brackets.open_ones().empty()) return false;
    const auto& headers = language->spec().header_words;
    if (!headers.empty()) {
      const auto word = next_token(document, around.logical_line);
      if (!word || !contains(headers, token_text(document, *word))) return false;
    }
    // On a later line the cursor must stand deeper than the header.
    const size_t line = document.line_of(offset);
    if (line != document.line_of(last.begin)) {
      const size_t start = document.line_start(line);
      const std::string_view before =
          std::string_view(document.text()).substr(start, offset - start);
      if (!is_blank(before)) return false;
      if (indentation(before) <= indent_at(document, around.logical_line)) return false;
    }
    if (!nothing_below(document, around.logical_line, offset, next)) return false;
    // YAML lists may stand at their key's own depth.
    const bool list = next && token_text(document, *next) == "-" && headers.empty() &&
                      indent_at(document, next->begin) == indent_at(document, around.logical_line);
    return !list;
  }

  if (around.last->kind == TokenKind::kOpen && token_text(document, *around.last) == "{") {
    if (!is_block_brace(document, around.last->begin)) return false;
    if (next && token_text(document, *next) == "}") return true;
    return nothing_below(document, around.logical_line, offset, next);
  }
  if (language == nullptr) {
    return token_text(document, *around.last) == ":" &&
           document.line_of(around.last->begin) < document.line_of(offset) &&
           nothing_below(document, around.last->begin, offset, next);
  }
  if (style == BlockStyle::kKeywords) {
    const LanguageSpec& spec = language->spec();
    const std::string_view last = token_text(document, *around.last);
    const bool opener =
        contains(spec.body_words, last) ||
        (last == ")" && is_function_header(document, around.logical_line, around.last->begin));
    if (!opener) return false;
    if (next && (contains(spec.closing_words, token_text(document, *next)) ||
                 contains(spec.middle_words, token_text(document, *next)))) {
      return true;
    }
    return nothing_below(document, around.logical_line, offset, next);
  }
  return behind_case_label(document, around, next);
}

bool at_statement_start(const Document& document, size_t offset) {
  offset = std::min(offset, document.text().size());
  const size_t line = document.line_start(document.line_of(offset));
  if (!is_blank(std::string_view(document.text()).substr(line, offset - line))) return false;
  if (place_at(document, offset) != Place::kCode) return false;
  const Surroundings around = surroundings_of(document, offset);
  if (around.place != Place::kCode) return false;
  if (around.last && token_text(document, *around.last).starts_with('\\')) return false;
  const auto& open = around.brackets.open_ones();
  return open.empty() ||
         (open.back().closer == '}' && is_block_brace(document, open.back().offset));
}

std::string enclosing_definition(const Document& document, size_t offset) {
  const SyntaxTree* tree = document.tree();
  if (tree == nullptr) return "";
  const std::vector<TSNode> path = tree->path_to(std::min(offset, document.text().size()), true);
  for (auto node = path.rbegin(); node != path.rend(); ++node) {
    if ((tree->roles(*node) & (kFunction | kType)) == 0) continue;
    const std::string_view name = definition_name(*tree, document.text(), *node);
    if (!name.empty()) return std::string(name);
  }
  return "";
}

bool has_syntax_error(const Document& document, size_t begin, size_t end) {
  return document.tree() != nullptr && document.tree()->has_error_in(begin, end);
}

BracketBalance bracket_balance(std::string_view text, const Language* language) {
  BracketBalance balance;
  BracketStack stack;
  const bool patterns = language != nullptr && (language->spec().quirks & kCasePatterns) != 0;
  Lexer lexer(text, language);
  while (const auto token = lexer.next()) {
    if (token->kind == TokenKind::kOpen) {
      stack.open(text[token->begin], token->begin);
    } else if (token->kind == TokenKind::kClose) {
      const auto& open = stack.open_ones();
      const char closer = text[token->begin];
      if (!open.empty() && open.back().closer == closer) {
        stack.close(closer);
      } else if (!balance.first_unmatched && !(patterns && closer == ')')) {
        balance.first_unmatched = token->begin;
      }
    } else if (!token->terminated && token->end == text.size()) {
      balance.end_place = token->kind == TokenKind::kString ? Place::kString : Place::kComment;
    }
  }
  balance.missing_closers = stack.closers();
  return balance;
}

std::string open_brackets(const Document& document, size_t offset) {
  return surroundings_of(document, std::min(offset, document.text().size())).brackets.closers();
}

std::string_view line_comment(const Language* language) {
  return language == nullptr ? "" : language->spec().line_comment;
}

bool blocks_by_indentation(const Language* language) {
  return language != nullptr && language->spec().blocks == BlockStyle::kIndentation;
}

std::vector<std::string_view> identifiers(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t i = 0; i < text.size();) {
    if (!is_word_byte(text[i])) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < text.size() && is_word_byte(text[i])) ++i;
    if (i - begin >= 2 && (text[begin] < '0' || text[begin] > '9')) {
      out.push_back(text.substr(begin, i - begin));
    }
  }
  return out;
}

std::vector<std::string> identifier_parts(std::string_view identifier) {
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto is_upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  std::vector<std::string> parts;
  std::string part;
  const auto flush = [&] {
    if (!part.empty()) parts.push_back(std::move(part));
    part.clear();
  };
  for (size_t i = 0; i < identifier.size(); ++i) {
    const char c = identifier[i];
    if (c == '_' || c == '$' || c == '-') {
      flush();
      continue;
    }
    // A capital begins a part behind a small letter (fooBar) or before one (HTTPHeader).
    const bool next_lower = i + 1 < identifier.size() && is_lower(identifier[i + 1]);
    if (is_upper(c) && !part.empty() && (!is_upper(identifier[i - 1]) || next_lower)) flush();
    part.push_back(is_upper(c) ? static_cast<char>(c + 32) : c);
  }
  flush();
  return parts;
}

}  // namespace fimd

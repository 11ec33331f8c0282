// What completion asks of the syntax: where the cursor is, when generated text is complete, and
// which brackets and identifiers a text holds.
//
// Free functions are pure and may be called from any thread. Every question has an answer for every
// document: a small lexer stands in where there is no syntax tree (unknown language, huge file,
// parse cut off). Offsets are byte offsets into the document's text; offsets past its end clamp.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "context/document.h"

namespace fimd {

enum class Place { kCode, kString, kComment };

/// What the byte position between text[offset - 1] and text[offset] is inside of. The position just
/// after a closing quote is code; just after the last character of a line comment is comment.
Place place_at(const Document& document, size_t offset);
bool inside_string(const Document& document, size_t offset);
bool inside_comment(const Document& document, size_t offset);

/// Between the parentheses of a call (or of a macro or constructor call), not inside a block nested
/// in an argument, such as a lambda's body.
bool inside_call_arguments(const Document& document, size_t offset);

/// The cursor opens a block that holds no statement yet: after `def f():` + newline, between `{`
/// and
/// `}`, after `then`, or directly behind the opener itself on its line. Comments and docstrings
/// count as nothing, so a body with only a docstring is still empty.
bool at_empty_block(const Document& document, size_t offset);

/// Only blanks stand before the cursor on its line, and it is inside no bracketed expression,
/// string or comment: a new statement may begin here.
bool at_statement_start(const Document& document, size_t offset);

/// Name of the innermost function or class whose definition holds `offset`; "" at top level.
std::string enclosing_definition(const Document& document, size_t offset);

/// Whether the syntax tree has an error or a missing token that touches [begin, end). False without
/// a tree.
bool has_syntax_error(const Document& document, size_t begin, size_t end);

/// Brackets of `text`, which begins in code: (), [] and {}, those in strings and comments left out.
struct BracketBalance {
  /// Closing brackets that `text` still needs, in the order to append them.
  std::string missing_closers;
  /// Offset of the first closing bracket in `text` that nothing in `text` opened.
  std::optional<size_t> first_unmatched;
  /// What the end of `text` is inside of.
  Place end_place = Place::kCode;
};
BracketBalance bracket_balance(std::string_view text, const Language* language);

/// Brackets that are open at `offset` because of the text before it, as the closers that would
/// balance it, innermost first.
std::string open_brackets(const Document& document, size_t offset);

/// The language's line comment ("#", "//", "--"); "" if it has none or is unknown.
std::string_view line_comment(const Language* language);
/// Blocks are delimited by indentation (Python, YAML, Markdown). False for an unknown language.
bool blocks_by_indentation(const Language* language);

/// Identifiers of `text` in order of appearance, repeats included; words of strings and comments
/// too. Numbers and one-letter names are left out.
std::vector<std::string_view> identifiers(std::string_view text);
/// `parseHTTPHeader_v2` -> parse http header v2: lower case, split at case changes and underscores.
std::vector<std::string> identifier_parts(std::string_view identifier);

/// A document as it would be with generated text in place of [begin, end) (begin <= cursor <= end):
/// tells where the text may end. Made once per generation and asked again and again as the text
/// grows; each question costs an incremental parse of the growth (well below a millisecond).
///
/// Thread: one at a time (the io thread or the engine's sink).
class Continuation {
 public:
  Continuation(DocumentPtr document, size_t begin, size_t end);
  Continuation(Continuation&&) noexcept;
  Continuation& operator=(Continuation&&) noexcept;
  ~Continuation();

  /// Bytes of `generated` up to the end of the statement that the cursor is in (or that begins
  /// first in `generated`), once it is sure that more text will not prolong it: something follows
  /// that belongs to another statement, or the rest is a closing bracket that was opened before
  /// `begin`, or the dedent below it. A compound statement ends with its block, `else` branches
  /// included. Absent while the statement may go on.
  std::optional<size_t> statement_end(std::string_view generated);

  /// Bytes of `generated` up to the end of the block that the cursor is in: before the closing
  /// bracket or keyword that was opened before `begin`, or before the first dedented line. Trailing
  /// blanks and line breaks are not counted. Absent while the block may go on.
  std::optional<size_t> block_end(std::string_view generated);

  /// Whether the text with `generated` put in has a syntax error near it that the text without it
  /// had not (a suggestion to veto or repair). False without a tree.
  bool breaks_syntax(std::string_view generated);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fimd

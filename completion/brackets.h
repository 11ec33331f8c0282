// Brackets and quotes of generated text: which of them close something that was opened before it,
// and which it leaves open. A small lexer without a grammar, for text that need not be complete
// code. Pure, any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fimd {

struct BracketScan {
  /// Offsets of closing brackets (and of the quote that ends the string the text began in) that
  /// nothing in the text opened.
  std::vector<size_t> unmatched;
  /// What is still open at the end, outermost first: `(`, `[`, `{` or a quote character (then the
  /// last one).
  std::string open;
};

/// `quote`: the quote character of the string that `text` begins inside of, or 0. `line_comment`
/// starts a comment; empty if the language has none. Strings in '...' and "..." end with their
/// line; an apostrophe that is never closed on its line is none.
BracketScan scan_brackets(std::string_view text, char quote, std::string_view line_comment);

/// `)` for `(` and so on; quotes close themselves.
char closing_of(char opener);
bool is_closer(char c);  // ) ] }
bool is_opener(char c);  // ( [ {
bool is_quote(char c);

/// Nothing but closing brackets, quotes, blanks and `;` `,` `:` (or nothing at all): text that may
/// follow a suggestion on its line without being meant as its continuation.
bool only_closers(std::string_view rest);

}  // namespace fimd

// Lexer: strings, comments, words and brackets of a text, without a grammar.
//
// Good enough to tell code from strings in generated or half-typed text, where a parser only
// reports errors, and in files without a tree. Reads from a place that is known to be code. Any
// thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "context/language.h"

namespace fimd {

enum class TokenKind { kWord, kNumber, kString, kComment, kOpen, kClose, kPunctuation };

struct Token {
  TokenKind kind = TokenKind::kPunctuation;
  size_t begin = 0;
  size_t end = 0;
  /// Of strings and comments: false if the text ends (or a one-line string's line) before they do.
  /// A line comment is terminated by its line break.
  bool terminated = true;
};

class Lexer {
 public:
  /// A null language gets rules that suit most.
  Lexer(std::string_view text, const Language* language, size_t begin = 0);

  /// The next token; absent at the end. Blanks and line breaks belong to none.
  std::optional<Token> next();

 private:
  Token string_from(size_t begin, size_t open_length, const StringRule& rule);
  std::optional<Token> special_string(size_t begin);
  std::optional<Token> comment(size_t begin);
  std::optional<Token> heredoc(size_t begin);
  Token template_piece(size_t begin, size_t from);
  bool regex_may_start() const;
  bool begins_value(size_t begin) const;
  size_t find_line_end(size_t from) const;
  bool at(size_t offset, std::string_view needle) const {
    return !needle.empty() && offset < text_.size() && text_[offset] == needle[0] &&
           text_.substr(offset, needle.size()) == needle;
  }
  bool has(uint16_t quirk) const { return (quirks_ & quirk) != 0; }

  std::string_view text_;
  const LanguageSpec* spec_;
  uint16_t quirks_ = 0;
  size_t offset_;
  bool known_;
  std::optional<Token> last_;           // that was no comment
  size_t flow_depth_ = 0;               // kPlainScalars: open brackets
  std::vector<size_t> template_depth_;  // open braces inside each ${ of a template being read
};

/// A bracket that is open, and where.
struct OpenBracket {
  char closer = ')';
  size_t offset = 0;
};

char closer_of(char open);

/// Stack of open brackets: openers push, a closer pops its opener and everything unclosed above it.
class BracketStack {
 public:
  void open(char bracket, size_t offset) { stack_.push_back({closer_of(bracket), offset}); }
  /// False if nothing open matches.
  bool close(char closer);
  const std::vector<OpenBracket>& open_ones() const { return stack_; }
  /// Closers, innermost first.
  std::string closers() const;

 private:
  std::vector<OpenBracket> stack_;
};

bool is_word_byte(char c);

}  // namespace fimd

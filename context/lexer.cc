#include "context/lexer.h"

#include <algorithm>

namespace fimd {
namespace {

const LanguageSpec& generic_spec() {
  static const LanguageSpec spec = {
      .name = "",
      .strings = {{R"(""")", R"(""")", true}, {"\"", "\""}, {"'", "'"}, {"`", "`", true}}};
  return spec;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_break(char c) { return c == '\n' || c == '\r'; }
bool is_blank_byte(char c) {
  return c == ' ' || c == '\t' || is_break(c) || c == '\f' || c == '\v';
}

/// Words behind which a slash begins a regular expression.
constexpr std::string_view kBeforeRegex[] = {"return", "typeof", "case",  "in",    "of",   "delete",
                                             "void",   "throw",  "await", "yield", "else", "do"};

}  // namespace

bool is_word_byte(char c) {
  const auto u = static_cast<unsigned char>(c);
  return (u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z') || is_digit(c) || u == '_' || u == '$' ||
         u >= 0x80;
}

char closer_of(char open) { return open == '(' ? ')' : open == '[' ? ']' : '}'; }

bool BracketStack::close(char closer) {
  const auto match = std::find_if(stack_.rbegin(), stack_.rend(), [&](const OpenBracket& bracket) {
    return bracket.closer == closer;
  });
  if (match == stack_.rend()) return false;
  stack_.erase(match.base() - 1, stack_.end());
  return true;
}

std::string BracketStack::closers() const {
  std::string out;
  for (auto it = stack_.rbegin(); it != stack_.rend(); ++it) out.push_back(it->closer);
  return out;
}

Lexer::Lexer(std::string_view text, const Language* language, size_t begin)
    : text_(text),
      spec_(language == nullptr ? &generic_spec() : &language->spec()),
      quirks_(spec_->quirks),
      offset_(std::min(begin, text.size())),
      known_(language != nullptr) {}

size_t Lexer::find_line_end(size_t from) const {
  return std::min(text_.find_first_of("\r\n", from), text_.size());
}

std::optional<Token> Lexer::next() {
  while (offset_ < text_.size() && is_blank_byte(text_[offset_])) ++offset_;
  if (offset_ >= text_.size()) return std::nullopt;
  const size_t begin = offset_;
  const char c = text_[begin];
  Token token = {TokenKind::kPunctuation, begin, begin + 1};

  if (const auto found = comment(begin)) {
    offset_ = found->end;
    return found;
  }
  if (const auto found = special_string(begin)) {
    token = *found;
  } else if (is_digit(c)) {
    token.kind = TokenKind::kNumber;
    while (token.end < text_.size() &&
           (is_word_byte(text_[token.end]) || text_[token.end] == '.' ||
            (has(kDigitSeparators) && text_[token.end] == '\'' && token.end + 1 < text_.size() &&
             is_word_byte(text_[token.end + 1])))) {
      ++token.end;
    }
  } else if (is_word_byte(c)) {
    token.kind = TokenKind::kWord;
    while (token.end < text_.size() && is_word_byte(text_[token.end])) ++token.end;
  } else if (has(kPlainScalars) && std::string_view("()[]{}").find(c) != std::string_view::npos) {
    // Flow collections only; in plain text brackets mean nothing.
    if ((c == '[' || c == '{') && begins_value(begin)) {
      token.kind = TokenKind::kOpen;
      ++flow_depth_;
    } else if ((c == ']' || c == '}') && flow_depth_ > 0) {
      token.kind = TokenKind::kClose;
      --flow_depth_;
    }
  } else if (c == '(' || c == '[' || c == '{') {
    token.kind = TokenKind::kOpen;
    if (c == '{' && !template_depth_.empty()) ++template_depth_.back();
  } else if (c == '}' && !template_depth_.empty() && template_depth_.back() == 0) {
    template_depth_.pop_back();
    token = template_piece(begin, begin + 1);
  } else if (c == ')' || c == ']' || c == '}') {
    token.kind = TokenKind::kClose;
    if (c == '}' && !template_depth_.empty()) --template_depth_.back();
  } else if (c == '\\') {
    token.end = std::min(begin + 2, text_.size());  // protects what follows outside of strings too
  }
  offset_ = token.end;
  last_ = token;
  return token;
}

std::optional<Token> Lexer::comment(size_t begin) {
  const std::string_view open = spec_->block_comment_open;
  if (has(kLongBrackets) && at(begin, "--[")) {
    size_t equals = begin + 3;
    while (equals < text_.size() && text_[equals] == '=') ++equals;
    if (equals < text_.size() && text_[equals] == '[') {
      const std::string close = "]" + std::string(equals - begin - 3, '=') + "]";
      const size_t found = text_.find(close, equals + 1);
      const bool terminated = found != std::string_view::npos;
      return Token{TokenKind::kComment, begin, terminated ? found + close.size() : text_.size(),
                   terminated};
    }
  }
  if (at(begin, open)) {
    size_t depth = 1;
    size_t i = begin + open.size();
    while (i < text_.size() && depth > 0) {
      if (at(i, spec_->block_comment_close)) {
        --depth;
        i += spec_->block_comment_close.size();
      } else if (has(kNestedComments) && at(i, open)) {
        ++depth;
        i += open.size();
      } else {
        ++i;
      }
    }
    return Token{TokenKind::kComment, begin, i, depth == 0};
  }
  bool starts = at(begin, spec_->line_comment);
  if (starts && has(kHashInWords) && begin > 0) {
    const char before = text_[begin - 1];
    starts =
        is_blank_byte(before) || before == ';' || before == '(' || before == '&' || before == '|';
  }
  // An unknown language: the two line comments that nearly all of them use.
  if (!known_ && !starts) {
    const bool line_start = begin == 0 || is_blank_byte(text_[begin - 1]);
    starts = line_start && (at(begin, "//") || at(begin, "#"));
  }
  if (!starts) return std::nullopt;
  const size_t end = find_line_end(begin);
  return Token{TokenKind::kComment, begin, end, end < text_.size()};
}

bool Lexer::begins_value(size_t begin) const {
  while (begin > 0 && (text_[begin - 1] == ' ' || text_[begin - 1] == '\t')) --begin;
  return begin == 0 || is_break(text_[begin - 1]) ||
         std::string_view(":-[{,?(").find(text_[begin - 1]) != std::string_view::npos;
}

std::optional<Token> Lexer::special_string(size_t begin) {
  const char c = text_[begin];
  if (has(kPlainScalars) && !begins_value(begin)) return std::nullopt;
  if (has(kRawCpp) && c == 'R' && at(begin + 1, "\"")) {
    const size_t paren = text_.find_first_of("()\\ \t\r\n", begin + 2);
    if (paren != std::string_view::npos && text_[paren] == '(' && paren - begin <= 18) {
      const std::string close =
          ")" + std::string(text_.substr(begin + 2, paren - begin - 2)) + "\"";
      return string_from(begin, paren + 1 - begin, {"", close, true, false});
    }
  }
  if (has(kRawRust) && (c == 'r' || (c == 'b' && at(begin + 1, "r")))) {
    size_t i = begin + (c == 'b' ? 2 : 1);
    const size_t hashes_begin = i;
    while (i < text_.size() && text_[i] == '#') ++i;
    if (i < text_.size() && text_[i] == '"') {
      const std::string close = "\"" + std::string(i - hashes_begin, '#');
      return string_from(begin, i + 1 - begin, {"", close, true, false});
    }
  }
  if (has(kLifetimes) && c == '\'') {
    // 'x' and '\n' are characters; 'a without a closing quote is a lifetime.
    size_t i = begin + 1;
    if (i < text_.size() && text_[i] == '\\') {
      return string_from(begin, 1, {"'", "'"});
    }
    if (i < text_.size()) ++i;
    while (i < text_.size() && (static_cast<unsigned char>(text_[i]) & 0xC0) == 0x80) ++i;
    if (at(i, "'")) return Token{TokenKind::kString, begin, i + 1};
    return std::nullopt;
  }
  if (has(kLongBrackets) && c == '[') {
    size_t i = begin + 1;
    while (i < text_.size() && text_[i] == '=') ++i;
    if (i < text_.size() && text_[i] == '[') {
      const std::string close = "]" + std::string(i - begin - 1, '=') + "]";
      return string_from(begin, i + 1 - begin, {"", close, true, false});
    }
    return std::nullopt;
  }
  if (has(kHeredocs) && at(begin, "<<")) return heredoc(begin);
  if (has(kRegexLiterals) && c == '/' && regex_may_start()) {
    bool in_class = false;
    for (size_t i = begin + 1; i < text_.size() && !is_break(text_[i]); ++i) {
      if (text_[i] == '\\') {
        ++i;
      } else if (text_[i] == '[') {
        in_class = true;
      } else if (text_[i] == ']') {
        in_class = false;
      } else if (text_[i] == '/' && !in_class) {
        return Token{TokenKind::kString, begin, i + 1};
      }
    }
    return std::nullopt;
  }
  if (has(kTemplates) && c == '`') return template_piece(begin, begin + 1);
  // don't: no string begins inside a word of an unknown language.
  if (!known_ && c == '\'' && begin > 0 && is_word_byte(text_[begin - 1])) return std::nullopt;
  for (const StringRule& rule : spec_->strings) {
    if (!at(begin, rule.open)) continue;
    const Token token = string_from(begin, rule.open.size(), rule);
    // An apostrophe in a text of unknown kind is as likely none of a string's.
    const bool cut_by_line = !token.terminated && token.end < text_.size();
    if (!known_ && cut_by_line) return std::nullopt;
    return token;
  }
  return std::nullopt;
}

Token Lexer::string_from(size_t begin, size_t open_length, const StringRule& rule) {
  for (size_t i = begin + open_length; i < text_.size(); ++i) {
    if (rule.escapes && text_[i] == '\\') {
      // A protected line break may be two bytes.
      i += at(i + 1, "\r\n") ? 2 : 1;
    } else if (at(i, rule.close)) {
      return {TokenKind::kString, begin, i + rule.close.size()};
    } else if (!rule.multi_line && is_break(text_[i])) {
      return {TokenKind::kString, begin, i, false};
    }
  }
  return {TokenKind::kString, begin, text_.size(), false};
}

Token Lexer::template_piece(size_t begin, size_t from) {
  for (size_t i = from; i < text_.size(); ++i) {
    if (text_[i] == '\\') {
      ++i;
    } else if (text_[i] == '`') {
      return {TokenKind::kString, begin, i + 1};
    } else if (at(i, "${")) {
      template_depth_.push_back(0);
      return {TokenKind::kString, begin, i + 2};
    }
  }
  return {TokenKind::kString, begin, text_.size(), false};
}

std::optional<Token> Lexer::heredoc(size_t begin) {
  size_t i = begin + 2;
  if (at(i, "<")) return std::nullopt;  // <<< is a here string
  const bool strip_tabs = at(i, "-");
  if (strip_tabs) ++i;
  while (i < text_.size() && text_[i] == ' ') ++i;
  const char quote = i < text_.size() && (text_[i] == '\'' || text_[i] == '"') ? text_[i] : '\0';
  if (quote != '\0') ++i;
  const size_t word_begin = i;
  while (i < text_.size() && is_word_byte(text_[i])) ++i;
  const std::string_view word = text_.substr(word_begin, i - word_begin);
  if (word.empty() || is_digit(word[0])) return std::nullopt;  // 1 << 2
  // The rest of the line is code still, but reading it as part of the literal does little harm.
  size_t line = find_line_end(i);
  while (line < text_.size()) {
    line += at(line, "\r\n") ? 2 : 1;
    const size_t end = find_line_end(line);
    std::string_view content = text_.substr(line, end - line);
    if (strip_tabs)
      content.remove_prefix(std::min(content.find_first_not_of('\t'), content.size()));
    if (content == word) return Token{TokenKind::kString, begin, end};
    line = end;
  }
  return Token{TokenKind::kString, begin, text_.size(), false};
}

bool Lexer::regex_may_start() const {
  if (!last_) return true;
  switch (last_->kind) {
    case TokenKind::kNumber:
    case TokenKind::kString:
    case TokenKind::kClose:
      return false;
    case TokenKind::kWord: {
      const std::string_view word = text_.substr(last_->begin, last_->end - last_->begin);
      return std::find(std::begin(kBeforeRegex), std::end(kBeforeRegex), word) !=
             std::end(kBeforeRegex);
    }
    default:
      return true;
  }
}

}  // namespace fimd

#include <algorithm>
#include <utility>

#include "context/language.h"
#include "context/lexer.h"
#include "context/surroundings.h"
#include "context/syntax_queries.h"
#include "context/syntax_tree.h"
#include "context/text.h"
#include "support/clock.h"

namespace fimd {
namespace {

// Beyond this a question is answered without the tree.
constexpr double kParseMs = 25;
constexpr double kSlowParseMs = 2;

bool contains(const std::vector<std::string_view>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool is_break(char c) { return c == '\n' || c == '\r'; }

/// Begins or ends a code block of Markdown.
bool is_fence(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  return line.starts_with("```") || line.starts_with("~~~");
}

/// Lines that cannot stand alone: what follows belongs to them.
bool line_goes_on(std::string_view text, size_t end) {
  size_t i = end;
  while (i > 0 && (text[i - 1] == ' ' || text[i - 1] == '\t')) --i;
  return i > 0 &&
         std::string_view("+-*/%=<>&|^,.([{\\?:~").find(text[i - 1]) != std::string_view::npos;
}

}  // namespace

struct Continuation::State {
  DocumentPtr document;
  size_t begin = 0;
  size_t end = 0;

  Surroundings around;        // at begin
  size_t line_begin = 0;      // start of the cursor's line
  size_t base_indent = 0;     // lines indented less end the block
  bool base_known = false;    // false: the first generated line sets it
  bool line_is_blank = true;  // before begin
  bool in_fence = false;

  // The hypothetical text the tree is of: up to the cursor, generated, closers.
  std::string text;
  std::shared_ptr<const SyntaxTree> tree;
  double parse_ms = 0;         // what the last parse took
  size_t asked = 0;            // length of generated when the tree was last asked
  std::optional<size_t> told;  // and what it said

  explicit State(DocumentPtr the_document, size_t the_begin, size_t the_end);

  const std::string& before() const { return document->text(); }
  const Language* language() const { return document->language(); }
  const LanguageSpec* spec() const { return language() ? &language()->spec() : nullptr; }

  /// What lexing the generated text says.
  struct Scan {
    std::optional<size_t> block_end;  // in generated
    BracketStack brackets;            // open at the end of generated, those before it included
    Place place = Place::kCode;
    std::optional<size_t> line_end;  // in generated: first line break at the cursor's own depth
                                     // behind a finished line
  };
  Scan scan(std::string_view generated) const;
  std::optional<size_t> paragraph_end(std::string_view generated) const;
  void parse(std::string_view generated, const std::string& closers);
  std::optional<size_t> tree_statement_end(std::string_view generated) const;
  std::optional<size_t> ask_tree(std::string_view generated, const Scan& scan);
  bool surely_ended(TSNode statement, size_t limit) const;
};

Continuation::State::State(DocumentPtr the_document, size_t the_begin, size_t the_end)
    : document(std::move(the_document)) {
  begin = std::min(the_begin, before().size());
  end = std::clamp(the_end, begin, before().size());
  around = surroundings_of(*document, begin);
  const size_t line = document->line_of(begin);
  line_begin = document->line_start(line);
  const std::string_view typed = std::string_view(before()).substr(line_begin, begin - line_begin);
  line_is_blank = is_blank(typed);
  if (!line_is_blank) {
    // Behind a header on its own line the block is what comes below and deeper.
    base_indent = indentation(typed) + (at_empty_block(*document, begin) ? 1 : 0);
    base_known = true;
  }
  if (spec() != nullptr && spec()->blocks == BlockStyle::kParagraphs) {
    for (size_t i = 0; i < line; ++i) {
      if (is_fence(document->line_text(i))) in_fence = !in_fence;
    }
  }
}

Continuation::Continuation(DocumentPtr document, size_t begin, size_t end)
    : state_(std::make_unique<State>(std::move(document), begin, end)) {}
Continuation::Continuation(Continuation&&) noexcept = default;
Continuation& Continuation::operator=(Continuation&&) noexcept = default;
Continuation::~Continuation() = default;

Continuation::State::Scan Continuation::State::scan(std::string_view generated) const {
  Scan out;
  // From the anchor, so that a string begun before the cursor is known as one.
  const size_t shift = begin - around.anchor;
  std::string text = before().substr(around.anchor, shift);
  text.append(generated);
  out.brackets = around.anchor_stack;
  const BlockStyle style = spec() == nullptr ? BlockStyle::kBrackets : spec()->blocks;
  const bool by_dedent = style == BlockStyle::kIndentation || spec() == nullptr;
  const bool patterns = spec() != nullptr && (spec()->quirks & kCasePatterns) != 0;
  size_t base = base_indent;
  bool known = base_known;
  size_t words = 0;         // blocks opened by keywords in generated
  size_t last_end = shift;  // of the last token before the current one, in text
  // Openers of generated; what closes beyond them was opened before the cursor.
  size_t own = 0;
  bool line_start_seen = !line_is_blank;

  const auto end_block = [&](size_t at) {
    size_t stop = std::max(std::min(at, text.size()), shift);
    while (stop > shift &&
           (is_break(text[stop - 1]) || text[stop - 1] == ' ' || text[stop - 1] == '\t')) {
      --stop;
    }
    out.block_end = stop - shift;
  };

  Lexer lexer(text, language(), 0);
  while (const auto token = lexer.next()) {
    const bool in_generated = token->begin >= shift;
    if (in_generated && !out.block_end) {
      const std::string_view gap = std::string_view(text).substr(last_end, token->begin - last_end);
      const size_t break_at = gap.find_first_of("\r\n");
      const bool new_line = break_at != std::string_view::npos;
      const bool closer = token->kind == TokenKind::kClose;
      if (new_line && own == 0 && words == 0 && !out.line_end && last_end > shift &&
          !line_goes_on(text, last_end)) {
        out.line_end = last_end - shift;
      }
      if (new_line || !line_start_seen) {
        // The first token of a line, as deep as its blanks say.
        size_t line = token->begin;
        while (line > 0 && !is_break(text[line - 1])) --line;
        const size_t indent = line == 0 && around.anchor > line_begin
                                  ? indentation(std::string_view(before()).substr(line_begin))
                                  : indentation(std::string_view(text).substr(line));
        if (!known) {
          base = indent;
          known = true;
        } else if (by_dedent && own == 0 && indent < base && !(spec() == nullptr && closer)) {
          const auto& open = out.brackets.open_ones();
          if (open.empty() || style != BlockStyle::kIndentation) end_block(last_end);
        }
        line_start_seen = true;
      }
    }
    if (token->kind == TokenKind::kOpen) {
      out.brackets.open(text[token->begin], around.anchor + token->begin);
      if (in_generated) ++own;
    } else if (token->kind == TokenKind::kClose) {
      const char c = text[token->begin];
      const auto& open = out.brackets.open_ones();
      const bool matches = !open.empty() && open.back().closer == c;
      if (patterns && c == ')' && !matches) {
        // `pattern)` of a case closes nothing.
      } else if (!in_generated) {
        out.brackets.close(c);
      } else if (matches && own > 0) {
        out.brackets.close(c);
        --own;
      } else if (!out.block_end) {
        // A parenthesis opened before the cursor may be closed in generated; its block may not.
        if (!matches || c == '}') {
          end_block(last_end);
        } else {
          out.brackets.close(c);
        }
      }
    } else if (token->kind == TokenKind::kWord && in_generated && style == BlockStyle::kKeywords) {
      const std::string_view word =
          std::string_view(text).substr(token->begin, token->end - token->begin);
      // A word at the very end may still grow into another one (`end` into `endpoint`).
      const bool whole = token->end < text.size();
      if (contains(spec()->opening_words, word)) {
        ++words;
      } else if (contains(spec()->closing_words, word)) {
        if (words > 0) {
          --words;
        } else if (!out.block_end && whole) {
          end_block(last_end);
        }
      } else if (words == 0 && !out.block_end && whole && contains(spec()->middle_words, word)) {
        end_block(last_end);
      }
    } else if (!token->terminated && token->end == text.size()) {
      if (token->kind == TokenKind::kString) out.place = Place::kString;
      if (token->kind == TokenKind::kComment) out.place = Place::kComment;
    }
    last_end = token->end;
  }
  // A last line that is complete but has nothing behind it yet.
  if (!out.line_end && own == 0 && words == 0 && last_end > shift && out.place == Place::kCode &&
      text.find_first_of("\r\n", last_end) != std::string::npos && !line_goes_on(text, last_end)) {
    out.line_end = last_end - shift;
  }
  if (style == BlockStyle::kParagraphs) out.block_end = paragraph_end(generated);
  return out;
}

std::optional<size_t> Continuation::State::paragraph_end(std::string_view generated) const {
  bool fence = in_fence;
  size_t content_end = 0;
  size_t offset = 0;
  bool first = true;
  while (offset <= generated.size()) {
    const size_t stop = std::min(generated.find_first_of("\r\n", offset), generated.size());
    const std::string_view line = generated.substr(offset, stop - offset);
    const size_t mark = std::min(line.find_first_not_of(" \t"), line.size());
    const std::string_view stripped = line.substr(mark);
    const bool whole = stop < generated.size();
    if (is_fence(stripped)) {
      if (in_fence) return content_end;
      fence = !fence;
    } else if (!fence && whole && !first && stripped.empty()) {
      return content_end;
    } else if (!fence && !first && stripped.starts_with('#')) {
      return content_end;
    }
    if (!stripped.empty()) content_end = stop;
    first = false;
    if (!whole) break;
    offset = stop + (generated.substr(stop, 2) == "\r\n" ? 2 : 1);
  }
  return std::nullopt;
}

void Continuation::State::parse(std::string_view generated, const std::string& closers) {
  std::string next = before().substr(0, begin);
  next.append(generated).append(closers);
  const std::string& old = tree == nullptr ? before() : text;
  const SyntaxTree* old_tree = tree == nullptr ? document->tree() : tree.get();
  if (old_tree == nullptr) return;
  size_t same = begin;
  while (same < old.size() && same < next.size() && old[same] == next[same]) ++same;
  same = std::max(begin, floor_to_code_point(next, same));
  if (same < old.size()) same = std::min(same, std::max(begin, floor_to_code_point(old, same)));
  const TSInputEdit edit = make_edit(old, same, old.size(), next, next.size());
  const Stopwatch watch;
  tree = old_tree->reparse(next, {edit}, kParseMs);
  parse_ms = watch.elapsed_ms();
  text = std::move(next);
}

bool Continuation::State::surely_ended(TSNode statement, size_t limit) const {
  const std::string_view all = std::string_view(text).substr(0, limit);
  size_t from = ts_node_end_byte(statement);
  while (from > 1 && (is_break(text[from - 1]) || text[from - 1] == ' ')) --from;  // of #include
  const uint16_t roles = tree->roles(statement);
  const uint32_t children = ts_node_child_count(statement);
  if (children > 0 && (roles & kSection) == 0) {
    // A terminator of its own, not of the last statement inside.
    const std::string_view last = ts_node_type(ts_node_child(statement, children - 1));
    if (last == ";" || (last == "," && (roles & kCommaEnds) != 0)) return true;
  }
  if (text[from - 1] == ':') return false;  // a label or key whose value is still to come
  Lexer lexer(all, language(), from);
  while (const auto token = lexer.next()) {
    const std::string_view gap = all.substr(from, token->begin - from);
    const bool newline = gap.find_first_of("\r\n") != std::string_view::npos;
    if (newline && (roles & kNewlineEnds) != 0) return true;
    if (token->kind == TokenKind::kComment) {
      // Behind an empty line a comment is about something else.
      if (std::count(gap.begin(), gap.end(), '\n') >= 2) return true;
      continue;
    }
    const char c = all[token->begin];
    if (token->kind == TokenKind::kClose || c == ';') return true;
    if (c == ',') return (roles & kCommaEnds) != 0;
    const bool word = token->kind == TokenKind::kWord;
    const bool whole = token->end < all.size();  // not half a word, perhaps `els`
    const std::string_view spelled = all.substr(token->begin, token->end - token->begin);
    if ((roles & kSection) != 0) {
      return word && whole && (spelled == "case" || spelled == "default");
    }
    if (!newline) return false;
    if (spec()->blocks == BlockStyle::kIndentation && spec()->continuing_words.empty()) {
      size_t line = token->begin;
      while (line > 0 && !is_break(text[line - 1])) --line;
      return c != ':' && token->begin - line <= ts_node_start_point(statement).column;
    }
    if (word) return whole && !contains(spec()->continuing_words, spelled);
    if (token->kind == TokenKind::kNumber || c == '@' || c == '"' || c == '#') return true;
    // An operator may go on with an expression, but hardly with a block.
    return text[from - 1] == '}' && c != '.' && c != '(' && c != '?';
  }
  // Nothing but blanks and comments so far.
  return (roles & kNewlineEnds) != 0 &&
         all.substr(from).find_first_of("\r\n") != std::string_view::npos;
}

std::optional<size_t> Continuation::State::tree_statement_end(std::string_view generated) const {
  const size_t limit = begin + generated.size();
  const auto statement_at = [&](size_t offset, size_t outermost_begin) -> std::optional<TSNode> {
    std::optional<TSNode> found;
    for (const TSNode node : tree->path_to_range(offset, offset + 1)) {
      if ((tree->roles(node) & kStatement) == 0 || ts_node_is_error(node)) continue;
      // The innermost one, or one around it that begins on the same line.
      if (!found || ts_node_start_byte(*found) < outermost_begin) found = node;
    }
    return found;
  };
  std::optional<TSNode> statement;
  if (!line_is_blank) {
    size_t token = begin;
    while (token > line_begin && (text[token - 1] == ' ' || text[token - 1] == '\t')) --token;
    statement = statement_at(token - 1, line_begin);
    if (statement && ts_node_end_byte(*statement) <= begin) {
      // Finished before the cursor, unless generated begins with what goes on with it.
      statement.reset();
    }
  }
  if (!statement) {
    // The first statement that begins in generated; comments before it are passed over.
    Lexer lexer(text, language(), begin);
    std::optional<Token> token = lexer.next();
    while (token && token->kind == TokenKind::kComment) token = lexer.next();
    if (!token || token->begin >= limit) return std::nullopt;
    statement = statement_at(token->begin, token->begin);
    if (statement && ts_node_start_byte(*statement) < begin && line_is_blank) {
      // The innermost statement began on a line before: generated goes on with it.
      if (around.brackets.open_ones().empty() || around.brackets.open_ones().back().closer == '}') {
        if (at_statement_start(*document, begin)) return std::nullopt;
      }
    }
  }
  if (!statement || ts_node_has_error(*statement)) return std::nullopt;
  size_t stop = ts_node_end_byte(*statement);
  if (stop <= begin || stop > limit) return std::nullopt;
  if (!surely_ended(*statement, limit)) return std::nullopt;
  // A separator belongs to what it ends.
  const bool comma = (tree->roles(*statement) & kCommaEnds) != 0;
  if (stop < limit && (text[stop] == ';' || (comma && text[stop] == ','))) ++stop;
  while (stop > begin && (is_break(text[stop - 1]) || text[stop - 1] == ' ')) --stop;
  return stop - begin;
}

std::optional<size_t> Continuation::State::ask_tree(std::string_view generated, const Scan& scan) {
  std::string closers = scan.place == Place::kComment ? "\n" : "";
  closers += scan.brackets.closers();
  parse(generated, closers);
  asked = generated.size();
  told = tree != nullptr ? tree_statement_end(generated) : scan.line_end;
  return told;
}

std::optional<size_t> Continuation::statement_end(std::string_view generated) {
  State& s = *state_;
  const State::Scan scan = s.scan(generated);
  std::optional<size_t> found;
  if (s.document->tree() != nullptr && scan.place != Place::kString &&
      s.spec()->blocks != BlockStyle::kParagraphs) {
    // Where parsing is slow (error recovery over a large file), only what may end a statement is
    // worth it.
    if (s.parse_ms > kSlowParseMs && generated.size() >= s.asked &&
        generated.substr(s.asked).find_first_of("\r\n;}") == std::string_view::npos) {
      found = s.told;
    } else {
      found = s.ask_tree(generated, scan);
    }
  } else if (s.document->tree() == nullptr) {
    found = scan.line_end;
  }
  if (scan.block_end && (!found || *found > *scan.block_end)) found = scan.block_end;
  return found;
}

std::optional<size_t> Continuation::block_end(std::string_view generated) {
  return state_->scan(generated).block_end;
}

bool Continuation::breaks_syntax(std::string_view generated) {
  State& s = *state_;
  const SyntaxTree* old_tree = s.document->tree();
  if (old_tree == nullptr) return false;
  const size_t line = s.document->line_of(s.begin);
  const size_t line_end = s.document->line_end(s.document->line_of(s.end));
  if (old_tree->has_error_in(s.document->line_start(line), line_end)) return false;
  std::string text = s.before().substr(0, s.begin);
  text.append(generated).append(s.before(), s.end);
  const size_t new_end = s.begin + generated.size();
  const TSInputEdit edit = make_edit(s.before(), s.begin, s.end, text, new_end);
  const auto tree = old_tree->reparse(text, {edit}, kParseMs);
  if (tree == nullptr) return false;
  return tree->has_error_in(s.document->line_start(line), new_end + (line_end - s.end));
}

}  // namespace fimd

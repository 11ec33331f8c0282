#include "completion/line_mode.h"

#include "completion/brackets.h"
#include "completion/text_util.h"
#include "context/syntax_queries.h"

namespace fimd {
namespace {

bool is_comment_line(std::string_view line, std::string_view line_comment) {
  return !line_comment.empty() && trim(line).starts_with(line_comment);
}

/// Between an opening bracket at the end of the line above and its closing one on the line below.
bool in_empty_brackets(const CursorContext& context) {
  if (!is_blank(context.typed) || !context.rest_is_blank() || context.next_lines.empty()) {
    return false;
  }
  const std::string_view above = trim(context.previous_line);
  const std::string_view below = trim(context.next_lines.front());
  return !above.empty() && is_opener(above.back()) && closing_of(above.back()) == below.front();
}

}  // namespace

LineDecision decide_line_mode(const Document& document, size_t cursor, const CursorContext& context,
                              const LineModeOptions& options) {
  const bool word_before = !context.typed.empty() && is_word_byte(context.typed.back());
  const bool word_after = !context.rest.empty() && is_word_byte(context.rest.front());
  if (!options.invoked && word_after) {
    return {false, LineMode::kSingle, word_before ? "inside a word" : "before a word"};
  }
  if (!only_closers(context.rest)) return {true, LineMode::kSingle, "middle of a line"};
  if (context.place == Place::kComment) return {true, LineMode::kSingle, "comment"};
  if (context.place == Place::kString) return {true, LineMode::kSingle, "string"};
  if (!options.multi_line) return {true, LineMode::kSingle, "several lines are switched off"};

  const size_t offset = cursor;
  if (at_empty_block(document, offset)) return {true, LineMode::kBlock, "empty block"};
  if (in_empty_brackets(context)) return {true, LineMode::kBlock, "empty brackets"};
  if (inside_call_arguments(document, offset)) return {true, LineMode::kSingle, "call arguments"};
  if (is_blank(context.typed) && context.rest_is_blank() && at_statement_start(document, offset)) {
    if (options.invoked) return {true, LineMode::kStatement, "statement start, invoked"};
    // A comment on the line above says what is to follow.
    if (is_comment_line(context.previous_line, context.line_comment) && offset > 0 &&
        document.line_of(offset) > 0 &&
        !is_blank(document.line_text(document.line_of(offset) - 1))) {
      return {true, LineMode::kStatement, "after a comment"};
    }
    return {true, LineMode::kSingle, "statement start"};
  }
  return {true, LineMode::kSingle, "rest of a line"};
}

}  // namespace fimd

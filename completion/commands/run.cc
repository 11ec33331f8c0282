// From what was generated to what the editor gets.
#include "completion/commands/run.h"
#include "completion/commands/answer.h"
#include "completion/commands/doc_comment.h"
#include "completion/commands/document_fill.h"
#include "completion/text_util.h"

namespace fimd {
namespace {

Result<CommandResult> answered(const Run& run) {
  const RunFlow& flow = run.flows.front();
  if (!flow.result.ok()) return flow.result.error();
  const FinishReason reason = flow.result->reason;
  const bool truncated =
      !flow.stopped && (reason == FinishReason::kMaxTokens || reason == FinishReason::kContextFull);
  CommandResult out;
  const Document& document = *run.request.document;
  switch (run.spec->answer) {
    case CodeCommand::Answer::kMarkdown: {
      const auto circle = circling(flow.text);
      const std::string_view text =
          without_thought(std::string_view(flow.text).substr(0, circle.value_or(flow.text.size())));
      if (text.empty()) return Error{ErrorCode::kNotFound, "the model gave no answer"};
      out.text = text;
      out.truncated = truncated || circle.has_value();
      return out;
    }
    case CodeCommand::Answer::kCode: {
      const std::string_view original =
          std::string_view(document.text())
              .substr(run.lines.begin, run.lines.end - run.lines.begin);
      FIMD_ASSIGN_OR_RETURN(const std::string code,
                            replacement(flow.text, with_unix_line_breaks(original), truncated));
      out.kind = CommandResult::Kind::kEdit;
      out.text = with_line_breaks(code, line_break_of(document.text()));
      out.begin = run.lines.begin;
      out.end = run.lines.end;
      break;
    }
    case CodeCommand::Answer::kComment: {
      const std::string_view text = without_thought(flow.text);
      const auto block = first_code_block(text);
      if (truncated && !(block && block->closed)) {
        return Error{ErrorCode::kResourceExhausted, "the answer became too long and was cut off"};
      }
      if (!block) {
        return Error{ErrorCode::kNotFound,
                     "the model answered without code: \"" + one_line(text, 160) + "\""};
      }
      const std::string_view code = std::string_view(document.text())
                                        .substr(run.lines.begin, run.lines.end - run.lines.begin);
      const std::string comment = doc_text(run.place->style, block->text);
      FIMD_RETURN_IF_ERROR(check_doc_text(comment, run.place->documented() ? "" : code));
      FIMD_ASSIGN_OR_RETURN(out.text, documented_lines(document, *run.place, comment));
      out.kind = CommandResult::Kind::kEdit;
      out.begin = run.place->begin;
      out.end = run.place->end;
      break;
    }
  }
  out.title = run.spec->edit_title(run.request, run.target);
  return out;
}

Result<CommandResult> filled(const Run& run) {
  std::vector<DocCandidate> candidates;
  for (const RunFlow& flow : run.flows) {
    if (!flow.result.ok()) return flow.result.error();
    candidates.push_back({flow.text, flow.pieces == 0 ? 0 : flow.logprob / flow.pieces});
  }
  const Document& document = *run.request.document;
  const std::string_view code =
      std::string_view(document.text()).substr(run.lines.begin, run.lines.end - run.lines.begin);
  FIMD_ASSIGN_OR_RETURN(const std::string text, choose_doc_text(*run.place, code, candidates));
  CommandResult out;
  out.kind = CommandResult::Kind::kEdit;
  FIMD_ASSIGN_OR_RETURN(out.text, documented_lines(document, *run.place, text));
  out.title = run.spec->edit_title(run.request, run.target);
  out.begin = run.place->begin;
  out.end = run.place->end;
  return out;
}

}  // namespace

Result<CommandResult> command_result(const Run& run) {
  return run.filling ? filled(run) : answered(run);
}

}  // namespace fimd

// refactor: changes a piece of code as the user says.
#include "completion/commands/command.h"

namespace fimd {
namespace {

std::string task(const CommandRequest& request, const CommandTarget& target) {
  return "Change " + called(target) + " as follows: " + request.instruction +
         "\n\nKeep everything else about it as it is: what it does, its style, its comments. "
         "Answer with the whole of the code in question, changed, in one code block, and nothing "
         "else. Leave nothing out.";
}

std::string edit_title(const CommandRequest& request, const CommandTarget&) {
  return "Refactor: " + one_line(request.instruction);
}

}  // namespace

CodeCommand refactor_spec() {
  return {.name = "refactor",
          .title = "Refactor …",
          .kind = "refactor.rewrite",
          .answer = CodeCommand::Answer::kCode,
          .needs_instruction = true,
          .task = task,
          .edit_title = edit_title};
}

}  // namespace fimd

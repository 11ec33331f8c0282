// explain: what a piece of code does, in words.
#include "completion/commands/command.h"

namespace fimd {
namespace {

std::string task(const CommandRequest& request, const CommandTarget& target) {
  std::string text = "Explain " + called(target) +
                     ": first in one or two sentences what it is for, then how it works, step by "
                     "step where that helps, and anything surprising about it. Write Markdown, "
                     "short and concrete, for a programmer who knows the language. Do not repeat "
                     "the code.";
  if (!request.instruction.empty()) text += "\n\nThe question is: " + request.instruction;
  return text;
}

}  // namespace

CodeCommand explain_spec() {
  return {.name = "explain", .title = "Explain this code", .kind = "", .task = task};
}

}  // namespace fimd

// review: what a careful colleague would remark about a piece of code.
#include "completion/commands/command.h"

namespace fimd {
namespace {

std::string task(const CommandRequest& request, const CommandTarget& target) {
  std::string text = "Review " + called(target) +
                     ". List real problems only, the worst first: wrong results, unhandled cases "
                     "and errors, unsafe input, leaks, races, needless slowness, misleading "
                     "names. For each give the line or expression, what goes wrong, and the "
                     "remedy. Write a Markdown list; no praise and no remarks about style. If "
                     "there is no problem, say so in one sentence.";
  if (!request.instruction.empty()) text += "\n\nPay attention to this: " + request.instruction;
  return text;
}

}  // namespace

CodeCommand review_spec() {
  return {.name = "review", .title = "Review this code", .kind = "", .task = task};
}

}  // namespace fimd

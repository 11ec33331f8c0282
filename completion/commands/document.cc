// document: writes the documentation comment of a function or class. With a model that only fills
// in code, document_fill.cc does the same without an instruction.
#include "completion/commands/command.h"

namespace fimd {
namespace {

std::string_view form(std::string_view language) {
  if (language == "python") return "docstring (in \"\"\")";
  if (language == "java") return "Javadoc comment (/** ... */)";
  if (language == "javascript" || language == "typescript" || language == "tsx") {
    return "JSDoc comment (/** ... */)";
  }
  if (language == "rust") return "documentation comment (///)";
  if (language == "cpp" || language == "cuda") return "documentation comment (///)";
  if (language == "go") return "documentation comment (//, beginning with the name)";
  if (language == "lua") return "documentation comment (---)";
  if (language == "bash") return "comment (#)";
  return "documentation comment (/** ... */)";
}

std::string task(const CommandRequest& request, const CommandTarget& target) {
  std::string text = "Write the " + std::string(form(target.language)) + " of " + called(target) +
                     ": a first line that says what it is for, then only what a caller must know "
                     "besides: parameters, result, errors, side effects. Say nothing that the "
                     "signature says already. Answer with the comment alone, without the code, in "
                     "one code block.";
  if (!request.instruction.empty()) text += "\n\n" + request.instruction;
  return text;
}

std::string edit_title(const CommandRequest&, const CommandTarget& target) {
  return "Document " + target.name;
}

}  // namespace

CodeCommand document_spec() {
  return {.name = "document",
          .title = "Write documentation",
          .kind = "refactor.rewrite",
          .answer = CodeCommand::Answer::kComment,
          .max_tokens = 512,
          .task = task,
          .edit_title = edit_title};
}

}  // namespace fimd

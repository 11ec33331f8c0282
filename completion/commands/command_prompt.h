// The prompt of a command: what surrounds the code, the code, and the task, within the model's
// context. What is stable stands first, so that a second command for the same code, or one after
// an edit elsewhere in the file, finds most of it in the prefix cache.
//
// Owner: the commander. Thread: the io thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "completion/commands/chat_format.h"
#include "completion/commands/command.h"
#include "completion/prompt_builder.h"
#include "context/gatherer.h"
#include "context/workspace.h"

namespace fimd {

/// Whole lines of a document.
struct LineRange {
  size_t begin = 0;       // start of the first line
  size_t end = 0;         // end of the last one, without its line break
  size_t first_line = 0;  // zero-based
  size_t last_line = 0;
};

/// The lines a command is about: those of the request's range, blank ones at its ends left out;
/// for an empty range those of the code around it. An error, for the user, if there is no code.
Result<LineRange> command_lines(const CommandRequest& request, std::string* name);

struct CommandPrompt {
  Prompt prompt;
  int max_tokens = 0;  // of the answer
  size_t tokens = 0;   // of the prompt
};

class CommandPromptBuilder {
 public:
  CommandPromptBuilder(const Workspace* workspace, Gatherer* gatherer)
      : workspace_(workspace), gatherer_(gatherer) {}

  /// kResourceExhausted, with the numbers, if the code and the room for the answer are too much.
  Result<CommandPrompt> build(const CodeCommand& spec, const CommandRequest& request,
                              const CommandTarget& target, const LineRange& lines,
                              const Generator& generator, const ChatFormat& format,
                              bool with_snippets);
  void forget() { counter_.use(nullptr); }

 private:
  const Workspace* workspace_;
  Gatherer* gatherer_;
  TokenCounter counter_;
};

/// The first part of every prompt.
std::string_view command_system_text();

}  // namespace fimd

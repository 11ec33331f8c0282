// Commander: runs the commands of one editor session.
//
// request -> the code it is about -> prompt -> generator -> answer -> edit or Markdown. A model
// without a chat template documents by filling in. Owner: one per editor session; the Generator
// behind it is shared. Thread: all methods and callbacks on the io thread; text from the engine
// thread comes back through the injected executor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "completion/commands/command.h"
#include "completion/completer.h"

namespace fimd {

using CommandId = uint64_t;

struct CommandEvents {
  /// The prompt of so many tokens is on its way to the model.
  std::function<void(size_t prompt_tokens)> started;
  /// The next piece of the answer.
  std::function<void(std::string_view text)> text;
  /// Exactly once, last. kCancelled: by cancel(), by a newer command of the same name for the same
  /// document, or because the document was closed. Messages are meant for the user.
  std::function<void(Result<CommandResult>)> done;
};

class Commander {
 public:
  virtual ~Commander() = default;

  /// No event is sent from inside this call.
  virtual CommandId run(CommandRequest request, CommandEvents events) = 0;
  virtual void cancel(CommandId id) = 0;
  virtual void document_closed(const std::string& uri) = 0;
  virtual void set_options(const CompletionOptions& options) = 0;
};

/// `generator` is asked for on each request, as by make_completer. Of the options those about
/// exclusion, snippets and FIM windows count.
std::unique_ptr<Commander> make_commander(GeneratorSource generator, Workspace* workspace,
                                          Executor executor, CompletionOptions options);

/// Whether a command can run with a model at all, without trying.
bool command_available(const CodeCommand& spec, const ModelInfo& model);

}  // namespace fimd

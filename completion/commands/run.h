// Run: one command on its way, and what its generations have said.
//
// Owner: the commander. Thread: the io thread, except for the sink.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "completion/commands/command_prompt.h"
#include "completion/commands/commander.h"
#include "context/definitions.h"
#include "support/clock.h"

namespace fimd {

/// One generation of a command, on the io thread's side.
struct RunFlow {
  GenerationId id = 0;
  std::string text;
  double logprob = 0;
  int pieces = 0;
  bool finished = false;
  bool stopped = false;  // the text is complete, whatever the model might add
  Result<GenerationStats> result = GenerationStats{};
};

struct Run {
  CommandId id = 0;
  CommandRequest request;
  CommandEvents events;
  const CodeCommand* spec = nullptr;
  std::shared_ptr<Generator> generator;
  CommandTarget target;
  LineRange lines;                // kCode: what is replaced
  std::optional<DocPlace> place;  // kComment
  bool filling = false;           // without a chat template
  size_t streamed = 0;            // bytes of the answer that were passed on
  std::vector<RunFlow> flows;
  std::shared_ptr<std::atomic<bool>> abandoned = std::make_shared<std::atomic<bool>>(false);
  Stopwatch watch;
};
using RunPtr = std::shared_ptr<Run>;

/// What a finished run comes to; errors are for the user.
Result<CommandResult> command_result(const Run& run);

/// On the generator's thread: collects text, asks whether it is complete, passes it on.
class RunSink : public GenerationSink {
 public:
  struct Hooks {
    std::function<bool(std::string_view)> complete;  // may be empty
    std::function<void(std::string piece, float logprob, bool stopped)> text;
    std::function<void(Result<GenerationStats>)> done;
  };
  RunSink(Hooks hooks, std::shared_ptr<std::atomic<bool>> abandoned)
      : hooks_(std::move(hooks)), abandoned_(std::move(abandoned)) {}

  Flow on_text(std::string_view piece, float logprob) override {
    if (abandoned_->load(std::memory_order_relaxed) || stopped_) {
      return Flow::kStop;
    }
    text_ += piece;
    stopped_ = hooks_.complete && hooks_.complete(text_);
    hooks_.text(std::string(piece), logprob, stopped_);
    return stopped_ ? Flow::kStop : Flow::kContinue;
  }
  void on_done(Result<GenerationStats> stats) override { hooks_.done(std::move(stats)); }

 private:
  Hooks hooks_;
  std::shared_ptr<std::atomic<bool>> abandoned_;
  std::string text_;
  bool stopped_ = false;
};

}  // namespace fimd

#include "completion/commands/commander.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "completion/commands/answer.h"
#include "completion/commands/chat_format.h"
#include "completion/commands/command_prompt.h"
#include "completion/commands/doc_comment.h"
#include "completion/commands/document_fill.h"
#include "completion/commands/run.h"
#include "completion/fim_format.h"
#include "completion/io_gate.h"
#include "completion/text_util.h"
#include "completion/user_exclusion.h"
#include "context/definitions.h"
#include "context/language.h"
#include "support/log.h"

namespace fimd {
namespace {

constexpr size_t kMaxInstruction = 8192;
constexpr int kFillTokens = 96;
constexpr int kFillSamples = 5;
constexpr float kFillTemperature = 0.6F;
constexpr float kFillTopP = 0.9F;
// Prose that is always the likeliest word tends to run in circles.
constexpr float kProseTemperature = 0.3F;
constexpr float kProseTopP = 0.9F;

class CommanderCore : public std::enable_shared_from_this<CommanderCore> {
 public:
  CommanderCore(GeneratorSource generator, Workspace* workspace, Executor executor,
                CompletionOptions options)
      : generator_source_(std::move(generator)),
        workspace_(workspace),
        gate_(std::make_shared<IoGate>(std::move(executor))),
        options_(std::move(options)),
        exclusion_(user_exclusion(options_, *workspace_)),
        gatherer_(workspace_, &exclusion_),
        prompts_(workspace_, &gatherer_),
        fill_prompts_(workspace_, &gatherer_) {}

  CommandId run(CommandRequest request, CommandEvents events) {
    const auto run = std::make_shared<Run>();
    run->id = ++last_id_;
    run->request = std::move(request);
    run->events = std::move(events);
    if (Status status = begin(run); !status.ok()) finish(run, status.error());
    return run->id;
  }

  void cancel(CommandId id) {
    const auto it = runs_.find(id);
    if (it != runs_.end()) abandon(it->second, "cancelled");
  }

  void document_closed(const std::string& uri) {
    std::vector<RunPtr> gone;
    for (const auto& [id, run] : runs_) {
      if (run->request.document->uri() == uri) gone.push_back(run);
    }
    for (const RunPtr& run : gone) abandon(run, "the document was closed");
    gatherer_.forget(uri);
  }

  void set_options(const CompletionOptions& options) {
    if (options == options_) return;
    options_ = options;
    exclusion_ = user_exclusion(options_, *workspace_);
    gatherer_.clear();
  }

  void shut_down() {
    for (const auto& [id, run] : std::exchange(runs_, {})) {
      stop_flows(run);
      finish(run, Error{ErrorCode::kCancelled, "the session ended"});
    }
    gate_->close();
  }

 private:
  Status begin(const RunPtr& run) {
    const CommandRequest& request = run->request;
    run->spec = find_code_command(request.command);
    if (run->spec == nullptr) {
      return Error{ErrorCode::kInvalidArgument, "there is no command '" + request.command + "'"};
    }
    if (request.document == nullptr) {
      return Error{ErrorCode::kInvalidArgument, "a command names no document"};
    }
    if (run->spec->needs_instruction && is_blank(request.instruction)) {
      return Error{ErrorCode::kInvalidArgument,
                   "`" + request.command + "` wants to be told what to do"};
    }
    if (request.instruction.size() > kMaxInstruction) {
      return Error{ErrorCode::kInvalidArgument, "the instruction is longer than 8 KiB"};
    }
    const Document& document = *request.document;
    if (const auto why = exclusion_.reason(*workspace_, document); !why.empty()) {
      return Error{ErrorCode::kUnsupported,
                   "this file is never shown to a model: " + std::string(why)};
    }
    run->generator = generator_source_ ? generator_source_() : nullptr;
    if (run->generator == nullptr) {
      return Error{ErrorCode::kUnavailable,
                   "no model is loaded yet: it is loading, or `fimd doctor` says why not"};
    }
    const ModelInfo& model = run->generator->info();
    const auto format = choose_chat_format(model);
    if (!format && !command_available(*run->spec, model)) {
      return Error{ErrorCode::kUnsupported, cannot_chat(model, request.command)};
    }
    if (generator_.lock() != run->generator) {
      generator_ = run->generator;
      gatherer_.clear();
      prompts_.forget();
      fill_prompts_.forget();
    }
    replace_older(*run);
    if (document.language() != nullptr) run->target.language = document.language()->name();
    FIMD_RETURN_IF_ERROR(find_code(run.get()));
    return format ? ask(run, *format) : fill(run, model);
  }

  /// A newer command of the same name for the same document takes the older one's place.
  void replace_older(const Run& newer) {
    std::vector<RunPtr> older;
    for (const auto& [id, run] : runs_) {
      if (run->spec == newer.spec && run->request.document->uri() == newer.request.document->uri())
        older.push_back(run);
    }
    for (const RunPtr& run : older) abandon(run, "replaced by a newer one");
  }

  static Status find_code(Run* run) {
    const CommandRequest& request = run->request;
    CommandRequest of_lines = request;
    if (run->spec->answer == CodeCommand::Answer::kComment) {
      if (request.begin > request.end || request.end > request.document->text().size()) {
        return Error{ErrorCode::kInvalidArgument, "the range lies outside the document"};
      }
      FIMD_ASSIGN_OR_RETURN(DocPlace place,
                            doc_place(*request.document, request.begin, request.end));
      of_lines.begin = place.code.begin;
      of_lines.end = place.code.end;
      run->target.name = place.code.name;
      run->place = std::move(place);
    }
    FIMD_ASSIGN_OR_RETURN(run->lines, command_lines(of_lines, &run->target.name));
    run->target.first_line = run->lines.first_line;
    run->target.last_line = run->lines.last_line;
    // Editors may send all they have.
    std::erase_if(run->request.diagnostics, [&](const Diagnostic& diagnostic) {
      return diagnostic.line < run->lines.first_line || diagnostic.line > run->lines.last_line;
    });
    return {};
  }

  Status ask(const RunPtr& run, const ChatFormat& format) {
    FIMD_ASSIGN_OR_RETURN(const CommandPrompt built,
                          prompts_.build(*run->spec, run->request, run->target, run->lines,
                                         *run->generator, format, options_.snippets));
    GenerationParams params;
    params.max_tokens = built.max_tokens;
    params.stop_controls = format.stop_controls;
    params.heal = false;
    std::function<bool(std::string_view)> complete;
    if (run->spec->answer == CodeCommand::Answer::kMarkdown) {
      params.sampling = {.temperature = kProseTemperature, .top_p = kProseTopP, .seed = 1};
      complete = [](std::string_view text) { return circling(text).has_value(); };
    } else {
      complete = has_whole_block;
    }
    run->flows.resize(1);
    announce(run, built.tokens);
    launch(run, 0, built.prompt, std::move(params), std::move(complete));
    return {};
  }

  Status fill(const RunPtr& run, const ModelInfo& model) {
    const FimFormat format = choose_fim_format(model);
    if (!format.takes_suffix()) {
      return Error{ErrorCode::kUnsupported, cannot_chat(model, run->request.command)};
    }
    if (run->place->documented()) {
      return Error{ErrorCode::kUnsupported, "'" + run->target.name +
                                                "' is documented already, and " + model.name +
                                                " cannot improve on that: it only fills in code"};
    }
    FIMD_ASSIGN_OR_RETURN(const DocFillSpot spot,
                          open_comment(*run->request.document, *run->place));
    const BuiltPrompt built =
        fill_prompts_.build(spot.document, spot.cursor, *run->generator, format, options_);
    run->filling = true;
    run->flows.resize(1 + kFillSamples);
    announce(run, fill_prompts_.count_tokens(*run->generator, spell_out(built.prompt)));
    for (size_t i = 0; i < run->flows.size(); ++i) {
      GenerationParams params;
      params.max_tokens = kFillTokens;
      params.stop = doc_fill(*run->place).stops;
      params.stop_controls = format.stop_controls;
      params.heal = built.heal;
      if (i > 0) {
        params.sampling = {.temperature = kFillTemperature, .top_p = kFillTopP, .seed = i};
      }
      launch(run, i, built.prompt, std::move(params),
             [place = *run->place](std::string_view text) { return beyond_comment(place, text); });
    }
    return {};
  }

  void announce(const RunPtr& run, size_t prompt_tokens) {
    runs_[run->id] = run;
    gate_->post([weak = std::weak_ptr<Run>(run), prompt_tokens] {
      const auto alive = weak.lock();
      if (alive && alive->events.started) alive->events.started(prompt_tokens);
    });
  }

  void launch(const RunPtr& run, size_t index, const Prompt& prompt, GenerationParams params,
              std::function<bool(std::string_view)> complete) {
    GenerationRequest request;
    request.lane = std::to_string(reinterpret_cast<uintptr_t>(this)) + ":command " +
                   std::to_string(run->id) + "." + std::to_string(index);
    request.priority = Priority::kInteractive;
    request.prompt = prompt;
    request.params = std::move(params);
    // The run is not kept alive from the engine's side: the last owner must not go away there.
    const std::weak_ptr<CommanderCore> core = weak_from_this();
    const CommandId id = run->id;
    const std::shared_ptr<IoGate> gate = gate_;
    RunSink::Hooks hooks;
    hooks.complete = std::move(complete);
    hooks.text = [core, id, index, gate](std::string piece, float logprob, bool stopped) {
      gate->post([core, id, index, piece = std::move(piece), logprob, stopped] {
        if (const auto self = core.lock()) self->take_text(id, index, piece, logprob, stopped);
      });
    };
    hooks.done = [core, id, index, gate](Result<GenerationStats> stats) {
      gate->post([core, id, index, stats = std::move(stats)]() mutable {
        if (const auto self = core.lock()) self->take_end(id, index, std::move(stats));
      });
    };
    request.sink = std::make_shared<RunSink>(std::move(hooks), run->abandoned);
    const GenerationId generation = run->generator->submit(std::move(request));
    run->flows[index].id = generation;
  }

  void take_text(CommandId id, size_t index, const std::string& piece, float logprob,
                 bool stopped) {
    const auto it = runs_.find(id);
    if (it == runs_.end()) return;
    const RunPtr run = it->second;
    RunFlow& flow = run->flows[index];
    flow.text += piece;
    flow.logprob += logprob;
    ++flow.pieces;
    flow.stopped = flow.stopped || stopped;
    if (run->filling || !run->events.text) return;
    const std::string_view shown = shown_so_far(flow.text);
    if (shown.size() <= run->streamed) return;
    const std::string_view news = shown.substr(run->streamed);
    run->streamed = shown.size();
    run->events.text(news);
  }

  void take_end(CommandId id, size_t index, Result<GenerationStats> result) {
    const auto it = runs_.find(id);
    if (it == runs_.end()) return;
    const RunPtr run = it->second;
    run->flows[index].result = std::move(result);
    run->flows[index].finished = true;
    const bool all = std::all_of(run->flows.begin(), run->flows.end(),
                                 [](const RunFlow& flow) { return flow.finished; });
    if (!all) return;
    runs_.erase(it);
    finish(run, command_result(*run));
  }

  static void stop_flows(const RunPtr& run) {
    run->abandoned->store(true);
    for (const RunFlow& flow : run->flows) {
      if (!flow.finished && flow.id != 0) run->generator->cancel(flow.id);
    }
  }

  void abandon(RunPtr run, const char* why) {  // a copy: the map's own is erased
    runs_.erase(run->id);
    stop_flows(run);
    finish(run, Error{ErrorCode::kCancelled, why});
  }

  void finish(const RunPtr& run, Result<CommandResult> result) {
    if (!run->events.done) return;
    auto done = std::exchange(run->events.done, nullptr);
    run->events = {};
    if (result.ok()) {
      int decoded = 0;
      for (const RunFlow& flow : run->flows) {
        decoded += flow.result.ok() ? flow.result->decoded_tokens : 0;
      }
      const GenerationStats stats = *run->flows.front().result;
      log::info("command {} {}: {} cached + {} prefilled + {} decoded tokens, total {:.0f} ms",
                run->id, run->request.command, stats.cached_tokens, stats.prefilled_tokens, decoded,
                run->watch.elapsed_ms());
    } else {
      log::info("command {} {}: {} after {:.0f} ms", run->id, run->request.command,
                error_code_name(result.error().code), run->watch.elapsed_ms());
    }
    gate_->post([done = std::move(done), result = std::move(result)]() mutable {
      done(std::move(result));
    });
  }

  GeneratorSource generator_source_;
  Workspace* workspace_;
  std::shared_ptr<IoGate> gate_;
  CompletionOptions options_;
  Exclusion exclusion_;
  Gatherer gatherer_;
  CommandPromptBuilder prompts_;
  PromptBuilder fill_prompts_;
  std::weak_ptr<Generator> generator_;  // the one the counted tokens belong to
  std::map<CommandId, RunPtr> runs_;    // unfinished
  CommandId last_id_ = 0;
};

class LocalCommander : public Commander {
 public:
  explicit LocalCommander(std::shared_ptr<CommanderCore> core) : core_(std::move(core)) {}
  LocalCommander(const LocalCommander&) = delete;
  LocalCommander& operator=(const LocalCommander&) = delete;
  ~LocalCommander() override { core_->shut_down(); }

  CommandId run(CommandRequest request, CommandEvents events) override {
    return core_->run(std::move(request), std::move(events));
  }
  void cancel(CommandId id) override { core_->cancel(id); }
  void document_closed(const std::string& uri) override { core_->document_closed(uri); }
  void set_options(const CompletionOptions& options) override { core_->set_options(options); }

 private:
  std::shared_ptr<CommanderCore> core_;
};

}  // namespace

std::unique_ptr<Commander> make_commander(GeneratorSource generator, Workspace* workspace,
                                          Executor executor, CompletionOptions options) {
  return std::make_unique<LocalCommander>(std::make_shared<CommanderCore>(
      std::move(generator), workspace, std::move(executor), std::move(options)));
}

bool command_available(const CodeCommand& spec, const ModelInfo& model) {
  if (choose_chat_format(model)) return true;
  return spec.answer == CodeCommand::Answer::kComment && choose_fim_format(model).takes_suffix();
}

}  // namespace fimd

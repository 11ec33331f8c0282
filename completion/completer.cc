#include "completion/completer.h"

#include <algorithm>
#include <utility>

#include "completion/completer_core.h"
#include "completion/delay_thread.h"
#include "completion/text_util.h"
#include "completion/user_exclusion.h"
#include "support/log.h"

namespace fimd {
namespace {

// A generation whose request was cancelled is kept this long for the request that usually follows
// (clients cancel, change the document and ask again on each keystroke).
constexpr int kOrphanMs = 250;

constexpr float kSampledTemperature = 0.8F;
constexpr float kSampledTopP = 0.95F;

// A beam search has about a hundred tokens more to read than greedy decoding.
constexpr double kQuickMsPerToken = 1.0;

}  // namespace

CompleterCore::CompleterCore(GeneratorSource generator, Workspace* workspace, Executor executor,
                             CompletionOptions options, DelayFn delay)
    : generator_source_(std::move(generator)),
      workspace_(workspace),
      gate_(std::make_shared<IoGate>(std::move(executor))),
      delay_(std::move(delay)),
      options_(std::move(options)),
      exclusion_(user_exclusion(options_, *workspace_)),
      gatherer_(workspace_, &exclusion_),
      prompts_(workspace_, &gatherer_) {}

CompletionId CompleterCore::complete(CompletionRequest request, PartialFn partial, DoneFn done) {
  const auto pending = std::make_shared<Pending>();
  pending->id = ++last_id_;
  pending->request = std::move(request);
  pending->partial = std::move(partial);
  pending->done = std::move(done);
  begin(pending);
  return pending->id;
}

void CompleterCore::begin(const PendingPtr& pending) {
  const CompletionRequest& request = pending->request;
  if (request.document == nullptr) {
    finish(pending, Error{ErrorCode::kInvalidArgument, "a completion request names no document"});
    return;
  }
  PerDocument& state = documents_[request.document->uri()];
  supersede(&state);
  state.last_request = pending->id;

  auto spot = spot_of(request);
  if (!spot.ok()) {
    finish(pending, spot.error());
    return;
  }
  pending->spot = std::move(spot).value();
  workspace_->visit(request.document->uri(), pending->spot.cursor);
  if (const std::string& why = excluded(request.document); !why.empty()) {
    finish_empty(pending, "excluded", why);
    return;
  }
  if (!pending->spot.decision.worthwhile) {
    finish_empty(pending, "empty", pending->spot.decision.reason);
    return;
  }

  const std::shared_ptr<Generator> generator = current_generator();
  const size_t wanted = request.invoked ? static_cast<size_t>(std::max(1, options_.candidates)) : 1;
  if (options_.typing_through) {
    auto hit = cache_.find(*pending->spot.document, pending->spot.cursor);
    if (hit && hit->candidates.empty() && !request.invoked) {
      finish_empty(pending, "typing-through", hit->outcome);
      return;
    }
    if (hit && !hit->candidates.empty()) {
      pending->candidates = std::move(hit->candidates);
      if (pending->candidates.size() >= wanted || generator == nullptr) {
        pending->report.source = "typing-through";
        const auto first = suggestion_of(*pending, pending->candidates.front(), 0);
        if (first) {
          conclude(pending);
          return;
        }
        pending->candidates.clear();  // only brackets were left, and they are there already
      }
    }
  }
  if (generator == nullptr) {
    finish(pending, Error{ErrorCode::kUnavailable,
                          "no model is loaded yet: it is loading, or `fimd doctor` says why not"});
    return;
  }

  state.pending = pending;
  if (pending->candidates.empty()) {
    const auto agrees = [&](const std::shared_ptr<Flight>& flight) {
      return options_.typing_through && flight != nullptr && !flight->finished() &&
             flight->generator() == generator.get() &&
             flight->agreement(*pending->spot.document, pending->spot.cursor, nullptr) !=
                 Flight::Agreement::kNo;
    };
    if (!agrees(state.flight) && agrees(state.speculation)) {
      state.flight = std::move(state.speculation);
      state.speculation = nullptr;
    }
    if (agrees(state.flight)) {
      pending->main = state.flight;
      pending->report.source = "in-flight";
    } else {
      launch_main(&state, pending, generator);
    }
  } else {
    pending->report.source = "model";
  }
  if (wanted > 1) {
    const size_t have = pending->candidates.size() + (pending->main != nullptr ? 1 : 0);
    launch_sampled(pending, generator, wanted - std::min(wanted, have));
  }
  after(options_.timeout_ms, [id = pending->id](CompleterCore& core) { core.on_timeout(id); });
  if (pending->main != nullptr) {
    // What an adopted generation has said already is streamed, but not from inside complete().
    after(0, [id = pending->id, uri = request.document->uri()](CompleterCore& core) {
      const auto it = core.documents_.find(uri);
      if (it == core.documents_.end() || it->second.pending == nullptr) return;
      if (it->second.pending->id == id) core.advance(&it->second, it->second.pending);
    });
  }
}

Result<CompleterCore::Spot> CompleterCore::spot_of(const CompletionRequest& request) const {
  const Document& document = *request.document;
  if (request.offset > document.text().size()) {
    return Error{ErrorCode::kInvalidArgument,
                 "offset " + std::to_string(request.offset) + " is past the end of " +
                     document.uri() + " (" + std::to_string(document.text().size()) + " bytes)"};
  }
  Spot spot;
  spot.document = request.document;
  spot.invoked = request.invoked;
  spot.cursor = floor_to_code_point(document.text(), request.offset);
  if (request.selected) {
    const auto& selected = *request.selected;
    const size_t line = document.line_of(spot.cursor);
    if (selected.begin > spot.cursor || selected.end < spot.cursor ||
        selected.begin < document.line_start(line) ||
        selected.end > std::max(document.line_end(line), spot.cursor)) {
      return Error{ErrorCode::kInvalidArgument,
                   "the selected entry's range does not lie around the cursor on its line"};
    }
    const TextChange change{Range{document.position_at(selected.begin, PositionEncoding::kUtf8),
                                  document.position_at(selected.end, PositionEncoding::kUtf8)},
                            selected.text};
    auto changed = document.apply({change}, document.version(), PositionEncoding::kUtf8);
    if (!changed.ok()) return changed.error();
    spot.document = std::move(changed).value();
    spot.cursor = std::min(selected.begin + selected.text.size(), spot.document->text().size());
  }
  spot.context = cursor_context(*spot.document, spot.cursor);
  spot.decision = decide_line_mode(*spot.document, spot.cursor, spot.context,
                                   {options_.multi_line, request.invoked});
  return spot;
}

const std::string& CompleterCore::excluded(const DocumentPtr& document) {
  PerDocument& state = documents_[document->uri()];
  if (state.judged_version != document->version() || state.judged_size != document->text().size()) {
    state.judged_version = document->version();
    state.judged_size = document->text().size();
    state.excluded = exclusion_.reason(*workspace_, *document);
  }
  return state.excluded;
}

std::shared_ptr<Generator> CompleterCore::current_generator() {
  std::shared_ptr<Generator> generator = generator_source_ ? generator_source_() : nullptr;
  if (generator == nullptr || generator_.lock() == generator) return generator;
  generator_ = generator;
  format_ = choose_fim_format(generator->info());
  cache_.clear();
  gatherer_.clear();
  prompts_.forget();
  for (auto& [uri, state] : documents_) {
    state.prefilled = 0;
    state.speculated = 0;
  }
  if (format_.takes_suffix()) {
    log::info("model {}: prompts in {} form", generator->info().name, format_.name);
  } else {
    log::warn(
        "model {} has no fill-in-the-middle tokens of a known family: text after the cursor is "
        "not used. Qwen2.5-Coder, DeepSeek-Coder, StarCoder2, CodeLlama, CodeGemma, Codestral, "
        "Granite, Mellum, Seed-Coder and Stable-code models have them",
        generator->info().name);
  }
  return generator;
}

BuiltPrompt CompleterCore::build_prompt(const Spot& spot, const Generator& generator) {
  return prompts_.build(spot.document, spot.cursor, generator, format_, options_);
}

std::string CompleterCore::lane(const std::string& uri, std::string_view purpose) const {
  // Completers share a generator, and two of them may have the same file open.
  return std::to_string(reinterpret_cast<uintptr_t>(this)) + ":" + std::string(purpose) + ":" + uri;
}

std::shared_ptr<Flight> CompleterCore::launch(const Spot& spot, const BuiltPrompt& built,
                                              const std::shared_ptr<Generator>& generator,
                                              const std::string& lane, Priority priority,
                                              const SamplingParams& sampling) {
  Flight::Plan plan;
  plan.uri = spot.document->uri();
  plan.document = spot.document;
  plan.cursor = spot.cursor;
  plan.context = spot.context;
  plan.mode = spot.decision.mode;
  plan.lane = lane;
  plan.priority = priority;
  plan.prompt = built.prompt;
  plan.params.max_tokens =
      std::max(1, spot.decision.mode == LineMode::kSingle ? options_.max_tokens_single_line
                                                          : options_.max_tokens_multi_line);
  plan.params.sampling = sampling;
  if (searches(spot, *generator) && sampling == SamplingParams{}) {
    plan.params.beam.width = options_.beam_width;
    plan.foresight.emplace(format_, built.parts, spot.context);
    if (!spot.invoked) plan.min_mean_logprob = options_.min_mean_logprob;
  }
  plan.params.stop_controls = format_.stop_controls;
  plan.params.heal = built.heal;
  return Flight::start(std::move(plan), generator, gate_,
                       [weak = weak_from_this()](const std::shared_ptr<Flight>& flight) {
                         if (const auto core = weak.lock()) core->on_flight(flight);
                       });
}

/// Whether the likeliest line is searched for, instead of the likeliest next token: several texts
/// cost several times the tokens, so the model must be quick.
bool CompleterCore::searches(const Spot& spot, const Generator& generator) const {
  return options_.beam_width > 1 && spot.decision.mode == LineMode::kSingle &&
         generator.info().beam_search && generator.status().prompt_ms_per_token <= kQuickMsPerToken;
}

void CompleterCore::launch_main(PerDocument* state, const PendingPtr& pending,
                                const std::shared_ptr<Generator>& generator) {
  if (state->flight != nullptr) state->flight->cancel();
  for (auto& [uri, other] : documents_) {  // somebody waits: nothing else may be in the way
    if (other.speculation == nullptr) continue;
    other.speculation->cancel();
    other.speculation = nullptr;
  }
  const Stopwatch watch;
  const BuiltPrompt built = build_prompt(pending->spot, *generator);
  pending->report.gather_ms = watch.elapsed_ms();
  pending->report.source = "model";
  // The lane of the prefill for this document, which it supersedes.
  state->prefill_generator = nullptr;
  pending->main = launch(pending->spot, built, generator,
                         lane(pending->spot.document->uri(), "main"), Priority::kInteractive, {});
  state->flight = pending->main;
}

void CompleterCore::launch_sampled(const PendingPtr& pending,
                                   const std::shared_ptr<Generator>& generator, size_t count) {
  if (count == 0) return;
  const BuiltPrompt built = build_prompt(pending->spot, *generator);
  for (size_t i = 0; i < count; ++i) {
    SamplingParams sampling;
    sampling.temperature = kSampledTemperature;
    sampling.top_p = kSampledTopP;
    sampling.seed = i + 1;
    pending->sampled.push_back(
        launch(pending->spot, built, generator,
               lane(pending->spot.document->uri(), "sampled " + std::to_string(i)),
               Priority::kInteractive, sampling));
  }
}

void CompleterCore::supersede(PerDocument* state) {
  if (state->pending == nullptr) return;
  const PendingPtr old = std::move(state->pending);
  state->pending = nullptr;
  for (const auto& flight : old->sampled) flight->cancel();
  finish(old, Error{ErrorCode::kCancelled, "superseded by a newer request"});
}

void CompleterCore::cancel(CompletionId id) {
  for (auto& [uri, state] : documents_) {
    if (state.pending == nullptr || state.pending->id != id) continue;
    const PendingPtr pending = std::move(state.pending);
    state.pending = nullptr;
    for (const auto& flight : pending->sampled) flight->cancel();
    finish(pending, Error{ErrorCode::kCancelled, "cancelled by the client"});
    if (state.flight != nullptr) {
      after(kOrphanMs,
            [uri = uri, weak = std::weak_ptr<Flight>(state.flight)](CompleterCore& core) {
              const auto it = core.documents_.find(uri);
              const auto flight = weak.lock();
              if (it == core.documents_.end() || flight == nullptr || it->second.flight != flight)
                return;
              if (it->second.pending != nullptr && it->second.pending->main == flight) return;
              flight->cancel();
              it->second.flight = nullptr;
            });
    }
    return;
  }
}

void CompleterCore::document_closed(const std::string& uri) {
  const auto it = documents_.find(uri);
  if (it != documents_.end()) {
    PerDocument& state = it->second;
    supersede(&state);
    if (state.flight != nullptr) state.flight->cancel();
    if (state.speculation != nullptr) state.speculation->cancel();
    stop_prefill(&state);
    documents_.erase(it);
  }
  cache_.forget(uri);
  gatherer_.forget(uri);
}

void CompleterCore::did_show(const std::string& suggestion_id) {
  log::debug("suggestion {} shown", suggestion_id);
}

void CompleterCore::did_accept(const std::string& suggestion_id, size_t accepted_bytes) {
  log::debug("suggestion {}: {} bytes accepted", suggestion_id, accepted_bytes);
}

void CompleterCore::set_options(CompletionOptions options) {
  if (options == options_) return;
  exclusion_ = user_exclusion(options, *workspace_);
  options_ = std::move(options);
  cache_.clear();
  gatherer_.clear();
  for (auto& [uri, state] : documents_) state.judged_version = -1;
}

Result<PromptExplanation> CompleterCore::explain(const CompletionRequest& request) {
  if (request.document == nullptr) {
    return Error{ErrorCode::kInvalidArgument, "a completion request names no document"};
  }
  FIMD_ASSIGN_OR_RETURN(const Spot spot, spot_of(request));
  if (const std::string& why = excluded(request.document); !why.empty()) {
    return Error{ErrorCode::kUnsupported,
                 request.document->uri() + " never enters a prompt: " + why};
  }
  const std::shared_ptr<Generator> generator = current_generator();
  if (generator == nullptr) return Error{ErrorCode::kUnavailable, "no model is loaded yet"};

  const BuiltPrompt built = build_prompt(spot, *generator);
  PromptExplanation explanation;
  const auto add = [&](std::string name, const std::string& text) {
    explanation.parts.push_back({std::move(name), text, prompts_.count_tokens(*generator, text)});
  };
  for (const Snippet& snippet : built.snippets) {
    add("snippet " + snippet.path + ":" + std::to_string(snippet.first_line + 1) + "-" +
            std::to_string(snippet.first_line + snippet.line_count),
        snippet.text);
  }
  add("prefix", built.parts.prefix);
  add("suffix", built.parts.suffix);
  add("typed", built.parts.typed);
  explanation.rendered = spell_out(built.prompt);
  explanation.fim_format = format_.name;
  explanation.multi_line = spot.decision.mode != LineMode::kSingle;
  explanation.mode_reason = spot.decision.reason;
  return explanation;
}

void CompleterCore::after(int delay_ms, std::function<void(CompleterCore&)> task) {
  auto on_io = [weak = weak_from_this(), task = std::move(task)] {
    if (const auto core = weak.lock(); core != nullptr && !core->shut_) task(*core);
  };
  if (delay_ms <= 0) {
    gate_->post(std::move(on_io));
    return;
  }
  delay_(delay_ms, [gate = std::weak_ptr<IoGate>(gate_), on_io = std::move(on_io)] {
    if (const auto open = gate.lock()) open->post(on_io);
  });
}

void CompleterCore::shut_down() {
  for (auto& [uri, state] : documents_) {
    supersede(&state);
    if (state.flight != nullptr) state.flight->cancel();
    if (state.speculation != nullptr) state.speculation->cancel();
    stop_prefill(&state);
  }
  documents_.clear();
  shut_ = true;
  gate_->close();
}

namespace {

class LocalCompleter : public Completer {
 public:
  explicit LocalCompleter(std::shared_ptr<CompleterCore> core,
                          std::shared_ptr<DelayThread> delays = nullptr)
      : delays_(std::move(delays)), core_(std::move(core)) {}
  LocalCompleter(const LocalCompleter&) = delete;
  LocalCompleter& operator=(const LocalCompleter&) = delete;
  ~LocalCompleter() override { core_->shut_down(); }

  CompletionId complete(CompletionRequest request, PartialFn partial, DoneFn done) override {
    return core_->complete(std::move(request), std::move(partial), std::move(done));
  }
  void cancel(CompletionId id) override { core_->cancel(id); }
  void document_changed(const DocumentPtr& document, std::optional<size_t> offset) override {
    core_->document_changed(document, offset);
  }
  void document_closed(const std::string& uri) override { core_->document_closed(uri); }
  void did_show(const std::string& suggestion_id) override { core_->did_show(suggestion_id); }
  void did_accept(const std::string& suggestion_id, size_t accepted_bytes) override {
    core_->did_accept(suggestion_id, accepted_bytes);
  }
  void set_options(CompletionOptions options) override { core_->set_options(std::move(options)); }
  Result<PromptExplanation> explain(const CompletionRequest& request) override {
    return core_->explain(request);
  }

 private:
  std::shared_ptr<DelayThread> delays_;
  std::shared_ptr<CompleterCore> core_;
};

}  // namespace

std::unique_ptr<Completer> make_completer(GeneratorSource generator, Workspace* workspace,
                                          Executor executor, CompletionOptions options) {
  auto delays = std::make_shared<DelayThread>();
  auto core = std::make_shared<CompleterCore>(
      std::move(generator), workspace, std::move(executor), std::move(options),
      [weak = std::weak_ptr<DelayThread>(delays)](int delay_ms, std::function<void()> task) {
        if (const auto thread = weak.lock()) thread->after(delay_ms, std::move(task));
      });
  return std::make_unique<LocalCompleter>(std::move(core), std::move(delays));
}

std::unique_ptr<Completer> make_completer_with_delay(GeneratorSource generator,
                                                     Workspace* workspace, Executor executor,
                                                     CompletionOptions options, DelayFn delay) {
  return std::make_unique<LocalCompleter>(std::make_shared<CompleterCore>(
      std::move(generator), workspace, std::move(executor), std::move(options), std::move(delay)));
}

}  // namespace fimd

// CompleterCore: the state behind a Completer and the steps of its pipeline.
//
// Held by shared_ptr, so that tasks still on their way when the completer goes away find nobody
// and do nothing. completer.cc takes requests in; completer_replies.cc turns what the generator
// says into replies; completer_ahead.cc works ahead of the user. Thread: the io thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "completion/completer.h"
#include "completion/fim_format.h"
#include "completion/flight.h"
#include "completion/io_gate.h"
#include "completion/line_mode.h"
#include "completion/prompt_builder.h"
#include "completion/suggestion_cache.h"
#include "context/exclusion.h"
#include "context/gatherer.h"
#include "support/clock.h"

namespace fimd {

class CompleterCore : public std::enable_shared_from_this<CompleterCore> {
 public:
  CompleterCore(GeneratorSource generator, Workspace* workspace, Executor executor,
                CompletionOptions options, DelayFn delay);

  CompletionId complete(CompletionRequest request, PartialFn partial, DoneFn done);
  void cancel(CompletionId id);
  void document_changed(const DocumentPtr& document, std::optional<size_t> offset);
  void document_closed(const std::string& uri);
  void did_show(const std::string& suggestion_id);
  void did_accept(const std::string& suggestion_id, size_t accepted_bytes);
  void set_options(CompletionOptions options);
  Result<PromptExplanation> explain(const CompletionRequest& request);
  /// Answers what is open with kCancelled; afterwards nothing reaches the executor.
  void shut_down();

 private:
  /// Where a completion is wanted: the request's document, or what it becomes once the entry
  /// selected in the editor is in place.
  struct Spot {
    DocumentPtr document;
    size_t cursor = 0;
    CursorContext context;
    LineDecision decision;
    bool invoked = false;  // explicitly: nothing is hidden
  };

  /// A request that has not been answered.
  struct Pending {
    CompletionId id = 0;
    CompletionRequest request;
    PartialFn partial;
    DoneFn done;  // empty once called
    Stopwatch watch;
    CompletionReport report;
    Spot spot;
    std::shared_ptr<Flight> main;                  // the greedy one; null: done or not needed
    std::vector<std::shared_ptr<Flight>> sampled;  // the others of an invoked request
    std::vector<CachedCandidate> candidates;       // so far, as they continue `spot`
    std::string last_partial;
    std::string dropped_by;  // why the last candidate was dropped
  };
  using PendingPtr = std::shared_ptr<Pending>;

  struct PerDocument {
    PendingPtr pending;
    std::shared_ptr<Flight> flight;  // greedy; may have lost its request but still be of use
    std::shared_ptr<Flight> speculation;
    std::shared_ptr<Generator> prefill_generator;
    GenerationId prefill = 0;
    uint64_t prefilled = 0;   // hash of the prompt last sent ahead
    uint64_t speculated = 0;  // hash of the place last speculated on
    int64_t judged_version = -1;
    size_t judged_size = 0;
    std::string excluded;  // why that version may not be used; empty if it may
    CompletionId last_request = 0;
  };

  // completer.cc
  Result<Spot> spot_of(const CompletionRequest& request) const;
  const std::string& excluded(const DocumentPtr& document);
  std::shared_ptr<Generator> current_generator();
  void supersede(PerDocument* state);
  void begin(const PendingPtr& pending);
  std::shared_ptr<Flight> launch(const Spot& spot, const BuiltPrompt& built,
                                 const std::shared_ptr<Generator>& generator,
                                 const std::string& lane, Priority priority,
                                 const SamplingParams& sampling);
  bool searches(const Spot& spot, const Generator& generator) const;
  void launch_main(PerDocument* state, const PendingPtr& pending,
                   const std::shared_ptr<Generator>& generator);
  void launch_sampled(const PendingPtr& pending, const std::shared_ptr<Generator>& generator,
                      size_t count);
  BuiltPrompt build_prompt(const Spot& spot, const Generator& generator);
  void after(int delay_ms, std::function<void(CompleterCore&)> task);
  std::string lane(const std::string& uri, std::string_view purpose) const;

  // completer_replies.cc
  void on_flight(const std::shared_ptr<Flight>& flight);
  void settle(const std::shared_ptr<Flight>& flight);
  void advance(PerDocument* state, const PendingPtr& pending);
  bool take_candidate(const PendingPtr& pending, const Flight& flight, TextEnd end);
  void stream_partial(const PendingPtr& pending, const Flight& flight, std::string_view typed);
  void on_timeout(CompletionId id);
  void conclude(const PendingPtr& pending);
  std::optional<Suggestion> suggestion_of(const Pending& pending, const CachedCandidate& candidate,
                                          size_t number) const;
  void finish(const PendingPtr& pending, Result<CompletionResult> result);
  void finish_empty(const PendingPtr& pending, std::string_view source, std::string_view outcome);

  // completer_ahead.cc
  void prefill(PerDocument* state, const DocumentPtr& document, size_t cursor);
  void stop_prefill(PerDocument* state);
  void speculate(const DocumentPtr& document, const Suggestion& suggestion);
  bool idle() const;

  GeneratorSource generator_source_;
  Workspace* workspace_;
  std::shared_ptr<IoGate> gate_;
  DelayFn delay_;
  CompletionOptions options_;

  Exclusion exclusion_;
  Gatherer gatherer_;
  PromptBuilder prompts_;
  SuggestionCache cache_;
  std::weak_ptr<Generator> generator_;  // the one that format_ and cache_ belong to
  FimFormat format_;
  std::map<std::string, PerDocument> documents_;  // by uri
  CompletionId last_id_ = 0;
  bool shut_ = false;
};

}  // namespace fimd

// Work done ahead of the user: prefill while typing, and the suggestion after the one on screen.
#include <algorithm>
#include <utility>

#include "completion/completer_core.h"
#include "completion/text_util.h"
#include "support/log.h"

namespace fimd {

void CompleterCore::document_changed(const DocumentPtr& document, std::optional<size_t> offset) {
  if (document == nullptr) return;
  if (!offset) offset = document->last_edit_offset();
  if (!offset) return;
  const size_t cursor = floor_to_code_point(document->text(), *offset);
  PerDocument& state = documents_[document->uri()];

  if (state.flight != nullptr) {
    const auto agreement = options_.typing_through
                               ? state.flight->agreement(*document, cursor, nullptr)
                               : Flight::Agreement::kNo;
    if (agreement != Flight::Agreement::kNo) return;  // its request, or the next one, will use it
    state.flight->cancel();
    if (state.pending != nullptr && state.pending->main == state.flight) {
      const PendingPtr pending = std::move(state.pending);
      state.pending = nullptr;
      for (const auto& flight : pending->sampled) flight->cancel();
      finish(pending, Error{ErrorCode::kCancelled, "the document changed"});
    }
    state.flight = nullptr;
  }
  if (options_.typing_through) {
    const auto hit = cache_.find(*document, cursor);
    if (hit && !hit->candidates.empty()) return;  // typing what was suggested
  }
  if (state.speculation != nullptr &&
      state.speculation->agreement(*document, cursor, nullptr) == Flight::Agreement::kNo) {
    state.speculation->cancel();
    state.speculation = nullptr;
  }
  if (state.speculation == nullptr) prefill(&state, document, cursor);
}

void CompleterCore::prefill(PerDocument* state, const DocumentPtr& document, size_t cursor) {
  if (!options_.prefill_on_change || !excluded(document).empty()) return;
  const std::shared_ptr<Generator> generator = current_generator();
  if (generator == nullptr) return;
  Spot spot;
  spot.document = document;
  spot.cursor = cursor;
  const BuiltPrompt built = build_prompt(spot, *generator);
  const uint64_t hash = hash_text(spell_out(built.prompt));
  if (hash == state->prefilled) return;
  state->prefilled = hash;

  GenerationRequest request;
  // The same lane as the request that will follow, which therefore ends it.
  request.lane = lane(document->uri(), "main");
  request.priority = Priority::kBackground;
  request.prompt = built.prompt;
  request.params.max_tokens = 0;
  request.params.heal = built.heal;
  state->prefill_generator = generator;
  state->prefill = generator->submit(std::move(request));
}

void CompleterCore::stop_prefill(PerDocument* state) {
  if (state->prefill_generator != nullptr) state->prefill_generator->cancel(state->prefill);
  state->prefill_generator = nullptr;
}

bool CompleterCore::idle() const {
  return std::all_of(documents_.begin(), documents_.end(), [](const auto& entry) {
    return entry.second.pending == nullptr && entry.second.flight == nullptr;
  });
}

void CompleterCore::speculate(const DocumentPtr& document, const Suggestion& suggestion) {
  if (!options_.speculate || !options_.typing_through || !idle()) return;
  const std::shared_ptr<Generator> generator = current_generator();
  if (generator == nullptr) return;
  const EngineStatus status = generator->status();
  if (status.active_requests > 0 || status.queued_requests > 0) return;

  const TextChange change{Range{document->position_at(suggestion.begin, PositionEncoding::kUtf8),
                                document->position_at(suggestion.end, PositionEncoding::kUtf8)},
                          suggestion.text};
  auto accepted = document->apply({change}, document->version(), PositionEncoding::kUtf8);
  if (!accepted.ok()) return;
  CompletionRequest request;
  request.document = std::move(accepted).value();
  request.offset = suggestion.begin + suggestion.text.size();
  const auto spot = spot_of(request);
  if (!spot.ok() || !spot->decision.worthwhile) return;

  PerDocument& state = documents_[document->uri()];
  const uint64_t place = hash_text(request.document->text(), request.offset);
  if (place == state.speculated) return;
  state.speculated = place;
  if (cache_.find(*request.document, request.offset)) return;
  if (state.speculation != nullptr) state.speculation->cancel();
  state.speculation = launch(*spot, build_prompt(*spot, *generator), generator,
                             lane(document->uri(), "ahead"), Priority::kBackground, {});
}

}  // namespace fimd

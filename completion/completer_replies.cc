// What the generator says, on its way to a reply.
#include <algorithm>
#include <utility>

#include "completion/completer_core.h"
#include "completion/text_util.h"
#include "support/log.h"

namespace fimd {
namespace {

// Until the client has put the suggestion on the screen, and in case it asks for something else.
constexpr int kSpeculateAfterMs = 20;

/// Streamed text that will not be taken back: single lines as they grow, several lines one by one.
std::string steady_part(std::string_view text, const CursorContext& context, LineMode mode) {
  std::string_view steady = text;
  if (mode == LineMode::kSingle) {
    steady = first_line(steady, context);
  } else if (const size_t last = steady.rfind('\n'); last != std::string_view::npos) {
    steady = steady.substr(0, last);
  }
  std::string out = cut_trailing_blanks(steady, context);
  out = cut_repeated_lines(out, context);
  out = cut_excess_closers(out, context);
  return cut_line_overlap(out, context);
}

}  // namespace

void CompleterCore::on_flight(const std::shared_ptr<Flight>& flight) {
  const auto it = documents_.find(flight->uri());
  if (it == documents_.end()) return;
  PerDocument& state = it->second;
  const bool greedy = flight == state.flight || flight == state.speculation;
  if (flight->finished() && greedy) {
    settle(flight);
    if (state.flight == flight) state.flight = nullptr;
    if (state.speculation == flight) state.speculation = nullptr;
  }
  const PendingPtr pending = state.pending;
  if (pending == nullptr) return;
  const bool its_own =
      pending->main == flight ||
      std::find(pending->sampled.begin(), pending->sampled.end(), flight) != pending->sampled.end();
  if (its_own) advance(&state, pending);
}

void CompleterCore::settle(const std::shared_ptr<Flight>& flight) {
  if (!flight->result().ok() || generator_.lock().get() != flight->generator()) return;
  Filtered said = polish(flight->text(), flight->context(), flight->mode(), flight->text_end());
  std::vector<CachedCandidate> candidates;
  if (said.dropped_by.empty()) {
    candidates.push_back({std::move(said.text), flight->mean_logprob()});
  }
  cache_.put(flight->uri(), flight->anchor(), std::move(candidates), flight->mode(),
             std::string(said.dropped_by));
}

void CompleterCore::advance(PerDocument* state, const PendingPtr& pending) {
  if (const std::shared_ptr<Flight> main = pending->main; main != nullptr) {
    bool useless = false;
    if (!main->finished()) {
      std::string typed;
      const auto agreement = main->agreement(*pending->spot.document, pending->spot.cursor, &typed);
      useless = agreement == Flight::Agreement::kNo;
      if (agreement == Flight::Agreement::kYes) stream_partial(pending, *main, typed);
    } else if (!main->result().ok()) {
      state->pending = nullptr;
      for (const auto& flight : pending->sampled) flight->cancel();
      finish(pending, main->result().error());
      return;
    } else {
      pending->report.stats = *main->result();
      pending->report.ended_by = main->ended_by();
      useless = !take_candidate(pending, *main, main->text_end());
      pending->main = nullptr;
    }
    if (useless) {
      // The text typed since the generation began says something else.
      const std::shared_ptr<Generator> generator = current_generator();
      if (generator == nullptr) {
        state->pending = nullptr;
        for (const auto& flight : pending->sampled) flight->cancel();
        finish(pending, Error{ErrorCode::kUnavailable, "the model was unloaded"});
        return;
      }
      launch_main(state, pending, generator);
    }
  }
  std::erase_if(pending->sampled, [&](const std::shared_ptr<Flight>& flight) {
    if (!flight->finished()) return false;
    if (flight->result().ok()) take_candidate(pending, *flight, flight->text_end());
    return true;
  });
  if (pending->main == nullptr && pending->sampled.empty()) {
    state->pending = nullptr;
    conclude(pending);
  }
}

/// False if the flight was made for an earlier place and has nothing to say here.
bool CompleterCore::take_candidate(const PendingPtr& pending, const Flight& flight, TextEnd end) {
  AnchorProbe probe(*pending->spot.document, pending->spot.cursor);
  const auto whole = probe.typed_since(flight.anchor(), kMaxLines);
  if (!whole) return false;
  const std::string_view since = std::string_view(*whole).substr(flight.anchor().typed.size());
  Filtered said = polish(flight.text(), flight.context(), flight.mode(), end);
  if (!said.dropped_by.empty()) {
    pending->dropped_by = said.dropped_by;
    return since.empty();
  }
  if (said.text.size() <= since.size() || !said.text.starts_with(since)) return false;
  pending->candidates.push_back({said.text.substr(since.size()), flight.mean_logprob()});
  return true;
}

void CompleterCore::stream_partial(const PendingPtr& pending, const Flight& flight,
                                   std::string_view typed) {
  const std::string steady = steady_part(flight.text(), flight.context(), flight.mode());
  if (steady.size() <= typed.size() || !steady.starts_with(typed)) return;
  const std::string text = steady.substr(typed.size());
  if (is_blank(text) || !is_clean_text(text)) return;
  if (pending->report.first_text_ms == 0)
    pending->report.first_text_ms = pending->watch.elapsed_ms();
  if (!pending->partial) return;
  if (text.size() <= pending->last_partial.size() || !text.starts_with(pending->last_partial))
    return;
  const auto suggestion = suggestion_of(*pending, {text, 0}, 0);
  // A suggestion that replaces text is only sent whole: its range is not settled before.
  if (!suggestion || suggestion->end > pending->request.offset) return;
  pending->last_partial = text;
  gate_->post([partial = pending->partial, suggestion = *suggestion] { partial(suggestion); });
}

void CompleterCore::on_timeout(CompletionId id) {
  for (auto& [uri, state] : documents_) {
    if (state.pending == nullptr || state.pending->id != id) continue;
    const PendingPtr pending = std::move(state.pending);
    state.pending = nullptr;
    if (pending->main != nullptr) {
      const bool complete = pending->main->settle_choice();
      take_candidate(pending, *pending->main,
                     complete ? pending->main->text_end() : TextEnd::kTruncated);
      if (state.flight == pending->main) state.flight = nullptr;
      pending->main->cancel();
      pending->main = nullptr;
      pending->report.ended_by = "timeout";
    }
    for (const auto& flight : pending->sampled) flight->cancel();
    pending->sampled.clear();
    if (pending->candidates.empty()) pending->dropped_by = "timeout";
    conclude(pending);
    return;
  }
}

std::optional<Suggestion> CompleterCore::suggestion_of(const Pending& pending,
                                                       const CachedCandidate& candidate,
                                                       size_t number) const {
  const Spot& spot = pending.spot;
  // The surroundings may have changed since the text was polished: an editor may have closed
  // brackets that were typed.
  std::string text = cut_excess_closers(candidate.text, spot.context);
  text = cut_line_overlap(text, spot.context);
  const Placement placed = fimd::place(text, spot.context);
  if (is_blank(placed.text)) return std::nullopt;

  Suggestion suggestion;
  suggestion.id = std::to_string(pending.id) + "-" + std::to_string(number);
  suggestion.begin = spot.cursor;
  suggestion.end = spot.cursor + placed.replaced;
  suggestion.text = with_line_breaks(placed.text, spot.context.line_break);
  if (pending.request.selected) {
    const auto& selected = *pending.request.selected;
    suggestion.begin = selected.begin;
    suggestion.end = selected.end + placed.replaced;
    suggestion.text = selected.text + suggestion.text;
  }
  // Clients drop an item whose filter text does not begin with what stands in its range before
  // the cursor.
  const std::string_view document = pending.request.document->text();
  const size_t cursor = floor_to_code_point(document, pending.request.offset);
  const std::string_view present =
      document.substr(suggestion.begin, cursor - std::min(cursor, suggestion.begin));
  suggestion.filter_text = suggestion.text.starts_with(present)
                               ? suggestion.text
                               : std::string(present) + suggestion.text;
  return suggestion;
}

void CompleterCore::conclude(const PendingPtr& pending) {
  auto& candidates = pending->candidates;
  const bool invoked = pending->request.invoked;
  const bool computed = pending->report.source != "typing-through";
  if (invoked && computed) {
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const CachedCandidate& a, const CachedCandidate& b) {
                       return a.mean_logprob > b.mean_logprob;
                     });
    std::vector<CachedCandidate> distinct;
    for (CachedCandidate& candidate : candidates) {
      const bool known = std::any_of(
          distinct.begin(), distinct.end(),
          [&](const CachedCandidate& other) { return trim(other.text) == trim(candidate.text); });
      if (!known) distinct.push_back(std::move(candidate));
    }
    candidates = std::move(distinct);
    if (!candidates.empty()) {
      cache_.put(pending->spot.document->uri(),
                 anchor_at(*pending->spot.document, pending->spot.cursor), candidates,
                 pending->spot.decision.mode, {});
    }
  }

  CompletionResult result;
  std::string why = pending->dropped_by.empty() ? "blank" : pending->dropped_by;
  for (const CachedCandidate& candidate : candidates) {
    if (!invoked && candidate.mean_logprob < options_.min_mean_logprob) {
      why = "low confidence";
      continue;
    }
    auto suggestion = suggestion_of(*pending, candidate, result.suggestions.size());
    if (!suggestion) {
      why = "nothing new";
      continue;
    }
    if (result.suggestions.empty()) pending->report.mean_logprob = candidate.mean_logprob;
    result.suggestions.push_back(std::move(*suggestion));
  }
  pending->report.outcome = result.suggestions.empty() ? why : "shown";
  if (pending->report.first_text_ms == 0 && !result.suggestions.empty()) {
    pending->report.first_text_ms = pending->watch.elapsed_ms();
  }

  if (options_.speculate && !result.suggestions.empty()) {
    // Off the path of the reply, and only if nothing else has happened by then.
    after(kSpeculateAfterMs, [id = pending->id, document = pending->request.document,
                              first = result.suggestions.front()](CompleterCore& core) {
      const auto it = core.documents_.find(document->uri());
      if (it == core.documents_.end() || it->second.last_request != id) return;
      core.speculate(document, first);
    });
  }
  finish(pending, std::move(result));
}

void CompleterCore::finish_empty(const PendingPtr& pending, std::string_view source,
                                 std::string_view outcome) {
  pending->report.source = source;
  pending->report.outcome = outcome;
  finish(pending, CompletionResult{});
}

void CompleterCore::finish(const PendingPtr& pending, Result<CompletionResult> result) {
  if (!pending->done) return;
  DoneFn done = std::move(pending->done);
  pending->done = nullptr;
  CompletionReport& report = pending->report;
  report.total_ms = pending->watch.elapsed_ms();
  if (result.ok()) {
    const GenerationStats& stats = report.stats;
    log::info(
        "completion {}: {} {}, {} cached + {} prefilled + {} decoded + {} scored tokens, gather "
        "{:.1f} ms, first text {:.1f} ms, total {:.1f} ms",
        pending->id, report.source, report.outcome, stats.cached_tokens, stats.prefilled_tokens,
        stats.decoded_tokens, stats.scored_tokens, report.gather_ms, report.first_text_ms,
        report.total_ms);
    result->report = report;
  } else {
    log::info("completion {}: {} ({}) after {:.1f} ms", pending->id,
              error_code_name(result.error().code), result.error().message, report.total_ms);
  }
  gate_->post(
      [done = std::move(done), result = std::move(result)]() mutable { done(std::move(result)); });
}

}  // namespace fimd

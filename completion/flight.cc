#include "completion/flight.h"

#include <algorithm>
#include <utility>

namespace fimd {

/// On the generator's thread. Holds no owner of the generator: the last one must not go away here.
class Flight::Sink : public GenerationSink {
 public:
  Sink(std::weak_ptr<Flight> flight, std::shared_ptr<IoGate> gate, StopWatch watch,
       std::shared_ptr<std::atomic<bool>> abandoned)
      : flight_(std::move(flight)),
        gate_(std::move(gate)),
        watch_(std::move(watch)),
        abandoned_(std::move(abandoned)) {}

  Flow on_text(std::string_view piece, float logprob) override {
    if (abandoned_->load(std::memory_order_relaxed) || stopped_) return Flow::kStop;
    text_ += piece;
    const std::optional<Stop> stop = watch_.check(text_);
    stopped_ = stop.has_value();
    gate_->post([weak = flight_, piece = std::string(piece), logprob, stop] {
      if (const auto flight = weak.lock()) flight->take_text(piece, logprob, stop);
    });
    return stop ? Flow::kStop : Flow::kContinue;
  }

  void on_candidates(std::vector<TextCandidate> candidates) override {
    candidates_ = std::move(candidates);
  }

  void on_done(Result<GenerationStats> stats) override {
    if (stats.ok() && !candidates_.empty()) {
      gate_->post([weak = flight_, stats = *stats, candidates = std::move(candidates_)]() mutable {
        if (const auto flight = weak.lock()) flight->take_candidates(stats, std::move(candidates));
      });
      return;
    }
    std::optional<Stop> stop;
    if (!stopped_ && stats.ok()) stop = watch_.check_final(text_);
    gate_->post([weak = flight_, stats = std::move(stats), stop]() mutable {
      if (const auto flight = weak.lock()) flight->take_end(std::move(stats), stop);
    });
  }

 private:
  std::weak_ptr<Flight> flight_;
  std::shared_ptr<IoGate> gate_;
  StopWatch watch_;
  std::shared_ptr<std::atomic<bool>> abandoned_;
  std::string text_;
  std::vector<TextCandidate> candidates_;
  bool stopped_ = false;
};

/// Of one reading. On the generator's thread.
class Flight::ReadingSink : public GenerationSink {
 public:
  ReadingSink(std::weak_ptr<Flight> flight, std::shared_ptr<IoGate> gate, size_t choice)
      : flight_(std::move(flight)), gate_(std::move(gate)), choice_(choice) {}

  Flow on_text(std::string_view /*piece*/, float /*logprob*/) override { return Flow::kStop; }

  void on_done(Result<GenerationStats> stats) override {
    gate_->post([weak = flight_, choice = choice_, stats = std::move(stats)] {
      if (const auto flight = weak.lock()) flight->take_reading(choice, stats);
    });
  }

 private:
  std::weak_ptr<Flight> flight_;
  std::shared_ptr<IoGate> gate_;
  size_t choice_;
};

std::shared_ptr<Flight> Flight::start(Plan plan, std::shared_ptr<Generator> generator,
                                      std::shared_ptr<IoGate> gate, Listener listener) {
  std::shared_ptr<Flight> flight(new Flight);
  flight->uri_ = std::move(plan.uri);
  flight->anchor_ = anchor_at(*plan.document, plan.cursor);
  flight->context_ = plan.context;
  flight->mode_ = plan.mode;
  flight->generator_ = std::move(generator);
  flight->abandoned_ = std::make_shared<std::atomic<bool>>(false);
  flight->listener_ = std::move(listener);
  flight->gate_ = gate;
  flight->foresight_ = std::move(plan.foresight);
  flight->min_mean_logprob_ = plan.min_mean_logprob;
  flight->priority_ = plan.priority;

  GenerationRequest request;
  request.lane = std::move(plan.lane);
  request.priority = plan.priority;
  request.prompt = std::move(plan.prompt);
  request.params = std::move(plan.params);
  if (request.params.beam.width > 1) {
    request.params.beam.judge = [context = plan.context](std::string_view text, bool ended) {
      return line_verdict(text, ended, context);
    };
  }
  request.sink = std::make_shared<Sink>(
      flight, std::move(gate),
      StopWatch(std::move(plan.document), plan.cursor, std::move(plan.context), plan.mode),
      flight->abandoned_);
  flight->id_ = flight->generator_->submit(std::move(request));
  return flight;
}

Flight::~Flight() { cancel(); }

void Flight::cancel() {
  listener_ = nullptr;
  if (finished() || abandoned_ == nullptr || abandoned_->exchange(true)) return;
  generator_->cancel(id_);
  for (const GenerationId reading : readings_) generator_->cancel(reading);
}

Flight::Agreement Flight::agreement(const Document& document, size_t cursor,
                                    std::string* typed) const {
  if (document.uri() != uri_) return Agreement::kNo;
  AnchorProbe probe(document, cursor);
  const auto whole = probe.typed_since(anchor_, kMaxLines);
  if (!whole) return Agreement::kNo;
  const std::string_view since = std::string_view(*whole).substr(anchor_.typed.size());
  if (typed != nullptr) *typed = since;
  if (since.empty()) return text_.empty() ? Agreement::kSoFar : Agreement::kYes;
  if (since.size() >= text_.size()) {
    return !finished() && !stopped_ && since.starts_with(text_) ? Agreement::kSoFar
                                                                : Agreement::kNo;
  }
  return std::string_view(text_).starts_with(since) ? Agreement::kYes : Agreement::kNo;
}

void Flight::take_text(std::string_view piece, float logprob, const std::optional<Stop>& stop) {
  if (stopped_ || finished()) return;
  text_ += piece;
  logprob_ += logprob;
  ++tokens_;
  if (stop) {
    stopped_ = true;
    text_.resize(std::min(stop->length, text_.size()));
    ended_by_ = stop->rule;
  }
  if (const auto listener = listener_) listener(shared_from_this());
}

void Flight::take_end(Result<GenerationStats> result, const std::optional<Stop>& stop) {
  if (finished()) return;
  result_ = std::move(result);
  if (result_->ok() && !stopped_) {
    const FinishReason reason = (*result_)->reason;
    if (stop) {
      text_.resize(std::min(stop->length, text_.size()));
      ended_by_ = stop->rule;
    } else {
      ended_by_ = finish_reason_name(reason);
      if (reason == FinishReason::kMaxTokens || reason == FinishReason::kContextFull) {
        text_end_ = TextEnd::kTruncated;
      }
    }
  }
  if (const auto listener = listener_) listener(shared_from_this());
}

void Flight::take_candidates(GenerationStats stats, std::vector<TextCandidate> candidates) {
  if (finished() || !choices_.empty()) return;
  stats_ = stats;
  choices_ = choices_of(candidates, context_);
  const bool any = std::any_of(choices_.begin(), choices_.end(), [&](const TextCandidate& choice) {
    return choice.logprob >= min_mean_logprob_ * choice.tokens;
  });
  if (!any || !worth_reading(choices_) || !start_readings()) choose(0);
}

/// False: nothing can be foreseen.
bool Flight::start_readings() {
  if (!foresight_) return false;
  std::vector<Reading> readings;
  for (const TextCandidate& choice : choices_) {
    auto reading = foresight_->reading(choice.text);
    if (!reading) return false;
    readings.push_back(std::move(*reading));
  }
  unread_ = choices_.size();
  for (size_t i = 0; i < readings.size(); ++i) {
    scores_.push_back(choices_[i].logprob);
    GenerationRequest request;
    request.priority = priority_;
    request.prompt = std::move(readings[i].prompt);
    request.params.max_tokens = 0;
    request.params.heal = false;
    request.params.scored_bytes = readings[i].scored_bytes;
    request.sink = std::make_shared<ReadingSink>(weak_from_this(), gate_, i);
    readings_.push_back(generator_->submit(std::move(request)));
  }
  return true;
}

void Flight::take_reading(size_t choice, const Result<GenerationStats>& result) {
  if (finished()) return;
  if (!result.ok()) return choose(0);  // cancelled, or no room: the likeliest will do
  scores_[choice] += kReadingWeight * result->scored_logprob;
  stats_.scored_tokens += result->prefilled_tokens;
  if (--unread_ > 0) return;
  const auto best = std::max_element(scores_.begin(), scores_.end());
  choose(static_cast<size_t>(best - scores_.begin()));
}

bool Flight::settle_choice() {
  if (!finished() && !choices_.empty()) choose(0);
  return finished();
}

void Flight::choose(size_t choice) {
  const TextCandidate& chosen = choices_[choice];
  text_ = chosen.text;
  logprob_ = chosen.logprob;
  tokens_ = chosen.tokens;
  stopped_ = true;
  text_end_ = chosen.truncated ? TextEnd::kTruncated : TextEnd::kComplete;
  ended_by_ = chosen.truncated ? finish_reason_name(FinishReason::kMaxTokens) : "end of line";
  result_ = stats_;
  if (const auto listener = listener_) listener(shared_from_this());
}

}  // namespace fimd

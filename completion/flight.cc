#include "completion/flight.h"

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

  void on_done(Result<GenerationStats> stats) override {
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
  bool stopped_ = false;
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

  GenerationRequest request;
  request.lane = std::move(plan.lane);
  request.priority = plan.priority;
  request.prompt = std::move(plan.prompt);
  request.params = std::move(plan.params);
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
  ++pieces_;
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

}  // namespace fimd

// Flight: one generation on its way, seen from the io thread.
//
// The sink on the generator's thread collects text, asks the stop rules and ends the generation
// when one fires; what it saw is posted to the Flight. After a beam search the flight has the texts
// found read in their place (foresight.h) and takes the one that fits best. A flight knows the
// place it was made for, so that a later request can tell whether the text typed since agrees with
// it.
//
// Owner: the completer (shared_ptr). Thread: the io thread, except for the sink inside.
#pragma once

#include <atomic>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "completion/foresight.h"
#include "completion/io_gate.h"
#include "completion/post_filters.h"
#include "completion/stop_rules.h"
#include "completion/suggestion_cache.h"
#include "engine/generator.h"

namespace fimd {

class Flight : public std::enable_shared_from_this<Flight> {
 public:
  struct Plan {
    std::string uri;
    DocumentPtr document;
    size_t cursor = 0;
    CursorContext context;
    LineMode mode = LineMode::kSingle;
    std::string lane;
    Priority priority = Priority::kInteractive;
    Prompt prompt;
    GenerationParams params;  // with beam.width > 1 the flight adds the judge
    std::optional<Foresight> foresight;
    /// Texts less likely than that, on average of their tokens, will not be shown: no choice
    /// between them is needed.
    double min_mean_logprob = -std::numeric_limits<double>::infinity();
  };
  /// Called on the io thread after every piece and once at the end.
  using Listener = std::function<void(const std::shared_ptr<Flight>&)>;

  static std::shared_ptr<Flight> start(Plan plan, std::shared_ptr<Generator> generator,
                                       std::shared_ptr<IoGate> gate, Listener listener);
  ~Flight();

  const std::string& uri() const { return uri_; }
  const Anchor& anchor() const { return anchor_; }
  const CursorContext& context() const { return context_; }
  LineMode mode() const { return mode_; }
  const Generator* generator() const { return generator_.get(); }

  /// What has been generated, up to where a stop rule ended it.
  const std::string& text() const { return text_; }
  double mean_logprob() const { return tokens_ == 0 ? 0 : logprob_ / tokens_; }
  bool finished() const { return result_.has_value(); }
  /// Once finished.
  const Result<GenerationStats>& result() const { return *result_; }
  /// The stop rule that ended it, or the reason the generator gave.
  std::string_view ended_by() const { return ended_by_; }
  TextEnd text_end() const { return text_end_; }

  enum class Agreement {
    kNo,     // the document is another one, or the text typed says something else
    kSoFar,  // all of the generated text has been typed already: it may still agree
    kYes,    // the generated text goes on where the typed text ends
  };
  /// Whether the flight's text continues this cursor; `typed`, if given, receives what has been
  /// typed since the flight's start.
  Agreement agreement(const Document& document, size_t cursor, std::string* typed) const;

  /// Ends the generation; the listener is not called any more.
  void cancel();

  /// If only the choice between complete texts is missing, takes the likeliest at once. Returns
  /// finished().
  bool settle_choice();

 private:
  class Sink;
  class ReadingSink;

  Flight() = default;
  void take_text(std::string_view piece, float logprob, const std::optional<Stop>& stop);
  void take_end(Result<GenerationStats> result, const std::optional<Stop>& stop);
  void take_candidates(GenerationStats stats, std::vector<TextCandidate> candidates);
  bool start_readings();
  void take_reading(size_t choice, const Result<GenerationStats>& result);
  void choose(size_t choice);

  std::string uri_;
  Anchor anchor_;
  CursorContext context_;
  LineMode mode_ = LineMode::kSingle;
  std::shared_ptr<Generator> generator_;
  GenerationId id_ = 0;
  std::shared_ptr<std::atomic<bool>> abandoned_;
  Listener listener_;
  std::shared_ptr<IoGate> gate_;

  std::string text_;
  double logprob_ = 0;
  int tokens_ = 0;  // or pieces, as long as only these are known
  std::optional<Result<GenerationStats>> result_;
  std::string ended_by_;
  TextEnd text_end_ = TextEnd::kComplete;
  bool stopped_ = false;

  // Between the end of a beam search and the choice.
  std::optional<Foresight> foresight_;
  double min_mean_logprob_ = 0;
  Priority priority_ = Priority::kInteractive;
  GenerationStats stats_;
  std::vector<TextCandidate> choices_;  // likeliest first
  std::vector<double> scores_;          // of the choices, as far as they have been read
  std::vector<GenerationId> readings_;
  size_t unread_ = 0;
};

}  // namespace fimd

// Typing trace: what keystrokes cost, measured by typing lines of a source file again.
//
// The lines are taken out of the text at a given place and typed into it character by character;
// every few characters, and after every line break, a completion is requested and waited for.
// Suggestions seen before and prefill while typing are left out of it unless asked for, so that
// each request shows what it costs the model. Thread: the caller's, which serves as io thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/generator.h"
#include "support/result.h"

namespace fimd {

struct TypingTraceOptions {
  size_t lines = 8;     // lines with content that are typed
  double place = 0.75;  // where in the file, as a share of its lines
  size_t every = 3;     // characters from one request to the next
  int new_tokens = 0;   // longest reply; 0: as usual for one line
  bool multi_line = false;
  bool reuse_suggestions = false;  // answer from suggestions made before, as editors get it
  bool prefill_on_change = false;  // start on the prompt before the request
  int timeout_ms = 120000;
};

/// One request.
struct TypingSample {
  bool new_line = false;  // the first one on its line
  size_t line = 0;        // zero-based, of the text as typed so far
  std::string typed;      // the line up to the cursor
  std::string shown;      // the suggestion; empty if there was none
  std::string source;     // of the report
  int prompt_tokens = 0;
  int cached_tokens = 0;
  int computed_tokens = 0;
  int decoded_tokens = 0;
  double first_text_ms = 0;  // 0: nothing was said
  double reply_ms = 0;
};

struct Quantiles {
  double median = 0;
  double p95 = 0;
};
/// Of the values that are at least 0; both 0 if there is none.
Quantiles quantiles(std::vector<double> values);

struct TypingSummary {
  size_t requests = 0;
  Quantiles computed_tokens;
  Quantiles cached_tokens;
  Quantiles first_text_ms;  // of the requests with a text
  Quantiles reply_ms;
};

struct TypingTraceReport {
  TypingSample cold;                  // the first request, with nothing cached of this file
  std::vector<TypingSample> samples;  // the others, in order
  TypingSummary keys;                 // those on a line already begun
  TypingSummary new_lines;
};

/// `on_sample`, if given, sees every sample as it is taken (the cold one first).
Result<TypingTraceReport> run_typing_trace(
    const std::shared_ptr<Generator>& generator, const std::string& path,
    const std::string& language_id, const std::string& text, const TypingTraceOptions& options,
    const std::function<void(const TypingSample&)>& on_sample = nullptr);

}  // namespace fimd

// Completer: the one pipeline from a cursor to suggestions.
//
// request -> typing-through cache -> context and prompt -> generator -> stop rules -> post-filters
// -> reply. Owner: one per editor session; the Generator behind it is shared. Thread: all methods
// and callbacks on the io thread; text from the engine thread comes back through the injected
// executor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "context/document.h"
#include "context/workspace.h"
#include "engine/generator.h"

namespace fimd {

/// Runs a task on the io thread soon, in order.
using Executor = std::function<void(std::function<void()>)>;

struct CompletionOptions {
  int max_tokens_single_line = 48;
  int max_tokens_multi_line = 192;
  bool multi_line = true;
  int candidates = 3;     // on explicit invocation
  int prefix_tokens = 0;  // 0: derived from the model's context length
  int suffix_tokens = 0;
  int snippet_tokens = 0;
  bool snippets = true;   // text of other open files in the prompt
  bool speculate = true;  // compute the next suggestion as if the shown one were accepted
  bool prefill_on_change = true;
  bool typing_through = true;  // answer text typed as suggested without the model
  int beam_width = 4;          // texts weighed against each other for a line; 1: greedy
  int timeout_ms = 5000;       // reply with what is there
  /// Automatic suggestions whose tokens' mean natural-log probability is lower are not shown.
  double min_mean_logprob = -1.2;
  std::vector<std::string> exclude;  // globs of files whose text never enters a prompt

  friend bool operator==(const CompletionOptions&, const CompletionOptions&) = default;
};

struct CompletionRequest {
  DocumentPtr document;
  size_t offset = 0;
  bool invoked = false;  // explicit: several candidates, no vetoes
  /// The entry selected in the editor's suggest widget: the suggestion must begin by replacing
  /// [begin, end) with `text`.
  struct Selected {
    size_t begin = 0;
    size_t end = 0;
    std::string text;
  };
  std::optional<Selected> selected;
};

/// Insert `text` in place of bytes [begin, end) of the request's document. begin <= cursor <= end,
/// and both lie on the cursor's line.
struct Suggestion {
  std::string id;
  size_t begin = 0;
  size_t end = 0;
  std::string text;
  std::string filter_text;  // what clients match typed text against

  friend bool operator==(const Suggestion&, const Suggestion&) = default;
};

/// What one request cost; for logs, `fimd complete --explain`, the bench and the status
/// notification.
struct CompletionReport {
  /// "model", "typing-through" (also after speculation), "in-flight", "excluded", "empty".
  std::string source;
  GenerationStats stats;
  double gather_ms = 0;
  double total_ms = 0;
  double first_text_ms = 0;
  std::string outcome;      // "shown", or the filter or rule that emptied it
  double mean_logprob = 0;  // of the first suggestion's tokens
  std::string ended_by;     // the stop rule or reason that ended the generation
};

struct CompletionResult {
  std::vector<Suggestion> suggestions;  // best first; empty: nothing worth showing
  CompletionReport report;
};

using CompletionId = uint64_t;
using PartialFn = std::function<void(const Suggestion&)>;
using DoneFn = std::function<void(Result<CompletionResult>)>;

/// Everything that went into a prompt, for `--explain`.
struct PromptExplanation {
  struct Part {
    std::string name;  // "snippet src/a.py:10-40", "prefix", "suffix", "typed"
    std::string text;
    size_t tokens = 0;
  };
  std::vector<Part> parts;
  std::string rendered;  // the exact prompt, control tokens spelled out
  std::string fim_format;
  bool multi_line = false;
  std::string mode_reason;  // why one line or several
};

class Completer {
 public:
  virtual ~Completer() = default;

  /// `done` is called exactly once (never from inside this call), with kCancelled if a newer
  /// request for the same document or cancel() ended it. `partial`, if given, is called with
  /// growing text.
  virtual CompletionId complete(CompletionRequest request, PartialFn partial, DoneFn done) = 0;
  virtual void cancel(CompletionId id) = 0;

  /// The document changed and the cursor is probably at `offset`: start prefilling its prompt.
  virtual void document_changed(const DocumentPtr& document, std::optional<size_t> offset) = 0;
  virtual void document_closed(const std::string& uri) = 0;

  virtual void did_show(const std::string& suggestion_id) = 0;
  virtual void did_accept(const std::string& suggestion_id, size_t accepted_bytes) = 0;

  virtual void set_options(CompletionOptions options) = 0;

  virtual Result<PromptExplanation> explain(const CompletionRequest& request) = 0;
};

/// `generator` may change (a model is reloaded): it is asked for on each request and may return
/// null while none is loaded.
using GeneratorSource = std::function<std::shared_ptr<Generator>()>;

std::unique_ptr<Completer> make_completer(GeneratorSource generator, Workspace* workspace,
                                          Executor executor, CompletionOptions options);

}  // namespace fimd

// Generator: the one seam between the completion pipeline and whatever produces text.
//
// A generator takes prompts and streams text back. Local generators (CPU, CUDA) own a resident
// model and an engine thread; a remote one talks to a server. Everything above this header is the
// same for all.
//
// Thread: every method may be called from any thread and returns at once; sinks are called on the
// generator's own thread, one sink never concurrently with itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "support/result.h"

namespace fimd {

/// A piece of a prompt. Control segments name one control token ("<|fim_prefix|>"); text segments
/// are user text in which no control token is ever recognised. Consecutive text segments are
/// tokenised apart, so that an earlier segment's tokens do not depend on a later one.
struct PromptSegment {
  enum class Kind { kText, kControl };
  Kind kind = Kind::kText;
  std::string text;

  friend bool operator==(const PromptSegment&, const PromptSegment&) = default;
};
using Prompt = std::vector<PromptSegment>;

/// Shorthands for building prompts.
inline PromptSegment text_segment(std::string text) {
  return {PromptSegment::Kind::kText, std::move(text)};
}
inline PromptSegment control_segment(std::string name) {
  return {PromptSegment::Kind::kControl, std::move(name)};
}

struct SamplingParams {
  float temperature = 0.0F;  // 0: greedy
  int top_k = 0;             // 0: off
  float top_p = 1.0F;        // 1: off
  float min_p = 0.0F;        // 0: off
  uint64_t seed = 0;         // same seed, prompt and parameters: same text

  friend bool operator==(const SamplingParams&, const SamplingParams&) = default;
};

/// Whether a text of a beam search is complete.
struct TextVerdict {
  enum class Kind {
    kOpen,      // it may go on
    kComplete,  // its first `length` bytes are an answer
    kRejected,  // neither it nor what it may become is wanted
  };
  Kind kind = Kind::kOpen;
  size_t length = 0;
};

/// Beam search: the likeliest whole texts, instead of the likeliest next token again and again.
struct BeamParams {
  int width = 1;  // branches that are looked at together; 1: off
  /// Texts less likely than the best one by more than this (natural logarithm) are given up.
  double margin = 1.5;
  /// A pure function of a text, asked on the generator's thread; `ended`: the model says no more,
  /// so the text cannot stay open. Empty: a text is complete where the model ends it.
  std::function<TextVerdict(std::string_view text, bool ended)> judge;
};

struct GenerationParams {
  int max_tokens = 64;  // 0: only prefill, to warm the prefix cache
  SamplingParams sampling;
  /// Only for models whose info says beam_search, with greedy sampling and no stop text; ignored
  /// otherwise.
  BeamParams beam;
  /// With max_tokens 0: stats tell how likely the model finds the tokens that begin within this
  /// many bytes from the end of the prompt. Like beam search, only where info says so.
  size_t scored_bytes = 0;
  std::vector<std::string> stop;           // text that ends the generation; never emitted
  std::vector<std::string> stop_controls;  // control tokens that end it, besides the model's own
  /// Token healing: tokens at the end of the last text segment are taken back and the first
  /// generated tokens constrained to begin with the bytes removed (those bytes are not emitted
  /// again).
  bool heal = true;
};

enum class FinishReason { kEndOfText, kStopText, kMaxTokens, kStoppedBySink, kContextFull };
const char* finish_reason_name(FinishReason reason);

struct GenerationStats {
  int prompt_tokens = 0;     // length of the prompt
  int cached_tokens = 0;     // of those, reused from the prefix cache
  int prefilled_tokens = 0;  // of those, computed now
  int decoded_tokens = 0;
  double queue_ms = 0;  // submit to start
  double tokenize_ms = 0;
  double prefill_ms = 0;
  double first_text_ms = 0;   // submit to the first emitted text; 0 if none
  double total_ms = 0;        // submit to done
  double scored_logprob = 0;  // sum over the scored tokens, natural logarithm
  int scored_tokens = 0;      // computed to choose between the texts of a beam search
  FinishReason reason = FinishReason::kEndOfText;
};

/// A complete text that a beam search has found.
struct TextCandidate {
  std::string text;
  double logprob = 0;      // of the whole text with its end, natural logarithm
  int tokens = 0;          // of the likeliest way to say it
  bool truncated = false;  // the token limit ended it

  friend bool operator==(const TextCandidate&, const TextCandidate&) = default;
};

/// Receives one generation. Called on the generator's thread: return quickly, hop elsewhere to
/// work.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;

  enum class Flow { kContinue, kStop };

  /// Valid UTF-8 if the prompt was; `logprob` is the natural-log probability of the tokens it came
  /// from.
  virtual Flow on_text(std::string_view piece, float logprob) = 0;

  /// After a beam search, before on_done: the texts found, likeliest first. Text given to on_text
  /// before is what all that could still be found had in common.
  virtual void on_candidates(std::vector<TextCandidate> /*candidates*/) {}

  /// Exactly once per request, last. Error code kCancelled when cancelled or superseded.
  virtual void on_done(Result<GenerationStats> stats) = 0;
};

enum class Priority {
  kBackground,   // warm-up and speculation: yields to everything else
  kInteractive,  // somebody is waiting
};

struct GenerationRequest {
  /// Newest wins: a request supersedes an unfinished one of the same lane (one lane per document
  /// and purpose). Empty: never superseded.
  std::string lane;
  Priority priority = Priority::kInteractive;
  Prompt prompt;
  GenerationParams params;
  std::shared_ptr<GenerationSink> sink;  // may be null when max_tokens is 0
};

using GenerationId = uint64_t;

/// What the pipeline must know about a model to prompt it.
struct ModelInfo {
  std::string name;          // "fimd-small", from the file's metadata
  std::string architecture;  // "qwen2"
  std::string backend;       // "cpu avx512-vnni", "cuda NVIDIA H100", "remote http://..."
  std::string path;
  std::string quantization;  // "Q4_0", the type of most weights
  int64_t parameters = 0;
  int64_t weight_bytes = 0;
  int context_length = 0;  // tokens
  std::vector<std::string>
      control_tokens;         // texts of all control tokens, for choosing the FIM format
  std::string chat_template;  // Jinja source, may be empty
  bool add_bos = false;
  std::string bos_token;
  bool beam_search = false;  // BeamParams and scored_bytes work
};

struct EngineStatus {
  int active_requests = 0;
  int queued_requests = 0;
  int64_t kv_bytes_used = 0;
  int64_t kv_bytes_budget = 0;
  int64_t state_bytes_used = 0;         // checkpoints of recurrent layers' state
  int64_t state_bytes_budget = 0;       // 0: the model has none
  int64_t prompt_tokens = 0;            // since start
  int64_t cached_tokens = 0;            // since start; cached/prompt is the hit rate
  int64_t decoded_tokens = 0;           // since start
  double decode_tokens_per_second = 0;  // of the last generation that decoded
  double prompt_ms_per_token = 0;       // of reading prompts, lately; 0: not known
};

class Generator {
 public:
  virtual ~Generator() = default;

  virtual const ModelInfo& info() const = 0;

  /// Queues a request. Bad prompts (unknown control token, longer than the context) reach the
  /// sink's on_done as an error.
  virtual GenerationId submit(GenerationRequest request) = 0;

  /// Ends a request within one decode step or prefill chunk; its sink gets kCancelled. Unknown or
  /// finished ids are ignored.
  virtual void cancel(GenerationId id) = 0;

  /// Tokens `text` would take as one text segment. Exact for local models, an estimate for remote
  /// ones.
  virtual size_t count_tokens(std::string_view text) const = 0;

  virtual EngineStatus status() const = 0;

  /// `callback` is called once, on the generator's thread, when its device is lost: from then on
  /// every request ends with kUnavailable, and only loading the model again helps. Set it before
  /// the first request.
  virtual void when_lost(std::function<void()> /*callback*/) {}
};

}  // namespace fimd

// Sequence: one request on its way through the scheduler.
//
// Owner: the scheduler. Thread: the engine thread, but for the ticket.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/beam_search.h"
#include "engine/generator.h"
#include "engine/sampler.h"
#include "engine/text_stream.h"
#include "support/clock.h"

namespace fimd {

/// What other threads may touch of a request.
struct Ticket {
  GenerationId id = 0;
  std::string lane;
  std::atomic<bool> cancelled = false;
  std::atomic<bool> superseded = false;
};

struct Sequence {
  std::shared_ptr<Ticket> ticket;
  GenerationRequest request;
  Stopwatch since_submit;

  std::vector<TokenId> tokens;  // the prompt, then what was generated
  int prompt_tokens = 0;
  int computed = 0;            // positions below have their keys and values in `pages`
  std::vector<int32_t> pages;  // used by this sequence
  bool admitted = false;
  int promised_pages = 0;
  int planned = 0;  // tokens in the coming forward pass

  // Of models with recurrent layers.
  int32_t slot = -1;             // holds the state after `computed` tokens
  std::vector<int> checkpoints;  // positions of the prompt to keep the state at, ascending
  std::vector<StateSave> saves;  // in the coming forward pass
  int resumable = 0;             // the cache has the state at this position

  std::optional<TextStream> stream;
  std::vector<TokenId> taken_back;  // what healing removed from the prompt
  std::vector<TokenId> allowed;     // for healing
  std::vector<TokenId> stops;       // control tokens that end it
  SampleSpec sample;
  int new_tokens = 0;  // generated beyond what healing took back

  // Of a beam search, from the end of the prompt on. Pages of branches are in the order of
  // search->branches(): those before `shared_pages` are the prompt's, the others the branch's own.
  bool searches = false;
  std::optional<BeamSearch> search;
  std::vector<std::vector<int32_t>> branch_pages;
  size_t shared_pages = 0;
  size_t emitted = 0;                         // bytes of the search's agreed text
  std::optional<std::string> search_healing;  // what it must begin with

  /// What follows each of the last scored.size() tokens: the end of a prompt that is scored. Its
  /// very last token is here only.
  std::vector<SampleSpec> scored;

  GenerationStats stats;
  double started_ms = -1;
  double first_sample_ms = 0;
  bool done = false;

  bool generates() const { return request.params.max_tokens > 0 && request.sink != nullptr; }
  bool interactive() const { return request.priority == Priority::kInteractive; }
  /// Logits that are needed after the last tokens.
  size_t wanted_rows() const { return generates() ? 1 : scored.size(); }
  /// The tokens whose keys, values and state a cache may supply: those whose logits are needed must
  /// be computed.
  std::span<const TokenId> known() const {
    return std::span(tokens).first(tokens.size() - std::min(tokens.size(), wanted_rows()));
  }
  bool searching() const { return search.has_value() && !search->over(); }
  int remaining() const { return static_cast<int>(tokens.size()) - computed; }
};

inline Error not_a_number() {
  return {ErrorCode::kInternal, "the model's output is not a number; its file may be damaged"};
}

inline Error cache_full() {
  return {ErrorCode::kResourceExhausted, "the KV cache is full; raise its budget"};
}

}  // namespace fimd

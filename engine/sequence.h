// Sequence: one request on its way through the scheduler.
//
// Owner: the scheduler. Thread: the engine thread, but for the ticket.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

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

  std::optional<TextStream> stream;
  std::vector<TokenId> taken_back;  // what healing removed from the prompt
  std::vector<TokenId> allowed;     // for healing
  std::vector<TokenId> stops;       // control tokens that end it
  SampleSpec sample;
  int new_tokens = 0;  // generated beyond what healing took back

  GenerationStats stats;
  double started_ms = -1;
  double first_sample_ms = 0;
  bool done = false;

  bool generates() const { return request.params.max_tokens > 0 && request.sink != nullptr; }
  bool interactive() const { return request.priority == Priority::kInteractive; }
  int remaining() const { return static_cast<int>(tokens.size()) - computed; }
};

}  // namespace fimd

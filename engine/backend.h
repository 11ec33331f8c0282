// Backend: a device that holds a model's weights and a pool of KV pages, and runs forward passes.
//
// The backend knows nothing of requests, prefixes or text; the scheduler owns all bookkeeping of
// pages (which are free, who shares which) and the backend only reads and writes the pages it is
// told to. All memory is taken when the backend is made.
//
// Models with recurrent layers will need, besides pages, one state slot for each active sequence
// and a pool of checkpoints: StepInput gains a slot, and Backend gains copies between slots and
// checkpoints, which the prefix cache hangs off its nodes as it does pages.
//
// Owner: the scheduler. Thread: the engine thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "engine/sampler.h"
#include "engine/tokenizer/tokenizer.h"
#include "support/result.h"

namespace fimd {

/// A page holds the keys and values of page_tokens consecutive tokens, of every layer.
struct KvGeometry {
  int page_tokens = 0;
  int n_pages = 0;
  int64_t page_bytes = 0;
};

/// One sequence's share of a forward pass: new tokens at positions first, first + 1, ...
struct StepInput {
  std::span<const TokenId> tokens;  // at least one
  int first = 0;
  /// pages[p / page_tokens] holds position p, for every p < first + tokens.size(). The pass writes
  /// the new tokens' positions; no other sequence of the pass may read those slots.
  std::span<const int32_t> pages;
  /// samples[j] says how to sample a token after tokens[size - samples.size() + j]: usually one,
  /// after the last token; more when the last tokens are guesses to be checked; none, and no logits
  /// are computed, while a prompt is still being read.
  std::span<const SampleSpec> samples;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;  // "cpu avx512-vnni, 2 threads"
  virtual KvGeometry kv() const = 0;
  /// The most tokens of all sequences together in one pass.
  virtual int max_batch_tokens() const = 0;

  /// One pass over the weights for all of `batch`. `outputs` gets the samples of the first input,
  /// then those of the second ... After an error the pages of the new tokens hold garbage;
  /// everything before them is intact.
  virtual Status forward(std::span<const StepInput> batch, std::span<Sampled> outputs) = 0;

  /// Copies page `from` to page `to`, so that `to` can go on differently after a shared beginning.
  /// Only its first n_tokens tokens need be right.
  virtual void copy_page(int32_t from, int32_t to, int n_tokens) = 0;

  /// Logits that the last forward's i-th sample was made from: (vocab). For tests and tools; empty
  /// if the backend keeps them on a device.
  virtual std::span<const float> logits(size_t i) const = 0;
};

}  // namespace fimd

// Backend: a device that holds a model's weights and a pool of KV pages, and runs forward passes.
//
// The backend knows nothing of requests, prefixes or text; the scheduler owns all bookkeeping of
// pages (which are free, who shares which) and the backend only reads and writes the pages it is
// told to. All memory is taken when the backend is made.
//
// A model with recurrent layers (Gated DeltaNet) needs, besides pages, one state slot for each
// active sequence. A state is of one length of its sequence only, so the backend also has
// checkpoints: copies of slots, kept as they are, which the prefix cache hangs off its nodes as it
// does pages. Their precision and place (device, host) are the backend's own affair.
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

/// The recurrent state of sequences. All zero for a model without recurrent layers.
struct StateGeometry {
  int n_slots = 0;  // sequences that can be admitted at once
  int n_checkpoints = 0;
  int64_t slot_bytes = 0;  // of all recurrent layers
  int64_t checkpoint_bytes = 0;
};

/// Asks a pass to leave a copy of the state as it is after tokens[0 .. after) of an input.
struct StateSave {
  int after = 0;  // 1 .. tokens.size()
  int32_t checkpoint = 0;
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
  /// The next pass will most likely be of this sequence alone, its input the token that this pass
  /// samples, to be sampled alike. A backend may begin that pass before it is asked to, and so
  /// leave garbage at the position behind `tokens`, if that lies in `pages`.
  bool goes_on = false;

  // Of models with recurrent layers only.
  /// Holds the state after `first` tokens (all zero before the first: clear_state) and will hold
  /// that after all of them. No two inputs of a pass have the same.
  int32_t slot = 0;
  /// Ascending in `after`. The checkpoints' former contents are lost, whatever comes of the pass.
  std::span<const StateSave> saves;
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

  virtual StateGeometry state() const { return {}; }
  /// Makes a slot that of a sequence without tokens.
  virtual void clear_state(int32_t /*slot*/) {}
  /// Copies between slots and checkpoints. Like forward, they happen in the order of the calls.
  virtual void restore_state(int32_t /*checkpoint*/, int32_t /*slot*/) {}
  virtual void save_state(int32_t /*slot*/, int32_t /*checkpoint*/) {}

  /// True: the device is gone for good; every pass fails, and only a new backend helps.
  virtual bool lost() const { return false; }

  /// The most that a sample may ask for as n_best; 0: there is no likeliest(), and no search.
  virtual int max_best() const { return 0; }
  /// What the last forward's i-th sample asked for with n_best: best first. Empty: nothing could be
  /// sampled.
  virtual std::span<const Sampled> likeliest(size_t /*i*/) const { return {}; }

  /// Logits that the last forward's i-th sample was made from: (vocab). Empty if the backend keeps
  /// them on a device. For tests.
  virtual std::span<const float> logits(size_t i) const = 0;
};

}  // namespace fimd

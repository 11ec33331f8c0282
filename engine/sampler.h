// Sampler: from logits to a token.
//
// A pure function of logits, parameters and one uniform random number, so that a device can do the
// same with the same result, and so that a seed determines the text. Tokens that must never appear
// (padding rows, control tokens, unused entries) are masked before anything else.
//
// Owner: one per backend (it holds scratch memory). Thread: the engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/generator.h"
#include "engine/tokenizer/tokenizer.h"

namespace fimd {

/// What may be sampled, and how.
struct SampleSpec {
  SamplingParams params;
  double uniform = 0;  // in [0, 1): the randomness of this token
  /// Not empty: only these tokens may be sampled (token healing).
  std::span<const TokenId> allowed;
  /// Control tokens that may be sampled besides the always permitted ones.
  std::span<const TokenId> extra;
  /// >= 0: nothing is chosen. The sample is this token, with its log-probability among all that may
  /// be sampled; `allowed` and `extra` are empty.
  TokenId scored = -1;
  /// > 0: nothing is chosen. Backend::likeliest() has the likeliest tokens, so many, and the sample
  /// is the first of them.
  int n_best = 0;
};

struct Sampled {
  TokenId token = -1;  // -1: no token is permitted
  float logprob = 0;   // natural log, among the permitted tokens at temperature 1
};

/// The tokens of a vocabulary that may be generated: normal, user-defined and byte tokens, and
/// those that end a generation.
class TokenMask {
 public:
  TokenMask() = default;
  TokenMask(const Tokenizer& tokenizer, int64_t rows);

  int64_t rows() const { return static_cast<int64_t>(permitted_.size()); }
  bool permitted(TokenId id) const { return permitted_[static_cast<size_t>(id)] != 0; }
  /// Runs of consecutive permitted ids, [begin, end): the sampler's inner loops go over these.
  struct Run {
    TokenId begin = 0;
    TokenId end = 0;
  };
  std::span<const Run> runs() const { return runs_; }

 private:
  std::vector<uint8_t> permitted_;
  std::vector<Run> runs_;
};

class Sampler {
 public:
  explicit Sampler(TokenMask mask) : mask_(std::move(mask)) {}

  /// Of a spec without n_best.
  Sampled sample(std::span<const float> logits, const SampleSpec& spec);

  /// The spec.n_best likeliest tokens, best first; fewer where fewer are permitted.
  std::vector<Sampled> likeliest(std::span<const float> logits, const SampleSpec& spec);

 private:
  struct Candidate {
    TokenId token = 0;
    float logit = 0;
  };

  struct Mass {
    float top = 0;       // the largest logit; minus infinity: none is a number
    double log_sum = 0;  // of exp(logit - top)
  };
  Mass mass(std::span<const float> logits, const SampleSpec& spec) const;
  Sampled greedy(std::span<const float> logits, const SampleSpec& spec) const;
  Sampled score(std::span<const float> logits, const SampleSpec& spec) const;
  void collect(std::span<const float> logits, const SampleSpec& spec);

  TokenMask mask_;
  std::vector<Candidate> candidates_;
};

/// The n-th uniform number in [0, 1) of a seed's sequence.
double uniform_at(uint64_t seed, uint64_t n);

}  // namespace fimd

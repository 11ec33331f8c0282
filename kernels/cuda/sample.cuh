// What choosing a token is made of: the permitted candidates of a row, and their order.
#pragma once

#include "kernels/cuda/ops.h"

namespace fimd::cuda::sample_detail {

constexpr unsigned kAllLanes = 0xffffffffU;
constexpr int kMaxBlocks = 128;     // of a row
constexpr int kMaxBestBlocks = 64;  // likewise, of sample_best()

/// The best token of a part of the candidates, and the sum of exp(logit - top) over the part.
struct Part {
  uint64_t best;  // rank(); 0: nothing is permitted
  float top;
  float sum;
};

struct SampleArgs {
  const float* logits;
  int64_t vocab;
  const uint32_t* mask;
  const SampleRow* rows;
  const int32_t* ids;
  SampleResult* results;
  unsigned* counters;  // (kMaxSampleRows), zero between calls
  Part* whole;         // (kMaxSampleRows): of all candidates
  int32_t* token;      // of row 0
  void* parts;  // of blocks: Part (rows, kMaxBlocks) or ranks (rows, kMaxBestBlocks, kMaxBest)
};

constexpr size_t kCounterBytes = sizeof(unsigned) * kMaxSampleRows;
constexpr size_t kWholeBytes = sizeof(Part) * kMaxSampleRows;
constexpr size_t kTokenAt = kCounterBytes + kWholeBytes;
constexpr size_t kPartsAt = kTokenAt + 16;
constexpr size_t kPartBytes = sizeof(uint64_t) * kMaxBestBlocks * kMaxBest;  // of a row
static_assert(kPartBytes >= sizeof(Part) * kMaxBlocks);

/// Of at most kMaxSampleRows rows.
inline SampleArgs make_args(const float* logits, int64_t vocab, const uint32_t* mask,
                            const SampleRow* rows, const int32_t* ids, SampleResult* results,
                            void* workspace) {
  auto* bytes = static_cast<std::byte*>(workspace);
  return {logits,
          vocab,
          mask,
          rows,
          ids,
          results,
          reinterpret_cast<unsigned*>(bytes),
          reinterpret_cast<Part*>(bytes + kCounterBytes),
          reinterpret_cast<int32_t*>(bytes + kTokenAt),
          bytes + kPartsAt};
}

__device__ inline bool permitted(const uint32_t* mask, int64_t id) {
  return (mask[id / 32] >> (id % 32) & 1U) != 0;
}

/// Larger for a larger logit, and for equal logits if `order` is smaller. Never 0.
__device__ inline uint64_t rank(float logit, uint32_t order) {
  const auto bits = static_cast<int32_t>(__float_as_uint(logit + 0.0F));  // -0 is 0
  const uint32_t ordered = static_cast<uint32_t>(bits) ^ (bits < 0 ? 0xffffffffU : 0x80000000U);
  return static_cast<uint64_t>(ordered) << 32 | ~order;
}
__device__ inline uint32_t rank_order(uint64_t rank) { return ~static_cast<uint32_t>(rank); }
__device__ inline float rank_logit(uint64_t rank) {
  const auto ordered = static_cast<uint32_t>(rank >> 32);
  return __uint_as_float(ordered ^ ((ordered & 0x80000000U) != 0 ? 0x80000000U : 0xffffffffU));
}

/// A row's candidates in the sampler's order: those of the mask by id and then the extra ones, or
/// those of the list of allowed ones.
struct Candidates {
  const float* logits;
  const uint32_t* mask;
  const int32_t* ids;
  int64_t vocab;
  SampleRow row;

  __device__ Candidates(const SampleArgs& args, int index)
      : logits(args.logits + index * args.vocab),
        mask(args.mask),
        ids(args.ids),
        vocab(args.vocab),
        row(args.rows[index]) {}

  __device__ int64_t size() const {
    return row.n_allowed > 0 ? row.n_allowed : vocab + row.n_extra;
  }

  /// The id at place i, and its logit; minus infinity if it must not be chosen.
  __device__ int32_t get(int64_t i, float& logit) const {
    logit = -INFINITY;
    auto id = static_cast<int32_t>(i);
    bool wanted = true;  // by the mask
    if (row.n_allowed > 0) {
      id = ids[row.allowed_begin + i];
    } else if (i >= vocab) {
      id = ids[row.extra_begin + i - vocab];
      wanted = false;
    }
    if (id < 0 || id >= vocab) return id;
    // Asked for at once with the mask. What is not a number is not chosen.
    const float value = logits[id];
    if (permitted(mask, id) == wanted && value > -INFINITY) logit = value;
    return id;
  }
};

}  // namespace fimd::cuda::sample_detail

// What a chain asks for as far as the L2 cache while its blocks wait for a step's x.
//
// The rings are full then, and memory would have nothing to do: for 1 or 2 us between products, and
// for some 5 from a chain's last product, whose weights are there, until the next chain fills its
// rings. Whatever comes later finds these weights in the cache.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/ops.h"

namespace fimd::cuda {

/// So many bytes (a multiple of 16) for each block, one block's behind another's.
struct AheadSpan {
  const uint8_t* at;
  int block_bytes;
};
/// Gate and up, down and four projections; the next chain's gate, up and down. Others are left out.
inline constexpr int kMaxAheadSpans = 10;
struct Ahead {
  AheadSpan spans[kMaxAheadSpans];
  int begins[kMaxMatmulSteps + 1];  // those of step s, from begins[s] on
};

/// For a chain of `steps` by so many blocks (nothing for none); `next`: the chain behind it.
Ahead plan_ahead(std::span<const MatmulStep> steps, std::span<const MatmulStep> next, int blocks);

}  // namespace fimd::cuda

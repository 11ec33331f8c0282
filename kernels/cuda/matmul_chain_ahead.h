// What a chain asks for as far as the L2 cache while its blocks wait for a step's x, and when it
// starts.
//
// Memory would have nothing to do then: between products, for 1 or 2 us, rings are full; and for
// some 5 from a chain's last product, whose weights are there, until the next chain's blocks have
// found out what their rings need. Whatever comes later finds these weights in the cache.
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
/// Gate and up at the start; gate, up and down before gate and up; down; four projections; the next
/// chain's gate, up and down. Others are left out.
inline constexpr int kMaxAheadSpans = 13;
struct Ahead {
  AheadSpan spans[kMaxAheadSpans];
  int begins[kMaxMatmulSteps + 1];  // those of step s, from begins[s] on; in front, the start's
};

/// For a chain of `steps` by so many blocks (nothing for none); `next`: the chain behind it.
Ahead plan_ahead(std::span<const MatmulStep> steps, std::span<const MatmulStep> next, int blocks);

}  // namespace fimd::cuda

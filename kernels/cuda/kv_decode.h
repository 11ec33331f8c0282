// Pages of 8-bit codes, made halves for the attention kernels that read those.
#pragma once

#include "kernels/cuda/ops.h"

namespace fimd::cuda::attention_detail {

/// Decodes the pages that the pass's rows see into params.kv.k and v, each to its own place.
void decode_pages(const AttentionParams& params, cudaStream_t stream);

}  // namespace fimd::cuda::attention_detail

// The second step of sample(): draws tokens for the rows that are not greedy.
#pragma once

#include "kernels/cuda/ops.h"

namespace fimd::cuda::sample_detail {

struct SampleArgs;

/// args.whole is known; overwrites the results of rows with a temperature.
void draw(const SampleArgs& args, int n_rows, cudaStream_t stream);

}  // namespace fimd::cuda::sample_detail

// The kernel of a few rows that rotates, appends and attends.
#pragma once

#include "kernels/cuda/attention_plan.h"

namespace fimd::cuda::attention_detail {

/// The most rows of a sequence that it takes, and the most of a KV head for which it is quicker.
inline constexpr int kStepTokens = 8;
inline constexpr int kStepPairs = 64;

/// False if it cannot run here: a GPU without clusters, or another size of heads.
bool launch_step(const KernelArgs& base, const float* qkv, const RopeParams& rope, float q_scale,
                 cudaStream_t stream);

}  // namespace fimd::cuda::attention_detail

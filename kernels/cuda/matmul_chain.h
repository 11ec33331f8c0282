// What matmul.cu and matmul_chain.cu know of each other.
#pragma once

#include <span>

#include "kernels/cuda/ops.h"

namespace fimd::cuda {

inline bool is_bf16(const MatmulTask& task) { return task.w.type == DType::kBF16; }
/// Whether the step has tasks of BF16 (or else of quantised) weights, and of no others.
bool of_one_kind(const MatmulStep& step, bool bf16);

/// The most rows that launch_chain() takes.
inline constexpr int kMaxChainRows = 8;
// The workspace: two counters, then factors of rows, in floats; then words that blocks hand each
// other.
inline constexpr int kTurnsAt = 1;
inline constexpr int kFactorsAt = 16;
inline constexpr int64_t kWordsAt = 128;  // in bytes
/// Whether this device has the kernel: sm_90 and newer.
bool chains_here();
/// All steps, each of one kind, `bf16` or not, in one launch; false if shared memory is too small
/// or the workspace for them. There may be no workspace for one step whose input is quantised, or
/// floats of up to kMaxFloatRows rows.
bool launch_chain(std::span<const MatmulStep> steps, int n_rows, bool bf16,
                  const ChainWorkspace& workspace, cudaStream_t stream,
                  std::span<const MatmulStep> next = {});

}  // namespace fimd::cuda

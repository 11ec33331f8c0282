// How an attention call is cut into blocks.
#pragma once

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.h"

namespace fimd::cuda::attention_detail {

/// The most blocks that share the keys of a row.
inline constexpr int kMaxSplits = 64;
/// The most splits that are one cluster.
inline constexpr int kMaxCluster = 16;
/// The most rows whose parts the workspace holds (splits, units and rows of a tile together).
inline constexpr int kMaxPartialRows = 40960;
/// The most units (KV head, tile of rows, sequence) whose keys are split.
inline constexpr int kMaxUnits = 2048;

struct KernelArgs {
  AttentionParams params;
  bool quantizes = false;     // params.activations are wanted
  RowGroups groups = {1, 1};  // of theirs
  int group = 1;              // query heads of a KV head
  int page_shift = 0;
  int tile_rows = 16;
  int tile_keys = 64;
  int m_tiles = 1;  // tiles of rows of the longest sequence
  int n_splits = 1;
  int cluster = 1;  // so many neighbouring splits are one thread-block cluster
  int split_keys = 0;
  unsigned* counters = nullptr;  // (kMaxUnits), zero between calls
  float2* states = nullptr;      // (kMaxPartialRows): maximum and sum of a part
  __half* partials = nullptr;    // (kMaxPartialRows, head_dim)
};

/// Fills in the number of tiles and splits from tile_rows and tile_keys, for blocks_per_processor
/// blocks on each multiprocessor, and how many splits are a cluster (at most max_cluster).
void plan_blocks(KernelArgs& args, int blocks_per_processor, int max_cluster);

/// At most 16 rows to a KV head in every sequence.
void launch_decode(KernelArgs& args, cudaStream_t stream);
/// At most 64: speculation, a keystroke's tokens.
void launch_verify(KernelArgs& args, cudaStream_t stream);
/// Any number.
void launch_prefill(KernelArgs& args, cudaStream_t stream);
/// The same on Hopper, where this file's kernels were made for it; false elsewhere.
bool launch_wide(KernelArgs& args, cudaStream_t stream);
/// Joins the splits behind one of these, unless its blocks did.
void launch_join(const KernelArgs& args, cudaStream_t stream);

}  // namespace fimd::cuda::attention_detail

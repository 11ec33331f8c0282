// Blocks of the attention kernels: what each works on, and where its results go.
#pragma once

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/quantize.cuh"

namespace fimd::cuda::attention_detail {

/// A column beyond those of any activations: RowWriter stores nothing there.
constexpr int kNoColumn = 1 << 30;

template <int kDim_, int kMTiles_, int kWarpsM_, int kWarpsN_, int kKeys_, int kStages_>
struct Config {
  static constexpr int kDim = kDim_;
  static constexpr int kMTiles = kMTiles_;
  static constexpr int kWarpsM = kWarpsM_;
  static constexpr int kWarpsN = kWarpsN_;
  static constexpr int kKeys = kKeys_;
  static constexpr int kStages = kStages_;

  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kRows = 16 * kMTiles * kWarpsM;
  static constexpr int kWarpKeys = kKeys / kWarpsN;
  static constexpr bool kQueryInRegisters = kMTiles == 1 && kDim <= 128;
  /// Few rows: the block that arrives last joins the splits. Else a kernel of its own does.
  static constexpr bool kJoins = kRows <= 16;
  /// Whether splits may be joined in clusters first.
  static constexpr bool kClusters = kRows <= 64;
  /// Splitting keys costs many rows little, and a multiprocessor holds two of their blocks.
  static constexpr int kBlocksPerProcessor = kRows > 64 ? 2 : 1;
  static constexpr int kTileBytes = kKeys * Tile<kDim>::kRowBytes;
  static constexpr int kQueryBytes = kQueryInRegisters ? 0 : kRows * Tile<kDim>::kRowBytes;
  static constexpr int kSharedBytes = kStages * 2 * kTileBytes + kQueryBytes;
  // Joining the warps (outputs, maxima and sums), and joining the splits (their weights).
  static constexpr int kMergeBytes = (kWarpsN * kRows * (kDim + 2) + 2 * kRows) * 4;

  static_assert(kWarpKeys % 16 == 0 && kStages >= 2);
  static_assert(kTileBytes % 1024 == 0 || !Tile<kDim>::kSwizzled);
  static_assert(kMergeBytes <= kSharedBytes);
  static_assert(!kJoins || kMaxSplits * kRows * 4 <= kSharedBytes);
};

/// What a block works on.
struct Work {
  Sequence sequence;
  int pair0;      // first row of the tile
  int n_pairs;    // rows of the tile
  int unit;       // (sequence, tile, KV head): what is joined
  int key_begin;  // of this block's split
  int key_end;
  int n_parts;  // clusters of splits that have keys: what is left to join
};

/// The tile and KV head by blockIdx.y and z. False if there is nothing to do: the sequence has
/// fewer rows, or the split no keys.
__device__ inline bool find_work(const KernelArgs& args, int split, Work& work) {
  const AttentionParams& p = args.params;
  const int index = static_cast<int>(blockIdx.z) / args.m_tiles;
  // The last tiles have the most keys: they go first, for an even finish.
  const int tile = args.m_tiles - 1 - static_cast<int>(blockIdx.z) % args.m_tiles;
  work.sequence = p.sequences[index];
  work.pair0 = tile * args.tile_rows;
  work.n_pairs = min(work.sequence.n_rows * args.group - work.pair0, args.tile_rows);
  if (work.n_pairs <= 0) return false;
  work.unit = static_cast<int>(blockIdx.z * gridDim.y + blockIdx.y);
  const int first = work.sequence.first + work.pair0 / args.group;
  const int last = work.sequence.first + (work.pair0 + work.n_pairs - 1) / args.group;
  const int from =
      p.window > 0 ? max(0, first - p.window + 1) / args.tile_keys * args.tile_keys : 0;
  const int splits = (last + 1 - from + args.split_keys - 1) / args.split_keys;
  work.n_parts = (min(splits, args.n_splits) + args.cluster - 1) / args.cluster;
  if (split / args.cluster >= work.n_parts) return false;
  // The last split takes what a sequence longer than planned has left. A split without keys, in a
  // cluster that has some, takes part with nothing.
  work.key_begin = min(last + 1, from + split * args.split_keys);
  work.key_end =
      split == args.n_splits - 1 ? last + 1 : min(last + 1, work.key_begin + args.split_keys);
  return true;
}

/// A row of q: its token, counted in the pass, and its head.
struct Query {
  int token;
  int head;
};
/// That of a pair of the block's tile.
__device__ inline Query query_of(const KernelArgs& args, const Work& work, int pair) {
  const int index = work.pair0 + pair;
  const int token = index / args.group;
  return {work.sequence.row_begin + token,
          static_cast<int>(blockIdx.y) * args.group + index - token * args.group};
}
__device__ inline int64_t query_row(const KernelArgs& args, const Query& query) {
  return static_cast<int64_t>(query.token) * args.params.n_heads + query.head;
}
__device__ inline int64_t query_row(const KernelArgs& args, const Work& work, int pair) {
  return query_row(args, query_of(args, work, pair));
}

/// Where a cluster of splits leaves its part of a row.
__device__ inline int64_t partial_row(const KernelArgs& args, const Work& work, int part, int row) {
  return (static_cast<int64_t>(work.unit) * (args.n_splits / args.cluster) + part) *
             args.tile_rows +
         row;
}

/// Stores four outputs of a query, normalised: as float, and as what the next product reads. Whole
/// warps call it together, eight lanes to 32 columns.
template <int kDim>
__device__ inline void store_output(const KernelArgs& args, const Query& query, int column,
                                    float4 value, bool wanted) {
  if (args.params.out != nullptr && wanted) {
    *reinterpret_cast<float4*>(args.params.out + query_row(args, query) * kDim + column) = value;
  }
  if constexpr (kDim % 32 == 0) {
    if (!args.quantizes) return;
    const RowWriter writer = {args.params.activations, args.groups};
    writer.write(query.token, wanted ? query.head * kDim + column : kNoColumn, value);
  }
}

/// Zeros from the last column of the activations to the end of their last k tile: whoever has the
/// last head of a row writes them.
template <int kDim, int kThreads>
__device__ inline void store_padding(const KernelArgs& args, const Work& work, int row_begin,
                                     int n_rows) {
  const int cols = args.params.n_heads * kDim;
  if (!args.quantizes || cols % kTileCols == 0 || blockIdx.y + 1 != gridDim.y) return;
  const RowWriter writer = {args.params.activations, args.groups};
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x) / 32; i < n_rows; i += kThreads / 32) {
    const Query query = query_of(args, work, row_begin + i);
    if (query.head != args.params.n_heads - 1) continue;
    writer.pad(query.token);
  }
}

}  // namespace fimd::cuda::attention_detail

// Blocks of the kernel of a few rows: their shared memory, and what each works on.
#pragma once

#include "kernels/cuda/attention_step.h"
#include "kernels/cuda/attention_work.cuh"

namespace fimd::cuda::attention_detail {

constexpr int kUnitKeys = 16;

struct StepArgs {
  KernelArgs base;
  const float* qkv = nullptr;
  RopeParams rope;
  float q_scale = 1;
  int turns_at = 0;       // in shared memory
  int units_ahead = 0;    // a warp's, that the L2 cache is asked for at once: at most 32
  int split_shift = 0;    // log2 of the blocks that share the keys of a tile
  int inverse_group = 0;  // 65536 / group, rounded up
  /// The token of a pair, counted in the sequence, without a division: pairs are at most
  /// kStepPairs.
  __device__ __forceinline__ int token_of(int pair) const { return pair * inverse_group >> 16; }
};

/// kTiles of 8 queries; rings of kKeySlots granules for keys and two for values; pages of codes or
/// of halves.
template <int kDim_, int kTiles_, int kWarps_, int kKeySlots_, bool kCoded_>
struct StepConfig {
  using T = Tile<kDim_>;
  static constexpr int kDim = kDim_;
  static constexpr int kTiles = kTiles_;
  static constexpr int kWarps = kWarps_;
  static constexpr int kKeySlots = kKeySlots_;
  static constexpr bool kCoded = kCoded_;

  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = 8 * kTiles;
  static constexpr int kKeys = kUnitKeys * kWarps;  // of a round
  static constexpr int kQuads = kDim / 4;
  static constexpr int kColumnTiles = kDim / 16;
  /// Tiles of 16 columns of the values that a warp sums.
  static constexpr int kOwnTiles = (kColumnTiles + kWarps - 1) / kWarps;
  static constexpr bool kQueryInRegisters = kTiles * kDim <= 256;
  static constexpr int kGranuleBytes = kUnitKeys * T::kRowBytes;
  static constexpr int kRingBytes = (kKeySlots + 2) * kGranuleBytes;

  // Shared memory. At the end the outputs lie over the rings.
  static constexpr int kQueryBytes = kRows * T::kRowBytes;
  static constexpr int kValueBytes = (kRows * kQuads + 8 * kMaxCluster) * 16;
  static constexpr int kQueryAt = kWarps * kRingBytes;
  static constexpr int kValuesAt = kQueryAt + kQueryBytes;
  static constexpr int kWeightsAt = kValuesAt + kValueBytes;            // (2, kKeys, kRows) halves
  static constexpr int kMaximaAt = kWeightsAt + 2 * kKeys * kRows * 2;  // (2, kWarps, kRows)
  static constexpr int kStatesAt = kMaximaAt + 2 * kWarps * kRows * 4;  // (blocks, kRows)
  static constexpr int kMailboxAt = kStatesAt + kMaxCluster * kRows * 8;
  static constexpr int kNewAt = kMailboxAt + 16;  // (tokens) key and value
  static constexpr int new_end(int tokens) { return kNewAt + tokens * 2 * kDim * 2; }
  /// Sines and cosines: where the weights will be, if there is room.
  static constexpr int turn_bytes(int tokens, int rotary_dim) {
    return tokens * rotary_dim / 2 * 8;
  }
  static constexpr int turns_at(int tokens, int rotary_dim) {
    return turn_bytes(tokens, rotary_dim) <= kStatesAt - kWeightsAt ? kWeightsAt : new_end(tokens);
  }
  static constexpr int shared_bytes(int tokens, int rotary_dim) {
    const int turns_end = turns_at(tokens, rotary_dim) + turn_bytes(tokens, rotary_dim);
    return turns_end > new_end(tokens) ? turns_end : new_end(tokens);
  }
  static constexpr int kPitch = kDim + 4;  // of outputs, in floats

  static_assert(kGranuleBytes % 1024 == 0 || !T::kSwizzled);
  static_assert(kRows * (kPitch + 2) * 4 <= kQueryAt);
  static_assert(kKeySlots == 1 || (kKeySlots == 2 && !kCoded));

  /// Where the weights of 8 queries for a key are; swizzled, so that 8 keys lie in all banks.
  __device__ static uint32_t weight_offset(int key, int tile) {
    const int place = kTiles == 1 ? 0 : tile ^ (key / (8 / kTiles) & (kTiles - 1));
    return static_cast<uint32_t>((key * kTiles + place) * 16);
  }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// What a block works on: Work, and its share of the new keys.
struct StepWork : Work {
  int warp;      // the same in all lanes, as the compiler sees it: loops over it keep them together
  int lane;      // out of a shuffle too, or the thread's number is asked for in all loops
  int index;     // of the sequence
  int n_active;  // blocks of the cluster that have keys
  int inverse_active;
  int new_begin;  // the new keys in this block's range are new_begin .. key_end - 1
  int n_new;
  int own_begin;  // the positions of the tile's own rows
  int own_end;
  /// n / n_active without a division: exact for the few runs and blocks there are, as runs times
  /// kMaxCluster are below 65536.
  __device__ __forceinline__ int per_active(int n) const { return n * inverse_active >> 16; }
};

/// a / b of numbers that are not negative, which the compiler cannot know: care for signs would be
/// a third of a division's code, and most of it where b is a power of two.
__device__ __forceinline__ int divided(int a, int b) {
  return static_cast<int>(static_cast<unsigned>(a) / static_cast<unsigned>(b));
}

/// False if the block has nothing to do. blockIdx: (split, KV head, sequence and tile).
template <class C>
__device__ __forceinline__ bool find_step_work(const StepArgs& step, StepWork& work) {
  const KernelArgs& args = step.base;
  work.warp = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x / 32), 0);
  work.lane = static_cast<int>(__shfl_sync(kAllLanes, threadIdx.x, threadIdx.x) % 32);
  const AttentionParams& p = args.params;
  work.index = static_cast<int>(blockIdx.z);
  int tile = 0;
  if (args.m_tiles > 1) {
    work.index = divided(work.index, args.m_tiles);
    tile = static_cast<int>(blockIdx.z) - work.index * args.m_tiles;
  }
  work.sequence = p.sequences[work.index];
  work.pair0 = tile * C::kRows;
  work.n_pairs = min(work.sequence.n_rows * args.group - work.pair0, C::kRows);
  if (work.n_pairs <= 0) return false;
  work.own_begin = work.sequence.first + step.token_of(work.pair0);
  work.own_end = work.sequence.first + step.token_of(work.pair0 + work.n_pairs - 1) + 1;
  const int from = p.window > 0 ? max(0, work.own_begin - p.window + 1) / kUnitKeys * kUnitKeys : 0;
  const int units = divided(work.own_end - from + kUnitKeys - 1, kUnitKeys);
  const int share = max(C::kWarps, (units + args.n_splits - 1) >> step.split_shift);
  const int rank = static_cast<int>(blockIdx.x);
  work.n_active = divided(units + share - 1, share);
  if (rank >= work.n_active) return false;
  work.inverse_active = divided(65536, work.n_active) + 1;
  work.n_parts = 1;
  work.unit = 0;
  work.key_begin = from + rank * share * kUnitKeys;
  work.key_end = min(work.own_end, work.key_begin + share * kUnitKeys);
  work.new_begin = max(work.key_begin, work.sequence.first);
  work.n_new = max(0, work.key_end - work.new_begin);
  return true;
}

/// The query head of a row of the block's tile, whose token is token_of() its pair: what query_of()
/// has, without a division.
__device__ __forceinline__ int query_head(const StepArgs& args, const StepWork& work, int row,
                                          int token) {
  return (static_cast<int>(blockIdx.y) - token) * args.base.group + work.pair0 + row;
}

/// Runs of eight quads (32 columns of a row) of the outputs.
template <class C>
__device__ __forceinline__ int all_runs(const StepWork& work) {
  return divided(work.n_pairs * C::kQuads + 7, 8);
}
/// They are dealt to the active blocks in turn: how many this one joins.
template <class C>
__device__ __forceinline__ int own_runs(const StepWork& work) {
  const int behind = all_runs<C>(work) - 1 - static_cast<int>(blockIdx.x);
  return behind < 0 ? 0 : work.per_active(behind) + 1;
}
/// What the block will be sent.
template <class C>
__device__ __forceinline__ uint32_t mailbox_bytes(const StepWork& work) {
  const int n_quads = work.n_pairs * C::kQuads;
  const int runs = all_runs<C>(work);
  int own = own_runs<C>(work) * 8;
  const int last = runs - 1 - work.per_active(runs - 1) * work.n_active;  // who has the last run
  if (last == static_cast<int>(blockIdx.x)) own -= runs * 8 - n_quads;
  return static_cast<uint32_t>(work.n_active * (own * 16 + work.n_pairs * 8));
}

#endif

}  // namespace fimd::cuda::attention_detail

// Launches the kernel of a few rows, where the GPU has thread-block clusters.
#pragma once

#include <algorithm>
#include <bit>

#include "kernels/cuda/attention_step.cuh"
#include "kernels/cuda/attention_step.h"

namespace fimd::cuda::attention_detail {

/// The most keys that a row sees.
inline int keys_of(const AttentionParams& p) {
  const int keys = std::max(p.max_keys, 1);
  return p.window > 0 ? std::min(keys, p.window + p.max_rows + kUnitKeys) : keys;
}

/// Of the keys and values that rows see.
inline int64_t bytes_of(const AttentionParams& p) {
  const int64_t of_token = 2 * p.kv.page_bytes() / p.kv.page_tokens;
  return of_token * keys_of(p) * p.n_sequences;
}

template <class C>
int units_of(const KernelArgs& args) {
  const AttentionParams& p = args.params;
  const int tiles = (p.max_rows * args.group + C::kRows - 1) / C::kRows;
  return p.n_sequences * tiles * p.kv.n_kv_heads;
}

/// How many blocks share the keys of a unit, if there are so many on each multiprocessor: each has
/// a round of keys at least.
template <class C>
int split(const KernelArgs& args, int blocks_per_processor) {
  const int blocks = blocks_per_processor * device_limits().processors;
  const int most = std::min(
      {blocks / units_of<C>(args), (keys_of(args.params) + C::kKeys - 1) / C::kKeys, kMaxCluster});
  return static_cast<int>(std::bit_floor(static_cast<unsigned>(std::max(most, 1))));
}

/// As split(), but no more than run at once: clusters that wait for others to end cost more than
/// larger shares. 0 if this GPU has no clusters, or too little shared memory.
template <class C>
int resident_split(const StepArgs& args, int blocks_per_processor) {
  const int shared_bytes = C::shared_bytes(args.base.params.max_rows, args.rope.rotary_dim);
  const int largest = largest_cluster(step_kernel<C>, kMaxCluster, C::kThreads, shared_bytes);
  if (largest < 1) return 0;
  const int units = units_of<C>(args.base);
  int splits = split<C>(args.base, blocks_per_processor);
  while (splits > 1 && (splits > largest || resident_clusters(step_kernel<C>, splits, C::kThreads,
                                                              shared_bytes) < units)) {
    splits /= 2;
  }
  return splits;
}

template <class C>
bool launch_config(StepArgs& args, int splits, cudaStream_t stream) {
  const AttentionParams& p = args.base.params;
  args.turns_at = C::turns_at(p.max_rows, args.rope.rotary_dim);
  constexpr int kUnitsAhead = 4;
  constexpr int64_t kMostAheadBytes = 16 << 20;  // more would drive itself out of the cache again
  args.units_ahead = bytes_of(p) <= kMostAheadBytes ? kUnitsAhead : 0;
  args.base.tile_rows = C::kRows;
  args.base.m_tiles = units_of<C>(args.base) / (p.n_sequences * p.kv.n_kv_heads);
  args.base.n_splits = splits;
  args.split_shift = std::countr_zero(static_cast<unsigned>(splits));
  const dim3 grid(static_cast<unsigned>(splits), static_cast<unsigned>(p.kv.n_kv_heads),
                  static_cast<unsigned>(p.n_sequences * args.base.m_tiles));
  const int shared_bytes = C::shared_bytes(p.max_rows, args.rope.rotary_dim);
  launch_clusters(step_kernel<C>, static_cast<unsigned>(splits), grid, C::kThreads,
                  static_cast<size_t>(shared_bytes), stream, args);
  return true;
}

/// Blocks of few warps where they leave room for the blocks of the products around, have few rounds
/// and read little; and where two of them fill the multiprocessors and still have several rounds,
/// for they wait for each other less than the warps of one. Else blocks of more. False if neither
/// can run here.
template <class FewWarps, class MoreWarps>
bool launch_warps(StepArgs& args, cudaStream_t stream) {
  constexpr bool kLeaveRoom = FewWarps::shared_bytes(1, FewWarps::kDim) <= 63 * 1024;
  const int keys = keys_of(args.base.params);
  const int few = kLeaveRoom ? resident_split<FewWarps>(args, 1) : 0;
  // What the products gain by fetching weights meanwhile is more than attention loses.
  constexpr int kRounds = 4;
  // More has to wait for what they fetch: better it comes first.
  constexpr int64_t kFewBytes = 6 << 20;
  if (keys <= kRounds * few * FewWarps::kKeys && bytes_of(args.base.params) <= kFewBytes) {
    return launch_config<FewWarps>(args, few, stream);
  }
  const int twice = resident_split<FewWarps>(args, 2);
  const int more = resident_split<MoreWarps>(args, 1);
  if (twice > more && keys > 2 * more * MoreWarps::kKeys) {
    return launch_config<FewWarps>(args, twice, stream);
  }
  return more > 0 && launch_config<MoreWarps>(args, more, stream);
}

/// Tiles of 8 or 16 rows of a KV head. kFew, kMore: warps of a block.
template <bool kCoded, int kDim, int kFew, int kMore, int kMore16 = kMore>
bool launch_rows(StepArgs& args, cudaStream_t stream) {
  constexpr int kKeySlots = kDim <= 80 && !kCoded ? 2 : 1;
  using Few8 = StepConfig<kDim, 1, kFew, kKeySlots, kCoded>;
  using Few16 = StepConfig<kDim, 2, kFew, kKeySlots, kCoded>;
  // Nothing is beside these: there is room for the keys of two units.
  constexpr int kMoreSlots = kDim <= 128 && !kCoded ? 2 : 1;
  using More8 = StepConfig<kDim, 1, kMore, kMoreSlots, kCoded>;
  using More16 = StepConfig<kDim, 2, kMore16, kMoreSlots, kCoded>;
  const int pairs = args.base.params.max_rows * args.base.group;
  if (pairs <= Few8::kRows) return launch_warps<Few8, More8>(args, stream);
  return launch_warps<Few16, More16>(args, stream);
}

/// For pages of codes; compiled apart.
bool launch_coded_step(StepArgs& args, cudaStream_t stream);

/// For pages of halves, or of codes.
template <bool kCoded>
bool launch_step_for(StepArgs& args, cudaStream_t stream) {
  switch (args.base.params.kv.head_dim) {
    case 64:
      return launch_rows<kCoded, 64, 4, 8>(args, stream);
    case 80:
      return launch_rows<kCoded, 80, 4, 8>(args, stream);
    case 96:
      return launch_rows<kCoded, 96, 4, 8>(args, stream);
    case 128:
      return launch_rows<kCoded, 128, 4, 8>(args, stream);
    case 256:
      return launch_rows<kCoded, 256, 4, 8, 4>(args, stream);
  }
  return false;
}

}  // namespace fimd::cuda::attention_detail

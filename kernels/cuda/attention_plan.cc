#include "kernels/cuda/attention_plan.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "kernels/cuda/attention_step.h"
#include "kernels/cuda/kv_decode.h"

namespace fimd::cuda {

namespace attention_detail {

/// Beyond so many keys the blocks of one cluster are too few to read them at full speed.
constexpr int kClusterKeys = 8192;
constexpr size_t kCounterBytes = sizeof(unsigned) * kMaxUnits;
constexpr size_t kStateBytes = sizeof(float2) * kMaxPartialRows;

void plan_blocks(KernelArgs& args, int blocks_per_processor, int max_cluster) {
  const int tile_rows = args.tile_rows;
  const int tile_keys = args.tile_keys;
  const AttentionParams& p = args.params;
  int device = 0;
  int processors = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  args.m_tiles = std::max(1, (p.max_rows * args.group + tile_rows - 1) / tile_rows);
  const int units = p.n_sequences * args.m_tiles * p.kv.n_kv_heads;
  int span = std::max(p.max_keys, 1);
  if (p.window > 0) span = std::min(span, p.window + p.max_rows + tile_keys);
  const auto bucket =
      static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::max(span, tile_keys))));
  int splits = std::min({blocks_per_processor * processors / units, bucket / tile_keys, kMaxSplits,
                         kMaxPartialRows / (units * tile_rows)});
  if (units > kMaxUnits) splits = 1;
  splits = std::max(splits, 1);
  args.cluster = 1;
  if (max_cluster > 1 && bucket <= kClusterKeys) {
    // One cluster: joining its blocks is quicker than any way through memory.
    splits = static_cast<int>(std::bit_floor(static_cast<unsigned>(std::min(splits, max_cluster))));
    args.cluster = splits;
  }
  args.n_splits = splits;
  const int keys = (bucket + args.n_splits - 1) / args.n_splits;
  args.split_keys = (keys + tile_keys - 1) / tile_keys * tile_keys;
}

}  // namespace attention_detail

namespace {

attention_detail::KernelArgs make_args(const AttentionParams& params) {
  using namespace attention_detail;
  const KvPages& kv = params.kv;
  assert(params.n_heads % kv.n_kv_heads == 0);
  assert(kv.page_tokens >= 16 && std::has_single_bit(static_cast<unsigned>(kv.page_tokens)));
  KernelArgs args;
  args.params = params;
  const Activations& activations = params.activations;
  args.quantizes =
      activations.q8 != nullptr || activations.bf16 != nullptr || activations.plain != nullptr;
  assert(!args.quantizes ||
         (kv.head_dim % 32 == 0 && activations.cols == params.n_heads * kv.head_dim));
  args.groups = row_groups(params.n_rows);
  args.group = params.n_heads / kv.n_kv_heads;
  args.page_shift = std::countr_zero(static_cast<unsigned>(kv.page_tokens));
  auto* workspace = static_cast<std::byte*>(params.workspace);
  args.counters = reinterpret_cast<unsigned*>(workspace);
  args.states = reinterpret_cast<float2*>(workspace + kCounterBytes);
  args.partials = reinterpret_cast<__half*>(workspace + kCounterBytes + kStateBytes);
  return args;
}

}  // namespace

void attention(const AttentionParams& params, cudaStream_t stream) {
  using namespace attention_detail;
  if (params.n_sequences == 0 || params.max_rows == 0) return;
  KernelArgs args = make_args(params);
  if (params.kv.coded()) {
    decode_pages(params, stream);
    args.params.overlaps_append = false;  // what stands in front is not the append
  }
  const int pairs = params.max_rows * args.group;
  if (pairs <= 16) {
    launch_decode(args, stream);
  } else if (pairs <= 64) {
    launch_verify(args, stream);
  } else if (!launch_wide(args, stream)) {
    launch_prefill(args, stream);
  }
}

void rope_attention(const float* qkv, const RopeParams& rope, float q_scale, __half* q_out,
                    const AttentionParams& params, cudaStream_t stream) {
  using namespace attention_detail;
  if (params.n_sequences == 0 || params.max_rows == 0) return;
  const KernelArgs args = make_args(params);
  if (params.max_rows <= kStepTokens && params.max_rows * args.group <= kStepPairs &&
      launch_step(args, qkv, rope, q_scale, stream)) {
    return;
  }
  rope_append(qkv, params.n_rows, params.n_heads, rope, q_scale, params.kv, params.sequences,
              params.n_sequences, params.pages, q_out, stream);
  AttentionParams rotated = params;
  rotated.q = q_out;
  rotated.overlaps_append = true;
  attention(rotated, stream);
}

size_t attention_workspace_bytes(int /*max_rows_total*/, int /*n_heads*/, int head_dim) {
  using namespace attention_detail;
  return kCounterBytes + kStateBytes +
         sizeof(__half) * kMaxPartialRows * static_cast<size_t>(head_dim);
}

}  // namespace fimd::cuda

// Pages of 8-bit codes, made halves for the attention kernels that read those.
#include "kernels/cuda/kv_decode.h"

#include <algorithm>
#include <bit>

#include "kernels/cuda/kv_codes.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::attention_detail {
namespace {

constexpr int kThreads = 256;
/// Attention reads whole tiles of keys, from a multiple of at most so many.
constexpr int kTileKeys = 128;

struct DecodeArgs {
  KvPages kv;
  const Sequence* sequences;
  const int32_t* pages;
  int window;
  int page_shift;
};

/// Block: (page of a sequence, KV head, sequence). Sequences that share a page write it alike.
__global__ void __launch_bounds__(kThreads) decode_pages_kernel(const DecodeArgs args) {
  pdl_wait();
  const KvPages& kv = args.kv;
  const Sequence sequence = args.sequences[blockIdx.z];
  const int begin = static_cast<int>(blockIdx.x) << args.page_shift;
  const int end = min(sequence.first + sequence.n_rows, begin + kv.page_tokens);
  const int visible = args.window > 0 ? sequence.first - args.window + 1 : 0;
  const int from = visible / kTileKeys * kTileKeys;
  if (sequence.n_rows == 0 || begin >= end || end <= from) return;
  const int page = args.pages[sequence.page_begin + static_cast<int>(blockIdx.x)];
  const int64_t part = static_cast<int64_t>(page) * kv.n_kv_heads + blockIdx.y;
  const int row_chunks = kv.head_dim / 8;
  const int block_chunks = kv_code_block(kv.head_dim) / 8;
  const int n_chunks = (end - begin) * row_chunks;
  for (const bool values : {false, true}) {
    const CodeRow codes =
        code_row(values ? kv.v_codes : kv.k_codes, part, args.page_shift, 0, kv.head_dim);
    auto* to =
        reinterpret_cast<uint4*>((values ? kv.v : kv.k) + (part << args.page_shift) * kv.head_dim);
    for (int i = static_cast<int>(threadIdx.x); i < n_chunks; i += kThreads) {
      to[i] = decode_codes(reinterpret_cast<const uint2*>(codes.codes)[i],
                           codes.scales[i / block_chunks]);
    }
  }
}

}  // namespace

void decode_pages(const AttentionParams& params, cudaStream_t stream) {
  const KvPages& kv = params.kv;
  const DecodeArgs args = {kv, params.sequences, params.pages, params.window,
                           std::countr_zero(static_cast<unsigned>(kv.page_tokens))};
  const int n_pages = (std::max(params.max_keys, 1) + kv.page_tokens - 1) / kv.page_tokens;
  const dim3 grid(static_cast<unsigned>(n_pages), static_cast<unsigned>(kv.n_kv_heads),
                  static_cast<unsigned>(params.n_sequences));
  launch(decode_pages_kernel, grid, kThreads, 0, stream, args);
}

}  // namespace fimd::cuda::attention_detail

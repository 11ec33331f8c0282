// Rotary embedding, per-head norm and the append to the KV pages, in one pass over q, k and v.
#include <algorithm>
#include <bit>
#include <cassert>

#include "kernels/cuda/kv_codes.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/rope.cuh"

namespace fimd::cuda {
namespace {

constexpr int kWarps = 4;

struct RopeArgs {
  const float* qkv;
  int n_heads;
  RopeParams rope;
  float q_scale;
  KvPages kv;
  const Sequence* sequences;
  int n_sequences;
  const int32_t* pages;
  __half* q_out;
  int page_shift;
};

/// The sequence of `row`, or -1; the whole warp looks.
__device__ int find_sequence(const Sequence* sequences, int n_sequences, int row) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int base = 0; base < n_sequences; base += 32) {
    bool mine = false;
    if (base + lane < n_sequences) {
      const int offset = row - sequences[base + lane].row_begin;
      mine = offset >= 0 && offset < sequences[base + lane].n_rows;
    }
    const unsigned found = __ballot_sync(0xffffffffU, mine);
    if (found != 0) return base + __ffs(static_cast<int>(found)) - 1;
  }
  return -1;
}

/// Block (row, part of the heads); a warp does one head at a time.
template <int kPairs, bool kCoded>
__global__ void __launch_bounds__(32 * kWarps) rope_append_kernel(const RopeArgs args) {
  // In this order: the attention that follows may then read sequences, pages and older keys, whose
  // writers have finished, before it waits for this kernel.
  pdl_wait();
  const int row = static_cast<int>(blockIdx.x);
  const int index = find_sequence(args.sequences, args.n_sequences, row);
  if (index < 0) return;  // a row of padding
  const Sequence sequence = args.sequences[index];
  const int position = sequence.first + row - sequence.row_begin;
  const KvPages& kv = args.kv;
  const int page = args.pages[sequence.page_begin + position / kv.page_tokens];
  const int slot = position % kv.page_tokens;
  const int head_dim = kv.head_dim;

  const HeadPairs<kPairs> pairs(args.rope);
  float2 turn[kPairs];
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const bool turns = pairs.pair[i] < args.rope.rotary_dim / 2;
    turn[i] = turns ? rope_turn(args.rope, position, pairs.pair[i]) : make_float2(0, 1);
  }
  const int heads = args.n_heads + 2 * kv.n_kv_heads;
  // With gates, a head of q takes the place of two.
  const int gates = args.rope.q_gates ? args.n_heads : 0;
  const float* row_qkv = args.qkv + static_cast<int64_t>(row) * (heads + gates) * head_dim;
  const int step = static_cast<int>(gridDim.y) * kWarps;
  for (int head = static_cast<int>(blockIdx.y) * kWarps + static_cast<int>(threadIdx.x) / 32;
       head < heads; head += step) {
    const bool is_q = head < args.n_heads;
    const bool is_v = head >= args.n_heads + kv.n_kv_heads;
    float x[kPairs];
    float y[kPairs];
    const int before = is_q && gates > 0 ? 2 * head : gates + head;
    const float* from = row_qkv + static_cast<int64_t>(before) * head_dim;
    pairs.load(from, 0, head_dim, x, y);
    const float* norm = is_v ? nullptr : (is_q ? args.rope.q_norm : args.rope.k_norm);
    if (norm != nullptr) {
      float2 weight[kPairs];
      pairs.load_weight(norm, head_dim, weight);
      pairs.normalize(weight, args.rope.norm_eps, head_dim, x, y);
    }
    if (is_q) {
      __half* to = args.q_out + (static_cast<int64_t>(row) * args.n_heads + head) * head_dim;
      pairs.store(turn, true, args.q_scale, head_dim, x, y,
                  [&](int element, __half value) { to[element] = value; });
      continue;
    }
    const int kv_head = head - args.n_heads - (is_v ? kv.n_kv_heads : 0);
    const int64_t part = static_cast<int64_t>(page) * kv.n_kv_heads + kv_head;
    if constexpr (kCoded) {
      __shared__ __align__(16) __half rows[kWarps][64 * kPairs];
      __half* kept = rows[threadIdx.x / 32];
      __syncwarp();  // the head before has been read
      pairs.store(turn, !is_v, 1.0F, head_dim, x, y,
                  [&](int element, __half value) { kept[element] = value; });
      encode_row(kept, head_dim,
                 code_row(is_v ? kv.v_codes : kv.k_codes, part, args.page_shift, slot, head_dim),
                 true);
    } else {
      __half* to = (is_v ? kv.v : kv.k) + (part * kv.page_tokens + slot) * head_dim;
      pairs.store(turn, !is_v, 1.0F, head_dim, x, y,
                  [&](int element, __half value) { to[element] = value; });
    }
  }
}

__global__ void copy_page_kernel(uint4* data, int64_t from, int64_t to, int n) {
  pdl_wait();
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n;
       i += static_cast<int>(gridDim.x * blockDim.x)) {
    data[to * n + i] = data[from * n + i];
  }
}

}  // namespace

void rope_append(const float* qkv, int n_rows, int n_heads, const RopeParams& rope, float q_scale,
                 const KvPages& kv, const Sequence* sequences, int n_sequences,
                 const int32_t* pages, __half* q_out, cudaStream_t stream) {
  assert(kv.head_dim % 2 == 0 && kv.head_dim <= 256 && rope.rotary_dim <= kv.head_dim);
  assert(!kv.coded() || (kv.head_dim % 16 == 0 && kv.page_tokens % 16 == 0));
  const int page_shift = std::countr_zero(static_cast<unsigned>(kv.page_tokens));
  const RopeArgs args = {qkv,       n_heads,     rope,  q_scale, kv,
                         sequences, n_sequences, pages, q_out,   page_shift};
  // Few rows: a warp for each head. Many: the sines of a row are shared by its heads.
  const int heads = n_heads + 2 * kv.n_kv_heads;
  const int parts = std::clamp(512 / std::max(n_rows, 1), 1, (heads + kWarps - 1) / kWarps);
  const dim3 grid(static_cast<unsigned>(n_rows), static_cast<unsigned>(parts));
  auto* kernel = kv.coded()           ? rope_append_kernel<4, true>
                 : kv.head_dim <= 64  ? rope_append_kernel<1, false>
                 : kv.head_dim <= 128 ? rope_append_kernel<2, false>
                                      : rope_append_kernel<4, false>;
  launch(kernel, grid, 32 * kWarps, 0, stream, args);
}

void copy_page(const KvPages& kv, int32_t from, int32_t to, cudaStream_t stream) {
  const auto n = static_cast<int>(kv.page_bytes() / 16);
  const int blocks = std::clamp(n / 256, 1, 64);
  for (void* data : {kv.stored_k(), kv.stored_v()}) {
    launch(copy_page_kernel, blocks, 256, 0, stream, static_cast<uint4*>(data), from, to, n);
  }
}

}  // namespace fimd::cuda

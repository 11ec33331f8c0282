// What the attention kernels are made of: tensor-core products, paged tiles in shared memory, and
// the online softmax.
//
// A tile is kKeys keys (or queries) of head_dim halves in shared memory, each row a whole number of
// 16-byte chunks. Rows of 128 bytes or more and a power of two are swizzled (chunk ^ row % 8), the
// others have an odd number of chunks, so that the 8 rows an ldmatrix reads lie in different banks.
#pragma once

#include <cstdint>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/tensor_core.cuh"

namespace fimd::cuda::attention_detail {

constexpr unsigned kAllLanes = 0xffffffffU;

// --- instructions

/// 16 bytes from global to shared memory; zeros if not `wanted`.
__device__ inline void copy_async(uint32_t to, const void* from, bool wanted) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from),
               "r"(wanted ? 16 : 0)
               : "memory");
}
__device__ inline void copy_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
/// Waits until at most kLeft of the latest groups are under way.
template <int kLeft>
__device__ inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kLeft) : "memory");
}

/// exp2(m - base), for a maximum that may be minus infinity (nothing seen yet).
__device__ inline float rescale(float m, float base) {
  return m == -INFINITY ? 0.0F : exp2_fast(m - base);
}

// --- tiles

template <int kDim>
struct Tile {
  static constexpr int kChunks = kDim / 8;
  static constexpr bool kSwizzled = kDim % 64 == 0;
  static constexpr int kRowBytes = (kSwizzled ? kChunks : kChunks | 1) * 16;

  /// Where a chunk lies, from the tile's beginning.
  __device__ static uint32_t offset(int row, int chunk) {
    const int place = kSwizzled ? chunk ^ (row & 7) : chunk;
    return static_cast<uint32_t>(row * kRowBytes + place * 16);
  }
  /// From the address of chunk c of a row (c is 0 or 1) to that of chunk c + 2 step. Tiles begin at
  /// multiples of 1024 bytes, so that the swizzle is an exclusive or.
  __device__ static uint32_t step(uint32_t address, int step) {
    const auto bytes = static_cast<uint32_t>(step) * 32;
    return kSwizzled ? address ^ bytes : address + bytes;
  }
};

/// The keys (or values) of one sequence and one KV head in the pages.
struct PagedHead {
  const __half* k;
  const __half* v;
  const int32_t* pages;  // of this sequence
  int page_shift;        // log2(page_tokens), at least 4
  int n_kv_heads;
  int kv_head;
  int end;  // positions from here on are not read

  /// The page of the 16 positions from `position`.
  __device__ int page_of(int position) const { return pages[min(position, end - 1) >> page_shift]; }
};

/// Page numbers of a run of tiles, a lane for 16 keys: read once for 512 keys, and one such batch
/// ahead, so that copies of tiles do not wait for them.
template <int kKeys>
class PageWindow {
 public:
  static constexpr int kTilesPerBatch = 32 / (kKeys / 16);

  __device__ PageWindow(const PagedHead& head, int begin) : next_begin_(begin) {
    advance(head);
    advance(head);
  }
  /// Call for tiles 0, 1, 2, ... in order, by the whole warp, before page().
  __device__ void enter(const PagedHead& head, int tile) {
    if (tile > 0 && tile % kTilesPerBatch == 0) advance(head);
  }
  __device__ int page(int tile, int row) const {
    const int source = tile % kTilesPerBatch * (kKeys / 16) + row / 16;
    return __shfl_sync(kAllLanes, current_, source);
  }

 private:
  __device__ void advance(const PagedHead& head) {
    current_ = next_;
    next_ = head.page_of(next_begin_ + 16 * (static_cast<int>(threadIdx.x) % 32));
    next_begin_ += 512;
  }
  int current_ = 0;
  int next_ = 0;
  int next_begin_;
};

/// Starts copying the keys and values of positions [begin, begin + kKeys) to shared memory.
template <int kDim, int kKeys, int kThreads, class T = Tile<kDim>>
__device__ inline void copy_tile(const PagedHead& head, const PageWindow<kKeys>& pages, int tile,
                                 int begin, uint32_t k_to, uint32_t v_to) {
  constexpr int kCopies = kKeys * T::kChunks / kThreads;
  static_assert(kCopies * kThreads == kKeys * T::kChunks);
  const int page_mask = (1 << head.page_shift) - 1;
#pragma unroll
  for (int i = 0; i < kCopies; ++i) {
    const int index = static_cast<int>(threadIdx.x) + i * kThreads;
    const int row = index / T::kChunks;
    const int chunk = index % T::kChunks;
    const int page = pages.page(tile, row);
    const int position = begin + row;
    const int64_t token =
        ((static_cast<int64_t>(page) * head.n_kv_heads + head.kv_head) << head.page_shift) +
        (position & page_mask);
    const int64_t from = token * kDim + chunk * 8;
    const bool wanted = position < head.end;
    copy_async(k_to + T::offset(row, chunk), head.k + from, wanted);
    copy_async(v_to + T::offset(row, chunk), head.v + from, wanted);
  }
}

// --- softmax

/// Running maximum (base 2) and sum of two rows of a warp's 16: l / 4 and l / 4 + 8.
struct RowState {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  // of this lane's columns only, until finish()

  __device__ void finish() {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sum[h] += __shfl_xor_sync(kAllLanes, sum[h], 1);
      sum[h] += __shfl_xor_sync(kAllLanes, sum[h], 2);
    }
  }
};

/// Turns scores into weights exp2(s - max), and scales what was accumulated to the new maximum.
template <int kKeyTiles, int kDimTiles>
__device__ inline void softmax_step(float (&s)[kKeyTiles][4], RowState& state,
                                    float (&o)[kDimTiles][4]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float top = state.max[h];
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) top = fmaxf(top, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
    const float base = top == -INFINITY ? 0.0F : top;  // nothing is visible yet
    const float scale = exp2_fast(state.max[h] - base);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float weight = exp2_fast(s[n][2 * h + c] - base);
        s[n][2 * h + c] = weight;
        sum += weight;
      }
    }
    state.sum[h] = state.sum[h] * scale + sum;
    state.max[h] = top;
#pragma unroll
    for (int d = 0; d < kDimTiles; ++d) {
      o[d][2 * h] *= scale;
      o[d][2 * h + 1] *= scale;
    }
  }
}

}  // namespace fimd::cuda::attention_detail

// What the attention kernels are made of: tensor-core products, paged tiles in shared memory, and
// the online softmax.
//
// A tile is kKeys keys (or queries) of head_dim halves in shared memory, each row a whole number of
// 16-byte chunks. Rows of 128 bytes or more and a power of two are swizzled (chunk ^ row % 8), the
// others have an odd number of chunks, so that the 8 rows an ldmatrix reads lie in different banks.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/ops.h"

namespace fimd::cuda::attention_detail {

constexpr unsigned kAllLanes = 0xffffffffU;

// --- instructions

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

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

__device__ inline void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// c (16, 8) += a (16, 16) . b (16, 8). Lane l holds c's rows l / 4 (c[0], c[1]) and l / 4 + 8
/// (c[2], c[3]) in columns 2 (l % 4) and the next.
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ inline uint32_t pack_halves(float low, float high) {
  const __half2 packed = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&packed);
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

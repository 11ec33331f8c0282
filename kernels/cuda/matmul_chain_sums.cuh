// How the sums of a chain's row tiles become results (see matmul_chain.cuh).
#pragma once

#include "kernels/cuda/matmul_chain_items.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

namespace fimd::cuda {

/// Counters in shared memory that warps wait for each other with.
__device__ __forceinline__ void set_count(unsigned* counter, unsigned n) {
  asm volatile("st.release.cta.shared::cta.u32 [%0], %1;" ::"r"(shared_address(counter)), "r"(n)
               : "memory");
}
__device__ __forceinline__ void wait_for_count(const unsigned* counter, unsigned n) {
  unsigned now;
  do {
    asm volatile("ld.acquire.cta.shared::cta.u32 %0, [%1];"
                 : "=r"(now)
                 : "r"(shared_address(counter))
                 : "memory");
  } while (now < n);
}
/// What the counter was.
__device__ __forceinline__ unsigned count(unsigned* counter) {
  unsigned before;
  asm volatile("atom.acq_rel.cta.shared::cta.add.u32 %0, [%1], 1;"
               : "=r"(before)
               : "r"(shared_address(counter))
               : "memory");
  return before;
}

/// Calls f(token, row of the tile, sum) for each of the tile's sums, in one of the lanes that have
/// it: with few tokens several do, and f is compiled once for as few as can be in each.
template <int T, class F>
__device__ __forceinline__ void for_each_sum(const RowSums<1>& sums, int lane, const F& f) {
  const int g = lane >> 2, t = lane & 3;
  if constexpr (T <= 2) {
    if (t >= 2 * T) return;
    const int e = t % T, h = t / T;
    const float low = e == 0 ? sums[0][0] : sums[0][1];
    const float high = e == 0 ? sums[0][2] : sums[0][3];
    f(e, g + 8 * h, h == 0 ? low : high);
  } else if constexpr (T == 4) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      f(2 * (t % 2) + e, g + 8 * (t / 2), t < 2 ? sums[0][e] : sums[0][2 + e]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) f(2 * t + i % 2, g + 8 * (i / 2), sums[0][i]);
  }
}

/// Multiplies each token's sums by the factor that lane `token` has. By all lanes.
template <int T>
__device__ __forceinline__ void scale_sums(RowSums<1>& sums, float factor, int lane) {
  const int t = lane & 3;
  const int token = T == 8 ? 2 * t : T == 4 ? 2 * (t & 1) : 0;
#pragma unroll
  for (int e = 0; e < (T == 1 ? 1 : 2); ++e) {
    const float f = __shfl_sync(~0U, factor, token + e);
    sums[0][e] = __fmul_rn(sums[0][e], f);
    sums[0][2 + e] = __fmul_rn(sums[0][2 + e], f);
  }
}

/// Adds what the warps behind this one have left of the row tile that ends in front of the block's
/// item `past`, in their order.
template <int T>
__device__ __forceinline__ void add_left(const ChainHeader& header, const float4* left, int step,
                                         int warp, int past, RowSums<1>& sums, int lane) {
  // Each lane waits for one of them.
  const int other = warp + 1 + lane;
  bool wanted = other < kChainWarps;
  if (wanted) {
    const int* begins = header.shares[step].begins + other;
    wanted = begins[0] < past && begins[0] < begins[1];
    if (wanted) wait_for_count(header.left + other, step + 1);
  }
  __syncwarp();
  const unsigned others = __ballot_sync(~0U, wanted);
  constexpr int kAtOnce = T == 1 ? 6 : 2;  // of one token half of a lane's sums are none
#pragma unroll 1
  for (int first = 0; others >> first != 0; first += kAtOnce) {
    float4 parts[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if ((others >> (first + i) & 1U) != 0) parts[i] = left[32 * (warp + 1 + first + i) + lane];
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if ((others >> (first + i) & 1U) == 0) continue;
      sums[0][0] = __fadd_rn(sums[0][0], parts[i].x);
      if (T > 1) sums[0][1] = __fadd_rn(sums[0][1], parts[i].y);
      sums[0][2] = __fadd_rn(sums[0][2], parts[i].z);
      if (T > 1) sums[0][3] = __fadd_rn(sums[0][3], parts[i].w);
    }
  }
}

/// What a row tile's task adds to the sums of the rows that the lane has in for_each_sum(): asked
/// for long before it is added.
template <int T>
class RowAddends {
 public:
  RowAddends() = default;
  /// `old`: what results are added to, unless that is y. Of handed words, which may not be there.
  __device__ __forceinline__ RowAddends(const TaskParams& task, int place, int lane,
                                        const uint8_t* old) {
    const int first = T <= 2 ? (lane & 3) / T : T == 4 ? (lane & 3) / 2 : 0;
    if (task.bias != nullptr) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int row = kTileRows * place + (lane >> 2) + 8 * (first + i);
        bias_[i] = row < task.rows ? __ldg(task.bias + row) : 0.0F;
      }
    }
    if constexpr (kHands<T>) {
      const int row = kTileRows * place + (lane >> 2) + 8 * first;
      if (!task.accumulate || first > 1 || row >= task.rows) return;
      old_ = old != nullptr ? load_word(old + 4 * row)
                            : __float_as_uint(__ldcg(task.y + row)) ^ kFlipFloats;
    }
  }
  __device__ __forceinline__ float bias(int of_tile) const {
    return kRows == 1 || of_tile < 8 ? bias_[0] : bias_[kRows - 1];
  }
  /// When it is there, by all lanes: a loop that they leave together, so that the compiler knows
  /// them to be together behind it.
  __device__ __forceinline__ float old(const uint8_t* old, int row, bool wanted) const {
    uint32_t word = old_;
    while (__any_sync(~0U, wanted && word == 0)) {
      if (wanted) word = load_word(old + 4 * row);
    }
    return __uint_as_float(word ^ kFlipFloats);
  }

 private:
  static constexpr int kRows = T == 8 ? 2 : 1;
  float bias_[kRows] = {};
  uint32_t old_ = 0;  // flipped
};

/// A row tile to y, by one warp.
template <int T>
__device__ __forceinline__ void write_row_tile(const TaskParams& task, int place, int n_rows,
                                               const RowSums<1>& sums, const RowAddends<T>& addends,
                                               int lane) {
  for_each_sum<T>(sums, lane, [&](int token, int of_tile, float sum) {
    const int row = kTileRows * place + of_tile;
    if (token >= n_rows || row >= task.rows) return;
    float* y = task.y + token * task.y_stride + row;
    if (task.bias != nullptr) sum = __fadd_rn(sum, addends.bias(of_tile));
    if (task.accumulate) {
      // Nobody else adds to this element: the same as reading and writing it, without waiting.
      asm volatile("red.global.add.f32 [%0], %1;" ::"l"(y), "f"(sum) : "memory");
    } else {
      *y = sum;
    }
  });
}

/// The same for one row, also handed to other blocks at `words` if that is not null. What results
/// are added to is in y, or comes as words at `old`.
__device__ __forceinline__ void hand_row_tile(const TaskParams& task, int place,
                                              const RowSums<1>& sums, const RowAddends<1>& addends,
                                              const uint8_t* old, uint8_t* words, int lane) {
  const int row = kTileRows * place + (lane >> 2) + 8 * (lane & 3);  // as in for_each_sum()
  float to_add = 0;
  if (task.accumulate) {
    to_add = addends.old(old, row, old != nullptr && (lane & 3) < 2 && row < task.rows);
  }
  for_each_sum<1>(sums, lane, [&](int, int, float sum) {
    if (row >= task.rows) return;
    if (task.bias != nullptr) sum = __fadd_rn(sum, addends.bias(0));
    if (task.accumulate) sum = __fadd_rn(to_add, sum);
    if (words != nullptr) hand_word(words + 4 * row, __float_as_uint(sum) ^ kFlipFloats);
    if (task.stores) task.y[row] = sum;
  });
}

/// The columns of activations of a unit, of half as many row tiles of gate as of it and the same of
/// up, by one warp.
template <class Weights, int T, class Writer>
__device__ __forceinline__ void write_swiglu(const Writer& out, int unit, int n_rows,
                                             const float* totals, int lane) {
  // Four lanes have a token: eight of them are all there are.
  static_assert(T <= 8);
  constexpr int kTiles = kUnitTiles<Weights> / 2;
  if constexpr (T == 1 && kTiles == 2) {
    out.write_columns(0, 32 * unit, lane, silu_mul(totals[lane], totals[32 + lane]));
    return;
  }
  const int token = lane >> 2, t = lane & 3;
  const float* gate = totals + token * kTileRows + 4 * t;  // of the first tile's rows
  const float* up = gate + kTiles * kTileRows * T;
  float4 v[2] = {};  // of either tile
#pragma unroll 1
  for (int i = 0; i < kTiles; ++i) {
    v[0] = v[1];
    if (token >= n_rows) continue;
    const float4 g = *reinterpret_cast<const float4*>(gate + i * kTileRows * T);
    const float4 u = *reinterpret_cast<const float4*>(up + i * kTileRows * T);
    v[1] =
        make_float4(silu_mul(g.x, u.x), silu_mul(g.y, u.y), silu_mul(g.z, u.z), silu_mul(g.w, u.w));
  }
  if constexpr (kTiles == 2) {
    out.write_block(token, 32 * unit, t, v[0], v[1], token < n_rows);
  } else if (token < n_rows) {
    out.write_half_block(token, 16 * unit, t, v[1]);
  }
}

}  // namespace fimd::cuda

#endif

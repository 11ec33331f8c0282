// How the sums of a chain's row tiles become results (see matmul_chain.cuh).
#pragma once

#include "kernels/cuda/handed_words.cuh"
#include "kernels/cuda/matmul_chain_runs.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

namespace fimd::cuda {

/// Counters in shared memory that warps wait for each other with.
__device__ __forceinline__ void set_count(unsigned* counter, unsigned n) {
  asm volatile("st.release.cta.shared::cta.u32 [%0], %1;" ::"r"(shared_address(counter)), "r"(n)
               : "memory");
}
__device__ __forceinline__ unsigned get_count(const unsigned* counter) {
  unsigned now;
  asm volatile("ld.acquire.cta.shared::cta.u32 %0, [%1];"
               : "=r"(now)
               : "r"(shared_address(counter))
               : "memory");
  return now;
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

/// Multiplies each token's sums by the factor that lane `token` has, or all lanes if there is one
/// token. By all lanes.
template <int T>
__device__ __forceinline__ void scale_sums(RowSums<1>& sums, float factor, int lane) {
  const int t = lane & 3;
  const int token = T == 8 ? 2 * t : T == 4 ? 2 * (t & 1) : 0;
#pragma unroll
  for (int e = 0; e < (T == 1 ? 1 : 2); ++e) {
    const float f = T == 1 ? factor : __shfl_sync(~0U, factor, token + e);
    sums[0][e] = __fmul_rn(sums[0][e], f);
    sums[0][2 + e] = __fmul_rn(sums[0][2 + e], f);
  }
}

/// Adds what the `leaving` warps behind this one (bit i: warp + 1 + i) have left, in their order,
/// when it is there: `header.left` says of how many steps a warp has.
template <int T>
__device__ __forceinline__ void add_left(ChainHeader& header, const float4* left, int step,
                                         int warp, unsigned leaving, RowSums<1>& sums, int lane) {
  // Each lane waits for one of them; they leave the loop together (see RowTileResult).
  const bool waits = (leaving >> lane & 1U) != 0;
  const unsigned* counter = header.left + (waits ? warp + 1 + lane : warp);
  while (__any_sync(~0U, waits && get_count(counter) <= static_cast<unsigned>(step))) {
  }
  constexpr int kAtOnce = T == 1 ? 6 : 2;  // of one token half of a lane's sums are none
#pragma unroll 1
  for (int first = 0; leaving >> first != 0; first += kAtOnce) {
    float4 parts[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if ((leaving >> (first + i) & 1U) != 0) parts[i] = left[32 * (warp + 1 + first + i) + lane];
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if ((leaving >> (first + i) & 1U) == 0) continue;
      sums[0][0] = __fadd_rn(sums[0][0], parts[i].x);
      if (T > 1) sums[0][1] = __fadd_rn(sums[0][1], parts[i].y);
      sums[0][2] = __fadd_rn(sums[0][2], parts[i].z);
      if (T > 1) sums[0][3] = __fadd_rn(sums[0][3], parts[i].w);
    }
  }
}

/// A row tile's results, of the rows that the lane has in for_each_sum(): what is known of them
/// before there are sums.
template <int T>
class RowTileResult {
 public:
  RowTileResult() = default;
  __device__ __forceinline__ RowTileResult(const ChainStep& step, const Run& run, int lane)
      : task_(step.tasks + run.task), first_row_(kTileRows * run.place) {
    const TaskParams& task = *task_;
    if (task.bias == nullptr) return;
    const int first = T <= 2 ? (lane & 3) / T : T == 4 ? (lane & 3) / 2 : 0;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = first_row_ + (lane >> 2) + 8 * (first + i);
      bias_[i] = row < task.rows ? __ldg(task.bias + row) : 0.0F;
    }
  }
  /// By a warp.
  __device__ __forceinline__ void write(const RowSums<1>& sums, int n_rows,
                                        const HandedSet& /*set*/, int lane) const {
    for_each_sum<T>(sums, lane, [&](int token, int of_tile, float sum) {
      const int row = first_row_ + of_tile;
      if (token >= n_rows || row >= task_->rows) return;
      float* y = task_->y + token * task_->y_stride + row;
      if (task_->bias != nullptr) {
        sum = __fadd_rn(sum, kRows == 1 || of_tile < 8 ? bias_[0] : bias_[kRows - 1]);
      }
      if (task_->accumulate) {
        // Nobody else adds to this element: the same as reading and writing it, without waiting.
        asm volatile("red.global.add.f32 [%0], %1;" ::"l"(y), "f"(sum) : "memory");
      } else {
        *y = sum;
      }
    });
  }

 private:
  static constexpr int kRows = T == 8 ? 2 : 1;
  const TaskParams* task_ = nullptr;
  int first_row_ = 0;
  float bias_[kRows] = {};
};

/// Of one row of x a lane has one result or none, which may be handed to other blocks as a word.
template <>
class RowTileResult<1> {
 public:
  RowTileResult() = default;
  __device__ __forceinline__ RowTileResult(const ChainStep&, const HandedRun& run, int lane) {
    const int row = (lane >> 2) + 8 * (lane & 3);  // as in for_each_sum()
    if ((lane & 3) > 1 || row >= run.rows) return;
    y_ = run.stores ? run.y + row : nullptr;
    word_ = run.word != kNotHanded ? run.word + 4 * row : kNotHanded;
    has_bias_ = run.bias != nullptr;
    if (has_bias_) bias_ = __ldg(run.bias + row);
    accumulates_ = run.accumulates;
    if (!accumulates_) return;
    if (run.old != kNotHanded) {
      old_word_ = run.old + 4 * row;
    } else {
      old_at_ = run.y + row;
    }
  }
  /// Asks for what results are added to, once.
  __device__ __forceinline__ void ask(const HandedSet& set) {
    if (!accumulates_) return;
    old_ = old_word_ != kNotHanded ? load_word(set.at(old_word_)) : load_word(old_at_);
  }
  /// By a warp.
  __device__ __forceinline__ void write(const RowSums<1>& sums, int /*n_rows*/,
                                        const HandedSet& set, int lane) {
    // Lanes leave the loop together: the compiler knows them to be together behind it.
    const bool handed = old_word_ != kNotHanded;
    while (__any_sync(~0U, handed && old_ == 0)) {
      if (handed) old_ = load_word(set.at(old_word_));
    }
    float sum = (lane & 3) == 0 ? sums[0][0] : sums[0][2];
    if (has_bias_) sum = __fadd_rn(sum, bias_);
    if (accumulates_) sum = __fadd_rn(__uint_as_float(handed ? old_ ^ kFlipFloats : old_), sum);
    if (word_ != kNotHanded) hand_word(set.at(word_), __float_as_uint(sum) ^ kFlipFloats);
    if (y_ != nullptr) *y_ = sum;
  }

 private:
  float* y_ = nullptr;
  int word_ = kNotHanded;
  int old_word_ = kNotHanded;
  const float* old_at_ = nullptr;
  uint32_t old_ = 0;
  float bias_ = 0;
  bool has_bias_ = false;
  bool accumulates_ = false;
};

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

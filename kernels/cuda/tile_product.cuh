// A warp's product of one tile of weights with the activations of one k tile, on tensor cores.
//
// The n columns of an mma are tokens, 8 a group. With fewer tokens (T = 1, 2, 4 of them) a column
// is a token and a unit of columns instead: slot s (of 8 / T) takes the units T s .. T s + T - 1 of
// the group of 8 units, the activations of every other unit being zero in its columns. All products
// of up to 8 units are then in a few accumulators, and scales cost T / 8 of what they cost for 8
// tokens:
//
//   T = 1   column c: unit c                       1 accumulator tile for 8 units
//   T = 2   column c: token c % 2, slot c / 2      2 (even and odd units)
//   T = 4   column c: token c % 4, slot c / 4      4
//   T = 8   column c: token c                      8
//
// The sums of a token are made in one order for every T, so that its result does not depend on
// how many tokens are beside it: units 2p and 2p + 1 first; then (RowSums) pairs (0 + 1) + (2 + 3),
// then tiles, or (PairSums) tiles, then pairs, so that lanes exchange them once for many tiles.
#pragma once

#include <type_traits>

#include "kernels/cuda/formats/visit.cuh"

namespace fimd::cuda {

/// The float sums of a warp's 16 rows: [group][2 h + e] is row g + 8 h, token e of the lane's two,
/// which are 2 t and 2 t + 1 of the group (T = 8), 2 (t % 2) + e (4), e (2) or the only one (1,
/// where e = 0).
template <int kGroups>
using RowSums = float[kGroups][4];

/// The same of one group, the pairs of units of a lane apart.
template <int T>
struct PairSums {
  static constexpr int kPairs = T >= 2 ? T / 2 : 1;
  float of[kPairs][4] = {};

  /// By all lanes.
  __device__ __forceinline__ void total(RowSums<1>& sums) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sums[0][i] = 0;
      if (T == 1 && i % 2 == 1) continue;  // there is one token
      float u = of[0][i];
      if constexpr (T >= 4) u = __fadd_rn(u, of[1][i]);
      if constexpr (T == 8) u = __fadd_rn(u, __fadd_rn(of[2][i], of[3][i]));
      if constexpr (T <= 2) u = __fadd_rn(u, __shfl_xor_sync(~0U, u, 1));
      if constexpr (T <= 4) u = __fadd_rn(u, __shfl_xor_sync(~0U, u, 2));
      sums[0][i] = u;
    }
  }
};

/// What the activations bring to one unit for the lane's two tokens.
struct XFactors {
  float scale[2];
  float sum[2];
};
template <int T>
__device__ __forceinline__ XFactors x_factors(const uint8_t* x, int block, int t) {
  XFactors f;
  if constexpr (T == 1) {
    const float2 v = *reinterpret_cast<const float2*>(x + kTileCols + 8 * block);
    f.scale[0] = f.scale[1] = v.x;
    f.sum[0] = f.sum[1] = v.y;
  } else {
    const int token = T == 8 ? 2 * t : T == 4 ? 2 * (t & 1) : 0;
    const float4 v = *reinterpret_cast<const float4*>(x + kTileCols * T + 8 * (block * T + token));
    f.scale[0] = v.x;
    f.sum[0] = v.y;
    f.scale[1] = v.z;
    f.sum[1] = v.w;
  }
  return f;
}

/// Adds the tile's products to `sums`, RowSums<kGroups> or PairSums<T>. `x`: the k tile's first
/// group; the next is group_bytes on. groups <= kGroups is how many there are.
template <class Format, int T, int kGroups, class Sums>
__device__ __forceinline__ void multiply_tile(const uint8_t* tile, const uint8_t* x, int groups,
                                              int lane, Sums& sums) {
  constexpr int kRegisters = Format::kUnitCols / 8;  // of a fragment of A; B has half
  constexpr int kPairs = PairSums<T>::kPairs;        // pairs of units that a lane scales
  constexpr bool kHalfUnits = Format::kUnitCols == 16;
  const int g = lane >> 2, t = lane & 3;
  const int b_slot = g / T, b_token = g % T;
  const int first_pair = T <= 2 ? t : T == 4 ? 2 * (t >> 1) : 0;
  const auto codes = Format::load(tile, lane);

#pragma unroll
  for (int unit_group = 0; unit_group < Format::kGroups; ++unit_group) {
    float front[kGroups][4];
    float back[kGroups][4];
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const int pair = first_pair + j;
      const Factors f = Format::factors(tile, unit_group, g, pair);
      // The fragments of the pairs whose products land in this lane-pair's accumulators.
      constexpr int kSlotPairs = 4 / kPairs;
      uint32_t even_a[kSlotPairs][kRegisters], odd_a[kSlotPairs][kRegisters];
#pragma unroll
      for (int s = 0; s < kSlotPairs; ++s) {
        Format::unpack(codes, unit_group, s * kPairs + j, even_a[s], odd_a[s]);
      }
#pragma unroll
      for (int n = 0; n < kGroups; ++n) {
        if (kGroups > 1 && n >= groups) break;
        const uint8_t* xg = x + n * q8_group_bytes(T);
        // Activations of this lane's column: of its slot's units 2j and 2j + 1, or its one unit.
        uint2 b_even = make_uint2(0, 0), b_odd = make_uint2(0, 0);
        if constexpr (kHalfUnits) {
          if constexpr (T == 1) {
            b_even.x = load4(xg + 32 * (4 * unit_group + g / 2) + 8 * t + 4 * (g % 2));
          } else {
            const int block = 4 * unit_group + kPairs * b_slot + j;
            const uint2 v = load8(xg + 32 * (block * T + b_token) + 8 * t);
            b_even.x = v.x;
            b_odd.x = v.y;
          }
        } else {
          if constexpr (T == 1) {
            b_even = load8(xg + 32 * g + 8 * t);
          } else {
            const int block = T * b_slot + 2 * j;
            b_even = load8(xg + 32 * (block * T + b_token) + 8 * t);
            b_odd = load8(xg + 32 * ((block + 1) * T + b_token) + 8 * t);
          }
        }
        int even[4] = {0, 0, 0, 0}, odd[4] = {0, 0, 0, 0};
#pragma unroll
        for (int s = 0; s < kSlotPairs; ++s) {
          const auto masked = [&](const uint2& v, int slot) {
            return T == 8 || b_slot == slot ? v : make_uint2(0, 0);
          };
          if constexpr (T == 1) {
            const uint2 b0 = masked(b_even, 2 * s), b1 = masked(b_even, 2 * s + 1);
            if constexpr (kHalfUnits) {
              Format::mma(even, even_a[s], b0.x);
              Format::mma(odd, odd_a[s], b1.x);
            } else {
              Format::mma(even, even_a[s], b0.x, b0.y);
              Format::mma(odd, odd_a[s], b1.x, b1.y);
            }
          } else {
            const uint2 b0 = masked(b_even, s), b1 = masked(b_odd, s);
            if constexpr (kHalfUnits) {
              Format::mma(even, even_a[s], b0.x);
              Format::mma(odd, odd_a[s], b1.x);
            } else {
              Format::mma(even, even_a[s], b0.x, b0.y);
              Format::mma(odd, odd_a[s], b1.x, b1.y);
            }
          }
        }
        XFactors x0, x1;
        if constexpr (kHalfUnits) {
          x0 = x1 = x_factors<T>(xg, 4 * unit_group + pair, t);
        } else {
          x0 = x_factors<T>(xg, 2 * pair, t);
          x1 = x_factors<T>(xg, 2 * pair + 1, t);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int h = i / 2, e = i % 2;
          if (T == 1 && e == 1) continue;
          // Of one token, columns are units of both kinds: each is zero in the other's accumulator.
          const int d0 = T == 1 ? even[2 * h] + odd[2 * h] : even[i];
          const int d1 = T == 1 ? even[2 * h + 1] + odd[2 * h + 1] : odd[i];
          const float p0 = __fmul_rn(x0.scale[e], static_cast<float>(d0));
          const float p1 = __fmul_rn(x1.scale[e], static_cast<float>(d1));
          float u = __fmaf_rn(f.scale_odd[h], p1, __fmul_rn(f.scale_even[h], p0));
          if constexpr (Format::kHasMin) {
            u = __fmaf_rn(-f.min_even[h], x0.sum[e], u);
            u = __fmaf_rn(-f.min_odd[h], x1.sum[e], u);
          }
          if constexpr (std::is_same_v<Sums, PairSums<T>>) {
            sums.of[j][i] = __fadd_rn(sums.of[j][i], u);
          } else if constexpr (T == 8) {
            if (j == 0) front[n][i] = u;
            if (j == 1) front[n][i] = __fadd_rn(front[n][i], u);
            if (j == 2) back[n][i] = u;
            if (j == 3) {
              back[n][i] = __fadd_rn(back[n][i], u);
              sums[n][i] = __fadd_rn(sums[n][i], __fadd_rn(front[n][i], back[n][i]));
            }
          } else if constexpr (T == 4) {
            if (j == 0) front[n][i] = u;
            if (j == 1) {
              u = __fadd_rn(front[n][i], u);
              u = __fadd_rn(u, __shfl_xor_sync(~0U, u, 2));
              sums[n][i] = __fadd_rn(sums[n][i], u);
            }
          } else {
            u = __fadd_rn(u, __shfl_xor_sync(~0U, u, 1));
            u = __fadd_rn(u, __shfl_xor_sync(~0U, u, 2));
            sums[n][i] = __fadd_rn(sums[n][i], u);
          }
        }
      }
    }
  }
}

/// Without a branch: each register is chosen.
__device__ __forceinline__ uint4 choose(bool first, const uint4& a, const uint4& b) {
  return make_uint4(first ? a.x : b.x, first ? a.y : b.y, first ? a.z : b.z, first ? a.w : b.w);
}

/// As multiply_tile(), for 16 rows of 128 columns of BF16 weights, of which `chunks` blocks of 32
/// columns exist. Columns of the mma are tokens; lanes without one compute a copy.
template <int T, int kGroups>
__device__ __forceinline__ void multiply_bf16(const uint8_t* rows, int chunks, const uint8_t* x,
                                              int groups, int lane, RowSums<kGroups>& sums) {
  const int g = lane >> 2, t = lane & 3;
  // Rows begin in the same bank: lanes of odd ones read the chunks of a pair in the other order.
  const bool odd = g % 2 != 0;
  const uint8_t* from = rows + g * kBf16TileRowBytes + (odd ? 64 : 0) + 16 * t;
  const int other = odd ? -64 : 64;
#pragma unroll
  for (int pair = 0; pair < kBf16TileCols / 32; pair += 2) {
    if (pair >= chunks) break;
    const uint8_t* at = from + 64 * pair;
    const uint4 upper[] = {load16(at), load16(at + other)};
    const uint4 lower[] = {load16(at + 8 * kBf16TileRowBytes),
                           load16(at + 8 * kBf16TileRowBytes + other)};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int chunk = pair + i;
      if (chunk >= chunks) break;
      const uint4 top = choose(odd, upper[1 - i], upper[i]);
      const uint4 low = choose(odd, lower[1 - i], lower[i]);
#pragma unroll
      for (int n = 0; n < kGroups; ++n) {
        if (kGroups > 1 && n >= groups) break;
        const uint4 b = load16(x + n * bf16_group_bytes(T) + 64 * (chunk * T + g % T) + 16 * t);
        mma_bf16(sums[n], top.x, low.x, top.y, low.y, b.x, b.y);
        mma_bf16(sums[n], top.z, low.z, top.w, low.w, b.z, b.w);
      }
    }
  }
}

}  // namespace fimd::cuda

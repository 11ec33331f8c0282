// Packed weights back to numbers: whole matrices for a GEMM, single rows for the embedding.
#include <cuda_bf16.h>

#include "kernels/cuda/formats/visit.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pack.h"

namespace fimd::cuda {
namespace {

constexpr int kWarps = 8;

// Calls store(row half, column, weight of 4 columns) for what `lane` holds of a tile.
template <class Format, class Store>
__device__ __forceinline__ void decode_tile(const uint8_t* tile, int lane, Store store) {
  const int g = lane >> 2, t = lane & 3;
  const auto codes = Format::load(tile, lane);
  constexpr int kRegisters = Format::kUnitCols / 8;
#pragma unroll
  for (int group = 0; group < Format::kGroups; ++group) {
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      uint32_t fragment[2][kRegisters];
      Format::unpack(codes, group, pair, fragment[0], fragment[1]);
      const Factors f = Format::factors(tile, group, g, pair);
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const int unit = 8 * group + 2 * pair + odd;
#pragma unroll
        for (int i = 0; i < kRegisters; ++i) {
          const int half = i & 1;
          const float scale = odd ? f.scale_odd[half] : f.scale_even[half];
          const float least = odd ? f.min_odd[half] : f.min_even[half];
          float w[4];
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            w[j] = __fmul_rn(scale, static_cast<float>(Format::code(fragment[odd][i], j)));
            if constexpr (Format::kHasMin) w[j] = __fsub_rn(w[j], least);
          }
          store(half, Format::kUnitCols * unit + 16 * (i >> 1) + 4 * t, w);
        }
      }
    }
  }
}

// One warp per tile; four lanes write 32 adjacent bytes of a row.
template <class Format>
__global__ void __launch_bounds__(32 * kWarps)
    dequantize_tiles(const uint8_t* packed, int64_t rows, int64_t cols, int k_tiles,
                     int64_t n_tiles, __nv_bfloat16* dst) {
  pdl_wait();
  const int lane = threadIdx.x % 32;
  const int64_t tile = int64_t{kWarps} * blockIdx.x + threadIdx.x / 32;
  if (tile >= n_tiles) return;
  const int64_t row = tile / k_tiles * kTileRows + (lane >> 2);
  const int64_t col = tile % k_tiles * kTileCols;
  decode_tile<
      Format>(packed + tile * Format::kTileBytes, lane, [&](int half, int c, const float(&w)[4]) {
    const int64_t r = row + 8 * half;
    if (r >= rows || col + c >= cols) return;
    __nv_bfloat162 out[2] = {__floats2bfloat162_rn(w[0], w[1]), __floats2bfloat162_rn(w[2], w[3])};
    *reinterpret_cast<uint2*>(dst + r * cols + col + c) = *reinterpret_cast<const uint2*>(out);
  });
}

/// Of the embedding: that of the block's token. Waits for the kernels in front.
__device__ int64_t row_of(const int32_t* tokens, const int32_t* taken, int64_t rows) {
  pdl_wait();
  int32_t token = __ldcg(tokens + blockIdx.x);
  const int32_t other = taken != nullptr ? __ldcg(taken) : 0;  // asked for at once
  if (token < 0) token = other;
  return min(max(int64_t{token}, int64_t{0}), rows - 1);
}

// blockIdx.x is the row of x; a thread decodes a lane's share of a tile and keeps one row of it.
template <class Format>
__global__ void embed_tiles(const uint8_t* packed, int64_t rows, int64_t cols, int k_tiles,
                            const int32_t* tokens, const int32_t* taken, float* x) {
  const int64_t token = row_of(tokens, taken, rows);
  const int in_tile = static_cast<int>(token % kTileRows);
  for (int i = threadIdx.x; i < 4 * k_tiles; i += blockDim.x) {
    const int k = i / 4;
    const uint8_t* tile = packed + (token / kTileRows * k_tiles + k) * Format::kTileBytes;
    const int64_t col = int64_t{kTileCols} * k;
    decode_tile<Format>(tile, 4 * (in_tile % 8) + i % 4, [&](int half, int c, const float(&w)[4]) {
      if (half != in_tile / 8 || col + c >= cols) return;
      *reinterpret_cast<float4*>(x + blockIdx.x * cols + col + c) =
          make_float4(w[0], w[1], w[2], w[3]);
    });
  }
}

__global__ void embed_bf16(const __nv_bfloat16* embedding, int64_t rows, int64_t cols,
                           const int32_t* tokens, const int32_t* taken, float* x) {
  const int64_t token = row_of(tokens, taken, rows);
  for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
    x[blockIdx.x * cols + c] = __bfloat162float(embedding[token * cols + c]);
  }
}

}  // namespace

void dequantize(const Matrix& w, __nv_bfloat16* dst, cudaStream_t stream) {
  if (w.rows <= 0 || w.cols <= 0) return;
  if (w.type == DType::kBF16) {
    cudaMemcpyAsync(dst, w.data, static_cast<size_t>(w.rows * w.cols) * 2, cudaMemcpyDeviceToDevice,
                    stream);
    return;
  }
  const auto k_tiles = static_cast<int>(divide_up(w.cols, kTileCols));
  const int64_t n_tiles = divide_up(w.rows, kTileRows) * k_tiles;
  visit_format(w.type, [&](auto format) {
    launch(dequantize_tiles<decltype(format)>, static_cast<unsigned>(divide_up(n_tiles, kWarps)),
           32 * kWarps, 0, stream, static_cast<const uint8_t*>(w.data), w.rows, w.cols, k_tiles,
           n_tiles, dst);
  });
}

void embed(const Matrix& embedding, const int32_t* tokens, const int32_t* taken, int n_rows,
           float* x, cudaStream_t stream) {
  if (n_rows <= 0 || embedding.rows <= 0) return;
  const auto blocks = static_cast<unsigned>(n_rows);
  if (embedding.type == DType::kBF16) {
    launch(embed_bf16, blocks, 256, 0, stream, static_cast<const __nv_bfloat16*>(embedding.data),
           embedding.rows, embedding.cols, tokens, taken, x);
    return;
  }
  const auto k_tiles = static_cast<int>(divide_up(embedding.cols, kTileCols));
  visit_format(embedding.type, [&](auto format) {
    launch(embed_tiles<decltype(format)>, blocks, 128, 0, stream,
           static_cast<const uint8_t*>(embedding.data), embedding.rows, embedding.cols, k_tiles,
           tokens, taken, x);
  });
}

}  // namespace fimd::cuda

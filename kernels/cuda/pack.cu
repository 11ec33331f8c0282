// From a file's blocks to the tiles of pack.h, one thread block per tile.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/cuda/formats/visit.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pack.h"

namespace fimd::cuda {
namespace {

constexpr int kThreads = 256;

// Tile (blockIdx.y, blockIdx.x) of the rows in `raw`; `packed` is where their first tile goes.
template <class Format>
__global__ void __launch_bounds__(kThreads)
    pack_tiles(const uint8_t* raw, int64_t n_rows, int64_t cols, uint8_t* packed) {
  pdl_wait();
  const int64_t row = int64_t{kTileRows} * blockIdx.y;
  const int64_t col = int64_t{kTileCols} * blockIdx.x;
  RawTile tile;
  tile.stride = cols / Format::kBlockCols * Format::kBlockBytes;
  tile.first = raw + row * tile.stride + col / Format::kBlockCols * Format::kBlockBytes;
  tile.rows = static_cast<int>(min(int64_t{kTileRows}, n_rows - row));
  tile.cols = static_cast<int>(min(int64_t{kTileCols}, cols - col));
  auto* out = reinterpret_cast<uint32_t*>(packed + (int64_t{blockIdx.y} * gridDim.x + blockIdx.x) *
                                                       Format::kTileBytes);
  for (int i = threadIdx.x; i < Format::kTileBytes / 4; i += kThreads) {
    out[i] = Format::word(tile, i);
  }
}

__device__ __nv_bfloat16 to_bf16(float v) { return __float2bfloat16_rn(v); }
__device__ __nv_bfloat16 to_bf16(__half v) { return __float2bfloat16_rn(__half2float(v)); }

template <class Source>
__global__ void __launch_bounds__(kThreads)
    pack_floats_kernel(const Source* raw, int64_t n, __nv_bfloat16* packed) {
  pdl_wait();
  const int64_t stride = int64_t{kThreads} * gridDim.x;
  for (int64_t i = int64_t{kThreads} * blockIdx.x + threadIdx.x; i < n; i += stride) {
    packed[i] = to_bf16(raw[i]);
  }
}

template <class Source>
void pack_floats(const void* raw, int64_t n, __nv_bfloat16* packed, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(divide_up(n, 4 * kThreads), 4096));
  launch(pack_floats_kernel<Source>, blocks, kThreads, 0, stream, static_cast<const Source*>(raw),
         n, packed);
}

}  // namespace

DType packed_type(DType type) {
  return type == DType::kF16 || type == DType::kF32 ? DType::kBF16 : type;
}

size_t packed_bytes(DType type, int64_t rows, int64_t cols) {
  if (packed_type(type) == DType::kBF16) return static_cast<size_t>(rows * cols) * 2;
  return static_cast<size_t>(divide_up(rows, kTileRows) * divide_up(cols, kTileCols)) *
         tile_bytes(type);
}

void pack(DType type, const void* raw, int64_t row_begin, int64_t n_rows, int64_t rows,
          int64_t cols, void* packed, cudaStream_t stream) {
  static_cast<void>(rows);
  if (n_rows <= 0 || cols <= 0) return;
  auto* floats = static_cast<__nv_bfloat16*>(packed) + row_begin * cols;
  const int64_t n = n_rows * cols;
  switch (type) {
    case DType::kBF16:
      cudaMemcpyAsync(floats, raw, static_cast<size_t>(n) * 2, cudaMemcpyDeviceToDevice, stream);
      return;
    case DType::kF16:
      return pack_floats<__half>(raw, n, floats, stream);
    case DType::kF32:
      return pack_floats<float>(raw, n, floats, stream);
    default:
      break;
  }
  visit_format(type, [&](auto format) {
    using Format = decltype(format);
    const dim3 grid(static_cast<unsigned>(divide_up(cols, kTileCols)),
                    static_cast<unsigned>(divide_up(n_rows, kTileRows)));
    auto* first = static_cast<uint8_t*>(packed) +
                  row_begin / kTileRows * int64_t{grid.x} * Format::kTileBytes;
    launch(pack_tiles<Format>, grid, kThreads, 0, stream, static_cast<const uint8_t*>(raw), n_rows,
           cols, first);
  });
}

}  // namespace fimd::cuda

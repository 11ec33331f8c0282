// Attention of many rows on Hopper: as attention_kernel.cuh, with the products of warp groups,
// which read queries, keys and values from shared memory. Compiled for sm_90a; on other GPUs there
// is no such kernel, and the caller takes the other.
#include "kernels/cuda/attention_output.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/wgmma.cuh"

namespace fimd::cuda::attention_detail {
namespace {

template <int kDim_, int kBlocks>
struct WideConfig {
  static constexpr int kDim = kDim_;
  static constexpr int kMTiles = 1;
  static constexpr int kWarpsM = 8;
  static constexpr int kWarpsN = 1;
  static constexpr int kKeys = 64;
  static constexpr int kStages = 2;
  static constexpr int kBlocksPerProcessor = kBlocks;
  static constexpr int kThreads = 32 * kWarpsM;
  static constexpr int kRows = 16 * kWarpsM;
  static constexpr bool kClusters = false;
  using Q = PanelTile<kDim, kRows>;
  using T = PanelTile<kDim, kKeys>;
  static constexpr int kTileBytes = kKeys * kDim * 2;
  static constexpr int kTilesBytes = kStages * 2 * kTileBytes + kRows * kDim * 2;
  static constexpr int kMergeBytes = (kRows * (kDim + 2) + 2 * kRows) * 4;  // of store_rows
  static constexpr int kSharedBytes = kTilesBytes > kMergeBytes ? kTilesBytes : kMergeBytes;
};

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kBlocksPerProcessor)
    wide_kernel(const __grid_constant__ KernelArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int kDimTiles = C::kDim / 8;
  constexpr int kKeyTiles = C::kKeys / 8;
  extern __shared__ __align__(1024) char shared[];
  pdl_wait();
  Work work;
  if (!find_work(args, static_cast<int>(blockIdx.x), work)) return;
  const AttentionParams& p = args.params;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const PagedHead head = {p.kv.k,          p.kv.v,          p.pages + work.sequence.page_begin,
                          args.page_shift, p.kv.n_kv_heads, static_cast<int>(blockIdx.y),
                          work.key_end};
  const uint32_t tiles = shared_address(shared);
  const uint32_t q_tile = tiles + C::kStages * 2 * C::kTileBytes;
  const int n_tiles = (work.key_end - work.key_begin + C::kKeys - 1) / C::kKeys;
  PageWindow<C::kKeys> pages(head, work.key_begin);
  const auto copy = [&](int tile) {
    if (tile < n_tiles) {
      pages.enter(head, tile);
      const uint32_t to = tiles + static_cast<uint32_t>(tile % C::kStages * 2 * C::kTileBytes);
      copy_tile<C::kDim, C::kKeys, C::kThreads, typename C::T>(
          head, pages, tile, work.key_begin + tile * C::kKeys, to, to + C::kTileBytes);
    }
    copy_commit();
  };
  for (int i = static_cast<int>(threadIdx.x); i < C::kRows * C::Q::kChunks; i += C::kThreads) {
    const int row = i / C::Q::kChunks;
    const int chunk = i % C::Q::kChunks;
    const bool wanted = row < work.n_pairs;
    copy_async(q_tile + C::Q::offset(row, chunk),
               p.q + query_row(args, work, wanted ? row : 0) * C::kDim + chunk * 8, wanted);
  }
  for (int tile = 0; tile < C::kStages - 1; ++tile) copy(tile);

  RowState state[1];
  float o[1][kDimTiles][4] = {};
  int position[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = min(warp * 16 + 8 * h + lane / 4, work.n_pairs - 1);
    position[h] = work.sequence.first + (work.pair0 + row) / args.group;
  }
  const int first = work.sequence.first + work.pair0 / args.group;
  const int last = work.sequence.first + (work.pair0 + work.n_pairs - 1) / args.group;
  const uint32_t q_rows = q_tile + static_cast<uint32_t>(warp / 4 * 64 * 128);

  for (int tile = 0; tile < n_tiles; ++tile) {
    copy_wait<C::kStages - 2>();
    fence_for_wgmma();
    __syncthreads();  // the tile is there, and the stage to be overwritten was read by all
    copy(tile + C::kStages - 1);
    const int tile_begin = work.key_begin + tile * C::kKeys;
    const uint32_t k_tile = tiles + static_cast<uint32_t>(tile % C::kStages * 2 * C::kTileBytes);
    const uint32_t v_tile = k_tile + C::kTileBytes;

    float s[kKeyTiles][4] = {};
    wgmma_pin(s);
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < C::kDim / 16; ++k) {
      const auto at = static_cast<uint32_t>(k % 4 * 32);
      wgmma_scores(s, panel_descriptor(q_rows + k / 4 * C::Q::kPanelBytes + at, 16),
                   panel_descriptor(k_tile + k / 4 * C::T::kPanelBytes + at, 16), k > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_pin(s);
    if (tile_begin + C::kKeys - 1 > first || (p.window > 0 && tile_begin <= last - p.window)) {
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int key = tile_begin + n * 8 + lane % 4 * 2 + c % 2;
          const int at = position[c / 2];
          if (key > at || (p.window > 0 && key <= at - p.window)) s[n][c] = -INFINITY;
        }
      }
    }
    softmax_step(s, state[0], o[0]);
    uint32_t weights[C::kKeys / 16][4];
#pragma unroll
    for (int j = 0; j < C::kKeys / 16; ++j) {
      weights[j][0] = pack_halves(s[2 * j][0], s[2 * j][1]);
      weights[j][1] = pack_halves(s[2 * j][2], s[2 * j][3]);
      weights[j][2] = pack_halves(s[2 * j + 1][0], s[2 * j + 1][1]);
      weights[j][3] = pack_halves(s[2 * j + 1][2], s[2 * j + 1][3]);
    }
    wgmma_pin(o[0]);
    wgmma_pin(weights);
    wgmma_begin();
#pragma unroll
    for (int j = 0; j < C::kKeys / 16; ++j) {
      const uint32_t rows = v_tile + static_cast<uint32_t>(j * 16 * 128);
      if constexpr (C::kDim == 64) {
        wgmma_values(o[0], weights[j], panel_descriptor(rows, C::T::kPanelBytes));
      } else {
#pragma unroll
        for (int part = 0; part < C::kDim / 128; ++part) {
          wgmma_values(reinterpret_cast<float(&)[16][4]>(o[0][16 * part]), weights[j],
                       panel_descriptor(rows + 2 * part * C::T::kPanelBytes, C::T::kPanelBytes));
        }
      }
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_pin(o[0]);
  }
  state[0].finish();
  if (!args.quantizes) return store_own_rows<C>(args, work, state, o);
  store_rows<C>(args, work, state, o, shared);
#endif
}

template <class C>
bool launch_config(KernelArgs& args, cudaStream_t stream) {
  cudaFuncAttributes loaded = {};
  if (cudaFuncGetAttributes(&loaded, wide_kernel<C>) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // not made for this GPU
    return false;
  }
  args.tile_rows = C::kRows;
  args.tile_keys = C::kKeys;
  plan_blocks(args, C::kBlocksPerProcessor, 1);
  const dim3 grid(static_cast<unsigned>(args.n_splits),
                  static_cast<unsigned>(args.params.kv.n_kv_heads),
                  static_cast<unsigned>(args.params.n_sequences * args.m_tiles));
  launch(wide_kernel<C>, grid, C::kThreads, C::kSharedBytes, stream, args);
  if (args.n_splits > 1) launch_join(args, stream);
  return true;
}

}  // namespace

bool launch_wide(KernelArgs& args, cudaStream_t stream) {
  switch (args.params.kv.head_dim) {
    case 64:
      return launch_config<WideConfig<64, 2>>(args, stream);
    case 128:
      return launch_config<WideConfig<128, 2>>(args, stream);
    case 256:
      return launch_config<WideConfig<256, 1>>(args, stream);
  }
  return false;
}

}  // namespace fimd::cuda::attention_detail

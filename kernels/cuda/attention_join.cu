// The second step of attention when many rows' keys are split: joining the splits, over all
// processors.
#include "kernels/cuda/attention_join.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::attention_detail {
namespace {

constexpr int kThreads = 128;

template <int kDim>
constexpr int kBlockRows = kThreads / (kDim / 8);

template <int kDim>
__global__ void __launch_bounds__(kThreads) join_kernel(const __grid_constant__ KernelArgs args) {
  __shared__ float weights[kMaxSplits * kBlockRows<kDim>];
  pdl_wait();
  Work work;
  if (!find_work(args, 0, work) || work.n_parts == 1) return;  // 1: it stored its rows itself
  const int row_begin = static_cast<int>(blockIdx.x) * kBlockRows<kDim>;
  const int n_rows = min(kBlockRows<kDim>, work.n_pairs - row_begin);
  if (n_rows > 0) join_rows<kDim, kThreads>(args, work, row_begin, n_rows, weights);
}

template <int kDim>
void launch_kernel(const KernelArgs& args, cudaStream_t stream) {
  const int blocks = (args.tile_rows + kBlockRows<kDim> - 1) / kBlockRows<kDim>;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(args.params.kv.n_kv_heads),
                  static_cast<unsigned>(args.params.n_sequences * args.m_tiles));
  launch(join_kernel<kDim>, grid, kThreads, 0, stream, args);
}

}  // namespace

void launch_join(const KernelArgs& args, cudaStream_t stream) {
  switch (args.params.kv.head_dim) {
    case 64:
      return launch_kernel<64>(args, stream);
    case 80:
      return launch_kernel<80>(args, stream);
    case 96:
      return launch_kernel<96>(args, stream);
    case 128:
      return launch_kernel<128>(args, stream);
    case 256:
      return launch_kernel<256>(args, stream);
  }
}

}  // namespace fimd::cuda::attention_detail

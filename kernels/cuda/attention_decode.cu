// Attention of few rows: the blocks share out the keys (split-K), the warps of a block the keys of
// every tile.
#include "kernels/cuda/attention_launch.cuh"

namespace fimd::cuda::attention_detail {

void launch_decode(KernelArgs& args, cudaStream_t stream) {
  switch (args.params.kv.head_dim) {
    case 64:
      return launch_config<Config<64, 1, 1, 4, 64, 3>>(args, stream);
    case 80:
      return launch_config<Config<80, 1, 1, 4, 64, 3>>(args, stream);
    case 96:
      return launch_config<Config<96, 1, 1, 4, 64, 3>>(args, stream);
    case 128:
      return launch_config<Config<128, 1, 1, 4, 64, 3>>(args, stream);
    case 256:
      return launch_config<Config<256, 1, 1, 2, 32, 2>>(args, stream);
  }
}

}  // namespace fimd::cuda::attention_detail

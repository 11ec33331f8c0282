// Attention of many rows: every warp has its own rows, all share the tiles of keys.
#include "kernels/cuda/attention_launch.cuh"

namespace fimd::cuda::attention_detail {

void launch_verify(KernelArgs& args, cudaStream_t stream) {
  switch (args.params.kv.head_dim) {
    case 64:
      return launch_config<Config<64, 1, 4, 1, 64, 3>>(args, stream);
    case 80:
      return launch_config<Config<80, 1, 4, 1, 64, 3>>(args, stream);
    case 96:
      return launch_config<Config<96, 1, 4, 1, 64, 3>>(args, stream);
    case 128:
      return launch_config<Config<128, 1, 4, 1, 64, 3>>(args, stream);
    case 256:
      return launch_config<Config<256, 1, 4, 1, 32, 2>>(args, stream);
  }
}

void launch_prefill(KernelArgs& args, cudaStream_t stream) {
  switch (args.params.kv.head_dim) {
    case 64:
      return launch_config<Config<64, 2, 4, 1, 64, 2>>(args, stream);
    case 80:
      return launch_config<Config<80, 2, 4, 1, 64, 2>>(args, stream);
    case 96:
      return launch_config<Config<96, 2, 4, 1, 64, 2>>(args, stream);
    case 128:
      return launch_config<Config<128, 2, 4, 1, 64, 2>>(args, stream);
    case 256:
      return launch_config<Config<256, 1, 4, 1, 32, 2>>(args, stream);
  }
}

}  // namespace fimd::cuda::attention_detail

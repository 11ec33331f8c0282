// The kernel of a few rows, for pages of 8-bit codes.
#include "kernels/cuda/attention_step_launch.cuh"

namespace fimd::cuda::attention_detail {

bool launch_coded_step(StepArgs& args, cudaStream_t stream) {
  return launch_step_for<true>(args, stream);
}

}  // namespace fimd::cuda::attention_detail

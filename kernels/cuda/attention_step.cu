// The kernel of a few rows, for pages of halves.
#include "kernels/cuda/attention_step_launch.cuh"

namespace fimd::cuda::attention_detail {

bool launch_step(const KernelArgs& base, const float* qkv, const RopeParams& rope, float q_scale,
                 cudaStream_t stream) {
  StepArgs args = {base, qkv, rope, q_scale};
  args.inverse_group = (65536 + base.group - 1) / base.group;
  return base.params.kv.coded() ? launch_coded_step(args, stream)
                                : launch_step_for<false>(args, stream);
}

}  // namespace fimd::cuda::attention_detail

// Launches an instance of the attention kernel.
#pragma once

#include "kernels/cuda/attention_kernel.cuh"
#include "kernels/cuda/launch.h"

namespace fimd::cuda::attention_detail {

template <class C>
void launch_config(KernelArgs& args, cudaStream_t stream) {
  args.tile_rows = C::kRows;
  args.tile_keys = C::kKeys;
  plan_blocks(args);
  const dim3 grid(static_cast<unsigned>(args.n_splits),
                  static_cast<unsigned>(args.params.kv.n_kv_heads),
                  static_cast<unsigned>(args.params.n_sequences * args.m_tiles));
  launch(attention_kernel<C>, grid, C::kThreads, C::kSharedBytes, stream, args);
  if (!C::kJoins && args.n_splits > 1) launch_join(args, stream);
}

}  // namespace fimd::cuda::attention_detail

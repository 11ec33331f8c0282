// The functions of cuda.h in a build without the CUDA toolkit.
#include "engine/cuda/cuda.h"

namespace fimd {

namespace {
constexpr const char* kNotBuilt =
    "this fimd was built without CUDA; build it where the CUDA toolkit (nvcc) is installed";
}  // namespace

const CudaDevice* CudaProbe::best() const { return nullptr; }

CudaProbe probe_cuda() { return {.problem = kNotBuilt}; }

Result<std::unique_ptr<Backend>> make_cuda_backend(const ModelSpec& /*spec*/, TokenMask /*mask*/,
                                                   const CudaOptions& /*options*/,
                                                   const std::function<void(double)>&) {
  return Error{ErrorCode::kUnavailable, kNotBuilt};
}

Status reset_cuda(int /*device*/) { return Error{ErrorCode::kUnavailable, kNotBuilt}; }

}  // namespace fimd

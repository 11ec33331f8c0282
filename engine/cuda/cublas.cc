#include "engine/cuda/cublas.h"

#include <cublas_v2.h>
#include <dlfcn.h>

#include <type_traits>

namespace fimd {

struct Cublas::Api {
  void* library = nullptr;
  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasDestroy_v2) destroy = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  decltype(&cublasSetWorkspace_v2) set_workspace = nullptr;
  // The header overloads cublasGemmEx.
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                         const void*, const void*, cudaDataType, int, const void*, cudaDataType,
                         int, const void*, void*, cudaDataType, int, cublasComputeType_t,
                         cublasGemmAlgo_t) = nullptr;
};

namespace {

// Versions 12 and 13 agree in everything used here.
constexpr const char* kNames[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
constexpr const char* kFolders[] = {
    "", "/usr/local/cuda/lib64/", "/usr/local/cuda/targets/x86_64-linux/lib/", "/opt/cuda/lib64/"};

void* open_library(std::string* where) {
  for (const char* folder : kFolders) {
    for (const char* name : kNames) {
      const std::string path = std::string(folder) + name;
      if (void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
        *where = path;
        return library;
      }
    }
  }
  return nullptr;
}

Status cublas_status(cublasStatus_t status, const char* doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return {};
  return Error{ErrorCode::kUnavailable,
               std::string("cuBLAS: ") + doing + ": error " + std::to_string(status)};
}

}  // namespace

Cublas::Cublas() : api_(std::make_unique<Api>()) {}

Cublas::~Cublas() {
  if (handle_ != nullptr) api_->destroy(static_cast<cublasHandle_t>(handle_));
  // The library stays open: it registers device code with the driver, and another backend follows.
}

std::string Cublas::find() {
  std::string where;
  open_library(&where);
  return where;
}

Result<std::unique_ptr<Cublas>> Cublas::open() {
  std::unique_ptr<Cublas> cublas(new Cublas);
  Api& api = *cublas->api_;
  api.library = open_library(&cublas->library_);
  if (api.library == nullptr) {
    return Error{ErrorCode::kNotFound,
                 "cuBLAS (libcublas.so.13 or .12) was not found; long prompts are read with slower "
                 "kernels. Install it, or add its folder to LD_LIBRARY_PATH"};
  }
  const auto load = [&](auto* function, const char* name) {
    *function =
        reinterpret_cast<std::remove_pointer_t<decltype(function)>>(::dlsym(api.library, name));
    return *function != nullptr;
  };
  if (!load(&api.create, "cublasCreate_v2") || !load(&api.destroy, "cublasDestroy_v2") ||
      !load(&api.set_stream, "cublasSetStream_v2") ||
      !load(&api.set_workspace, "cublasSetWorkspace_v2") || !load(&api.gemm, "cublasGemmEx")) {
    return Error{ErrorCode::kUnsupported, cublas->library_ + " lacks functions of cuBLAS 12"};
  }
  cublasHandle_t handle = nullptr;
  FIMD_RETURN_IF_ERROR(cublas_status(api.create(&handle), "making a handle"));
  cublas->handle_ = handle;
  return cublas;
}

Status Cublas::set_stream(cudaStream_t stream, void* workspace) {
  auto* handle = static_cast<cublasHandle_t>(handle_);
  FIMD_RETURN_IF_ERROR(cublas_status(api_->set_stream(handle, stream), "setting the stream"));
  return cublas_status(api_->set_workspace(handle, workspace, kWorkspaceBytes),
                       "setting the workspace");
}

Status Cublas::multiply(const __nv_bfloat16* w, int64_t rows, int64_t cols, const __nv_bfloat16* x,
                        int n, float* y, int64_t y_stride, bool accumulate) {
  // cuBLAS counts in columns: y^T (rows, n) = w (rows, cols) . x^T (cols, n), w given as its
  // transpose.
  const float alpha = 1;
  const float beta = accumulate ? 1 : 0;
  return cublas_status(
      api_->gemm(static_cast<cublasHandle_t>(handle_), CUBLAS_OP_T, CUBLAS_OP_N,
                 static_cast<int>(rows), n, static_cast<int>(cols), &alpha, w, CUDA_R_16BF,
                 static_cast<int>(cols), x, CUDA_R_16BF, static_cast<int>(cols), &beta, y,
                 CUDA_R_32F, static_cast<int>(y_stride), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
      "a product");
}

}  // namespace fimd

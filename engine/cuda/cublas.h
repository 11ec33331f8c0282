// cuBLAS, opened at run time: large bf16 products of a prefill. Nothing links against it.
//
// Owner: a CUDA backend. Thread: one at a time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "support/result.h"

namespace fimd {

class Cublas {
 public:
  /// The workspace that set_workspace() wants.
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  /// Opens libcublas.so.13, .12 or libcublas.so. Not finding it is kNotFound.
  static Result<std::unique_ptr<Cublas>> open();
  /// Where the library was found, without making a handle; empty: nowhere.
  static std::string find();
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  const std::string& library() const { return library_; }
  Status set_stream(cudaStream_t stream, void* workspace);

  /// y (n, rows; rows y_stride apart) = x (n, cols) . w (rows, cols)^T, + y if accumulate. Float32
  /// sums of bf16 products.
  Status multiply(const __nv_bfloat16* w, int64_t rows, int64_t cols, const __nv_bfloat16* x, int n,
                  float* y, int64_t y_stride, bool accumulate);

 private:
  struct Api;
  Cublas();

  std::unique_ptr<Api> api_;
  std::string library_;
  void* handle_ = nullptr;
};

}  // namespace fimd

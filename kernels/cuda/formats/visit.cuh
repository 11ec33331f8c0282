// From a DType to its tile format: visit(type, f) calls f(Q4_K{}) and so on; false if there is
// none.
#pragma once

#include "kernels/cuda/formats/q4_0.cuh"
#include "kernels/cuda/formats/q4_k.cuh"
#include "kernels/cuda/formats/q5_k.cuh"
#include "kernels/cuda/formats/q6_k.cuh"
#include "kernels/cuda/formats/q8_0.cuh"

namespace fimd::cuda {

template <class Function>
__host__ __device__ __forceinline__ bool visit_format(DType type, Function&& f) {
  switch (type) {
    case DType::kQ4_K:
      f(Q4_K{});
      return true;
    case DType::kQ6_K:
      f(Q6_K{});
      return true;
    case DType::kQ4_0:
      f(Q4_0{});
      return true;
    case DType::kQ8_0:
      f(Q8_0{});
      return true;
    case DType::kQ5_K:
      f(Q5_K{});
      return true;
    default:
      return false;
  }
}

}  // namespace fimd::cuda

// From a DType to its tile format.
#pragma once

#include "kernels/cuda/formats/q4_0.cuh"
#include "kernels/cuda/formats/q4_k.cuh"
#include "kernels/cuda/formats/q5_k.cuh"
#include "kernels/cuda/formats/q6_k.cuh"
#include "kernels/cuda/formats/q8_0.cuh"

namespace fimd::cuda {

template <class... Format>
struct FormatList {
  static constexpr bool has(DType type) { return ((type == Format::kType) || ...); }
  /// Calls f(Q4_K{}) and so on; false if there is none for `type`.
  template <class Function>
  __host__ __device__ static __forceinline__ bool visit(DType type, Function&& f) {
    return ((type == Format::kType && (f(Format{}), true)) || ...);
  }
};
using AllFormats = FormatList<Q4_K, Q6_K, Q4_0, Q8_0, Q5_K>;
/// What files of the usual mixture, Q4_K_M, have: a kernel for these alone has less code.
using CommonFormats = FormatList<Q4_K, Q6_K>;

template <class Function>
__host__ __device__ __forceinline__ bool visit_format(DType type, Function&& f) {
  return AllFormats::visit(type, f);
}

}  // namespace fimd::cuda

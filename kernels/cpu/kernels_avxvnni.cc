// The kernels compiled for AVX2 with AVX-VNNI.
//
// Only the function at the end has external linkage: an inline function compiled here must never be
// the copy that the linker keeps for machines without these instructions.
#include <cstddef>
#include <cstdint>

#include <immintrin.h>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/pack.h"
#include "kernels/formats/dtype.h"

namespace fimd::cpu {
namespace {

// Each builds on those before.
// clang-format off
#include "kernels/cpu/simd/avx2.h"
#include "kernels/cpu/simd/quant_gemm.h"
#include "kernels/cpu/simd/float_gemm.h"
#include "kernels/cpu/simd/row_ops.h"
#include "kernels/cpu/simd/attention.h"
#include "kernels/cpu/simd/delta.h"
#include "kernels/cpu/simd/table.h"
// clang-format on

}  // namespace

const Kernels& kernels_avxvnni() {
  static const Kernels table = make_table();
  return table;
}

}  // namespace fimd::cpu

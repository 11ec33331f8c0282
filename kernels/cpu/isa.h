// Which instruction set the CPU kernels use, found once and overridable for tests.
#pragma once

#include <string_view>
#include <vector>

namespace fimd::cpu {

enum class Isa { kPortable, kAvx2, kAvxVnni, kAvx512, kAvx512Vnni };

const char* isa_name(Isa isa);  // "avx512-vnni"

/// The best this machine has (environment FIMD_ISA=name lowers it).
Isa detected_isa();

/// All that this machine can run, worst first.
std::vector<Isa> supported_isas();

/// The one in use; set_isa is for tests and benchmarks, before any Matrix is made.
Isa current_isa();
void set_isa(Isa isa);

}  // namespace fimd::cpu

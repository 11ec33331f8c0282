#include "kernels/cpu/isa.h"

#include <atomic>
#include <cstdlib>

#if defined(FIMD_X86_KERNELS)
#include <cpuid.h>
#endif

namespace fimd::cpu {
namespace {

constexpr Isa kAll[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vnni};

#if defined(FIMD_X86_KERNELS)
// Two features that some compilers' __builtin_cpu_supports() does not know.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && ((c >> 29) & 1) != 0;
}
bool has_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && ((a >> 4) & 1) != 0;
}
#endif

bool runs_here(Isa isa) {
#if defined(FIMD_X86_KERNELS)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  switch (isa) {
    case Isa::kPortable:
      return true;
    case Isa::kAvx2:
      return avx2;
    case Isa::kAvxVnni:
      return avx2 && has_avxvnni();
    case Isa::kAvx512:
      return avx512;
    case Isa::kAvx512Vnni:
      return avx512 && __builtin_cpu_supports("avx512vnni");
  }
#endif
  return isa == Isa::kPortable;
}

// The choice is the process's, as the CPU is. Atomic because tests set it while pools exist.
std::atomic<Isa>& chosen() {
  static std::atomic<Isa> isa{detected_isa()};
  return isa;
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avx-vnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512-vnni";
  }
  return "unknown";
}

Isa detected_isa() {
  const char* wanted = std::getenv("FIMD_ISA");
  Isa best = Isa::kPortable;
  for (const Isa isa : kAll) {
    if (!runs_here(isa)) continue;
    best = isa;
    if (wanted && std::string_view(wanted) == isa_name(isa)) break;
  }
  return best;
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : kAll) {
    if (runs_here(isa)) isas.push_back(isa);
  }
  return isas;
}

Isa current_isa() { return chosen().load(std::memory_order_relaxed); }
void set_isa(Isa isa) { chosen().store(isa, std::memory_order_relaxed); }

}  // namespace fimd::cpu

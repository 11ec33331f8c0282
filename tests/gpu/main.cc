#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstdio>

#include "support/log.h"

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("skipped: no NVIDIA GPU or driver here");
    return 77;  // ctest's SKIP_RETURN_CODE
  }
  static_cast<void>(fimd::log::set_up("warn", ""));
  return doctest::Context(argc, argv).run();
}

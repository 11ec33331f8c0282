// What CUDA devices there are, and starting over after one was lost.
#include <cuda_runtime_api.h>

#include "engine/cuda/cublas.h"
#include "engine/cuda/cuda.h"
#include "kernels/cuda/runtime.h"

namespace fimd {

const CudaDevice* CudaProbe::best() const {
  const CudaDevice* best = nullptr;
  for (const CudaDevice& device : devices) {
    if (!device.usable()) continue;
    if (best == nullptr || device.free_bytes > best->free_bytes) best = &device;
  }
  return best;
}

CudaProbe probe_cuda() {
  CudaProbe probe;
  probe.built = true;
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    static_cast<void>(cudaGetLastError());
    probe.problem = "no NVIDIA driver";
    return probe;
  }
  probe.driver = std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10);
  int n = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&n); error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    probe.problem = error == cudaErrorInsufficientDriver
                        ? "the driver is too old for this fimd (it supports CUDA " + probe.driver +
                              "); update it"
                        : std::string("no CUDA device: ") + cudaGetErrorString(error);
    return probe;
  }
  int before = 0;
  static_cast<void>(cudaGetDevice(&before));
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp properties = {};
    CudaDevice device;
    device.index = i;
    size_t free = 0;
    size_t total = 0;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      continue;
    }
    device.name = properties.name;
    device.major = properties.major;
    device.minor = properties.minor;
    // Memory is only asked of devices that may be used: asking makes a context on the device.
    if (device.usable() && cudaSetDevice(i) == cudaSuccess &&
        cudaMemGetInfo(&free, &total) == cudaSuccess) {
      device.free_bytes = static_cast<int64_t>(free);
      device.total_bytes = static_cast<int64_t>(total);
    } else {
      static_cast<void>(cudaGetLastError());
      device.total_bytes = static_cast<int64_t>(properties.totalGlobalMem);
    }
    probe.devices.push_back(std::move(device));
  }
  static_cast<void>(cudaSetDevice(before));
  if (probe.best() == nullptr) {
    probe.problem = probe.devices.empty()
                        ? "no CUDA device"
                        : probe.devices.front().name + " has compute capability " +
                              std::to_string(probe.devices.front().major) + "." +
                              std::to_string(probe.devices.front().minor) + "; fimd needs 8.0";
  }
  probe.cublas = Cublas::find();
  return probe;
}

Status reset_cuda(int device) {
  static_cast<void>(cudaSetDevice(device));
  static_cast<void>(cudaDeviceReset());  // its result is the old error
  static_cast<void>(cudaGetLastError());
  FIMD_RETURN_IF_ERROR(cuda::check(cudaSetDevice(device), "starting again"));
  FIMD_RETURN_IF_ERROR(cuda::check(cudaFree(nullptr), "starting again"));
  return cuda::check(cudaDeviceSynchronize(), "starting again");
}

}  // namespace fimd

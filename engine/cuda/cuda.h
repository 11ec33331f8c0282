// CUDA as the rest of the engine sees it: what is there, and a backend on it. No CUDA headers.
//
// A build without the CUDA toolkit has the same functions (none.cc): the probe says that CUDA was
// not built in, and making a backend is an error. The driver and cuBLAS are looked for when these
// functions are called, so a machine without them runs the same program.
//
// Thread: any; one at a time for one device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/model_spec.h"
#include "support/result.h"

namespace fimd {

struct CudaDevice {
  int index = 0;
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
  int major = 0;  // compute capability
  int minor = 0;

  bool usable() const { return major >= 8; }
};

struct CudaProbe {
  bool built = false;   // this program has CUDA code
  std::string driver;   // "13.0", empty: none
  std::string problem;  // why no device can be used; empty if one can
  std::string cublas;   // where cuBLAS was found, empty: nowhere
  std::vector<CudaDevice> devices;

  /// The usable device with most free memory; null: none.
  const CudaDevice* best() const;
};

CudaProbe probe_cuda();

struct CudaOptions {
  int device = 0;
  int64_t kv_bytes = 0;    // 0: from what is free
  bool kv_coded = false;   // keys and values as 8-bit codes
  int context_length = 0;  // tokens that the KV cache should hold at least, if it is automatic
  int state_slots = 0;     // of models with recurrent layers; 0: two to eight
  int64_t checkpoint_bytes = 0;  // as many checkpoints as fit, at least 2; 0: from what is free
  int page_tokens = 32;
  int max_batch_tokens = 2048 + 64;  // lowered if the memory is short
  bool use_cublas = true;            // off: prefill with the small-batch kernels, for tests
  bool use_graphs = true;            // off: every launch by itself, for tests
  bool keep_logits = false;          // logits() works; costs a copy in each pass
};

/// Loads the weights onto the device and takes all the memory that passes need. `progress` gets the
/// fraction of the weights done, on the calling thread. The spec must outlive the backend, the
/// weights' data only this call.
Result<std::unique_ptr<Backend>> make_cuda_backend(const ModelSpec& spec, TokenMask mask,
                                                   const CudaOptions& options,
                                                   const std::function<void(double)>& progress);

/// After an error that lost the device, and once every backend is gone: makes the process's CUDA
/// state new. An error: this process cannot use the device any more.
Status reset_cuda(int device);

}  // namespace fimd

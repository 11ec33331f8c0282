// Brings weights to the device: file -> page-locked memory -> device -> packed.
//
// A few threads do so with pieces of matrices, each with a stream of its own, so that the disk, the
// bus and the packing kernels work at the same time.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/cuda/device_model.h"
#include "support/result.h"

namespace fimd {

/// Returns when everything is in place. `progress` gets the fraction done, on the calling thread.
Status load_weights(const WeightJobs& jobs, int device,
                    const std::function<void(double)>& progress);

}  // namespace fimd

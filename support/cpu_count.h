// How many threads a compute-bound thread pool should have.
#pragma once

namespace fimd {

/// Physical cores this process may use: hyper-threads count once, and the affinity mask and the
/// control group's CPU quota are respected. At least 1.
int usable_physical_cores();

}  // namespace fimd

// What this build is called.
#pragma once

#include <string>

namespace fimd::lsp {

inline constexpr const char* kVersion = FIMD_VERSION;

/// Differs between any two builds installed one over the other: the version and the size and time
/// of the executable file as it was when this process started.
std::string build_id();

}  // namespace fimd::lsp

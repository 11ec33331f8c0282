// Log set-up. Lines go to stderr or a file, never to stdout (that is the protocol), and hold no
// text of the user's below trace level.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

#include "support/result.h"

namespace fimd {

/// Routes spdlog's default logger. `level` is one of trace, debug, info, warn, error, off;
/// `file` empty means stderr.
Status set_up_log(const std::string& level, const std::string& file);

}  // namespace fimd

// Starting a daemon that outlives us.
#pragma once

#include <string>
#include <vector>

#include "lsp/config.h"
#include "support/result.h"

namespace fimd::lsp {

/// The settings of `fimd daemon` that follow from a configuration and the environment.
struct DaemonPlace {
  std::string socket;
  bool private_dir = true;
  std::string log;
};
DaemonPlace daemon_place(const Env& env, const Config& config);

/// Starts `executable daemon` in a session of its own, its stderr appended to the log file.
/// Returns the reading end of a pipe that gets one line: "ok", "busy" (another daemon runs or
/// starts) or "error: ..."; nothing before its end if the program could not be run.
Result<int> spawn_daemon(const std::string& executable, const DaemonPlace& place);

}  // namespace fimd::lsp

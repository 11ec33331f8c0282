// The resident process: one per user, on a private Unix socket, shared by all editors.
//
// Owner: `fimd daemon`. Runs the io thread until it is told to stop or nobody uses it any more.
#pragma once

#include <string>

#include "lsp/config.h"
#include "support/result.h"

namespace fimd::lsp {

struct DaemonOptions {
  std::string socket;
  bool private_dir = true;  // the socket's directory is ours: mode 0700
  int idle_timeout_s = 0;   // 0: never ends by itself
  /// A pipe to whoever started us: gets "ok\n", "busy\n" (another daemon runs) or "error: ...\n".
  int ready_fd = -1;
};

/// Blocks until the daemon ends; ok if it was asked to. kUnavailable if another one runs.
Status run_daemon(const DaemonOptions& options, LoadedConfig config);

}  // namespace fimd::lsp

// The exclusion rules of a session: built-in ones, the user's globs, and .fimdignore files.
//
// Thread: the io thread.
#pragma once

#include "completion/completer.h"
#include "context/exclusion.h"

namespace fimd {

/// Globs that do not parse are logged and left out.
Exclusion user_exclusion(const CompletionOptions& options, const Workspace& workspace);

}  // namespace fimd

#include "completion/user_exclusion.h"

#include <string>
#include <utility>

#include "support/log.h"

namespace fimd {

Exclusion user_exclusion(const CompletionOptions& options, const Workspace& workspace) {
  auto made = Exclusion::make(options.exclude);
  if (!made.ok()) {
    log::warn("exclude: {}; only the built-in patterns are in force", made.error().message);
  }
  Exclusion exclusion = made.ok() ? std::move(made).value() : Exclusion();
  for (const std::string& message : exclusion.add_ignore_files(workspace)) {
    log::warn("{}", message);
  }
  return exclusion;
}

}  // namespace fimd

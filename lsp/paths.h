// Where things are: configuration, socket, log, models (XDG base directories).
//
// Pure functions of an environment, so that tests can give their own. Thread: any.
#pragma once

#include <string>
#include <vector>

#include "lsp/config.h"
#include "support/result.h"

namespace fimd::lsp {

std::string config_file(const Env& env);  // $FIMD_CONFIG, $XDG_CONFIG_HOME/fimd/config.toml
std::string runtime_dir(const Env& env);  // $XDG_RUNTIME_DIR/fimd, else in the cache directory
std::string socket_path(const Env& env, const Config& config);
std::string log_path(const Env& env, const Config& config);  // the daemon's
std::string executable_path();

/// Creates `path` and its parents; the last one gets mode 0700 and must be ours.
Status make_private_dir(const std::string& path);

struct ModelPlace {
  std::string path;
  std::string why;  // "model.path (default)", "installed with fimd", "source tree"
  bool exists = false;
};

/// Every place looked at, in order. A configured path stands alone: if it does not exist, that is
/// an error and nothing else is taken instead.
std::vector<ModelPlace> model_places(const Config& config, const std::string& executable);

/// The first that exists; the error says where was looked and what to do.
Result<std::string> find_model(const Config& config, const std::string& executable);

/// engine_options() with the model's path.
Result<EngineOptions> engine_options(const Config& config);

std::string path_of_uri(const std::string& uri);  // "" if not a file: uri
std::string uri_of_path(const std::string& path);

}  // namespace fimd::lsp

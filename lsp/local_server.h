// LocalServer: a whole server in this process, reached through a socket pair.
//
// For commands when no daemon runs, and for measurements without one. Owner: the command. Its io
// thread runs from construction to destruction.
#pragma once

#include <memory>

#include "lsp/client.h"
#include "lsp/server.h"

namespace fimd::lsp {

class LocalServer {
 public:
  explicit LocalServer(LoadedConfig config, ServerHooks hooks = {});
  ~LocalServer();

  Result<Client> connect();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fimd::lsp

// Proxy: `fimd lsp`, between an editor's stdio and the daemon's socket.
//
// Starts the daemon if none runs, replaces an idle one of another build, and outlives the daemon:
// if it dies, another is started and told everything (Shadow), so that the editor sees a pause at
// most. Owner: the command. Thread: the io thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lsp/daemon_start.h"
#include "lsp/transport.h"

namespace boost::asio {
class io_context;
}

namespace fimd::lsp {

struct ProxyOptions {
  DaemonPlace place;
  std::string executable;  // run as `executable daemon`
  int start_timeout_ms = 20000;
  int hello_timeout_ms = 5000;
};

class Proxy {
 public:
  /// `done` gets the exit code of the process, once.
  Proxy(boost::asio::io_context& io, std::unique_ptr<Transport> editor, ProxyOptions options,
        std::function<void(int)> done);
  ~Proxy();

  void start();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace fimd::lsp

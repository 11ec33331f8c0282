// Client: a blocking JSON-RPC client for commands that ask the daemon something.
//
// Owner: a command. Thread: one at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lsp/rpc.h"
#include "support/result.h"

namespace fimd::lsp {

class Client {
 public:
  /// kUnavailable if no daemon listens there.
  static Result<Client> connect(const std::string& socket);
  /// Takes over a connected descriptor.
  explicit Client(int fd);
  ~Client();
  Client(Client&& other) noexcept;
  Client& operator=(Client&&) = delete;

  /// `params` and the result are JSON text. Notifications and requests of the server are ignored.
  Result<std::string> call(std::string_view method, const std::string& params, int timeout_ms);
  Status notify(std::string_view method, const std::string& params);
  /// Blocks until the server closed the connection.
  Status wait_closed(int timeout_ms);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fimd::lsp

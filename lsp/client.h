// Client: a blocking JSON-RPC client for commands that ask the daemon something.
//
// Owner: a command. Thread: one at a time.
#pragma once

#include <functional>
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
  Client& operator=(Client&& other) noexcept;

  /// `params` and the result are JSON text. Requests of the server are answered with null;
  /// notifications are kept for wait_notification (the oldest are dropped beyond 1000).
  Result<std::string> call(std::string_view method, const std::string& params, int timeout_ms);
  Status notify(std::string_view method, const std::string& params);
  /// From now on notifications go there as they come (inside call), and none is kept.
  using Listener = std::function<void(const std::string& method, const std::string& params)>;
  void listen(Listener listener);
  /// The parameters of the next notification of that name; older ones are forgotten.
  Result<std::string> wait_notification(std::string_view method, int timeout_ms);
  /// Blocks until the server closed the connection.
  Status wait_closed(int timeout_ms);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fimd::lsp

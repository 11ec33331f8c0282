// RpcConnection: JSON-RPC over one Transport, in both directions.
//
// Checks every message, dispatches to a Binder, answers what is malformed, keeps the table of
// requests that can be cancelled, matches replies to the requests we sent. Owner: a Session or a
// client. Thread: the io thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lsp/binder.h"
#include "lsp/transport.h"

namespace fimd::lsp {

class RpcConnection {
 public:
  struct Options {
    /// Asked before a method is dispatched; an error refuses it (lifecycle rules). Refused
    /// notifications are dropped.
    std::function<std::optional<RpcError>(std::string_view method, bool is_request)> admit;
    std::function<void(Status)> closed;
    /// Every message in either direction, for $/setTrace and logs.
    std::function<void(bool outgoing, std::string_view body)> trace;
    /// Prefix of the ids of our own requests: unlike those of any other process, so that a reply
    /// meant for a daemon that died is not taken for ours.
    std::string id_prefix = "fimd";
  };
  /// The other side's answer to a request of ours.
  using ResponseFn = std::function<void(Result<RawJson>)>;

  RpcConnection(std::unique_ptr<Transport> transport, const Binder* binder, Options options);
  ~RpcConnection();
  RpcConnection(const RpcConnection&) = delete;
  RpcConnection& operator=(const RpcConnection&) = delete;

  void start();

  template <class P>
  void notify(std::string_view method, const P& params, Delivery delivery = Delivery::kMust) {
    notify_raw(method, encode(params), delivery);
  }
  template <class P>
  void call(std::string_view method, const P& params, ResponseFn response) {
    call_raw(method, encode(params), std::move(response));
  }
  void notify_raw(std::string_view method, const std::string& params, Delivery delivery);
  void call_raw(std::string_view method, const std::string& params, ResponseFn response);

  void close_after_flush();
  void close();
  size_t pending_bytes() const;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace fimd::lsp

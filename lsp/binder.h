// JSON-RPC 2.0: methods bound to typed handlers, replies sent exactly once, cancellation.
//
// A handler gets decoded parameters and, for a request, a Reply<R> that may be kept and answered
// later. JSON stays out of this header: a type P that has `Status decode(const Json&, P*)` can be
// a parameter, a type R that has `std::string encode(const R&)` a result. Thread: the io thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "lsp/transport.h"
#include "support/result.h"

namespace fimd::lsp {

using Json = nlohmann::json;

/// JSON-RPC and LSP error codes.
namespace rpc {
inline constexpr int kParseError = -32700;
inline constexpr int kInvalidRequest = -32600;
inline constexpr int kMethodNotFound = -32601;
inline constexpr int kInvalidParams = -32602;
inline constexpr int kInternalError = -32603;
inline constexpr int kServerNotInitialized = -32002;
inline constexpr int kRequestFailed = -32803;
inline constexpr int kServerCancelled = -32802;
inline constexpr int kContentModified = -32801;
inline constexpr int kRequestCancelled = -32800;
}  // namespace rpc

struct RpcError {
  int code = rpc::kInternalError;
  std::string message;
};

/// The code that fits an Error of ours.
RpcError to_rpc_error(const Error& error);

/// A parameter or result that is not there.
struct Nothing {};
Status decode(const Json& json, Nothing* nothing);
std::string encode(const Nothing& nothing);

/// JSON text that is passed through as it is.
struct RawJson {
  std::string text = "null";
};
Status decode(const Json& json, RawJson* raw);
std::string encode(const RawJson& raw);

/// The right and duty to answer one request. Destroyed unanswered, it answers with an internal
/// error; answering twice is a programmer's mistake (asserted, ignored in release). May outlive
/// the connection: then answers go nowhere.
class ReplyOnce {
 public:
  class Target {  // where answers go: a request of an RpcConnection
   public:
    virtual ~Target() = default;
    virtual void answer(std::string_view member, const std::string& json) = 0;
    virtual void on_cancel(std::function<void()> hook) = 0;
  };

  ReplyOnce() = default;
  explicit ReplyOnce(std::shared_ptr<Target> target) : target_(std::move(target)) {}
  ReplyOnce(ReplyOnce&& other) noexcept : target_(std::move(other.target_)) {}
  ReplyOnce& operator=(ReplyOnce&& other) noexcept;
  ~ReplyOnce();

  void result(const std::string& json);
  void error(const RpcError& error);

  /// `hook` runs when the client cancels the request before it is answered.
  void on_cancel(std::function<void()> hook);
  bool pending() const { return target_ != nullptr; }

 private:
  std::shared_ptr<Target> target_;
};

template <class R>
class Reply {
 public:
  Reply() = default;
  explicit Reply(ReplyOnce once) : once_(std::move(once)) {}

  void operator()(const R& result) { once_.result(encode(result)); }
  void error(const RpcError& error) { once_.error(error); }
  void error(const Error& error) { once_.error(to_rpc_error(error)); }
  void on_cancel(std::function<void()> hook) { once_.on_cancel(std::move(hook)); }
  bool pending() const { return once_.pending(); }

 private:
  ReplyOnce once_;
};

/// The methods one side understands.
class Binder {
 public:
  using RawRequest = std::function<void(const Json& params, ReplyOnce reply)>;
  using RawNotification = std::function<Status(const Json& params)>;

  template <class P, class R>
  void request(std::string method, std::function<void(P, Reply<R>)> handler) {
    requests_[std::move(method)] = [handler = std::move(handler)](const Json& params,
                                                                  ReplyOnce once) {
      P decoded;
      if (Status status = decode(params, &decoded); !status.ok()) {
        once.error({rpc::kInvalidParams, status.error().message});
        return;
      }
      handler(std::move(decoded), Reply<R>(std::move(once)));
    };
  }

  template <class P>
  void notification(std::string method, std::function<void(P)> handler) {
    notifications_[std::move(method)] = [handler =
                                             std::move(handler)](const Json& params) -> Status {
      P decoded;
      FIMD_RETURN_IF_ERROR(decode(params, &decoded));
      handler(std::move(decoded));
      return {};
    };
  }

  const RawRequest* find_request(std::string_view method) const;
  const RawNotification* find_notification(std::string_view method) const;

 private:
  std::map<std::string, RawRequest, std::less<>> requests_;
  std::map<std::string, RawNotification, std::less<>> notifications_;
};

}  // namespace fimd::lsp

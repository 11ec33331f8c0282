#include "lsp/rpc.h"

#include <cassert>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "lsp/json_text.h"
#include "support/log.h"

namespace fimd::lsp {

RpcError to_rpc_error(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
      return {rpc::kInvalidParams, error.message};
    case ErrorCode::kCancelled:
      return {rpc::kRequestCancelled, error.message};
    case ErrorCode::kUnavailable:
    case ErrorCode::kUnsupported:
    case ErrorCode::kResourceExhausted:
      return {rpc::kRequestFailed, error.message};
    default:
      return {rpc::kInternalError, error.message};
  }
}

Status decode(const Json&, Nothing*) { return {}; }
std::string encode(const Nothing&) { return "null"; }
Status decode(const Json& json, RawJson* raw) {
  raw->text = dump_json(json);
  return {};
}
std::string encode(const RawJson& raw) { return raw.text; }

namespace {
std::string encode_error(const RpcError& error) {
  return R"({"code":)" + std::to_string(error.code) + R"(,"message":)" + quote_json(error.message) +
         "}";
}
}  // namespace

ReplyOnce& ReplyOnce::operator=(ReplyOnce&& other) noexcept {
  if (this != &other) {
    if (target_) error({rpc::kInternalError, "the request was dropped"});
    target_ = std::move(other.target_);
  }
  return *this;
}

ReplyOnce::~ReplyOnce() {
  if (target_) error({rpc::kInternalError, "the request was dropped"});
}

void ReplyOnce::result(const std::string& json) {
  assert(target_ && "answered twice");
  if (auto target = std::move(target_)) target->answer("result", json);
}

void ReplyOnce::error(const RpcError& error) {
  assert(target_ && "answered twice");
  if (auto target = std::move(target_)) target->answer("error", encode_error(error));
}

void ReplyOnce::on_cancel(std::function<void()> hook) {
  if (target_) target_->on_cancel(std::move(hook));
}

const Binder::RawRequest* Binder::find_request(std::string_view method) const {
  const auto it = requests_.find(method);
  return it == requests_.end() ? nullptr : &it->second;
}

const Binder::RawNotification* Binder::find_notification(std::string_view method) const {
  const auto it = notifications_.find(method);
  return it == notifications_.end() ? nullptr : &it->second;
}

// Shared with the replies that are out: they may come after the connection is gone.
struct RpcConnection::State : std::enable_shared_from_this<State> {
  std::unique_ptr<Transport> transport;
  const Binder* binder = nullptr;
  Options options;
  // Requests of the peer not yet answered, by the JSON text of their id; the hook may be empty.
  std::map<std::string, std::function<void()>> open_requests;
  std::map<std::string, ResponseFn> calls;  // ours, by the JSON text of their id
  uint64_t next_id = 0;

  void send(const std::string& body, Delivery delivery = Delivery::kMust) {
    if (!transport) return;
    if (options.trace) options.trace(true, body);
    transport->send(body, delivery);
  }

  void on_message(const std::string& body);
  void on_closed(const Status& status);
  void dispatch(const Json& message, const std::shared_ptr<struct Batch>& batch);
  void request(const Json& message, const std::string& id, const std::string& method,
               const std::shared_ptr<struct Batch>& batch);
  void notification(const std::string& method, const Json& params);
  void response(const Json& message);
  void cancel(const Json& params);
};

// The answers to one JSON array of messages, sent together when the last one is there.
struct Batch {
  std::weak_ptr<RpcConnection::State> state;
  std::string answers;
  ~Batch() {
    if (answers.empty()) return;
    if (auto s = state.lock()) s->send("[" + answers + "]");
  }
  void add(const std::string& answer) {
    if (!answers.empty()) answers += ",";
    answers += answer;
  }
};

namespace {

const Json& null_json() {
  static const Json null;
  return null;
}

class PendingRequest : public ReplyOnce::Target {
 public:
  PendingRequest(std::weak_ptr<RpcConnection::State> state, std::string id,
                 std::shared_ptr<Batch> batch, bool listed)
      : state_(std::move(state)), id_(std::move(id)), batch_(std::move(batch)), listed_(listed) {}

  void answer(std::string_view member, const std::string& json) override {
    const auto state = state_.lock();
    if (!state) return;
    if (listed_) state->open_requests.erase(id_);
    std::string body =
        R"({"jsonrpc":"2.0","id":)" + id_ + R"(,")" + std::string(member) + R"(":)" + json + "}";
    if (batch_) {
      batch_->add(body);
      batch_.reset();
    } else {
      state->send(body);
    }
  }

  void on_cancel(std::function<void()> hook) override {
    if (const auto state = state_.lock(); state && listed_) {
      if (const auto it = state->open_requests.find(id_); it != state->open_requests.end()) {
        it->second = std::move(hook);
      }
    }
  }

 private:
  std::weak_ptr<RpcConnection::State> state_;
  std::string id_;
  std::shared_ptr<Batch> batch_;
  bool listed_;  // in the cancel table
};

bool is_id(const Json& id) { return id.is_string() || id.is_number_integer(); }

}  // namespace

void RpcConnection::State::on_message(const std::string& body) {
  if (options.trace) options.trace(false, body);
  const auto refuse = [this](const RpcError& error) {
    ReplyOnce(std::make_shared<PendingRequest>(weak_from_this(), "null", nullptr, false))
        .error(error);
  };
  auto parsed = parse_json(body);
  if (!parsed.ok()) {
    refuse({rpc::kParseError, parsed.error().message});
    return;
  }
  if (!parsed->is_array()) {
    dispatch(*parsed, nullptr);
    return;
  }
  if (parsed->empty()) {
    refuse({rpc::kInvalidRequest, "an empty batch"});
    return;
  }
  auto batch = std::make_shared<Batch>();
  batch->state = weak_from_this();
  for (const Json& message : *parsed) dispatch(message, batch);
}

void RpcConnection::State::dispatch(const Json& message, const std::shared_ptr<Batch>& batch) {
  const bool has_id = message.is_object() && message.contains("id") && is_id(message["id"]);
  const auto refuse = [&](const char* reason) {
    ReplyOnce(std::make_shared<PendingRequest>(
                  weak_from_this(), has_id ? dump_json(message["id"]) : "null", batch, false))
        .error({rpc::kInvalidRequest, reason});
  };
  if (!message.is_object()) return refuse("a message must be a JSON object");
  const bool is_response =
      !message.contains("method") && (message.contains("result") || message.contains("error"));
  if (is_response) return response(message);
  const auto version = message.find("jsonrpc");
  if (version == message.end() || *version != "2.0") return refuse("'jsonrpc' must be \"2.0\"");
  const auto method = message.find("method");
  if (method == message.end() || !method->is_string()) return refuse("'method' must be a string");
  if (message.contains("id") && !has_id) return refuse("'id' must be an integer or a string");
  const auto params = message.find("params");
  if (params != message.end() && !params->is_structured() && !params->is_null()) {
    return refuse("'params' must be an object or an array");
  }
  const auto& name = method->get_ref<const std::string&>();
  if (has_id) {
    request(message, dump_json(message["id"]), name, batch);
  } else {
    notification(name, params == message.end() ? null_json() : *params);
  }
}

void RpcConnection::State::request(const Json& message, const std::string& id,
                                   const std::string& method, const std::shared_ptr<Batch>& batch) {
  const bool fresh = open_requests.emplace(id, nullptr).second;
  ReplyOnce reply(std::make_shared<PendingRequest>(weak_from_this(), id, batch, fresh));
  if (!fresh) {
    reply.error({rpc::kInvalidRequest, "a request with the id " + id + " is still open"});
    return;
  }
  const Binder::RawRequest* handler = binder->find_request(method);
  if (options.admit) {
    if (auto error = options.admit(method, true)) {
      reply.error(*error);
      return;
    }
  }
  if (handler == nullptr) {
    reply.error({rpc::kMethodNotFound, "no method '" + method.substr(0, 200) + "'"});
    return;
  }
  const auto params = message.find("params");
  (*handler)(params == message.end() ? null_json() : *params, std::move(reply));
}

void RpcConnection::State::notification(const std::string& method, const Json& params) {
  if (method == "$/cancelRequest") return cancel(params);
  if (options.admit && options.admit(method, false)) return;
  const Binder::RawNotification* handler = binder->find_notification(method);
  if (handler == nullptr) {
    if (!method.starts_with("$/")) log::debug("lsp: ignoring notification {}", method);
    return;
  }
  if (Status status = (*handler)(params); !status.ok()) {
    log::warn("lsp: notification {} ignored: {}", method, status.error().message);
  }
}

void RpcConnection::State::response(const Json& message) {
  const auto id = message.find("id");
  const auto it = id == message.end() ? calls.end() : calls.find(dump_json(*id));
  if (it == calls.end()) {
    log::debug("lsp: a response to no request of ours");
    return;
  }
  const ResponseFn done = std::move(it->second);
  calls.erase(it);
  if (!done) return;
  if (const auto error = message.find("error"); error != message.end() && error->is_object()) {
    const auto text = error->find("message");
    done(Error{ErrorCode::kUnavailable, text != error->end() && text->is_string()
                                            ? text->get<std::string>()
                                            : dump_json(*error)});
  } else {
    done(RawJson{dump_json(message.value("result", Json()))});
  }
}

void RpcConnection::State::cancel(const Json& params) {
  if (!params.is_object() || !params.contains("id")) return;
  const auto it = open_requests.find(dump_json(params["id"]));
  if (it == open_requests.end()) return;  // answered already
  const auto hook = std::move(it->second);
  it->second = nullptr;
  if (hook) hook();
}

void RpcConnection::State::on_closed(const Status& status) {
  const auto self = shared_from_this();
  const auto waiting = std::move(calls);
  calls.clear();
  for (const auto& [id, done] : waiting) {
    if (done) done(Error{ErrorCode::kUnavailable, "the connection closed"});
  }
  // Nobody is left to answer: whatever works for them may stop.
  const auto unanswered = std::move(open_requests);
  open_requests.clear();
  for (const auto& [id, hook] : unanswered) {
    if (hook) hook();
  }
  const auto closed = options.closed;  // it may destroy us
  if (closed) closed(status);
}

RpcConnection::RpcConnection(std::unique_ptr<Transport> transport, const Binder* binder,
                             Options options)
    : state_(std::make_shared<State>()) {
  state_->transport = std::move(transport);
  state_->binder = binder;
  state_->options = std::move(options);
}

RpcConnection::~RpcConnection() {
  state_->options = {};
  state_->transport.reset();
}

void RpcConnection::start() {
  const std::weak_ptr<State> weak = state_;
  Transport::Handlers handlers;
  handlers.message = [weak](const std::string& body) {
    if (const auto state = weak.lock()) state->on_message(body);
  };
  handlers.framing_error = [weak](const FrameEvent& event) {
    const auto state = weak.lock();
    if (!state) return;
    const int code =
        event.kind == FrameEvent::Kind::kTooLarge ? rpc::kInvalidRequest : rpc::kParseError;
    ReplyOnce(std::make_shared<PendingRequest>(state, "null", nullptr, false))
        .error({code, event.text});
  };
  handlers.closed = [weak](const Status& status) {
    if (const auto state = weak.lock()) state->on_closed(status);
  };
  state_->transport->start(std::move(handlers));
}

void RpcConnection::notify_raw(std::string_view method, const std::string& params,
                               Delivery delivery) {
  state_->send(
      R"({"jsonrpc":"2.0","method":)" + quote_json(method) + R"(,"params":)" + params + "}",
      delivery);
}

void RpcConnection::call_raw(std::string_view method, const std::string& params,
                             ResponseFn response) {
  const std::string id =
      quote_json(state_->options.id_prefix + "-" + std::to_string(++state_->next_id));
  state_->calls.emplace(id, std::move(response));
  state_->send(R"({"jsonrpc":"2.0","id":)" + id + R"(,"method":)" + quote_json(method) +
               R"(,"params":)" + params + "}");
}

void RpcConnection::close_after_flush() { state_->transport->close_after_flush(); }
void RpcConnection::close() { state_->transport->close(); }
size_t RpcConnection::pending_bytes() const { return state_->transport->pending_bytes(); }

}  // namespace fimd::lsp

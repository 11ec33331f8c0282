#include "lsp/proxy.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "lsp/binder.h"
#include "lsp/json_text.h"
#include "lsp/proxy_state.h"

namespace fimd::lsp {

namespace asio = boost::asio;
using nlohmann::json;

namespace {
constexpr std::chrono::milliseconds kLastWords{500};
}

std::string error_reply(const std::string& id, int code, const std::string& message) {
  return R"({"jsonrpc":"2.0","id":)" + id + R"(,"error":{"code":)" + std::to_string(code) +
         R"(,"message":)" + quote_json(message) + "}}";
}

std::string result_reply(const std::string& id, const std::string& result) {
  return R"({"jsonrpc":"2.0","id":)" + id + R"(,"result":)" + result + "}";
}

Proxy::Proxy(asio::io_context& io, std::unique_ptr<Transport> editor, ProxyOptions options,
             std::function<void(int)> done)
    : state_(std::make_shared<State>(io, std::move(editor), std::move(options), std::move(done))) {}

Proxy::~Proxy() {
  state_->editor->close();
  if (state_->daemon) state_->daemon->close();
}

void Proxy::start() { state_->start(); }

void Proxy::State::start() {
  const std::weak_ptr<State> weak = weak_from_this();
  Transport::Handlers handlers;
  handlers.message = [weak](const std::string& body) {
    if (const auto self = weak.lock()) self->editor_message(body);
  };
  handlers.framing_error = [weak](const FrameEvent& event) {
    const auto self = weak.lock();
    if (!self) return;
    const bool large = event.kind == FrameEvent::Kind::kTooLarge;
    self->editor->send(
        error_reply("null", large ? rpc::kInvalidRequest : rpc::kParseError, event.text));
  };
  handlers.closed = [weak](const Status&) {
    if (const auto self = weak.lock()) self->editor_closed();
  };
  handlers.drained = [weak] {
    if (const auto self = weak.lock()) self->balance();
  };
  editor->start(std::move(handlers));
  connect();
}

void Proxy::State::finish(int code) {
  if (!done) return;
  timer.cancel();
  boost::system::error_code ignored;
  ready.close(ignored);
  std::exchange(done, nullptr)(code);
}

void Proxy::State::editor_message(const std::string& body) {
  auto message = parse_json(body);
  if (!message.ok()) {
    editor->send(error_reply("null", rpc::kParseError, message.error().message));
    return;
  }
  const std::string method = string_member(*message, "method");
  if (message->is_array()) {  // LSP has no batches, but JSON-RPC has
    for (const json& part : *message) {
      if (part.is_object() && !part.contains("id") && part.contains("params")) {
        shadow.editor_said(string_member(part, "method"), part["params"]);
      }
    }
  }
  const bool is_object = message->is_object();
  const bool is_request = is_object && !method.empty() && message->contains("id");
  if (is_request) {
    editor_request(body, *message, method);
  } else if (is_object && !method.empty()) {
    static const json kNoParams;
    const auto it = message->find("params");
    const json& params = it == message->end() ? kNoParams : *it;
    if (method == "exit") {
      exiting = true;
      if (link == Link::kUp) daemon->send(body);
      if (daemon) daemon->close_after_flush();
      editor->close_after_flush();  // editor_closed() follows
      timer.expires_after(kLastWords);
      timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
        if (!error) self->editor_closed();
      });
      return;
    }
    shadow.editor_said(method, params);
    if (method == "$/cancelRequest" && link != Link::kUp) cancel(params);
    if (link == Link::kUp) daemon->send(body);
  } else if (link == Link::kUp) {
    daemon->send(body);  // a response, a batch, or something the daemon will refuse
  } else if (!is_object || !message->contains("id")) {
    editor->send(error_reply("null", rpc::kInvalidRequest, "not a request, and no daemon to ask"));
  }
  if (link == Link::kDown && !exiting && SteadyClock::now() - gave_up_at > kRetryAfterGivingUp) {
    connect();
  }
  balance();
}

void Proxy::State::editor_request(const std::string& body, const json& message,
                                  const std::string& method) {
  const std::string id = dump_json(message["id"]);
  const auto params = message.find("params");
  if (method == "initialize" && params != message.end()) {
    shadow.editor_said(method, *params);
    if (!initialize_id) initialize_id = id;
  }
  if (method == "shutdown") {
    shut_down = true;
    if (link != Link::kUp) {
      editor->send(result_reply(id, "null"));
      return;
    }
  }
  if (link == Link::kDown && SteadyClock::now() - gave_up_at <= kRetryAfterGivingUp) {
    editor->send(
        error_reply(id, rpc::kRequestFailed, "fimd has no daemon; see " + options.place.log));
    return;
  }
  Pending request{body, method, "", std::nullopt, false, ++next_order};
  if (params != message.end() && params->is_object() && params->contains("textDocument")) {
    request.uri = string_member((*params)["textDocument"], "uri");
    request.version = shadow.version(request.uri);
  }
  pending[id] = std::move(request);
  if (link == Link::kUp) daemon->send(body);
}

void Proxy::State::cancel(const json& params) {
  if (!params.is_object() || !params.contains("id")) return;
  const std::string id = dump_json(params["id"]);
  if (pending.erase(id) > 0) {
    editor->send(error_reply(id, rpc::kRequestCancelled, "cancelled"));
  }
}

void Proxy::State::editor_closed() {
  exiting = true;
  if (daemon) daemon->close_after_flush();
  finish(shut_down ? 0 : 1);
}

}  // namespace fimd::lsp

#include "lsp/proxy.h"

#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "lsp/json_text.h"
#include "lsp/protocol_fimd.h"
#include "lsp/proxy_shadow.h"
#include "lsp/unix_socket.h"
#include "lsp/version.h"
#include "support/clock.h"
#include "support/log.h"

namespace fimd::lsp {

namespace asio = boost::asio;
using nlohmann::json;
using std::chrono::milliseconds;

namespace {

constexpr int kMaxDeaths = 5;  // of daemons, within:
constexpr auto kDeathWindow = std::chrono::seconds(60);
constexpr auto kRetryAfterGivingUp = std::chrono::seconds(10);
constexpr milliseconds kLastWords{500};
constexpr milliseconds kFirstRetry{10};
constexpr milliseconds kRespawnAfter{100};
constexpr milliseconds kLastRetry{500};

constexpr const char* kHelloId = "\"fimd-proxy-hello\"";
constexpr const char* kStopId = "\"fimd-proxy-stop\"";
constexpr const char* kReplayId = "\"fimd-proxy-initialize\"";

std::string error_reply(const std::string& id, int code, const std::string& message) {
  return R"({"jsonrpc":"2.0","id":)" + id + R"(,"error":{"code":)" + std::to_string(code) +
         R"(,"message":)" + quote_json(message) + "}}";
}

std::string result_reply(const std::string& id, const std::string& result) {
  return R"({"jsonrpc":"2.0","id":)" + id + R"(,"result":)" + result + "}";
}

}  // namespace

struct Proxy::State : std::enable_shared_from_this<State> {
  // kDown: no connection, and none is tried before the editor asks for something.
  enum class Link { kDown, kConnecting, kGreeting, kReplacing, kUp };

  struct Pending {  // a request of the editor that the daemon has not answered
    std::string body;
    std::string method;
    std::string uri;  // of a completion request, and the version it was made for
    std::optional<int64_t> version;
    bool repeated = false;
    uint64_t order = 0;
  };

  State(asio::io_context& context, std::unique_ptr<Transport> editor_transport,
        ProxyOptions proxy_options, std::function<void(int)> on_done)
      : io(context),
        editor(std::move(editor_transport)),
        options(std::move(proxy_options)),
        done(std::move(on_done)),
        timer(context),
        ready(context) {}

  asio::io_context& io;
  std::unique_ptr<Transport> editor;
  std::unique_ptr<Transport> daemon;
  ProxyOptions options;
  std::function<void(int)> done;
  asio::steady_timer timer;  // of the connection attempt
  asio::posix::stream_descriptor ready;
  std::string ready_line;
  std::array<char, 4096> ready_buffer;

  Link link = Link::kDown;
  Stopwatch attempt;  // since the connection attempt began
  milliseconds retry{kFirstRetry};
  bool spawned = false;     // in this attempt
  bool may_replace = true;  // a daemon of another build; once
  std::deque<SteadyClock::time_point> deaths;
  SteadyClock::time_point gave_up_at;
  bool told_user = false;  // that there is no daemon

  Shadow shadow;
  std::map<std::string, Pending> pending;  // by the JSON text of the id
  uint64_t next_order = 0;
  bool initialize_answered = false;
  std::optional<std::string> initialize_id;
  std::set<std::string> progress;  // tokens (JSON text) begun and not ended
  bool shows_status = false;       // the daemon sends fimd/status to this editor
  bool shut_down = false;
  bool exiting = false;

  void start();
  void finish(int code);

  void editor_message(const std::string& body);
  void editor_request(const std::string& body, const json& message, const std::string& method);
  void cancel(const json& params);
  void editor_closed();

  void connect();
  void try_connect();
  void spawn();
  void read_ready();
  void ready_ended();
  void retry_later();
  void attach(int fd);
  void greeted(const json& result);
  void link_up();
  void no_daemon(const std::string& why);

  void daemon_message(const std::string& body);
  void daemon_closed();
  void observe(const std::string& method, const json& params);

  void balance() {  // whoever is behind stops the other one
    if (daemon) daemon->pause_reading(editor->congested());
    editor->pause_reading(daemon && daemon->congested());
  }
};

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

// ---- the editor ----

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

// ---- the way to the daemon ----

void Proxy::State::connect() {
  link = Link::kConnecting;
  attempt.restart();
  retry = kFirstRetry;
  spawned = false;
  try_connect();
}

void Proxy::State::try_connect() {
  auto fd = connect_socket(options.place.socket);
  if (fd.ok()) {
    attach(*fd);
  } else if (fd.error().code != ErrorCode::kUnavailable) {
    no_daemon(fd.error().message);
  } else if (!spawned) {
    spawn();
  } else {
    retry_later();
  }
}

void Proxy::State::spawn() {
  spawned = true;
  auto pipe = spawn_daemon(options.executable, options.place);
  if (!pipe.ok()) {
    no_daemon(pipe.error().message);
    return;
  }
  boost::system::error_code ignored;
  ready.close(ignored);
  ready.assign(*pipe, ignored);
  ready_line.clear();
  read_ready();
  // Bounds the wait: the pipe of a daemon that hangs says nothing.
  timer.expires_after(milliseconds(options.start_timeout_ms));
  timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (!error && self->link == Link::kConnecting) {
      self->no_daemon("the daemon does not get ready");
    }
  });
}

void Proxy::State::read_ready() {
  ready.async_read_some(asio::buffer(ready_buffer),
                        [self = shared_from_this()](boost::system::error_code error, size_t n) {
                          if (error == asio::error::operation_aborted) return;
                          self->ready_line.append(self->ready_buffer.data(), n);
                          if (!error && self->ready_line.find('\n') == std::string::npos) {
                            self->read_ready();
                          } else {
                            self->ready_ended();
                          }
                        });
}

void Proxy::State::ready_ended() {
  boost::system::error_code ignored;
  ready.close(ignored);
  timer.cancel();
  if (link != Link::kConnecting) return;
  if (ready_line.starts_with("ok")) {
    try_connect();
  } else if (ready_line.starts_with("busy")) {
    retry_later();  // another editor's proxy was faster, or an old daemon is about to end
  } else if (ready_line.starts_with("error: ")) {
    no_daemon(ready_line.substr(7, ready_line.find('\n') - 7));
  } else {
    no_daemon("cannot run " + options.executable + " daemon");
  }
}

void Proxy::State::retry_later() {
  if (attempt.elapsed_ms() > options.start_timeout_ms) {
    no_daemon("a daemon holds " + options.place.socket + ".lock but does not answer");
    return;
  }
  timer.expires_after(retry);
  retry = std::min(retry * 2, kLastRetry);
  // The one that was there may have ended without a successor: then the next try starts one.
  if (retry > kRespawnAfter) spawned = false;
  timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (!error && self->link == Link::kConnecting && !self->exiting) self->try_connect();
  });
}

void Proxy::State::attach(int fd) {
  daemon = make_stream_transport(io, fd, fd);
  const std::weak_ptr<State> weak = weak_from_this();
  Transport::Handlers handlers;
  handlers.message = [weak](const std::string& body) {
    if (const auto self = weak.lock()) self->daemon_message(body);
  };
  handlers.closed = [weak](const Status&) {
    if (const auto self = weak.lock()) self->daemon_closed();
  };
  handlers.drained = [weak] {
    if (const auto self = weak.lock()) self->balance();
  };
  daemon->start(std::move(handlers));
  link = Link::kGreeting;
  daemon->send(R"({"jsonrpc":"2.0","id":)" + std::string(kHelloId) +
               R"(,"method":"fimd/hello","params":null})");
  timer.expires_after(milliseconds(options.hello_timeout_ms));
  timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (error || self->link != Link::kGreeting) return;
    self->daemon->close();
    self->daemon.reset();
    self->no_daemon("the daemon on " + self->options.place.socket +
                    " does not answer; `fimd stop` or kill it");
  });
}

void Proxy::State::greeted(const json& result) {
  timer.cancel();
  HelloResult hello;
  const bool known = decode(result, &hello).ok();
  const bool same = known && hello.build == build_id();
  if (!same && may_replace && (!known || hello.editors == 0)) {
    may_replace = false;
    spdlog::info("replacing an idle daemon of build {} by {}", hello.build, build_id());
    link = Link::kReplacing;
    daemon->send(R"({"jsonrpc":"2.0","id":)" + std::string(kStopId) +
                 R"(,"method":"fimd/stop","params":null})");
    return;
  }
  if (known && hello.protocol != kSocketProtocol) {
    daemon->close();
    daemon.reset();
    no_daemon("a daemon of fimd " + hello.version +
              " still serves another editor; close that or run `fimd stop`");
    return;
  }
  if (!same) {
    spdlog::warn("using the running daemon, build {}; this program is {}", hello.build, build_id());
  }
  link_up();
}

void Proxy::State::link_up() {
  link = Link::kUp;
  told_user = false;
  for (const std::string& body :
       shadow.replay(initialize_answered ? kReplayId : initialize_id.value_or(kReplayId),
                     !initialize_answered)) {
    daemon->send(body);
  }
  std::map<uint64_t, std::string> in_order;
  for (const auto& [id, request] : pending) in_order[request.order] = id;
  for (const auto& [order, id] : in_order) {
    Pending& request = pending[id];
    if (request.method == "initialize" && id == initialize_id.value_or("")) continue;  // replayed
    if (request.version && shadow.version(request.uri) != request.version) {
      editor->send(result_reply(id, "null"));  // typed past; the editor has asked again
      pending.erase(id);
      continue;
    }
    daemon->send(request.body);
  }
}

void Proxy::State::no_daemon(const std::string& why) {
  timer.cancel();
  link = Link::kDown;
  gave_up_at = SteadyClock::now();
  const std::string message = "fimd: no daemon: " + why + " (log: " + options.place.log + ")";
  spdlog::error("{}", message);
  const auto unanswered = std::exchange(pending, {});
  for (const auto& [id, request] : unanswered) {
    editor->send(error_reply(id, rpc::kRequestFailed, message));
  }
  if (!told_user && initialize_answered) {
    editor->send(R"({"jsonrpc":"2.0","method":"window/showMessage","params":{"type":1,"message":)" +
                 quote_json(message) + "}}");
  }
  told_user = true;
  if (shows_status) {
    editor->send(R"({"jsonrpc":"2.0","method":"fimd/status","params":{"state":"error","message":)" +
                     quote_json(message) + "}}",
                 Delivery::kDroppable);
  }
}

// ---- the daemon ----

void Proxy::State::daemon_message(const std::string& body) {
  auto message = parse_json(body);
  if (!message.ok()) {
    spdlog::error("the daemon sent malformed JSON");
    return;
  }
  const std::string method = string_member(*message, "method");
  if (!method.empty()) {
    const auto params = message->find("params");
    if (params != message->end()) observe(method, *params);
  } else if (message->is_object() && message->contains("id")) {
    const std::string id = dump_json((*message)["id"]);
    const json result = message->value("result", json());
    if (id == kHelloId) return greeted(result);
    if (id == kStopId || id == kReplayId) return;
    if (const auto it = pending.find(id); it != pending.end()) {
      if (it->second.method == "initialize" && message->contains("result")) {
        initialize_answered = true;
        shadow.initialized_with(result);
      }
      pending.erase(it);
    }
  }
  editor->send(body);
  balance();
}

void Proxy::State::observe(const std::string& method, const json& params) {
  if (method == "fimd/status") shows_status = true;
  if (method != "$/progress" || !params.is_object() || !params.contains("token") ||
      !params.contains("value")) {
    return;
  }
  const std::string kind = string_member(params["value"], "kind");
  const std::string token = dump_json(params["token"]);
  if (kind == "begin") progress.insert(token);
  if (kind == "end") progress.erase(token);
}

void Proxy::State::daemon_closed() {
  daemon.reset();
  const bool replacing = link == Link::kReplacing;
  const bool greeting = link == Link::kGreeting;
  const bool was_up = link == Link::kUp;
  link = Link::kDown;
  if (exiting) return;
  if (shut_down) {
    for (const auto& [id, request] : std::exchange(pending, {})) {
      editor->send(result_reply(id, "null"));
    }
    return;
  }
  if (replacing) {
    connect();
    return;
  }
  if (greeting) {  // it was dying when it took the connection: only a failed attempt
    link = Link::kConnecting;
    retry_later();
    return;
  }
  spdlog::warn("the daemon ended; starting another one");
  for (const std::string& token : std::exchange(progress, {})) {
    editor->send(R"({"jsonrpc":"2.0","method":"$/progress","params":{"token":)" + token +
                 R"(,"value":{"kind":"end"}}})");
  }
  if (was_up) {
    // A request that was there when two daemons died may be the reason.
    for (auto it = pending.begin(); it != pending.end();) {
      if (std::exchange(it->second.repeated, true)) {
        editor->send(error_reply(it->first, rpc::kInternalError,
                                 "fimd's daemon ended while it worked on this"));
        it = pending.erase(it);
      } else {
        ++it;
      }
    }
  }
  const auto now = SteadyClock::now();
  deaths.push_back(now);
  while (now - deaths.front() > kDeathWindow) deaths.pop_front();
  if (deaths.size() > kMaxDeaths) {
    deaths.clear();
    no_daemon("it ended " + std::to_string(kMaxDeaths) + " times within a minute");
    return;
  }
  connect();
}

}  // namespace fimd::lsp

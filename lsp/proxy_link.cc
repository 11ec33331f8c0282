// The proxy's way to a daemon: finding, starting and replacing one, and what it says.
#include <boost/asio/buffer.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "lsp/json_text.h"
#include "lsp/protocol_fimd.h"
#include "lsp/proxy_state.h"
#include "lsp/unix_socket.h"
#include "lsp/version.h"
#include "support/log.h"

namespace fimd::lsp {

namespace asio = boost::asio;
using nlohmann::json;
using std::chrono::milliseconds;

namespace {

constexpr int kMaxDeaths = 5;  // of daemons, within:
constexpr auto kDeathWindow = std::chrono::seconds(60);
constexpr milliseconds kFirstRetry{10};
constexpr milliseconds kRespawnAfter{100};
constexpr milliseconds kLastRetry{500};

constexpr const char* kHelloId = "\"fimd-proxy-hello\"";
constexpr const char* kStopId = "\"fimd-proxy-stop\"";
constexpr const char* kReplayId = "\"fimd-proxy-initialize\"";

}  // namespace

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
    log::info("replacing an idle daemon of build {} by {}", hello.build, build_id());
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
    log::warn("using the running daemon, build {}; this program is {}", hello.build, build_id());
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
  log::error("{}", message);
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

void Proxy::State::daemon_message(const std::string& body) {
  auto message = parse_json(body);
  if (!message.ok()) {
    log::error("the daemon sent malformed JSON");
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
  log::warn("the daemon ended; starting another one");
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

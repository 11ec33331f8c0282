// The inside of Proxy: its state, shared by proxy.cc (the editor's side) and proxy_link.cc (the
// daemon's side).
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>

#include "lsp/proxy.h"
#include "lsp/proxy_shadow.h"
#include "support/clock.h"

namespace fimd::lsp {

/// After giving up, the next message of the editor tries again, but not before:
inline constexpr auto kRetryAfterGivingUp = std::chrono::seconds(10);

std::string error_reply(const std::string& id, int code, const std::string& message);
std::string result_reply(const std::string& id, const std::string& result);

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

  State(boost::asio::io_context& context, std::unique_ptr<Transport> editor_transport,
        ProxyOptions proxy_options, std::function<void(int)> on_done)
      : io(context),
        editor(std::move(editor_transport)),
        options(std::move(proxy_options)),
        done(std::move(on_done)),
        timer(context),
        ready(context) {}

  boost::asio::io_context& io;
  std::unique_ptr<Transport> editor;
  std::unique_ptr<Transport> daemon;
  ProxyOptions options;
  std::function<void(int)> done;
  boost::asio::steady_timer timer;  // of the connection attempt
  boost::asio::posix::stream_descriptor ready;
  std::string ready_line;
  std::array<char, 4096> ready_buffer;

  Link link = Link::kDown;
  Stopwatch attempt;  // since the connection attempt began
  std::chrono::milliseconds retry{0};
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
  void editor_request(const std::string& body, const nlohmann::json& message,
                      const std::string& method);
  void cancel(const nlohmann::json& params);
  void editor_closed();

  void connect();
  void try_connect();
  void spawn();
  void read_ready();
  void ready_ended();
  void retry_later();
  void attach(int fd);
  void greeted(const nlohmann::json& result);
  void link_up();
  void no_daemon(const std::string& why);

  void daemon_message(const std::string& body);
  void daemon_closed();
  void observe(const std::string& method, const nlohmann::json& params);

  void balance() {  // whoever is behind stops the other one
    if (daemon) daemon->pause_reading(editor->congested());
    editor->pause_reading(daemon && daemon->congested());
  }
};

}  // namespace fimd::lsp

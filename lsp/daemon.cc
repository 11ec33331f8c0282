#include "lsp/daemon.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <optional>

#include "lsp/paths.h"
#include "lsp/server.h"
#include "lsp/unix_socket.h"
#include "lsp/version.h"
#include "support/log.h"

namespace fimd::lsp {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kLookAtSocket{30};
constexpr milliseconds kLastWords{500};

class Daemon {
 public:
  Daemon(asio::io_context& io, const DaemonOptions& options, LoadedConfig config)
      : io_(io),
        options_(options),
        signals_(io, SIGTERM, SIGINT, SIGHUP),
        listener_(io),
        watch_timer_(io),
        idle_timer_(io),
        stop_timer_(io),
        accept_timer_(io),
        server_(io, std::move(config), options.socket,
                {.session_ended = [this](int) { session_ended(); },
                 .stop = [this] { stop("fimd stop"); }}) {}

  Status start() {
    const std::filesystem::path dir = std::filesystem::path(options_.socket).parent_path();
    std::error_code ignored;
    if (options_.private_dir || !std::filesystem::exists(dir, ignored)) {
      FIMD_RETURN_IF_ERROR(make_private_dir(dir.string()));
    }
    FIMD_RETURN_IF_ERROR(owner_.lock(options_.socket));
    FIMD_RETURN_IF_ERROR(listen());
    signals_.async_wait([this](boost::system::error_code error, int signal) {
      if (!error) stop(::strsignal(signal));
    });
    watch_socket();
    watch_idleness();
    log::info("fimd {} listens on {}", build_id(), options_.socket);
    server_.load_model();
    return {};
  }

 private:
  Status listen() {
    FIMD_ASSIGN_OR_RETURN(const int fd, owner_.listen());
    boost::system::error_code error;
    listener_.close(error);
    listener_.assign(fd, error);
    if (error) return Error{ErrorCode::kIo, "cannot watch the socket: " + error.message()};
    accept();
    return {};
  }

  void accept() {
    listener_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [this](boost::system::error_code error) {
                           if (error || stopping_) return;
                           take_connection();
                         });
  }

  void take_connection() {
    const int fd = ::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0 && !peer_is_same_user(fd)) {
      log::warn("refused a connection of another user");
      ::close(fd);
    } else if (fd >= 0) {
      idle_timer_.cancel();
      server_.add_session(make_stream_transport(io_, fd, fd));
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
      // Out of descriptors or memory: the connection stays queued, so wait before the next try.
      log::error("cannot accept a connection: {}", std::strerror(errno));
      accept_timer_.expires_after(seconds(1));
      accept_timer_.async_wait([this](boost::system::error_code error) {
        if (!error) accept();
      });
      return;
    }
    accept();
  }

  // Somebody may clean up the runtime directory under us.
  void watch_socket() {
    watch_timer_.expires_after(kLookAtSocket);
    watch_timer_.async_wait([this](boost::system::error_code error) {
      if (error || stopping_) return;
      if (!owner_.intact()) {
        log::warn("the socket {} is gone; making it again", options_.socket);
        if (Status status = listen(); !status.ok()) log::error("{}", status.error().message);
      }
      watch_socket();
    });
  }

  void watch_idleness() {
    if (options_.idle_timeout_s == 0 || server_.session_count() > 0) return;
    idle_timer_.expires_after(seconds(options_.idle_timeout_s));
    idle_timer_.async_wait([this](boost::system::error_code error) {
      if (!error && server_.session_count() == 0) stop("nobody used it for a while");
    });
  }

  void session_ended() {
    if (stopping_ && server_.session_count() == 0) io_.stop();
    watch_idleness();
  }

  void stop(const char* reason) {
    if (stopping_) return;
    stopping_ = true;
    log::info("stopping: {}", reason);
    owner_.remove();  // from here on, newcomers start a daemon of their own
    boost::system::error_code ignored;
    listener_.close(ignored);
    server_.close_sessions();
    if (server_.session_count() == 0) io_.stop();
    stop_timer_.expires_after(kLastWords);
    stop_timer_.async_wait([this](boost::system::error_code) { io_.stop(); });
  }

  asio::io_context& io_;
  DaemonOptions options_;
  SocketOwner owner_;
  asio::signal_set signals_;
  asio::posix::stream_descriptor listener_;
  asio::steady_timer watch_timer_;
  asio::steady_timer idle_timer_;
  asio::steady_timer stop_timer_;
  asio::steady_timer accept_timer_;
  Server server_;
  bool stopping_ = false;
};

void tell_starter(int fd, const std::string& line) {
  if (fd < 0) return;
  (void)!::write(fd, line.data(), line.size());
  ::close(fd);
}

}  // namespace

Status run_daemon(const DaemonOptions& options, LoadedConfig config) {
  std::signal(SIGPIPE, SIG_IGN);
  asio::io_context io(1);
  for (const ConfigProblem& problem : config.problems) log::warn("{}", problem.text());
  Daemon daemon(io, options, std::move(config));
  if (Status status = daemon.start(); !status.ok()) {
    tell_starter(options.ready_fd, status.error().code == ErrorCode::kUnavailable
                                       ? "busy\n"
                                       : "error: " + status.error().message + "\n");
    return status;
  }
  tell_starter(options.ready_fd, "ok\n");
  io.run();
  return {};
}

}  // namespace fimd::lsp

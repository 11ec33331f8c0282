#include "lsp/local_server.h"

#include <sys/socket.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

namespace fimd::lsp {

namespace asio = boost::asio;

struct LocalServer::State {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  std::unique_ptr<Server> server;
  std::thread thread;
};

LocalServer::LocalServer(LoadedConfig config, ServerHooks hooks)
    : state_(std::make_unique<State>()) {
  std::signal(SIGPIPE, SIG_IGN);
  state_->server = std::make_unique<Server>(state_->io, std::move(config), "", std::move(hooks));
  state_->server->load_model();
  state_->thread = std::thread([state = state_.get()] { state->io.run(); });
}

LocalServer::~LocalServer() {
  state_->io.stop();
  state_->thread.join();
  state_->server.reset();
}

Result<Client> LocalServer::connect() {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return Error{ErrorCode::kIo, std::string("cannot make a socket pair: ") + std::strerror(errno)};
  }
  asio::post(state_->io, [state = state_.get(), fd = ends[0]] {
    state->server->add_session(make_stream_transport(state->io, fd, fd));
  });
  return Client(ends[1]);
}

}  // namespace fimd::lsp

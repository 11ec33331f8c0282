// `fimd lsp`: what an editor runs.
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "lsp/commands/commands.h"
#include "lsp/proxy.h"
#include "lsp/server.h"

namespace fimd::lsp {
namespace {

struct Args {
  bool in_process = false;
  bool stdio = false;
};

int run_proxy(const CommandContext& context) {
  boost::asio::io_context io(1);
  int code = 1;
  Proxy proxy(io, make_stream_transport(io, STDIN_FILENO, STDOUT_FILENO),
              {daemon_place(context.env, context.config()), context.executable},
              [&](int exit_code) {
                code = exit_code;
                io.stop();
              });
  proxy.start();
  io.run();
  return code;
}

int run_in_process(CommandContext& context) {
  int code = 1;
  {
    boost::asio::io_context io(1);
    Server server(io, std::move(context.loaded), "",
                  {.session_ended =
                       [&](int exit_code) {
                         code = exit_code;
                         io.stop();
                       },
                   .stop = [&] { io.stop(); }});
    server.add_session(make_stream_transport(io, STDIN_FILENO, STDOUT_FILENO));
    server.load_model();
    io.run();
  }
  return code;
}

}  // namespace

CommandSpec lsp_command() {
  auto args = std::make_shared<Args>();
  return {.name = "lsp",
          .summary = "Serve an editor on stdin and stdout; starts the daemon if none runs",
          .examples =
              "  fimd lsp                  what an editor's configuration runs\n"
              "  fimd lsp --in-process     without a daemon, for this editor alone",
          .declare =
              [args](Options& options) {
                options.flag("--in-process", &args->in_process,
                             "Complete in this process instead of the shared daemon");
                options.flag("--stdio", &args->stdio, "Accepted for editors that pass it");
              },
          .run =
              [args](CommandContext& context) {
                std::signal(SIGPIPE, SIG_IGN);
                const int code = args->in_process ? run_in_process(context) : run_proxy(context);
                // Threads that pump stdin or still load a model must not see destructors run.
                std::fflush(nullptr);
                std::_Exit(code);
                return code;
              },
          .is_server = true};
}

}  // namespace fimd::lsp

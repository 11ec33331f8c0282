// `fimd daemon`: the resident process, in the foreground.
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "lsp/commands/commands.h"
#include "lsp/daemon.h"
#include "lsp/daemon_start.h"
#include "support/log.h"

namespace fimd::lsp {
namespace {

struct Args {
  std::string socket;
  int idle_minutes = -1;
  int idle_seconds = -1;
  bool private_dir = false;
  int ready_fd = -1;
};

}  // namespace

CommandSpec daemon_command() {
  auto args = std::make_shared<Args>();
  return {
      .name = "daemon",
      .summary = "Run the resident daemon in the foreground",
      .examples =
          "  fimd daemon                         editors start one by themselves\n"
          "  FIMD_LOG=debug fimd daemon          watch what it does\n"
          "  fimd daemon --socket /run/user/1000/other.sock --idle-timeout 0",
      .declare =
          [args](Options& options) {
            options.option("--socket", &args->socket, "Listen there instead of daemon.socket");
            options.option("--idle-timeout", &args->idle_minutes,
                           "Minutes without an editor before it ends; 0 never, -1 as configured");
            options.hidden_option("--idle-seconds", &args->idle_seconds);
            options.hidden_flag("--private-dir", &args->private_dir);
            options.hidden_option("--ready-fd", &args->ready_fd);
          },
      .run =
          [args](CommandContext& context) {
            const DaemonPlace place = daemon_place(context.env, context.config());
            DaemonOptions options;
            options.socket = args->socket.empty() ? place.socket : args->socket;
            options.private_dir = args->private_dir || (args->socket.empty() && place.private_dir);
            const int64_t minutes = args->idle_minutes >= 0
                                        ? args->idle_minutes
                                        : context.config().integer("daemon.idle_timeout_minutes");
            options.idle_timeout_s =
                args->idle_seconds >= 0 ? args->idle_seconds : static_cast<int>(minutes * 60);
            options.ready_fd = args->ready_fd;
            if (const std::string& file = context.config().string("log.file"); !file.empty()) {
              const Status status = log::set_up(context.config().string("log.level"), place.log);
              if (!status.ok()) log::warn("{}", status.error().message);
            }
            const Status status = run_daemon(options, std::move(context.loaded));
            int code = 0;
            if (!status.ok()) code = fail(status.error().message);
            log::flush();
            std::fflush(nullptr);
            std::_Exit(code);  // a model that is still loading must not see destructors run
            return code;
          },
      .is_server = true};
}

}  // namespace fimd::lsp

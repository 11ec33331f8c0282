#include "lsp/daemon_start.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "lsp/paths.h"

namespace fimd::lsp {
namespace {

constexpr off_t kMaxLogBytes = off_t{8} << 20;  // then it becomes daemon.log.1

Result<int> open_log(const std::string& path) {
  const std::filesystem::path dir = std::filesystem::path(path).parent_path();
  std::error_code ignored;
  if (!std::filesystem::exists(dir, ignored)) FIMD_RETURN_IF_ERROR(make_private_dir(dir.string()));
  struct stat info = {};
  if (::stat(path.c_str(), &info) == 0 && info.st_size > kMaxLogBytes) {
    std::filesystem::rename(path, path + ".1", ignored);
  }
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) {
    return Error{ErrorCode::kIo, "cannot open the log " + path + ": " + std::strerror(errno)};
  }
  return fd;
}

// "NAME=value" with relative file names made absolute: the daemon does not stay in our directory.
std::vector<std::string> daemon_environment() {
  std::vector<std::string> out;
  std::error_code ignored;
  for (const auto& [name, value] : process_environment()) {
    const bool is_file = name == "FIMD_MODEL" || name == "FIMD_MODEL_PATH" ||
                         name == "FIMD_CONFIG" || name == "FIMD_LOG_FILE" ||
                         name == "FIMD_SOCKET" || name == "FIMD_DAEMON_SOCKET";
    const bool relative = is_file && !value.empty() && value[0] != '/' && value[0] != '~';
    out.push_back(name + "=" +
                  (relative ? std::filesystem::absolute(value, ignored).string() : value));
  }
  return out;
}

}  // namespace

DaemonPlace daemon_place(const Env& env, const Config& config) {
  return {socket_path(env, config), config.string("daemon.socket").empty(), log_path(env, config)};
}

Result<int> spawn_daemon(const std::string& executable, const DaemonPlace& place) {
  FIMD_ASSIGN_OR_RETURN(const int log, open_log(place.log));
  int ready[2] = {-1, -1};
  if (::pipe2(ready, O_CLOEXEC) != 0) {
    ::close(log);
    return Error{ErrorCode::kIo, std::string("cannot make a pipe: ") + std::strerror(errno)};
  }
  // All memory is prepared before the fork: after it only async-signal-safe calls are made.
  std::vector<std::string> arguments = {executable, "daemon",   "--ready-fd",
                                        "3",        "--socket", place.socket};
  if (place.private_dir) arguments.emplace_back("--private-dir");
  std::vector<std::string> variables = daemon_environment();
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  for (std::string& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    if (::fork() != 0) ::_exit(0);  // the grandchild belongs to init
    const int null = ::open("/dev/null", O_RDWR);
    // First out of the way of 0..3, then into place (dup2 clears close-on-exec).
    const int log_high = ::fcntl(log, F_DUPFD_CLOEXEC, 10);
    const int ready_high = ::fcntl(ready[1], F_DUPFD_CLOEXEC, 10);
    const int null_high = ::fcntl(null, F_DUPFD_CLOEXEC, 10);
    ::dup2(null_high, 0);
    ::dup2(null_high, 1);
    ::dup2(log_high, 2);
    ::dup2(ready_high, 3);
    ::umask(077);
    if (::chdir("/") != 0) ::_exit(126);
    ::execve(executable.c_str(), argv.data(), envp.data());
    ::_exit(127);
  }
  ::close(log);
  ::close(ready[1]);
  if (child < 0) {
    ::close(ready[0]);
    return Error{ErrorCode::kIo, std::string("cannot fork: ") + std::strerror(errno)};
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return ready[0];
}

}  // namespace fimd::lsp

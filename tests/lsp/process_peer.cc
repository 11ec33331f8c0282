#include "tests/lsp/process_peer.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "lsp/client.h"
#include "lsp/config.h"
#include "lsp/unix_socket.h"
#include "tests/json.h"

namespace fimd::lsp {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

// Generous: the machine may be busy, and nothing waits this long when all is well.
constexpr auto kDeadline = std::chrono::seconds(60);

int milliseconds_until(Clock::time_point deadline) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::max<int64_t>(0, left));
}

// Forks and runs a program with the given descriptors as stdin and stdout.
pid_t start(const Home& home, const std::string& program, const std::vector<std::string>& arguments,
            int in, int out) {
  std::vector<std::string> all = {program};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = home.environment();
  std::vector<char*> argv, envp;
  for (auto& argument : all) argv.push_back(argument.data());
  for (auto& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  const std::string log = home.dir() + "/stderr";
  const int err = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(err, 2);
    ::execve(program.c_str(), argv.data(), envp.data());
    ::_exit(127);
  }
  ::close(err);
  return pid;
}

}  // namespace

Home::Home() {
  std::string pattern = (std::filesystem::temp_directory_path() / "fimd-test-XXXXXX").string();
  REQUIRE(::mkdtemp(pattern.data()) != nullptr);
  dir_ = pattern;
}

Home::~Home() {
  (void)run({"stop"});
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

std::vector<std::string> Home::environment() const {
  std::map<std::string, std::string> all = {
      {"HOME", dir_},
      {"XDG_RUNTIME_DIR", dir_},
      {"XDG_CONFIG_HOME", dir_ + "/config"},
      {"XDG_STATE_HOME", dir_ + "/state"},
      {"FIMD_MODEL", std::filesystem::absolute("tests/fixtures/qwen2-tiny.gguf").string()},
      {"FIMD_ENGINE_KV_CACHE_MB", "16"},
      {"FIMD_ENGINE_THREADS", "1"},
      {"FIMD_EDITOR_REPORTS", "1"},
      {"FIMD_EDITOR_STATUS", "on"}};
  // What sanitizers are told must reach the processes under test.
  for (const auto& [name, value] : process_environment()) {
    if (name.ends_with("SAN_OPTIONS") || name == "LD_LIBRARY_PATH" || name == "PATH") {
      all[name] = value;
    }
  }
  for (const auto& [name, value] : variables) all[name] = value;
  std::vector<std::string> out;
  for (const auto& [name, value] : all) out.push_back(name + "=" + value);
  return out;
}

std::string Home::log() const {
  std::string all;
  for (const char* name : {"/stderr", "/state/fimd/daemon.log"}) {
    std::ifstream in(dir_ + name);
    all.append(std::istreambuf_iterator<char>(in), {});
  }
  return all;
}

std::pair<int, std::string> Home::run(const std::vector<std::string>& arguments) const {
  int out[2];
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const pid_t pid = start(*this, FIMD_BINARY, arguments, null, out[1]);
  ::close(out[1]);
  ::close(null);
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t n; (n = ::read(out[0], buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  ::close(out[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

pid_t Home::daemon_pid() const {
  auto client = Client::connect(socket());
  if (!client.ok()) return 0;
  const auto hello = client->call("fimd/hello", "null", 20000);
  if (!hello.ok()) return 0;
  return test::parse_json(*hello).value("pid", 0);
}

pid_t Home::wait_for_daemon() const {
  const auto deadline = Clock::now() + kDeadline;
  for (;;) {
    const pid_t pid = daemon_pid();
    if (pid != 0 || Clock::now() > deadline) return pid;
    ::poll(nullptr, 0, 5);  // there is nothing to wait on but the file's appearance
  }
}

ProcessPeer::~ProcessPeer() {
  close_input();
  if (out_ >= 0) ::close(out_);
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

void ProcessPeer::spawn(const Home& home, const std::vector<std::string>& arguments) {
  spawn_program(home, FIMD_BINARY, arguments);
}

void ProcessPeer::spawn_program(const Home& home, const std::string& program,
                                const std::vector<std::string>& arguments) {
  std::signal(SIGPIPE, SIG_IGN);
  int to[2], from[2];
  REQUIRE(::pipe2(to, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(from, O_CLOEXEC) == 0);
  pid_ = start(home, program, arguments, to[0], from[1]);
  ::close(to[0]);
  ::close(from[1]);
  in_ = to[1];
  out_ = from[0];
}

void ProcessPeer::connect(const std::string& socket) {
  std::signal(SIGPIPE, SIG_IGN);
  const auto fd = connect_socket(socket);
  REQUIRE(fd.ok());
  in_ = *fd;
  out_ = ::fcntl(*fd, F_DUPFD_CLOEXEC, 0);
}

void ProcessPeer::send(json message) {
  message["jsonrpc"] = "2.0";
  send_bytes(frame(test::dump_json(message)));
}

void ProcessPeer::send_bytes(const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(in_, bytes.data() + done, bytes.size() - done);
    if (n < 0) return;  // it ended; the test will see that
    done += static_cast<size_t>(n);
  }
}

void ProcessPeer::close_input() {
  if (in_ < 0) return;
  ::shutdown(in_, SHUT_WR);  // of a socket; fails harmlessly for a pipe
  ::close(in_);
  in_ = -1;
}

bool ProcessPeer::receive(int timeout_ms) {
  pollfd waiting = {out_, POLLIN, 0};
  if (ended_ || ::poll(&waiting, 1, timeout_ms) <= 0) return false;
  std::array<char, 65536> buffer;
  const ssize_t n = ::read(out_, buffer.data(), buffer.size());
  if (n <= 0) {
    ended_ = true;
    return false;
  }
  framer_.feed({buffer.data(), static_cast<size_t>(n)}, [&](FrameEvent event) {
    REQUIRE(event.kind == FrameEvent::Kind::kMessage);
    json message = test::parse_json(event.text);
    if (answer_requests && message.is_object() && message.contains("method") &&
        message.contains("id")) {
      send({{"id", message["id"]}, {"result", nullptr}});
    }
    inbox_.push_back(std::move(message));
  });
  return true;
}

json ProcessPeer::wait_for(const std::function<bool(const json&)>& accept) {
  const auto deadline = Clock::now() + kDeadline;
  size_t seen = 0;
  for (;;) {
    for (; seen < inbox_.size(); ++seen) {
      if (!accept(inbox_[seen])) continue;
      json found = inbox_[seen];
      inbox_.erase(inbox_.begin() + static_cast<std::ptrdiff_t>(seen));
      return found;
    }
    if (!receive(milliseconds_until(deadline))) return nullptr;
  }
}

json ProcessPeer::answer(const json& id) {
  return wait_for([&](const json& message) {
    return message.is_object() && !message.contains("method") && message.value("id", json()) == id;
  });
}

json ProcessPeer::notification(const std::string& method) {
  return wait_for([&](const json& message) {
    return message.is_object() && message.value("method", "") == method;
  });
}

int ProcessPeer::wait_exit() {
  const auto deadline = Clock::now() + kDeadline;
  while (!ended_ && Clock::now() < deadline) receive(milliseconds_until(deadline));
  if (!ended_) return -1;
  if (pid_ == 0) return 0;
  int status = 0;
  ::waitpid(std::exchange(pid_, 0), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool matches(const json& actual, const json& expected) {
  if (expected == "<any>") return true;
  if (expected == "<text>") return actual.is_string();
  if (expected == "<number>") return actual.is_number();
  if (expected.is_object()) {
    if (!actual.is_object()) return false;
    for (const auto& [key, value] : expected.items()) {
      if (!actual.contains(key) || !matches(actual[key], value)) return false;
    }
    return true;
  }
  if (expected.is_array()) {
    if (!actual.is_array() || actual.size() != expected.size()) return false;
    for (size_t i = 0; i < expected.size(); ++i) {
      if (!matches(actual[i], expected[i])) return false;
    }
    return true;
  }
  return actual == expected;
}

}  // namespace fimd::lsp

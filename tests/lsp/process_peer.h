// The other end of a real fimd: a process spoken to over its stdio, or its socket.
#pragma once

#include <sys/types.h>

#include <deque>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lsp/framing.h"

namespace fimd::lsp {

/// A folder of its own for one test: sockets, logs and configuration of the fimd it runs.
class Home {
 public:
  Home();
  ~Home();  // stops the daemon that runs there and removes the folder
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;

  const std::string& dir() const { return dir_; }
  std::string socket() const { return dir_ + "/fimd/fimd.sock"; }
  std::string log() const;
  /// "NAME=value" of what fimd runs with.
  std::vector<std::string> environment() const;
  std::map<std::string, std::string> variables;  // added to it

  /// Runs a command to its end: its exit code and what it printed.
  std::pair<int, std::string> run(const std::vector<std::string>& arguments) const;
  /// The process of the daemon that listens, or 0.
  pid_t daemon_pid() const;
  /// Waits until one listens.
  pid_t wait_for_daemon() const;

 private:
  std::string dir_;
};

class ProcessPeer {
 public:
  ~ProcessPeer();

  /// Runs `fimd ARGUMENTS` with pipes as stdin and stdout.
  void spawn(const Home& home, const std::vector<std::string>& arguments);
  void spawn_program(const Home& home, const std::string& program,
                     const std::vector<std::string>& arguments);
  /// Connects to the daemon's socket.
  void connect(const std::string& socket);

  void send(nlohmann::json message);
  void send_bytes(const std::string& bytes);
  void close_input();

  /// Takes the first message that `accept` likes, waiting for it; null after the deadline.
  nlohmann::json wait_for(const std::function<bool(const nlohmann::json&)>& accept);
  nlohmann::json answer(const nlohmann::json& id);
  nlohmann::json notification(const std::string& method);
  const std::deque<nlohmann::json>& inbox() const { return inbox_; }
  /// Answers requests of the server with null unless the test does so itself.
  bool answer_requests = true;

  /// The exit code once the process ended, -1 after the deadline; of a socket: 0 when closed.
  int wait_exit();
  pid_t pid() const { return pid_; }

 private:
  bool receive(int timeout_ms);  // false at the end or after the timeout

  pid_t pid_ = 0;
  int in_ = -1;   // to the process
  int out_ = -1;  // from it
  bool ended_ = false;
  MessageFramer framer_;
  std::deque<nlohmann::json> inbox_;
};

/// Every member of `expected` is in `actual` and matches it. "<any>" matches anything, "<text>" any
/// string, "<number>" any number; arrays match element by element.
bool matches(const nlohmann::json& actual, const nlohmann::json& expected);

}  // namespace fimd::lsp

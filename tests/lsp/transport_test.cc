// Streams and sockets of the operating system.
#include "lsp/transport.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <thread>

#include "lsp/paths.h"
#include "lsp/unix_socket.h"

namespace fimd::lsp {
namespace {

namespace asio = boost::asio;

// Runs the io thread until `done`; false if that does not happen in time.
bool run_until(asio::io_context& io, const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    io.restart();
    io.run_one_for(std::chrono::milliseconds(100));
  }
  return true;
}

struct Pair {
  asio::io_context io;
  int other = -1;
  std::unique_ptr<Transport> transport;
  std::vector<std::string> messages;
  std::vector<std::string> errors;
  std::optional<Status> closed;
  bool drained = false;
  std::function<void()> on_message;

  explicit Pair(StreamLimits limits = {}) {
    std::signal(SIGPIPE, SIG_IGN);
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    other = ends[1];
    transport = make_stream_transport(io, ends[0], ends[0], limits);
    transport->start({.message =
                          [this](std::string m) {
                            messages.push_back(std::move(m));
                            if (on_message) on_message();
                          },
                      .framing_error = [this](const FrameEvent& e) { errors.push_back(e.text); },
                      .closed = [this](Status s) { closed = std::move(s); },
                      .drained = [this] { drained = true; }});
  }
  ~Pair() {
    if (other >= 0) ::close(other);
  }
  void write(const std::string& bytes) {
    REQUIRE(::write(other, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  std::string read_all() {  // what can be read without waiting
    std::string out;
    std::string buffer(65536, '\0');
    for (ssize_t n; (n = ::recv(other, buffer.data(), buffer.size(), MSG_DONTWAIT)) > 0;) {
      out.append(buffer, 0, static_cast<size_t>(n));
    }
    return out;
  }
};

TEST_CASE("messages go both ways over a socket") {
  Pair p;
  p.write(frame("one") + "nonsense\n" + frame("two"));
  REQUIRE(run_until(p.io, [&] { return p.messages.size() == 2; }));
  CHECK(p.messages == std::vector<std::string>{"one", "two"});
  CHECK(p.errors.size() == 1);
  p.transport->send("answer");
  std::string got;
  REQUIRE(run_until(p.io, [&] { return (got += p.read_all()) == frame("answer"); }));
  ::close(std::exchange(p.other, -1));
  REQUIRE(run_until(p.io, [&] { return p.closed.has_value(); }));
  CHECK(p.closed->ok());
}

TEST_CASE("a handler that resumes reading does not disturb the messages that came with its own") {
  Pair p;
  const std::string more = frame(std::string(100, 'm'));
  p.on_message = [&] {
    if (p.messages.size() == 1) p.write(more);
    p.transport->pause_reading(false);
  };
  p.write(frame("one") + frame("two") + frame("three"));
  REQUIRE(run_until(p.io, [&] { return p.messages.size() + p.errors.size() >= 4; }));
  CHECK(p.errors.empty());
  CHECK(p.messages == std::vector<std::string>{"one", "two", "three", std::string(100, 'm')});
}

TEST_CASE("an end in the middle of a message is told") {
  Pair p;
  p.write("Content-Length: 10\r\n\r\n{");
  ::close(std::exchange(p.other, -1));
  REQUIRE(run_until(p.io, [&] { return p.closed.has_value(); }));
  CHECK_FALSE(p.closed->ok());
}

TEST_CASE("a peer that does not read: drops, then waits, then loses the connection") {
  Pair p({.framing = {},
          .drop_above = 100'000,
          .stop_reading_above = 1'000'000,
          .close_above = 4'000'000});
  const std::string large(300'000, 'x');
  while (p.transport->pending_bytes() <= 1'000'000) p.transport->send(large);
  CHECK(p.transport->congested());
  const size_t before = p.transport->pending_bytes();
  p.transport->send("progress", Delivery::kDroppable);
  CHECK(p.transport->pending_bytes() == before);
  p.write(frame("not read yet"));
  p.io.restart();
  p.io.run_for(std::chrono::milliseconds(20));
  CHECK(p.messages.size() <= 1);  // at most what was being read already

  // It reads after all: everything arrives, and its own message is read.
  std::string got;
  REQUIRE(run_until(p.io, [&] {
    got += p.read_all();
    return p.drained && !p.messages.empty();
  }));
  CHECK(p.transport->pending_bytes() == 0);

  while (!p.closed && p.transport->pending_bytes() < 10'000'000) {
    p.transport->send(large);
    p.io.restart();
    p.io.poll();
  }
  REQUIRE(p.closed.has_value());
  CHECK(p.closed->error().code == ErrorCode::kResourceExhausted);
}

TEST_CASE("what was sent before closing arrives") {
  Pair p;
  const std::string large(3'000'000, 'y');
  p.transport->send(large);
  p.transport->close_after_flush();
  p.transport->send("too late");
  std::string got;
  REQUIRE(run_until(p.io, [&] {
    got += p.read_all();
    return p.closed.has_value();
  }));
  got += p.read_all();
  CHECK(got == frame(large));
}

TEST_CASE("regular files and /dev/null serve as input and output") {
  const auto dir =
      std::filesystem::temp_directory_path() / ("fimd-transport-" + std::to_string(::getpid()));
  std::filesystem::create_directories(dir);
  std::ofstream(dir / "in", std::ios::binary) << frame("from a file");
  asio::io_context io;
  const int in = ::open((dir / "in").c_str(), O_RDONLY);
  const int out = ::open((dir / "out").c_str(), O_WRONLY | O_CREAT, 0600);
  std::vector<std::string> messages;
  bool closed = false;
  auto transport = make_stream_transport(io, in, out);
  transport->start({.message = [&](std::string m) { messages.push_back(std::move(m)); },
                    .framing_error = nullptr,
                    .closed = [&](const Status&) { closed = true; },
                    .drained = nullptr});
  transport->send("to a file");
  REQUIRE(run_until(io, [&] { return closed; }));
  CHECK(messages == std::vector<std::string>{"from a file"});
  std::ifstream check(dir / "out", std::ios::binary);
  CHECK(std::string(std::istreambuf_iterator<char>(check), {}) == frame("to a file"));
  std::filesystem::remove_all(dir);
}

TEST_CASE("the socket is private, owned once, and a stale one is replaced") {
  const std::string dir =
      (std::filesystem::temp_directory_path() / ("fimd-socket-" + std::to_string(::getpid())))
          .string();
  REQUIRE(make_private_dir(dir).ok());
  const std::string path = dir + "/s";
  CHECK(connect_socket(path).error().code == ErrorCode::kUnavailable);
  struct stat info = {};
  {
    SocketOwner owner;
    REQUIRE(owner.lock(path).ok());
    const auto fd = owner.listen();
    REQUIRE(fd.ok());
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    REQUIRE(::stat(dir.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0700);
    const auto client = connect_socket(path);
    REQUIRE(client.ok());
    CHECK(peer_is_same_user(*client));
    ::close(*client);
    SocketOwner second;
    CHECK(second.lock(path).error().code == ErrorCode::kUnavailable);
    CHECK(owner.intact());
    ::unlink(path.c_str());
    CHECK_FALSE(owner.intact());
    const auto again = owner.listen();
    REQUIRE(again.ok());
    CHECK(owner.intact());
    ::close(*fd);
    ::close(*again);
  }
  CHECK(::stat(path.c_str(), &info) != 0);  // removed by its owner

  {  // What a killed daemon leaves: a socket file that nobody listens on.
    SocketOwner* dead = new SocketOwner;
    REQUIRE(dead->lock(path).ok());
    const auto fd = dead->listen();
    REQUIRE(fd.ok());
    ::close(*fd);
    std::filesystem::rename(path, path + "2");
    delete dead;
    std::filesystem::rename(path + "2", path);
  }
  CHECK(connect_socket(path).error().code == ErrorCode::kUnavailable);
  {
    SocketOwner owner;
    REQUIRE(owner.lock(path).ok());
    const auto fd = owner.listen();
    REQUIRE(fd.ok());
    const auto client = connect_socket(path);
    CHECK(client.ok());
    if (client.ok()) ::close(*client);
    ::close(*fd);
  }
  std::ofstream(path) << "not a socket";
  SocketOwner owner;
  REQUIRE(owner.lock(path).ok());
  CHECK(owner.listen().error().message.find("not a socket") != std::string::npos);
  CHECK(connect_socket(std::string(200, 'p')).error().code == ErrorCode::kInvalidArgument);
  std::filesystem::remove_all(dir);
}

TEST_CASE("a directory that is open to others is closed, a foreign one refused") {
  const std::string dir =
      (std::filesystem::temp_directory_path() / ("fimd-dir-" + std::to_string(::getpid())))
          .string();
  std::filesystem::create_directories(dir);
  ::chmod(dir.c_str(), 0755);
  REQUIRE(make_private_dir(dir).ok());
  struct stat info = {};
  REQUIRE(::stat(dir.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0700);
  std::filesystem::create_directory_symlink(dir, dir + ".link");
  CHECK_FALSE(make_private_dir(dir + ".link").ok());
  std::filesystem::remove(dir + ".link");
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace fimd::lsp

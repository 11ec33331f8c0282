#include "lsp/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "lsp/framing.h"
#include "lsp/json_text.h"
#include "lsp/unix_socket.h"
#include "support/clock.h"

namespace fimd::lsp {

using nlohmann::json;

namespace {
constexpr size_t kMaxKept = 1000;
}

struct Client::State {
  explicit State(int descriptor) : fd(descriptor) {}
  ~State() { ::close(fd); }

  int fd;
  int next_id = 0;
  MessageFramer framer;
  std::map<int, json> answers;
  std::deque<std::pair<std::string, std::string>> notifications;  // method, parameters
  Client::Listener listener;

  void take(const std::string& body) {
    auto message = parse_json(body);
    if (!message.ok() || !message->is_object()) return;
    const auto id = message->find("id");
    const std::string method = string_member(*message, "method");
    if (method.empty()) {
      if (id != message->end() && id->is_number_integer()) {
        const int key = id->get<int>();  // before the message moves
        answers[key] = std::move(*message);
      }
    } else if (id != message->end()) {
      (void)send(R"({"jsonrpc":"2.0","id":)" + dump_json(*id) + R"(,"result":null})");
    } else if (listener) {
      listener(method, dump_json(message->value("params", json())));
    } else {
      if (notifications.size() >= kMaxKept) notifications.pop_front();
      notifications.emplace_back(method, dump_json(message->value("params", json())));
    }
  }

  Status send(const std::string& body) {
    const std::string bytes = frame(body);
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t n = ::send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        return Error{ErrorCode::kUnavailable,
                     std::string("the daemon closed the connection: ") + std::strerror(errno)};
      }
      done += static_cast<size_t>(n);
    }
    return {};
  }

  // Bytes read and taken; 0 at the end.
  Result<size_t> receive(double timeout_ms) {
    pollfd waiting = {fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::max(0.0, timeout_ms)));
    if (ready < 0 && errno == EINTR) return size_t{1};
    if (ready <= 0) return Error{ErrorCode::kUnavailable, "the daemon does not answer"};
    std::array<char, 65536> buffer;
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n <= 0) return size_t{0};
    bool broken = false;
    framer.feed({buffer.data(), static_cast<size_t>(n)}, [&](FrameEvent event) {
      if (event.kind == FrameEvent::Kind::kMessage) {
        take(event.text);
      } else {
        broken = true;
      }
    });
    if (broken) return Error{ErrorCode::kCorrupt, "the daemon sent something that is not LSP"};
    return static_cast<size_t>(n);
  }
};

Result<Client> Client::connect(const std::string& socket) {
  FIMD_ASSIGN_OR_RETURN(const int fd, connect_socket(socket));
  return Client(fd);
}

Client::Client(int fd) : state_(std::make_unique<State>(fd)) {}
Client::~Client() = default;
Client::Client(Client&& other) noexcept = default;
Client& Client::operator=(Client&& other) noexcept = default;

Result<std::string> Client::call(std::string_view method, const std::string& params,
                                 int timeout_ms) {
  const int id = ++state_->next_id;
  FIMD_RETURN_IF_ERROR(state_->send(R"({"jsonrpc":"2.0","id":)" + std::to_string(id) +
                                    R"(,"method":)" + quote_json(method) + R"(,"params":)" +
                                    params + "}"));
  const Stopwatch watch;
  for (;;) {
    if (const auto it = state_->answers.find(id); it != state_->answers.end()) {
      const json message = std::move(it->second);
      state_->answers.erase(it);
      if (const auto error = message.find("error"); error != message.end()) {
        const std::string text = string_member(*error, "message");
        return Error{ErrorCode::kUnavailable, text.empty() ? dump_json(*error) : text};
      }
      return dump_json(message.value("result", json()));
    }
    FIMD_ASSIGN_OR_RETURN(const size_t n, state_->receive(timeout_ms - watch.elapsed_ms()));
    if (n == 0) return Error{ErrorCode::kUnavailable, "the daemon closed the connection"};
  }
}

Result<std::string> Client::wait_notification(std::string_view method, int timeout_ms) {
  const Stopwatch watch;
  for (;;) {
    while (!state_->notifications.empty()) {
      auto [name, params] = std::move(state_->notifications.front());
      state_->notifications.pop_front();
      if (name == method) return params;
    }
    FIMD_ASSIGN_OR_RETURN(const size_t n, state_->receive(timeout_ms - watch.elapsed_ms()));
    if (n == 0) return Error{ErrorCode::kUnavailable, "the daemon closed the connection"};
  }
}

Status Client::notify(std::string_view method, const std::string& params) {
  return state_->send(R"({"jsonrpc":"2.0","method":)" + quote_json(method) + R"(,"params":)" +
                      params + "}");
}

void Client::listen(Listener listener) { state_->listener = std::move(listener); }

Status Client::wait_closed(int timeout_ms) {
  const Stopwatch watch;
  for (;;) {
    FIMD_ASSIGN_OR_RETURN(const size_t n, state_->receive(timeout_ms - watch.elapsed_ms()));
    if (n == 0) return {};
  }
}

}  // namespace fimd::lsp

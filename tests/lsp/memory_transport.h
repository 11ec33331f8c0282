// A transport whose other end is the test: what is sent is kept, what arrives is handed in.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lsp/transport.h"
#include "tests/json.h"

namespace fimd::lsp {

struct MemoryPeer {
  Transport::Handlers handlers;
  std::vector<nlohmann::json> sent;
  bool closed = false;

  void receive_text(const std::string& body) {
    const auto handler = handlers.message;
    if (handler) handler(body);
  }
  void receive(nlohmann::json message) {
    message["jsonrpc"] = "2.0";
    receive_text(test::dump_json(message));
  }
  /// Takes the answer to `id` out of what was sent; null if there is none.
  nlohmann::json take_answer(const nlohmann::json& id) {
    for (auto it = sent.begin(); it != sent.end(); ++it) {
      if (it->is_object() && it->value("id", nlohmann::json()) == id && !it->contains("method")) {
        nlohmann::json found = *it;
        sent.erase(it);
        return found;
      }
    }
    return nullptr;
  }
  /// The same for a notification or request of that method.
  nlohmann::json take(const std::string& method) {
    for (auto it = sent.begin(); it != sent.end(); ++it) {
      if (it->is_object() && it->value("method", "") == method) {
        nlohmann::json found = *it;
        sent.erase(it);
        return found;
      }
    }
    return nullptr;
  }
};

class MemoryTransport : public Transport {
 public:
  explicit MemoryTransport(std::shared_ptr<MemoryPeer> peer) : peer_(std::move(peer)) {}

  void start(Handlers handlers) override { peer_->handlers = std::move(handlers); }
  void send(std::string body, Delivery) override {
    if (!peer_->closed) peer_->sent.push_back(test::parse_json(body));
  }
  void close_after_flush() override {
    peer_->closed = true;
    const auto closed = peer_->handlers.closed;
    if (closed) closed({});
  }
  void close() override { peer_->closed = true; }
  void pause_reading(bool) override {}
  bool congested() const override { return false; }
  size_t pending_bytes() const override { return 0; }

 private:
  std::shared_ptr<MemoryPeer> peer_;
};

}  // namespace fimd::lsp

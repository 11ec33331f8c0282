// Transport: whole JSON-RPC messages over a byte stream.
//
// The stream form frames messages, writes them without blocking and bounds its memory: a peer that
// does not read first loses what may be dropped, then is not read from any more, then is
// disconnected. Owner: the RpcConnection on top. Thread: the io thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "lsp/framing.h"
#include "support/result.h"

namespace boost::asio {
class io_context;
}

namespace fimd::lsp {

enum class Delivery {
  kMust,
  kDroppable,  // progress, status: lost when the peer is slow
};

class Transport {
 public:
  struct Handlers {
    std::function<void(std::string body)> message;
    /// The peer's bytes were not a message (kTooLarge, kError, kFatal).
    std::function<void(const FrameEvent&)> framing_error;
    /// Once, last: the peer closed (ok), or the stream failed.
    std::function<void(Status)> closed;
    /// The peer has read everything after it was far behind (may be empty).
    std::function<void()> drained;
  };

  virtual ~Transport() = default;

  /// Begins to read. Handlers are never called from inside a method of the transport.
  virtual void start(Handlers handlers) = 0;
  virtual void send(std::string body, Delivery delivery = Delivery::kMust) = 0;
  /// Sends what is queued, then closes; `closed` follows.
  virtual void close_after_flush() = 0;
  /// Closes now; no handler is called any more.
  virtual void close() = 0;
  /// Reads nothing more until resumed: whoever takes the messages is behind.
  virtual void pause_reading(bool paused) = 0;
  /// The peer is so far behind that its own messages wait.
  virtual bool congested() const = 0;
  /// Bytes queued and not yet taken by the peer.
  virtual size_t pending_bytes() const = 0;
};

struct StreamLimits {
  FramingLimits framing;
  size_t drop_above = size_t{1} << 20;          // droppable messages are dropped
  size_t stop_reading_above = size_t{8} << 20;  // requests of a peer that does not read wait
  size_t close_above = size_t{128} << 20;       // the peer is given up
};

/// Owns the descriptors (which may be the same, for a socket) and makes them non-blocking. Those
/// that cannot be waited for (regular files, /dev/null) work too. SIGPIPE must be ignored.
std::unique_ptr<Transport> make_stream_transport(boost::asio::io_context& io, int read_fd,
                                                 int write_fd, StreamLimits limits = {});

}  // namespace fimd::lsp

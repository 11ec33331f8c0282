#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <string_view>
#include <thread>
#include <utility>

#include "lsp/transport.h"

namespace fimd::lsp {
namespace {

namespace asio = boost::asio;

// Regular files and /dev/null cannot be waited for: epoll refuses them.
bool pollable(int fd) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return true;
  epoll_event event = {};
  const bool ok = ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 || errno != EPERM;
  ::close(epoll);
  return ok;
}

// Copies such an input through a pipe. The thread ends at the end of the file or when the pipe's
// reader goes away (SIGPIPE is ignored), so it may be detached.
int pump(int fd) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return fd;
  std::thread([fd, out = ends[1]] {
    std::array<char, 16384> buffer;
    bool ok = true;
    for (ssize_t n = 0; ok && (n = ::read(fd, buffer.data(), buffer.size())) > 0;) {
      for (ssize_t done = 0; ok && done < n;) {
        const ssize_t written = ::write(out, buffer.data() + done, static_cast<size_t>(n - done));
        ok = written > 0;
        done += written;
      }
    }
    ::close(out);
    ::close(fd);
  }).detach();
  return ends[0];
}

// Kept alive by its pending operations; the StreamTransport in front of it may go first.
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  Stream(asio::io_context& io, int read_fd, int write_fd, StreamLimits limits)
      : io_(io), limits_(limits), framer_(limits.framing), in_(io), out_(io) {
    // A socket is one descriptor in both roles, but each object owns one: duplicate it.
    const int out = write_fd == read_fd ? ::fcntl(write_fd, F_DUPFD_CLOEXEC, 0) : write_fd;
    boost::system::error_code error;
    in_.assign(pollable(read_fd) ? read_fd : pump(read_fd), error);
    if (!error && pollable(out)) {
      out_.assign(out, error);
    } else {
      blocking_fd_ = out;
    }
    if (error) {
      bad_ = Error{ErrorCode::kIo, "the connection cannot be used: " + error.message()};
    }
  }

  ~Stream() {
    if (blocking_fd_ >= 0) ::close(blocking_fd_);
  }

  void start(Transport::Handlers handlers) {
    handlers_ = std::move(handlers);
    if (!bad_.ok()) finish(bad_);
    read();
  }

  void send(const std::string& body, Delivery delivery) {
    if (!open_ || closing_) return;
    const size_t pending = pending_bytes();
    if (delivery == Delivery::kDroppable && pending > limits_.drop_above) return;
    if (pending > limits_.close_above) {
      finish(Error{ErrorCode::kResourceExhausted,
                   "the peer does not read: " + std::to_string(pending) + " bytes wait for it"});
      return;
    }
    queue_ += frame(body);
    was_congested_ = was_congested_ || congested();
    write();
  }

  void close_after_flush() {
    if (!open_) return;
    closing_ = true;
    if (pending_bytes() == 0) finish(end_);
  }

  void close() {
    muted_ = true;  // the handlers themselves may be running: they are destroyed later
    finish({});
  }

  void pause_reading(bool paused) {
    paused_ = paused;
    read();
  }

  bool congested() const { return pending_bytes() > limits_.stop_reading_above; }
  size_t pending_bytes() const { return queue_.size() + writing_.size(); }

 private:
  void read() {
    if (!open_ || closing_ || reading_ || feeding_ || paused_ || congested()) return;
    if (!handlers_.message) return;  // not started
    reading_ = true;
    in_.async_read_some(asio::buffer(buffer_),
                        [self = shared_from_this()](boost::system::error_code error, size_t n) {
                          self->reading_ = false;
                          self->on_read(error, n);
                        });
  }

  void on_read(boost::system::error_code error, size_t n) {
    if (!open_) return;
    if (error) {
      if (error == asio::error::eof || error == asio::error::connection_reset) {
        if (!framer_.at_boundary() && !closing_) {
          end_ = Error{ErrorCode::kIo, "the peer closed in the middle of a message"};
        }
        close_after_flush();  // it may still read what was asked for
      } else {
        finish(Error{ErrorCode::kIo, "reading failed: " + error.message()});
      }
      return;
    }
    // Handlers may call pause_reading(false), and asio tries to read at once: not into the buffer
    // that is being taken apart.
    feeding_ = true;
    framer_.feed({buffer_.data(), n}, [this](FrameEvent event) {
      if (!open_ || closing_) return;
      if (event.kind == FrameEvent::Kind::kMessage) {
        if (handlers_.message) handlers_.message(std::move(event.text));
      } else if (handlers_.framing_error) {
        handlers_.framing_error(event);
      }
    });
    feeding_ = false;
    if (framer_.dead()) {
      close_after_flush();
      return;
    }
    read();
  }

  void write() {
    if (!open_ || !writing_.empty() || queue_.empty()) return;
    if (blocking_fd_ >= 0) {
      write_blocking();
      return;
    }
    writing_.swap(queue_);
    asio::async_write(out_, asio::buffer(writing_),
                      [self = shared_from_this()](boost::system::error_code error, size_t) {
                        self->on_written(error);
                      });
  }

  void write_blocking() {
    std::string_view rest = queue_;
    while (!rest.empty()) {
      const ssize_t n = ::write(blocking_fd_, rest.data(), rest.size());
      if (n <= 0) break;
      rest.remove_prefix(static_cast<size_t>(n));
    }
    const bool ok = rest.empty();
    queue_.clear();
    if (!ok) finish(Error{ErrorCode::kIo, "writing failed"});
  }

  void on_written(boost::system::error_code error) {
    writing_.clear();
    if (!open_) return;
    if (error) {
      finish(Error{ErrorCode::kIo, "writing failed: " + error.message()});
      return;
    }
    if (writing_.capacity() > limits_.drop_above) writing_.shrink_to_fit();
    write();
    if (closing_ && pending_bytes() == 0) {
      finish(end_);
      return;
    }
    if (was_congested_ && pending_bytes() == 0) {
      was_congested_ = false;
      if (handlers_.drained && !muted_) handlers_.drained();
    }
    read();  // resumes once the peer has read enough
  }

  void finish(Status status) {
    if (!open_) return;
    open_ = false;
    boost::system::error_code ignored;
    in_.close(ignored);
    out_.close(ignored);
    asio::post(io_, [self = shared_from_this(), status = std::move(status)] {
      auto closed = std::move(self->handlers_.closed);
      self->handlers_ = {};
      if (closed && !self->muted_) closed(status);
    });
  }

  asio::io_context& io_;
  StreamLimits limits_;
  MessageFramer framer_;
  asio::posix::stream_descriptor in_;
  asio::posix::stream_descriptor out_;
  Transport::Handlers handlers_;
  std::array<char, 64 * 1024> buffer_;
  std::string queue_;    // frames not yet given to the kernel
  std::string writing_;  // frames being written
  bool open_ = true;
  bool reading_ = false;
  bool feeding_ = false;  // buffer_ is in use
  bool closing_ = false;
  bool muted_ = false;
  bool paused_ = false;
  bool was_congested_ = false;
  int blocking_fd_ = -1;  // an output that cannot be waited for
  Status bad_;            // the descriptors were of no use
  Status end_;            // what `closed` will say after a flush
};

class StreamTransport : public Transport {
 public:
  explicit StreamTransport(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}
  ~StreamTransport() override { stream_->close(); }

  void start(Handlers handlers) override { stream_->start(std::move(handlers)); }
  void send(std::string body, Delivery delivery) override { stream_->send(body, delivery); }
  void close_after_flush() override { stream_->close_after_flush(); }
  void close() override { stream_->close(); }
  void pause_reading(bool paused) override { stream_->pause_reading(paused); }
  bool congested() const override { return stream_->congested(); }
  size_t pending_bytes() const override { return stream_->pending_bytes(); }

 private:
  std::shared_ptr<Stream> stream_;
};

}  // namespace

std::unique_ptr<Transport> make_stream_transport(asio::io_context& io, int read_fd, int write_fd,
                                                 StreamLimits limits) {
  return std::make_unique<StreamTransport>(std::make_shared<Stream>(io, read_fd, write_fd, limits));
}

}  // namespace fimd::lsp

// Unix-domain sockets between processes of one user. Thread: any; descriptors are the caller's.
#pragma once

#include <string>

#include "support/result.h"

namespace fimd::lsp {

/// A connected socket. kUnavailable if nobody listens there.
Result<int> connect_socket(const std::string& path);

/// Sole owner of a socket path: a lock file beside it is held for the object's life, so a socket
/// file found there is stale and replaced. The socket has mode 0600.
class SocketOwner {
 public:
  SocketOwner() = default;
  ~SocketOwner();
  SocketOwner(const SocketOwner&) = delete;
  SocketOwner& operator=(const SocketOwner&) = delete;

  /// kUnavailable if another process owns the path.
  Status lock(const std::string& path);
  /// Binds and listens; the descriptor is the caller's. May be called again if the file is lost.
  Result<int> listen();
  /// The file at the path is the socket of the last listen().
  bool intact() const;
  void remove();

 private:
  std::string path_;
  int lock_fd_ = -1;
  unsigned long inode_ = 0;
};

/// The process at the other end runs as our user (SO_PEERCRED).
bool peer_is_same_user(int fd);

}  // namespace fimd::lsp

#include "lsp/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>

namespace fimd::lsp {
namespace {

Error system_error(const std::string& what) {
  return {ErrorCode::kIo, what + ": " + std::strerror(errno)};
}

Result<sockaddr_un> address(const std::string& path) {
  sockaddr_un out = {};
  out.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof out.sun_path) {
    return Error{ErrorCode::kInvalidArgument,
                 "the socket path '" + path + "' has " + std::to_string(path.size()) +
                     " bytes; at most " + std::to_string(sizeof out.sun_path - 1) +
                     " are possible: set daemon.socket to a shorter one"};
  }
  std::memcpy(out.sun_path, path.c_str(), path.size() + 1);
  return out;
}

}  // namespace

bool peer_is_same_user(int fd) {
  ucred peer = {};
  socklen_t size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid();
}

Result<int> connect_socket(const std::string& path) {
  FIMD_ASSIGN_OR_RETURN(const sockaddr_un to, address(path));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return system_error("cannot make a socket");
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    const int error = errno;
    ::close(fd);
    if (error == ENOENT || error == ENOTDIR || error == ECONNREFUSED || error == EAGAIN) {
      return Error{ErrorCode::kUnavailable, "no daemon listens on " + path};
    }
    errno = error;
    return system_error("cannot connect to " + path);
  }
  if (!peer_is_same_user(fd)) {
    ::close(fd);
    return Error{ErrorCode::kIo, path + " is served by another user's process"};
  }
  return fd;
}

SocketOwner::~SocketOwner() {
  remove();
  if (lock_fd_ >= 0) ::close(lock_fd_);  // releases the lock; the file stays
}

Status SocketOwner::lock(const std::string& path) {
  FIMD_RETURN_IF_ERROR(address(path));
  path_ = path;
  const std::string lock_path = path + ".lock";
  lock_fd_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_fd_ < 0) return system_error("cannot open " + lock_path);
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return system_error("cannot lock " + lock_path);
    ::close(lock_fd_);
    lock_fd_ = -1;
    return Error{ErrorCode::kUnavailable, "a daemon owns " + path + " already"};
  }
  return {};
}

Result<int> SocketOwner::listen() {
  FIMD_ASSIGN_OR_RETURN(const sockaddr_un at, address(path_));
  struct stat info = {};
  if (::lstat(path_.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) {
      return Error{ErrorCode::kIo, path_ + " exists and is not a socket: remove it"};
    }
    ::unlink(path_.c_str());  // stale: whoever made it no longer holds the lock
  }
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return system_error("cannot make a socket");
  const mode_t old_mask = ::umask(0177);  // never, not even briefly, open to others
  const bool bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0;
  const int error = errno;
  ::umask(old_mask);
  errno = error;
  if (!bound || ::listen(fd, 64) != 0 || ::lstat(path_.c_str(), &info) != 0) {
    const Error failure = system_error("cannot listen on " + path_);
    ::close(fd);
    return failure;
  }
  inode_ = info.st_ino;
  return fd;
}

bool SocketOwner::intact() const {
  struct stat info = {};
  return ::lstat(path_.c_str(), &info) == 0 && S_ISSOCK(info.st_mode) && info.st_ino == inode_;
}

void SocketOwner::remove() {
  if (lock_fd_ >= 0 && inode_ != 0 && intact()) ::unlink(path_.c_str());
  inode_ = 0;
}

}  // namespace fimd::lsp

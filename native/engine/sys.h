#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#endif

#include <cerrno>
#include <cstdint>

/// The border to the kernel: every system call of the engines goes through here, so that tests can fail each one.
/// Calls that a signal may interrupt are repeated here; only waits and close() show EINTR.
namespace sluice::sys {

#ifdef SLUICE_FAULTS
/// Native tests: asked before each call by this thread; returns the errno to fail with, or 0 to let it through.
using FaultHook = int (*)(const char* call);
inline thread_local FaultHook faultHook = nullptr;

/// True when this call is to fail; errno is set then.
inline bool fault(const char* call) {
  const int error = faultHook ? faultHook(call) : 0;
  if (error != 0) errno = error;
  return error != 0;
}
#else
constexpr bool fault(const char*) { return false; }
#endif

/// One call, or its injected failure.
template <class Call>
inline auto once(const char* name, Call call) -> decltype(call()) {
  return fault(name) ? -1 : call();
}

/// The same, repeated while signals interrupt it.
template <class Call>
inline auto retried(const char* name, Call call) -> decltype(call()) {
  for (;;) {
    const auto result = once(name, call);
    if (result >= 0 || errno != EINTR) return result;
  }
}

#ifdef MSG_NOSIGNAL
inline constexpr int sendFlags = MSG_NOSIGNAL;
#else
inline constexpr int sendFlags = 0;  // macOS: SO_NOSIGPIPE on the socket instead
#endif

inline ssize_t recv(int fd, void* to, size_t length) {
  return retried("recv", [=] { return ::recv(fd, to, length, 0); });
}
inline ssize_t send(int fd, const void* from, size_t length) {
  return retried("send", [=] { return ::send(fd, from, length, sendFlags); });
}
inline ssize_t sendmsg(int fd, const msghdr* message) {
  return retried("sendmsg", [=] { return ::sendmsg(fd, message, sendFlags); });
}
/// How much of `length` was sent; 0 when the file ends at `offset`. Raises SIGPIPE where the system has no way to do
/// without, which Node ignores.
inline ssize_t sendfile(int fd, int file, uint64_t offset, size_t length) {
  (void)fd, (void)file, (void)offset, (void)length;
#if defined(__linux__)
  return retried("sendfile", [=] {
    auto at = static_cast<off_t>(offset);
    return ::sendfile(fd, file, &at, length);
  });
#elif defined(__APPLE__)
  // A short count comes with EAGAIN or EINTR, and is none.
  return retried("sendfile", [=]() -> ssize_t {
    auto count = static_cast<off_t>(length);
    const int result = ::sendfile(file, fd, static_cast<off_t>(offset), &count, nullptr, 0);
    return result == 0 || count > 0 ? static_cast<ssize_t>(count) : -1;
  });
#else
  errno = ENOSYS;
  return -1;
#endif
}
#if defined(__linux__) || defined(__APPLE__)
inline constexpr bool hasSendfile = true;
#else
inline constexpr bool hasSendfile = false;
#endif

/// Moves bytes between a pipe and a socket, without waiting; 0 when the socket has ended.
inline ssize_t splice(int from, int to, size_t length) {
  (void)from, (void)to, (void)length;
#ifdef __linux__
  return retried("splice",
                 [=] { return ::splice(from, nullptr, to, nullptr, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK); });
#else
  errno = ENOSYS;
  return -1;
#endif
}
#ifdef __linux__
inline constexpr bool hasSplice = true;
#else
inline constexpr bool hasSplice = false;
#endif

inline int socket(int family, int type, int protocol) {
  return retried("socket", [=] { return ::socket(family, type, protocol); });
}
inline int bind(int fd, const sockaddr* address, socklen_t length) {
  return retried("bind", [=] { return ::bind(fd, address, length); });
}
inline int listen(int fd, int backlog) {
  return retried("listen", [=] { return ::listen(fd, backlog); });
}
inline int connect(int fd, const sockaddr* address, socklen_t length) {
  return retried("connect", [=] { return ::connect(fd, address, length); });
}
inline int shutdown(int fd, int how) {
  return retried("shutdown", [=] { return ::shutdown(fd, how); });
}
inline int setsockopt(int fd, int level, int option, const void* value, socklen_t length) {
  return retried("setsockopt", [=] { return ::setsockopt(fd, level, option, value, length); });
}
inline int getsockopt(int fd, int level, int option, void* value, socklen_t* length) {
  return retried("getsockopt", [=] { return ::getsockopt(fd, level, option, value, length); });
}
inline int getsockname(int fd, sockaddr* address, socklen_t* length) {
  return retried("getsockname", [=] { return ::getsockname(fd, address, length); });
}
inline int getpeername(int fd, sockaddr* address, socklen_t* length) {
  return retried("getpeername", [=] { return ::getpeername(fd, address, length); });
}
inline int fcntl(int fd, int command, int argument = 0) {
  return retried("fcntl", [=] { return ::fcntl(fd, command, argument); });
}
inline ssize_t read(int fd, void* to, size_t length) {
  return retried("read", [=] { return ::read(fd, to, length); });
}
inline ssize_t write(int fd, const void* from, size_t length) {
  return retried("write", [=] { return ::write(fd, from, length); });
}
inline int pipe(int ends[2]) {
  return once("pipe", [=] { return ::pipe(ends); });
}
inline int poll(pollfd* fds, nfds_t count, int timeout) {
  return once("poll", [=] { return ::poll(fds, count, timeout); });
}
/// An injected failure closes all the same: the descriptor is gone whatever close(2) says.
inline int close(int fd) {
  const int closed = ::close(fd);
  return once("close", [=] { return closed; });
}

/// Accepts a non-blocking, close-on-exec descriptor.
inline int accept(int fd) {
#ifdef __linux__
  return retried("accept", [=] { return ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); });
#else
  return retried("accept", [=] { return ::accept(fd, nullptr, nullptr); });
#endif
}

#ifdef __linux__
inline int epollCreate() {
  return once("epoll_create1", [] { return ::epoll_create1(EPOLL_CLOEXEC); });
}
inline int epollCtl(int epoll, int operation, int fd, epoll_event* event) {
  return retried("epoll_ctl", [=] { return ::epoll_ctl(epoll, operation, fd, event); });
}
inline int epollWait(int epoll, epoll_event* events, int count, int timeout) {
  return once("epoll_wait", [=] { return ::epoll_wait(epoll, events, count, timeout); });
}
inline int eventfd() {
  return once("eventfd", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
}
#endif

}  // namespace sluice::sys

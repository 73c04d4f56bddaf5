#include "engine/kernel_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <utility>

#include "engine/sys.h"

namespace sluice::kernel_socket {

namespace {

Error lastError(const char* syscall) { return systemError(errno, syscall); }

/// Owns a descriptor until it is handed on.
class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  ~OwnedFd() {
    if (fd_ >= 0) closeFd(fd_);
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  int get() const { return fd_; }
  int handOn() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

Result<void> setInt(int fd, int level, int name, int value, const char* syscall) {
  if (sys::setsockopt(fd, level, name, &value, sizeof value) < 0) return lastError(syscall);
  return {};
}

/// Non-blocking, close-on-exec, and never a SIGPIPE.
Result<void> prepare(int fd) {
  const int flags = sys::fcntl(fd, F_GETFL);
  if (flags < 0) return lastError("fcntl");
  if (!(flags & O_NONBLOCK) && sys::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return lastError("fcntl");
  if (sys::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return lastError("fcntl");
#ifdef SO_NOSIGPIPE
  return setInt(fd, SOL_SOCKET, SO_NOSIGPIPE, 1, "setsockopt SO_NOSIGPIPE");
#else
  return {};
#endif
}

Result<int> openSocket(int family) {
#ifdef SOCK_NONBLOCK
  const int fd = sys::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return lastError("socket");
  return fd;
#else
  OwnedFd fd(sys::socket(family, SOCK_STREAM, 0));
  if (fd.get() < 0) return lastError("socket");
  if (auto prepared = prepare(fd.get()); !prepared) return prepared.error();
  return fd.handOn();
#endif
}

Result<SocketAddress> askAddress(int fd, int (*ask)(int, sockaddr*, socklen_t*), const char* syscall) {
  SocketAddress address;
  socklen_t length = SocketAddress::capacity();
  if (ask(fd, address.data(), &length) < 0) return lastError(syscall);
  address.setLength(std::min(length, SocketAddress::capacity()));
  return address;
}

Result<int> intOption(int fd, int name, const char* syscall) {
  int value = 0;
  socklen_t length = sizeof value;
  if (sys::getsockopt(fd, SOL_SOCKET, name, &value, &length) < 0) return lastError(syscall);
  return value;
}

Result<void> requireStream(int fd) {
  auto type = intOption(fd, SO_TYPE, "getsockopt SO_TYPE");
  if (!type) return type.error();
  if (*type != SOCK_STREAM) return Error{ErrorCode::invalidArgument, EPROTOTYPE, "getsockopt SO_TYPE"};
  return {};
}

// One row per option: where it lives, or level -1 where this system has none.
enum class Unit : uint8_t { number, seconds };
struct OptionRow {
  int level;
  int name;
  Unit unit;
  const char* syscall;  // also names the option when it is not supported
};

#define SLUICE_NO_OPTION(name) {-1, 0, Unit::number, "setsockopt " #name}
#define SLUICE_TCP_OPTION(name, unit) {IPPROTO_TCP, name, Unit::unit, "setsockopt " #name}
#define SLUICE_SOCKET_OPTION(name) {SOL_SOCKET, name, Unit::number, "setsockopt " #name}

OptionRow rowOf(SocketOption option, [[maybe_unused]] bool listener) {
  switch (option) {
    case SocketOption::noDelay: return SLUICE_TCP_OPTION(TCP_NODELAY, number);
    case SocketOption::keepAlive: return SLUICE_SOCKET_OPTION(SO_KEEPALIVE);
#ifdef TCP_KEEPIDLE
    case SocketOption::keepAliveIdleMs: return SLUICE_TCP_OPTION(TCP_KEEPIDLE, seconds);
#else
    case SocketOption::keepAliveIdleMs: return SLUICE_TCP_OPTION(TCP_KEEPALIVE, seconds);
#endif
    case SocketOption::keepAliveIntervalMs: return SLUICE_TCP_OPTION(TCP_KEEPINTVL, seconds);
    case SocketOption::keepAliveCount: return SLUICE_TCP_OPTION(TCP_KEEPCNT, number);
    case SocketOption::notSentLowWaterBytes: return SLUICE_TCP_OPTION(TCP_NOTSENT_LOWAT, number);
    case SocketOption::sendBufferBytes: return SLUICE_SOCKET_OPTION(SO_SNDBUF);
    case SocketOption::receiveBufferBytes: return SLUICE_SOCKET_OPTION(SO_RCVBUF);
    case SocketOption::typeOfService: return {IPPROTO_IP, IP_TOS, Unit::number, "setsockopt IP_TOS"};
    case SocketOption::hopLimit: return {IPPROTO_IP, IP_TTL, Unit::number, "setsockopt IP_TTL"};
    case SocketOption::maxSegmentBytes: return SLUICE_TCP_OPTION(TCP_MAXSEG, number);
#ifdef __linux__
    case SocketOption::userTimeoutMs: return SLUICE_TCP_OPTION(TCP_USER_TIMEOUT, number);
    case SocketOption::quickAck: return SLUICE_TCP_OPTION(TCP_QUICKACK, number);
    case SocketOption::fastOpen:
      if (listener) return SLUICE_TCP_OPTION(TCP_FASTOPEN, number);
      return SLUICE_TCP_OPTION(TCP_FASTOPEN_CONNECT, number);
    case SocketOption::mark: return SLUICE_SOCKET_OPTION(SO_MARK);
    case SocketOption::congestionControl: return SLUICE_TCP_OPTION(TCP_CONGESTION, number);
    case SocketOption::deferAcceptMs: return SLUICE_TCP_OPTION(TCP_DEFER_ACCEPT, seconds);
    case SocketOption::device: return SLUICE_SOCKET_OPTION(SO_BINDTODEVICE);
    case SocketOption::transparent: return {IPPROTO_IP, IP_TRANSPARENT, Unit::number, "setsockopt IP_TRANSPARENT"};
#else
    case SocketOption::userTimeoutMs: return SLUICE_NO_OPTION(TCP_USER_TIMEOUT);
    case SocketOption::quickAck: return SLUICE_NO_OPTION(TCP_QUICKACK);
    case SocketOption::fastOpen: return SLUICE_NO_OPTION(TCP_FASTOPEN);
    case SocketOption::mark: return SLUICE_NO_OPTION(SO_MARK);
    case SocketOption::congestionControl: return SLUICE_NO_OPTION(TCP_CONGESTION);
    case SocketOption::deferAcceptMs: return SLUICE_NO_OPTION(TCP_DEFER_ACCEPT);
    case SocketOption::device: return SLUICE_NO_OPTION(SO_BINDTODEVICE);
    case SocketOption::transparent: return SLUICE_NO_OPTION(IP_TRANSPARENT);
#endif
  }
  return SLUICE_NO_OPTION(unknown);
}

#undef SLUICE_NO_OPTION
#undef SLUICE_TCP_OPTION
#undef SLUICE_SOCKET_OPTION

// Layers above set these by default, whatever the family; on a Unix socket they are true without us.
bool impliedByUnixSockets(SocketOption option) {
  return option == SocketOption::noDelay || option == SocketOption::keepAlive;
}

int kernelNumber(int32_t number, Unit unit) {
  if (unit == Unit::number) return number;
  return std::max(1, number / 1000 + (number % 1000 > 0 ? 1 : 0));
}

Result<void> applyOption(int fd, int family, const SocketOptionValue& value, bool listener) {
  const OptionRow row = rowOf(value.option, listener);
  if (family == AF_UNIX && impliedByUnixSockets(value.option)) return {};
  if (row.level < 0 || (family == AF_UNIX && row.level != SOL_SOCKET)) {
    return Error{ErrorCode::notSupported, EOPNOTSUPP, row.syscall};
  }
  if (value.option == SocketOption::congestionControl || value.option == SocketOption::device) {
    const auto length = static_cast<socklen_t>(value.text.size());
    if (sys::setsockopt(fd, row.level, row.name, value.text.data(), length) < 0) return lastError(row.syscall);
    return {};
  }
  const int number = kernelNumber(value.number, row.unit);
  if (value.option == SocketOption::typeOfService && family == AF_INET6) {
    // A dual-stack socket may carry IPv4 as well; one that cannot refuses the second call, which harms nobody.
    auto set = setInt(fd, IPPROTO_IPV6, IPV6_TCLASS, number, "setsockopt IPV6_TCLASS");
    if (set) (void)setInt(fd, IPPROTO_IP, IP_TOS, number, row.syscall);
    return set;
  }
  if (value.option == SocketOption::hopLimit && family == AF_INET6) {
    auto set = setInt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, number, "setsockopt IPV6_UNICAST_HOPS");
    if (set) (void)setInt(fd, IPPROTO_IP, IP_TTL, number, row.syscall);
    return set;
  }
#ifdef IPV6_TRANSPARENT
  if (value.option == SocketOption::transparent && family == AF_INET6) {
    return setInt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, number, "setsockopt IPV6_TRANSPARENT");
  }
#endif
  return setInt(fd, row.level, row.name, number, row.syscall);
}

Result<void> applyOptions(int fd, int family, const SocketOptions& options, bool listener) {
  for (const SocketOptionValue& value : options) {
    if (auto set = applyOption(fd, family, value, listener); !set) return set;
  }
  return {};
}

Result<int> adoptListener(const ListenSpec& spec) {
  OwnedFd fd(spec.adoptFd);
  if (auto stream = requireStream(fd.get()); !stream) return stream.error();
  auto listening = intOption(fd.get(), SO_ACCEPTCONN, "getsockopt SO_ACCEPTCONN");
  if (!listening) return listening.error();
  if (*listening == 0) return Error{ErrorCode::invalidArgument, EINVAL, "getsockopt SO_ACCEPTCONN"};
  if (auto prepared = prepare(fd.get()); !prepared) return prepared.error();
  auto address = localAddress(fd.get());
  if (!address) return address.error();
  if (auto set = applyOptions(fd.get(), address->family(), spec.options, true); !set) return set.error();
  return fd.handOn();
}

}  // namespace

Result<int> openListener(const ListenSpec& spec) {
  if (spec.adoptFd >= 0) return adoptListener(spec);
  const int family = spec.address.family();
  if (family == AF_UNSPEC) return Error{ErrorCode::invalidArgument, EINVAL, "bind"};
  auto opened = openSocket(family);
  if (!opened) return opened;
  OwnedFd fd(*opened);

  if (family == AF_UNIX) {
    if (spec.reusePort) return Error{ErrorCode::notSupported, EOPNOTSUPP, "setsockopt SO_REUSEPORT"};
  } else {
    auto set = setInt(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "setsockopt SO_REUSEADDR");
    if (set && spec.reusePort) set = setInt(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, "setsockopt SO_REUSEPORT");
    if (set && family == AF_INET6) {
      set = setInt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, spec.ipv6Only ? 1 : 0, "setsockopt IPV6_V6ONLY");
    }
    if (!set) return set.error();
  }
  if (auto set = applyOptions(fd.get(), family, spec.options, true); !set) return set.error();
  if (sys::bind(fd.get(), spec.address.data(), spec.address.length()) < 0) return lastError("bind");
  if (sys::listen(fd.get(), spec.backlog) < 0) return lastError("listen");
  return fd.handOn();
}

Result<int> openConnector(const ConnectSpec& spec) {
  const int family = spec.address.family();
  if (family == AF_UNSPEC) return Error{ErrorCode::invalidArgument, EINVAL, "connect"};
  auto opened = openSocket(family);
  if (!opened) return opened;
  OwnedFd fd(*opened);
  if (auto set = applyOptions(fd.get(), family, spec.options, false); !set) return set.error();
  if (spec.local.family() != AF_UNSPEC) {
#ifdef IP_BIND_ADDRESS_NO_PORT
    // Lets the kernel choose the port by the four-tuple at connect(), so that one local address serves more than
    // 28 000 connections. Kernels without it merely choose earlier.
    if (family != AF_UNIX && spec.local.port() == 0) {
      (void)setInt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, "setsockopt IP_BIND_ADDRESS_NO_PORT");
    }
#endif
    if (sys::bind(fd.get(), spec.local.data(), spec.local.length()) < 0) return lastError("bind");
  }
  return fd.handOn();
}

Result<int> prepareAdopted(int adopted) {
  OwnedFd fd(adopted);
  if (auto stream = requireStream(fd.get()); !stream) return stream.error();
  if (auto peer = peerAddress(fd.get()); !peer) return peer.error();  // ENOTCONN: not a connection
  if (auto prepared = prepare(fd.get()); !prepared) return prepared.error();
  return fd.handOn();
}

Result<ConnectStep> connectStep(int fd, const SocketAddress& address) {
#ifndef __linux__
  // BSD kernels start a new attempt after a failed one, so its error has to be fetched first.
  auto pending = intOption(fd, SO_ERROR, "connect");
  if (!pending) return pending.error();
  if (*pending != 0) return systemError(*pending, "connect");
#endif
  if (sys::connect(fd, address.data(), address.length()) == 0) return ConnectStep::connected;
  switch (errno) {
    case EISCONN: return ConnectStep::connected;
    case EINPROGRESS:
    case EALREADY: return ConnectStep::waiting;
    default: return lastError("connect");
  }
}

Result<int> acceptNext(int listenerFd) {
  for (;;) {
    const int fd = sys::accept(listenerFd);
    if (fd >= 0) {
#ifndef __linux__
      OwnedFd owned(fd);
      if (auto prepared = prepare(fd); !prepared) return prepared.error();
      return owned.handOn();
#else
      return fd;
#endif
    }
    switch (errno) {
      case EAGAIN: return -1;
      // Errors of the connection that was to be accepted, not of the listener: accept(2).
      case ECONNABORTED:
      case EPROTO:
      case ENETDOWN:
      case ENETUNREACH:
      case EHOSTDOWN:
      case EHOSTUNREACH: continue;
      default: return lastError("accept");
    }
  }
}

Result<void> setOption(int fd, const SocketOptionValue& value, bool listener) {
  auto address = localAddress(fd);
  if (!address) return address.error();
  return applyOption(fd, address->family(), value, listener);
}

Result<SocketAddress> localAddress(int fd) { return askAddress(fd, sys::getsockname, "getsockname"); }

Result<SocketAddress> peerAddress(int fd) { return askAddress(fd, sys::getpeername, "getpeername"); }

Result<void> shutdownSend(int fd) {
  if (sys::shutdown(fd, SHUT_WR) < 0) return lastError("shutdown");
  return {};
}

int takeError(int fd) {
  auto pending = intOption(fd, SO_ERROR, "getsockopt SO_ERROR");
  return pending ? *pending : pending.error().osError;
}

void setResetOnClose(int fd) {
  // Fails only on descriptors that have no connection to reset.
  const linger now{.l_onoff = 1, .l_linger = 0};
  (void)sys::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void setSilentOnClose(int fd) {
#ifdef TCP_REPAIR
  // With CAP_NET_ADMIN. A socket under repair goes without a word.
  const int on = 1;
  if (sys::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0) return;
#endif
  const int oneHop = 1;
  (void)sys::setsockopt(fd, IPPROTO_IP, IP_TTL, &oneHop, sizeof oneHop);
  (void)sys::setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &oneHop, sizeof oneHop);
  setResetOnClose(fd);
}

void closeFd(int fd) { (void)sys::close(fd); }

}  // namespace sluice::kernel_socket

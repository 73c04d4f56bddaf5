#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice {

/// An IPv4, IPv6 or Unix socket address, ready for the system calls.
class SocketAddress {
 public:
  SocketAddress() = default;

  /// From an IP literal ("127.0.0.1", "::1", "fe80::1%eth0"). Errors: invalidArgument.
  static Result<SocketAddress> ip(std::string_view host, uint16_t port);
  /// From a path; a leading NUL means Linux's abstract namespace. Errors: invalidArgument when empty or too long for
  /// sun_path (108 bytes on Linux, 104 on macOS), notSupported for abstract names outside Linux.
  static Result<SocketAddress> unixPath(std::string_view path);
  static SocketAddress from(const sockaddr* address, socklen_t length);

  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  sockaddr* data() { return reinterpret_cast<sockaddr*>(&storage_); }
  socklen_t length() const { return length_; }
  void setLength(socklen_t length) { length_ = length; }
  static constexpr socklen_t capacity() { return sizeof(sockaddr_storage); }

  /// AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC while empty.
  int family() const { return length_ == 0 ? AF_UNSPEC : storage_.ss_family; }
  /// The IP literal (with %scope where it has one) or the path; "" for an unnamed Unix socket.
  std::string host() const;
  /// Host byte order; 0 for Unix sockets.
  uint16_t port() const;

 private:
  sockaddr_storage storage_{};
  socklen_t length_ = 0;
};

}  // namespace sluice

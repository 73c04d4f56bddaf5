#include "base/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace sluice {

namespace {

Result<uint32_t> parseScope(const std::string& name) {
  if (const unsigned index = if_nametoindex(name.c_str())) return index;
  char* end = nullptr;
  const unsigned long number = std::strtoul(name.c_str(), &end, 10);
  if (name.empty() || *end != '\0' || number > UINT32_MAX)
    return Error{ErrorCode::invalidArgument, EINVAL, "if_nametoindex"};
  return static_cast<uint32_t>(number);
}

}  // namespace

Result<SocketAddress> SocketAddress::ip(std::string_view host, uint16_t port) {
  // inet_pton would stop at a NUL and accept whatever follows it.
  if (host.find('\0') != std::string_view::npos) return Error{ErrorCode::invalidArgument, EINVAL, "inet_pton"};
  std::string literal(host);
  sockaddr_in v4{};
  if (inet_pton(AF_INET, literal.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    return from(reinterpret_cast<sockaddr*>(&v4), sizeof v4);
  }
  sockaddr_in6 v6{};
  const size_t percent = literal.find('%');
  if (percent != std::string::npos) {
    auto scope = parseScope(literal.substr(percent + 1));
    if (!scope) return scope.error();
    v6.sin6_scope_id = *scope;
    literal.resize(percent);
  }
  if (inet_pton(AF_INET6, literal.c_str(), &v6.sin6_addr) != 1)
    return Error{ErrorCode::invalidArgument, EINVAL, "inet_pton"};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  return from(reinterpret_cast<sockaddr*>(&v6), sizeof v6);
}

Result<SocketAddress> SocketAddress::unixPath(std::string_view path) {
  sockaddr_un address{};
  if (path.empty()) return Error{ErrorCode::invalidArgument, EINVAL, "bind"};
  const bool abstract = path.front() == '\0';
#ifndef __linux__
  if (abstract) return Error{ErrorCode::notSupported, EOPNOTSUPP, "bind"};
#endif
  // A named path needs its terminating NUL, an abstract one is counted by its length alone: unix(7).
  if (path.size() + (abstract ? 0 : 1) > sizeof address.sun_path)
    return Error{ErrorCode::invalidArgument, ENAMETOOLONG, "bind"};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const size_t length = offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1);
  return from(reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(length));
}

SocketAddress SocketAddress::from(const sockaddr* address, socklen_t length) {
  SocketAddress result;
  if (length > capacity()) length = capacity();
  std::memcpy(&result.storage_, address, length);
  result.length_ = length;
  return result;
}

std::string SocketAddress::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  switch (family()) {
    case AF_INET: {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage_);
      inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
      return text;
    }
    case AF_INET6: {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage_);
      inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
      std::string host = text;
      if (v6->sin6_scope_id != 0) {
        char interface[IF_NAMESIZE] = "";
        host += '%';
        host += if_indextoname(v6->sin6_scope_id, interface) ? std::string(interface)
                                                             : std::to_string(v6->sin6_scope_id);
      }
      return host;
    }
    case AF_UNIX: {
      const auto* local = reinterpret_cast<const sockaddr_un*>(&storage_);
      if (length_ <= offsetof(sockaddr_un, sun_path)) return "";
      const size_t size = length_ - offsetof(sockaddr_un, sun_path);
      if (local->sun_path[0] == '\0') return std::string(local->sun_path, size);
      return std::string(local->sun_path, strnlen(local->sun_path, size));
    }
    default: return "";
  }
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
  return 0;
}

}  // namespace sluice

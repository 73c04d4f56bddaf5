#include "engine/sim_address.h"

#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

namespace sluice::sim_address {

namespace {

const sockaddr_in& v4(const SocketAddress& address) {
  return *reinterpret_cast<const sockaddr_in*>(address.data());
}
const sockaddr_in6& v6(const SocketAddress& address) {
  return *reinterpret_cast<const sockaddr_in6*>(address.data());
}

bool sameHost(const SocketAddress& a, const SocketAddress& b) {
  if (a.family() != b.family()) return false;
  if (a.family() == AF_INET) return v4(a).sin_addr.s_addr == v4(b).sin_addr.s_addr;
  if (a.family() == AF_INET6)
    return std::memcmp(&v6(a).sin6_addr, &v6(b).sin6_addr, sizeof(in6_addr)) == 0 &&
           v6(a).sin6_scope_id == v6(b).sin6_scope_id;
  return a.host() == b.host();
}

SocketAddress literal(std::string_view host) { return *SocketAddress::ip(host, 0); }

bool isLoopback(const SocketAddress& address) {
  if (address.family() == AF_INET) return (ntohl(v4(address).sin_addr.s_addr) >> 24) == 127;
  return IN6_IS_ADDR_LOOPBACK(&v6(address).sin6_addr);
}

}  // namespace

bool isWildcard(const SocketAddress& address) {
  if (address.family() == AF_INET) return v4(address).sin_addr.s_addr == htonl(INADDR_ANY);
  return address.family() == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6(address).sin6_addr);
}

SocketAddress withPort(const SocketAddress& address, uint16_t port) {
  SocketAddress result = address;
  if (address.family() == AF_INET) reinterpret_cast<sockaddr_in*>(result.data())->sin_port = htons(port);
  if (address.family() == AF_INET6) reinterpret_cast<sockaddr_in6*>(result.data())->sin6_port = htons(port);
  return result;
}

bool serves(const SocketAddress& listener, bool ipv6Only, const SocketAddress& target) {
  if (listener.port() != target.port()) return false;
  if (sameHost(listener, target)) return true;
  if (!isWildcard(listener)) return false;
  return listener.family() == target.family() ||
         (listener.family() == AF_INET6 && target.family() == AF_INET && !ipv6Only);
}

bool clash(const SocketAddress& a, bool aIpv6Only, const SocketAddress& b, bool bIpv6Only) {
  return serves(a, aIpv6Only, b) || serves(b, bIpv6Only, a);
}

SocketAddress destination(const SocketAddress& target) {
  if (!isWildcard(target)) return target;
  return withPort(literal(target.family() == AF_INET ? "127.0.0.1" : "::1"), target.port());
}

SocketAddress source(const SocketAddress& target) {
  if (target.family() == AF_UNIX) {
    sockaddr_un unnamed{};
    unnamed.sun_family = AF_UNIX;
    return SocketAddress::from(reinterpret_cast<sockaddr*>(&unnamed), offsetof(sockaddr_un, sun_path));
  }
  if (isLoopback(target)) return literal(target.family() == AF_INET ? "127.0.0.1" : "::1");
  return literal(target.family() == AF_INET ? "10.0.0.1" : "fd00::1");
}

SocketAddress shownTo(int family, const SocketAddress& address) {
  if (family != AF_INET6 || address.family() != AF_INET) return address;
  return *SocketAddress::ip("::ffff:" + address.host(), address.port());
}

}  // namespace sluice::sim_address

#pragma once

#include "base/address.h"

namespace sluice {

/// How addresses match in a network where every literal exists. Nothing here asks the system.
namespace sim_address {

/// 0.0.0.0 or ::.
bool isWildcard(const SocketAddress& address);
SocketAddress withPort(const SocketAddress& address, uint16_t port);
/// Whether a listener at `listener` gets connections to `target`. :: also serves IPv4 unless `ipv6Only`.
bool serves(const SocketAddress& listener, bool ipv6Only, const SocketAddress& target);
/// Whether two listeners would get the same connections.
bool clash(const SocketAddress& a, bool aIpv6Only, const SocketAddress& b, bool bIpv6Only);
/// Where a connect to `target` really goes: to the loopback address instead of a wildcard, as Linux does.
SocketAddress destination(const SocketAddress& target);
/// The address that a client of `target` gets when it did not ask for one, without port. For Unix sockets unnamed.
SocketAddress source(const SocketAddress& target);
/// `address` as a socket of `family` shows it: IPv4 becomes ::ffff:a.b.c.d on an IPv6 socket.
SocketAddress shownTo(int family, const SocketAddress& address);

}  // namespace sim_address
}  // namespace sluice

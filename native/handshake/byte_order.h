#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/address.h"

namespace sluice {

/// Numbers of several bytes, most significant first, as all headers here have them.
inline uint16_t bigEndian16(std::span<const uint8_t> bytes) {
  return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]);
}
inline uint32_t bigEndian32(std::span<const uint8_t> bytes) {
  return static_cast<uint32_t>(bigEndian16(bytes)) << 16 | bigEndian16(bytes.subspan(2));
}

inline void append16(std::vector<uint8_t>& to, size_t value) {
  to.push_back(static_cast<uint8_t>(value >> 8));
  to.push_back(static_cast<uint8_t>(value));
}
inline void append(std::vector<uint8_t>& to, std::span<const uint8_t> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

/// An IPv4 address from its four bytes.
inline SocketAddress addressV4(std::span<const uint8_t> host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  std::memcpy(&address.sin_addr, host.data(), sizeof address.sin_addr);
  return SocketAddress::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

/// An IPv6 address from its sixteen.
inline SocketAddress addressV6(std::span<const uint8_t> host, uint16_t port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  std::memcpy(&address.sin6_addr, host.data(), sizeof address.sin6_addr);
  return SocketAddress::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

/// The four or sixteen bytes of an IPv4 or IPv6 address; nothing of others.
inline std::span<const uint8_t> hostBytes(const SocketAddress& address) {
  if (address.family() == AF_INET) {
    const auto& host = reinterpret_cast<const sockaddr_in*>(address.data())->sin_addr;
    return {reinterpret_cast<const uint8_t*>(&host), sizeof host};
  }
  if (address.family() == AF_INET6) {
    const auto& host = reinterpret_cast<const sockaddr_in6*>(address.data())->sin6_addr;
    return {reinterpret_cast<const uint8_t*>(&host), sizeof host};
  }
  return {};
}

}  // namespace sluice

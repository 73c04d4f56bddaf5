#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/address.h"

namespace sluice {

/// An IP address as 128 bits, those of IPv4 first. IPv4-mapped ones (::ffff:10.0.0.1) are IPv4, as everywhere in rules.
struct IpBits {
  uint64_t high = 0, low = 0;
  bool isIpv4 = false;

  /// Nothing for other families.
  static std::optional<IpBits> of(const SocketAddress& address);
  static IpBits ofIpv4(const in_addr& address);
  static IpBits ofIpv6(const in6_addr& address);

  int width() const { return isIpv4 ? 32 : 128; }
  /// Up to 6 bits from `offset` on; those behind the end are 0.
  uint32_t chunk(int offset) const;
  /// The leading `bits`, and zeros.
  IpBits prefix(int bits) const;
  std::string text() const;

  bool operator==(const IpBits&) const = default;
};

/// A network: an address and how many of its leading bits count.
struct IpNetwork {
  IpBits address;
  uint8_t bits = 0;

  bool contains(const IpBits& other) const {
    return other.isIpv4 == address.isIpv4 && other.prefix(bits) == address;
  }
  /// In its shortest form, with the length: "10.0.0.0/8".
  std::string text() const;
  bool operator==(const IpNetwork&) const = default;
};

enum class NetworkTextError : uint8_t { none, address, bits, hostBits };

/// Reads "10.0.0.0/8", "2001:db8::/32", or an address, which is the network of itself alone. Nothing else: no spaces, no
/// zones, no leading zeros. With hostBits, bits behind the network's are set, and `network` is what may be meant.
NetworkTextError parseNetwork(std::string_view text, IpNetwork& network);
/// Reads an address alone.
std::optional<IpBits> parseIp(std::string_view text);

}  // namespace sluice

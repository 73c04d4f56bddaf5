#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/address.h"
#include "handshake/opening_failure.h"
#include "handshake/parse_status.h"

namespace sluice {

struct NetscalerParse {
  ParseStatus status = ParseStatus::needsMore;
  /// Done: the header's length; what follows belongs to the next layer. Otherwise 0.
  size_t consumed = 0;
  /// Failed: cipBadMagic or cipBadProto; and what is wrong, a static string for people.
  OpeningFailure failure = OpeningFailure::none;
  std::string_view text{};
  /// Done: the client's address, and the one it connected to.
  SocketAddress source{}, destination{};
};

/// Reads the client-IP header that a Citrix NetScaler inserts, in its legacy and its standard form (HP-50). `magic` is the
/// number agreed with the NetScaler. `bytes` begin with the connection's first byte; when they do not suffice, call again
/// with all of them and more. Never looks beyond netscalerMaxBytes.
NetscalerParse parseNetscalerHeader(std::span<const uint8_t> bytes, uint32_t magic);

/// Twelve bytes, and the longest headers of IP and TCP.
inline constexpr size_t netscalerMaxBytes = 12 + 60 + 60;

}  // namespace sluice

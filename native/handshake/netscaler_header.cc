#include "handshake/netscaler_header.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "handshake/byte_order.h"

namespace sluice {

namespace {

constexpr size_t legacyPrefixBytes = 8, standardPrefixBytes = 12;
constexpr size_t tcpBytes = 20, maxTcpBytes = 60;
constexpr uint8_t protocolTcp = 6;
constexpr uint16_t standardType = 1;

NetscalerParse badProtocol(std::string_view text) {
  return failedParse<NetscalerParse>(OpeningFailure::cipBadProto, text);
}

NetscalerParse done(size_t consumed, const SocketAddress& source, const SocketAddress& destination) {
  NetscalerParse parse;
  parse.status = ParseStatus::done;
  parse.consumed = consumed;
  parse.source = source;
  parse.destination = destination;
  return parse;
}

NetscalerParse parseV4(std::span<const uint8_t> headers, size_t length, size_t consumed) {
  const size_t ipBytes = (headers[0] & 0x0f) * 4u;
  if (ipBytes < 20 || length < ipBytes + tcpBytes || length > ipBytes + maxTcpBytes) {
    return badProtocol("the lengths of the IPv4 and TCP headers do not fit");
  }
  if (headers.size() < length) return {};
  if (headers[9] != protocolTcp) return badProtocol("the IPv4 packet is not one of TCP");
  const std::span<const uint8_t> tcp = headers.subspan(ipBytes);
  return done(consumed, addressV4(headers.subspan(12), bigEndian16(tcp)),
              addressV4(headers.subspan(16), bigEndian16(tcp.subspan(2))));
}

NetscalerParse parseV6(std::span<const uint8_t> headers, size_t length, size_t consumed) {
  constexpr size_t ipBytes = 40;
  if (length < ipBytes + tcpBytes || length > ipBytes + maxTcpBytes) {
    return badProtocol("the lengths of the IPv6 and TCP headers do not fit");
  }
  if (headers.size() < length) return {};
  if (headers[6] != protocolTcp) return badProtocol("the IPv6 packet is not one of TCP");
  const std::span<const uint8_t> tcp = headers.subspan(ipBytes);
  return done(consumed, addressV6(headers.subspan(8), bigEndian16(tcp)),
              addressV6(headers.subspan(24), bigEndian16(tcp.subspan(2))));
}

}  // namespace

NetscalerParse parseNetscalerHeader(std::span<const uint8_t> bytes, uint32_t magic) {
  const std::array<uint8_t, 4> expected = {static_cast<uint8_t>(magic >> 24), static_cast<uint8_t>(magic >> 16),
                                           static_cast<uint8_t>(magic >> 8), static_cast<uint8_t>(magic)};
  if (!std::equal(bytes.begin(),
                  bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), expected.size())),
                  expected.begin())) {
    return failedParse<NetscalerParse>(OpeningFailure::cipBadMagic, "another magic number");
  }
  if (bytes.size() < standardPrefixBytes) return {};
  // The legacy form has the IP header here, whose first half byte is its version; the standard form a type below 256.
  const bool isStandard = bytes[8] == 0;
  if (isStandard && bigEndian16(bytes.subspan(8)) != standardType)
    return badProtocol("the type of the header is not 1");
  const size_t prefix = isStandard ? standardPrefixBytes : legacyPrefixBytes;
  const size_t length = isStandard ? bigEndian16(bytes.subspan(10)) : bigEndian32(bytes.subspan(4));
  if (bytes.size() <= prefix) return {};
  const std::span<const uint8_t> headers = bytes.subspan(prefix);
  switch (headers[0] >> 4) {
    case 4: return parseV4(headers, length, prefix + length);
    case 6: return parseV6(headers, length, prefix + length);
    default: return badProtocol("neither IPv4 nor IPv6");
  }
}

}  // namespace sluice

#include "handshake/proxy_header.h"

#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "handshake/byte_order.h"
#include "handshake/crc32c.h"
#include "handshake/proxy_line.h"

namespace sluice {

namespace {

constexpr size_t fixedBytes = 16;
constexpr size_t tlvHeadBytes = 3;
constexpr size_t unixPathBytes = 108;
constexpr size_t crcBytes = 4;

size_t addressBytes(ProxyFamily family) {
  switch (family) {
    case ProxyFamily::unspec: return 0;
    case ProxyFamily::inet: return 12;
    case ProxyFamily::inet6: return 36;
    case ProxyFamily::unixPath: return 2 * unixPathBytes;
  }
  return 0;
}

// Padded with NULs, or of full length; with a NUL in front, a name in Linux's abstract namespace.
SocketAddress unixAddress(std::span<const uint8_t> field) {
  size_t length = field.size();
  while (length > 0 && field[length - 1] == 0) length -= 1;
  sockaddr_un address{};
  if (length == 0 || length > sizeof address.sun_path) return {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, field.data(), length);
  return SocketAddress::from(reinterpret_cast<const sockaddr*>(&address),
                             static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

void readAddresses(ProxyHeader& header, std::span<const uint8_t> block) {
  switch (header.family) {
    case ProxyFamily::unspec: return;
    case ProxyFamily::inet:
      header.source = addressV4(block, bigEndian16(block.subspan(8)));
      header.destination = addressV4(block.subspan(4), bigEndian16(block.subspan(10)));
      break;
    case ProxyFamily::inet6:
      header.source = addressV6(block, bigEndian16(block.subspan(32)));
      header.destination = addressV6(block.subspan(16), bigEndian16(block.subspan(34)));
      break;
    case ProxyFamily::unixPath:
      header.source = unixAddress(block.first(unixPathBytes));
      header.destination = unixAddress(block.subspan(unixPathBytes, unixPathBytes));
      return;
  }
  header.hasAddresses = header.transport == ProxyTransport::stream;
}

// Calls `take(type, offset, length)` for each TLV; false when they do not fill `bytes` exactly, or `take` says so.
template <class Take>
bool eachTlv(std::span<const uint8_t> bytes, Take take) {
  size_t at = 0;
  while (at < bytes.size()) {
    if (bytes.size() - at < tlvHeadBytes) return false;
    const uint16_t length = bigEndian16(bytes.subspan(at + 1));
    if (bytes.size() - at - tlvHeadBytes < length) return false;
    if (!take(bytes[at], at + tlvHeadBytes, length)) return false;
    at += tlvHeadBytes + length;
  }
  return true;
}

bool mayBeAsLong(uint8_t type, size_t length, const ProxyLimits& limits) {
  switch (type) {
    case proxy_tlv::authority: return length <= proxy_tlv::maxAuthorityBytes;
    case proxy_tlv::uniqueId: return length <= proxy_tlv::maxUniqueIdBytes;
    case proxy_tlv::crc32c: return length == crcBytes;
    // One is padding, the other one holds certificates. The header's limit is theirs.
    case proxy_tlv::noop:
    case proxy_tlv::ssl: return true;
    default: return length <= limits.maxTlvBytes;
  }
}

// Over the whole header, as if the checksum's own bytes were zero.
bool checksumHolds(std::span<const uint8_t> raw, size_t crcAt) {
  constexpr std::array<uint8_t, crcBytes> zeros{};
  const uint32_t computed = crc32c(raw.subspan(crcAt + crcBytes), crc32c(zeros, crc32c(raw.first(crcAt))));
  return computed == bigEndian32(raw.subspan(crcAt));
}

// The TLVs from `start` on. Returns what is wrong, or "".
std::string_view readTlvs(ProxyHeader& header, size_t start, const ProxyLimits& limits) {
  const std::span<const uint8_t> raw(header.raw);
  size_t count = 0, checksums = 0, crcAt = 0;
  bool isTooLong = false;
  const bool isWhole = eachTlv(raw.subspan(start), [&](uint8_t type, size_t at, uint16_t length) {
    count += 1;
    if (!mayBeAsLong(type, length, limits)) isTooLong = true;
    if (type == proxy_tlv::crc32c) {
      checksums += 1;
      crcAt = start + at;
    }
    return !isTooLong;
  });
  if (isTooLong) return "a TLV is longer than its type allows";
  if (!isWhole) return "the TLVs do not fill the header";
  if (checksums > 1) return "more than one checksum";
  if (checksums == 1 && !checksumHolds(raw, crcAt)) return "the checksum is wrong";
  header.tlvs.reserve(count);
  (void)eachTlv(raw.subspan(start), [&](uint8_t type, size_t at, uint16_t length) {
    header.tlvs.push_back({type, static_cast<uint32_t>(start + at), length});
    return true;
  });
  return "";
}

// Where nobody says what the bytes are (LOCAL, UNSPEC), they may be anything; TLVs if they look it, but a checksum that
// is wrong says that the header is broken.
std::string_view readTlvsIfAny(ProxyHeader& header, size_t start, const ProxyLimits& limits) {
  bool isPlausible = true;
  size_t checksums = 0;
  isPlausible =
      eachTlv(std::span<const uint8_t>(header.raw).subspan(start), [&](uint8_t type, size_t, uint16_t length) {
        checksums += type == proxy_tlv::crc32c ? 1 : 0;
        return checksums <= 1 && mayBeAsLong(type, length, limits);
      });
  return isPlausible ? readTlvs(header, start, limits) : "";
}

ProxyParse parseBinary(std::span<const uint8_t> bytes, const ProxyLimits& limits) {
  constexpr uint8_t version2 = 0x20, commandLocal = 0, commandProxy = 1;
  if (bytes.size() < fixedBytes) return {};
  const uint8_t command = bytes[12] & 0x0f, family = bytes[13] >> 4, transport = bytes[13] & 0x0f;
  if ((bytes[12] & 0xf0) != version2)
    return failedParse<ProxyParse>(OpeningFailure::prxBadHdr, "the version is not 2");
  if (command != commandLocal && command != commandProxy) {
    return failedParse<ProxyParse>(OpeningFailure::prxBadHdr, "the command is neither LOCAL nor PROXY");
  }
  // With LOCAL the family is not to be looked at.
  const bool isKnown = family <= static_cast<uint8_t>(ProxyFamily::unixPath) &&
                       transport <= static_cast<uint8_t>(ProxyTransport::dgram);
  if (command == commandProxy && !isKnown)
    return failedParse<ProxyParse>(OpeningFailure::prxBadProto, "unknown family or transport");

  const size_t length = bigEndian16(bytes.subspan(14)), total = fixedBytes + length;
  if (total > limits.maxHeaderBytes)
    return failedParse<ProxyParse>(OpeningFailure::prxBadHdr, "the header is longer than allowed");
  const size_t addresses = isKnown ? addressBytes(static_cast<ProxyFamily>(family)) : 0;
  if (command == commandProxy && length < addresses) {
    return failedParse<ProxyParse>(OpeningFailure::prxBadHdr, "the header is too short for its addresses");
  }
  if (bytes.size() < total) return {};

  ProxyParse parse;
  ProxyHeader& header = parse.header;
  header.version = 2;
  header.local = command == commandLocal;
  header.raw.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(total));
  if (isKnown) {
    header.family = static_cast<ProxyFamily>(family);
    header.transport = static_cast<ProxyTransport>(transport);
  }
  std::string_view wrong;
  if (header.local) {
    if (isKnown && addresses <= length) wrong = readTlvsIfAny(header, fixedBytes + addresses, limits);
  } else if (header.family == ProxyFamily::unspec) {
    wrong = readTlvsIfAny(header, fixedBytes, limits);
  } else {
    readAddresses(header, bytes.subspan(fixedBytes, addresses));
    wrong = readTlvs(header, fixedBytes + addresses, limits);
  }
  if (!wrong.empty()) return failedParse<ProxyParse>(OpeningFailure::prxBadHdr, wrong);
  parse.status = ParseStatus::done;
  parse.consumed = total;
  return parse;
}

// As far as both go.
bool agree(std::span<const uint8_t> bytes, std::string_view signature) {
  const size_t count = std::min(bytes.size(), signature.size());
  return std::memcmp(bytes.data(), signature.data(), count) == 0;
}

std::string_view textOf(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::optional<std::span<const uint8_t>> ProxyHeader::find(uint8_t type) const {
  const auto found = std::find_if(tlvs.begin(), tlvs.end(), [&](const ProxyTlv& tlv) { return tlv.type == type; });
  if (found == tlvs.end()) return std::nullopt;
  return value(*found);
}

std::string_view ProxyHeader::text(uint8_t type) const {
  const auto found = find(type);
  return found ? textOf(*found) : std::string_view();
}

std::optional<ProxySsl> decodeProxySsl(std::span<const uint8_t> value) {
  constexpr size_t headBytes = 5;
  if (value.size() < headBytes) return std::nullopt;
  ProxySsl ssl;
  ssl.client = value[0];
  ssl.verify = bigEndian32(value.subspan(1));
  const std::span<const uint8_t> rest = value.subspan(headBytes);
  const bool isWhole = eachTlv(rest, [&](uint8_t type, size_t at, uint16_t length) {
    const std::span<const uint8_t> found = rest.subspan(at, length);
    switch (type) {
      case proxy_tlv::sslVersion: ssl.version = textOf(found); break;
      case proxy_tlv::sslCommonName: ssl.commonName = textOf(found); break;
      case proxy_tlv::sslCipher: ssl.cipher = textOf(found); break;
      case proxy_tlv::sslCertificateSignature: ssl.certificateSignature = textOf(found); break;
      case proxy_tlv::sslKeyAlgorithm: ssl.keyAlgorithm = textOf(found); break;
      case proxy_tlv::sslGroup: ssl.group = textOf(found); break;
      case proxy_tlv::sslSignatureScheme: ssl.signatureScheme = textOf(found); break;
      case proxy_tlv::sslCertificate: ssl.certificate = found; break;
      default: break;
    }
    return true;
  });
  if (!isWhole) return std::nullopt;
  return ssl;
}

std::optional<ProxySsl> decodeProxySsl(const ProxyHeader& header) {
  const auto value = header.find(proxy_tlv::ssl);
  return value ? decodeProxySsl(*value) : std::nullopt;
}

ProxyParse parseProxyHeader(std::span<const uint8_t> bytes, const ProxyLimits& limits) {
  if (bytes.empty()) return {};
  if (agree(bytes, proxySignatureV2)) return parseBinary(bytes, limits);
  if (!agree(bytes, proxySignatureV1))
    return failedParse<ProxyParse>(OpeningFailure::prxNotHdr, "neither of the signatures");
  if (bytes.size() <= proxySignatureV1.size()) return {};
  return parseProxyLine(bytes, limits);
}

}  // namespace sluice

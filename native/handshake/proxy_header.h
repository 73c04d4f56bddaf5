#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "handshake/opening_failure.h"
#include "handshake/parse_status.h"

namespace sluice {

/// Byte 13 of a version 2 header, upper half; version 1 knows `unspec` (UNKNOWN), `inet` and `inet6`.
enum class ProxyFamily : uint8_t { unspec = 0, inet = 1, inet6 = 2, unixPath = 3 };
/// The lower half; version 1 knows `unspec` (UNKNOWN) and `stream`.
enum class ProxyTransport : uint8_t { unspec = 0, stream = 1, dgram = 2 };

/// Types of TLVs (HP-38, HP-39).
namespace proxy_tlv {
inline constexpr uint8_t alpn = 0x01, authority = 0x02, crc32c = 0x03, noop = 0x04, uniqueId = 0x05, ssl = 0x20,
                         netns = 0x30;
// Within `ssl`.
inline constexpr uint8_t sslVersion = 0x21, sslCommonName = 0x22, sslCipher = 0x23, sslCertificateSignature = 0x24,
                         sslKeyAlgorithm = 0x25, sslGroup = 0x26, sslSignatureScheme = 0x27, sslCertificate = 0x28;
// The longest values that are taken.
inline constexpr size_t maxAuthorityBytes = 255, maxUniqueIdBytes = 128;
// Bits of the first byte of `ssl`.
inline constexpr uint8_t clientSsl = 1, clientCertificateOnConnection = 2, clientCertificateInSession = 4;
}  // namespace proxy_tlv

/// Where a TLV's value stands in the header's raw bytes.
struct ProxyTlv {
  uint8_t type = 0;
  uint32_t offset = 0;
  uint16_t length = 0;
};

/// The first bytes of every version 2 header, and those of version 1.
inline constexpr std::string_view proxySignatureV2{"\r\n\r\n\0\r\nQUIT\n", 12};
inline constexpr std::string_view proxySignatureV1 = "PROXY ";

struct ProxyLimits {
  /// The whole header, 16 to 65 551 bytes. nginx takes 4096 as well (HP-36).
  uint32_t maxHeaderBytes = 4096;
  /// One TLV's value. The `ssl` TLV is bounded by the header alone: it may hold a certificate.
  uint32_t maxTlvBytes = 1024;
};

/// A PROXY header as received. https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
struct ProxyHeader {
  uint8_t version = 0;  // 1 or 2
  /// Version 2's LOCAL: the proxy speaks for itself, e.g. to check our health. The socket's addresses are the true ones.
  bool local = false;
  ProxyFamily family = ProxyFamily::unspec;
  ProxyTransport transport = ProxyTransport::unspec;
  /// `source` and `destination` take the place of the socket's addresses. So it is for TCP over IPv4 and IPv6 only; with
  /// UNKNOWN, LOCAL, UNSPEC, UNIX and DGRAM the connection keeps its own (D17, D19).
  bool hasAddresses = false;
  /// As claimed, also for UNIX and DGRAM; empty (AF_UNSPEC) where the header says nothing, and for LOCAL.
  SocketAddress source{}, destination{};
  /// The header as it came, from its first byte to its last.
  std::vector<uint8_t> raw{};
  /// In the order of the header; NOOP and CRC32C are among them. None in version 1.
  std::vector<ProxyTlv> tlvs{};

  std::span<const uint8_t> value(const ProxyTlv& tlv) const {
    return std::span(raw).subspan(tlv.offset, tlv.length);
  }
  /// The value of the first TLV of that type.
  std::optional<std::span<const uint8_t>> find(uint8_t type) const;
  /// The same as text; "" when there is none.
  std::string_view text(uint8_t type) const;
};

/// What the `ssl` TLV says about the client's TLS connection to the proxy (HP-38). Views into the header.
struct ProxySsl {
  /// Bits of proxy_tlv::clientSsl and so on.
  uint8_t client = 0;
  /// 0: the client's certificate was verified, or there was none. Otherwise the proxy's reason, of its own numbering.
  uint32_t verify = 0;
  /// E.g. "TLSv1.3", "client1", "TLS_AES_128_GCM_SHA256"; "" where it is not told.
  std::string_view version{}, commonName{}, cipher{}, certificateSignature{}, keyAlgorithm{}, group{},
      signatureScheme{};
  /// DER; empty where it is not told.
  std::span<const uint8_t> certificate{};

  /// The client used TLS.
  bool encrypted() const { return (client & proxy_tlv::clientSsl) != 0; }
  /// It showed a certificate, now or when its session was made.
  bool hasCertificate() const {
    return (client & (proxy_tlv::clientCertificateOnConnection | proxy_tlv::clientCertificateInSession)) != 0;
  }
  /// It showed one, and the proxy found it good.
  bool certificateVerified() const { return hasCertificate() && verify == 0; }
};

/// Decodes the value of an `ssl` TLV. Empty when it is malformed: then the header says nothing about TLS.
std::optional<ProxySsl> decodeProxySsl(std::span<const uint8_t> value);
/// The same for the header's first `ssl` TLV; empty also when there is none.
std::optional<ProxySsl> decodeProxySsl(const ProxyHeader& header);

struct ProxyParse {
  ParseStatus status = ParseStatus::needsMore;
  /// Done: the header's length; what follows belongs to the next layer. Otherwise 0.
  size_t consumed = 0;
  /// Failed: prxNotHdr, prxBadHdr or prxBadProto; and what is wrong with it, a static string for people.
  OpeningFailure failure = OpeningFailure::none;
  std::string_view text{};
  /// Complete only when done.
  ProxyHeader header{};
};

/// Reads a header of version 1 or 2 (HP-31…41). `bytes` begin with the connection's first byte; when they do not suffice,
/// call again with all of them and more. Takes O(bytes) each time, looks at no more than maxHeaderBytes of them, and
/// allocates only for a header that is complete. Whether the end of the connection is prxEmpty or prxTruncated is the
/// caller's to tell: by whether anything had come.
ProxyParse parseProxyHeader(std::span<const uint8_t> bytes, const ProxyLimits& limits = {});

}  // namespace sluice

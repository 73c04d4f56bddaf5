#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/result.h"

namespace sluice {

/// Which header to send, checked when it was configured: what a listener, a relay or a connect has once for all its
/// connections (HP-48).
struct ProxySendOptions {
  struct CustomTlv {
    uint8_t type = 0;
    std::string value{};  // may be empty: it is sent all the same
  };

  uint8_t version = 2;  // 1 or 2; version 1 has addresses and nothing else
  /// LOCAL (version 2) or UNKNOWN (version 1), whatever the addresses are: own health checks.
  bool local = false;
  std::vector<CustomTlv> custom{};
  bool crc32c = false;
  bool alpn = false;
  bool authority = false;
  bool uniqueId = false;
  /// The `ssl` TLV with flags, verify result and version; the others add to it and imply it.
  bool ssl = false;
  bool sslCommonName = false;
  bool sslCipher = false;
  bool sslCertificateSignature = false;
  bool sslKeyAlgorithm = false;
  bool sslGroup = false;
  bool sslSignatureScheme = false;
  bool sslCertificate = false;
  bool netns = false;

  bool wantsSsl() const {
    return ssl || sslCommonName || sslCipher || sslCertificateSignature || sslKeyAlgorithm || sslGroup ||
           sslSignatureScheme || sslCertificate;
  }
};

/// What is said about one connection. Views, read during the call only.
struct ProxyFacts {
  /// The client's address and the one it connected to; empty or a Unix socket's: version 1 says UNKNOWN, version 2 LOCAL.
  SocketAddress source{}, destination{};
  std::string_view alpn{};
  std::string_view authority{};  // received in a header, else the server name the client asked for
  std::string_view uniqueId{};
  std::string_view netns{};

  /// About the client's TLS, where it has any; without, the `ssl` TLV says so by its flags.
  struct Ssl {
    uint8_t client = 0;  // proxy_tlv::clientSsl and so on
    uint32_t verify = 0;
    std::string_view version{}, commonName{}, cipher{}, certificateSignature{}, keyAlgorithm{}, group{},
        signatureScheme{};
    std::span<const uint8_t> certificate{};
  };
  std::optional<Ssl> ssl{};
};

/// The longest header that version 2 can express.
inline constexpr size_t maxProxyHeaderBytes = 16 + 65'535;

/// The header's bytes, to be sent before anything else and in one piece (HP-45…48). Version 1: both IPv4 or both IPv6,
/// else UNKNOWN. Version 2: both IPv4 as INET, one of them IPv6 as INET6 with the other one mapped, else LOCAL. TLVs in
/// the order custom, CRC32C, ALPN, authority, unique id, SSL, netns; those without a value are left out, but for custom
/// ones. Errors: invalidArgument when a value is too long for its TLV: authority 255, unique id 128, the whole 65 535.
Result<std::vector<uint8_t>> writeProxyHeader(const ProxySendOptions& options, const ProxyFacts& facts);

}  // namespace sluice

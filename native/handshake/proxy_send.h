#pragma once

#include <string>

#include "handshake/proxy_writer.h"

namespace sluice {

/// What is to be sent in a header, and about whom, with the memory that ProxyFacts look at.
struct ProxySend {
  ProxySendOptions options;
  /// Empty: not said; whoever sends may put the socket's here.
  SocketAddress source{}, destination{};
  std::string alpn{}, authority{}, uniqueId{}, netns{};
  bool hasSsl = false;
  uint8_t sslClient = 0;
  uint32_t sslVerify = 0;
  std::string sslVersion{}, sslCommonName{}, sslCipher{}, sslCertificateSignature{}, sslKeyAlgorithm{}, sslGroup{},
      sslSignatureScheme{}, sslCertificate{};

  ProxyFacts facts() const {
    ProxyFacts facts{source, destination, alpn, authority, uniqueId, netns, std::nullopt};
    if (!hasSsl) return facts;
    const auto* certificate = reinterpret_cast<const uint8_t*>(sslCertificate.data());
    facts.ssl = ProxyFacts::Ssl{sslClient,          sslVerify,
                                sslVersion,         sslCommonName,
                                sslCipher,          sslCertificateSignature,
                                sslKeyAlgorithm,    sslGroup,
                                sslSignatureScheme, {certificate, sslCertificate.size()}};
    return facts;
  }
};

}  // namespace sluice

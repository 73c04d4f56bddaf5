#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tls/tls_error.h"

namespace sluice {

enum class TlsKeyType : uint8_t { ecP256, rsa2048, ed25519 };

/// A certificate to be made.
struct CertificateRequest {
  /// Subject alternative names: DNS names, also "*.example.com", and IP literals. The first is the common name as well.
  /// At least one, unless it is an authority.
  std::vector<std::string> names{};
  std::string commonName{};  // instead of the first name
  TlsKeyType keyType = TlsKeyType::ecP256;
  /// Seconds since 1970; 0: an hour ago, for clocks that are late.
  int64_t notBeforeS = 0;
  /// After notBefore; may be negative for tests of expiry.
  int32_t days = 365;
  /// May sign others.
  bool authority = false;
  /// Empty: for servers and clients. Else only "serverAuth" or "clientAuth".
  std::string purpose{};
  /// PEM of the authority that signs. Empty: signs itself.
  std::string issuerCertificate{}, issuerKey{};
};

struct CertificateAndKey {
  std::string certificate{};  // PEM
  std::string key{};          // PEM, PKCS#8
};

/// Makes a key and a certificate for it. RSA takes tens of milliseconds. Errors: invalidOption, badCertificateData,
/// badKeyData, keyMismatch (of the issuer).
TlsResult<CertificateAndKey> createCertificate(const CertificateRequest& request);

/// A certificate revocation list of an authority, PEM, valid for `days` (negative: expired).
TlsResult<std::string> createCrl(const CertificateAndKey& authority,
                                 const std::vector<std::string>& revokedCertificates, int32_t days);

/// What a certificate says.
struct CertificateInfo {
  std::string subject{}, issuer{};      // RFC 2253, "CN=example.com,O=Example"
  std::string subjectCommonName{};      // "" without one
  std::vector<std::string> dnsNames{};  // subject alternative names
  std::vector<std::string> ipAddresses{};
  std::vector<std::string> uris{}, emails{};
  std::string serialNumber{};                                     // upper-case hex
  int64_t notBeforeS = 0, notAfterS = 0;                          // seconds since 1970
  std::string fingerprint{}, fingerprint256{}, fingerprint512{};  // "AB:CD:…" of SHA-1, SHA-256, SHA-512
  std::string keyType{};                                          // "RSA", "EC", "ED25519" …
  uint32_t keyBits = 0;
  std::string signatureAlgorithm{};  // "ecdsa-with-SHA256"
  bool isAuthority = false;
  std::string der{};
};

/// One certificate, PEM (the first of several) or DER. Errors: badCertificateData.
TlsResult<CertificateInfo> parseCertificate(std::string_view pemOrDer);
/// All certificates of a PEM text, or the DER one, each as DER.
TlsResult<std::vector<std::string>> splitCertificates(std::string_view pemOrDer);

}  // namespace sluice

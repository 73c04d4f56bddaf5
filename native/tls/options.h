#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

class TlsTicketKeys;
class TlsClientSessions;

enum class TlsRole : uint8_t { client, server };

/// The order is that of the protocol.
enum class TlsVersion : uint8_t { tls10, tls11, tls12, tls13 };

/// What a server wants of its clients (SV-04, HP-87). `request` tolerates absence, but a bad certificate still fails
/// the handshake unless `rejectUnauthorized` is off; `require` refuses absence too, with or without it.
enum class TlsClientAuth : uint8_t { none, request, require };

/// A certificate and its key. Certificate: PEM, leaf first and then its chain, or one DER certificate. Key: PEM
/// (PKCS#8, PKCS#1 or SEC1, also encrypted) or DER.
struct TlsKeyPair {
  std::string certificate{};
  std::string key{};
  std::string passphrase{};
};

/// PKCS#12 (DER): a key, its certificate and its chain.
struct TlsPfx {
  std::string data{};
  std::string passphrase{};
};

struct TlsPsk {
  std::string identity{};  // 1…128 bytes, no NUL
  std::string key{};       // 1…256 bytes
};

/// Who is told the secrets of sessions, one line of NSS key log format without its newline; any thread.
class TlsKeylogSink {
 public:
  virtual ~TlsKeylogSink() = default;
  virtual void line(std::string_view text) = 0;
};

/// A policy, for servers or for clients. Empty strings and lists mean the default named beside them. Defaults are those
/// of Mozilla's intermediate guideline 5.7.
struct TlsOptions {
  /// Own certificates, one per key type (RSA, EC, Ed25519 …): the handshake takes what the peer can verify.
  std::vector<TlsKeyPair> keys{};
  std::vector<TlsPfx> pfx{};

  /// Trust anchors: each PEM, any number of certificates, or one DER certificate.
  std::vector<std::string> ca{};
  /// Trust the operating system's store as well: OpenSSL's default paths, and where they are empty the usual bundles.
  /// Without it, and without `ca`, nobody is trusted: binding or TypeScript gives Node's bundled roots as `ca`.
  bool systemTrust = false;
  /// Each PEM or DER. With any, every certificate of a chain needs a current CRL of its issuer.
  std::vector<std::string> crls{};
  /// Whether a peer that does not verify fails the handshake. Off: the outcome is in TlsSession::verifyResult().
  bool rejectUnauthorized = true;
  /// Servers only.
  TlsClientAuth clientAuth = TlsClientAuth::none;
  /// Servers: clients are told the names of `ca`, so that they can pick a certificate (HP-85).
  bool caNames = true;
  /// How deep a chain may be, above the leaf.
  int verifyDepth = 10;

  TlsVersion minVersion = TlsVersion::tls12;
  TlsVersion maxVersion = TlsVersion::tls13;
  /// Up to TLS 1.2, in OpenSSL's list format; each item must match something. Names of TLS 1.3 among them mean
  /// `cipherSuites`, as node:tls has it.
  std::string ciphers{};
  std::string cipherSuites{};         // TLS 1.3, names separated by colons
  std::string groups{};               // X25519MLKEM768 where it exists, X25519, P-256, P-384
  std::string signatureAlgorithms{};  // OpenSSL's default
  /// OpenSSL's security level, 0…5. 2 means at least 112 bits, so DH and RSA of 2048. TLS 1.0 and 1.1 need 0.
  int securityLevel = 2;
  bool honorCipherOrder = false;

  /// Protocols, most wanted first, 1…255 bytes each. A server that shares none with a client who offers some refuses it
  /// (RFC 7301).
  std::vector<std::string> alpn{};

  /// Servers: session tickets, and with which keys. Clients: whether to ask for tickets.
  bool tickets = true;
  std::shared_ptr<TlsTicketKeys> ticketKeys{};  // own random ones
  /// TLS 1.3 servers: tickets after a full handshake, each good for one connection; 20 µs each. After a resumed one it is 1.
  uint32_t ticketCount = 2;
  uint32_t sessionTimeoutS = 300;
  /// Sessions that the server remembers itself, for clients without tickets; 0: none.
  uint32_t sessionCacheCount = 20000;
  /// Sessions and tickets are good for policies of the same context only. Empty: derived from what decides about
  /// clients and what a session was made with (clientAuth, rejectUnauthorized, ca, crls, verifyDepth, ciphers, securityLevel), so that it is the same in every process with the
  /// same policy, and a session made under a weaker policy never skips a stricter one (HP-88).
  std::string sessionIdContext{};
  /// Clients: where sessions are kept; none without it.
  std::shared_ptr<TlsClientSessions> clientSessions{};

  /// Servers: DER OCSP response to staple.
  std::string ocspResponse{};
  /// Clients: ask for one.
  bool requestOcsp = false;

  /// Servers: the identities they know. Clients: the first is used. With certificates too, PSK is tried first.
  std::vector<TlsPsk> psks{};
  std::string pskHint{};  // TLS 1.2 servers

  /// TLS 1.2: let the peer negotiate again. Off: a client that tries gets `renegotiation`.
  bool allowRenegotiation = false;
  uint32_t maxRenegotiationsPerMinute = 3;
  /// TLS 1.3 (HP-92). 0: no limit.
  uint32_t maxKeyUpdatesPerSecond = 100;
  /// Records of data without a byte of it. 0: no limit but OpenSSL's own, 32 in a row.
  uint32_t maxEmptyRecordsPerSecond = 1000;
  /// Bytes that a peer may send until the handshake is done, certificates included. At least 1.
  uint32_t maxHandshakeBytes = 128 * 1024;

  /// HP-91: records of 1400 bytes at the start and after a second of idling, so that the first bytes can be used
  /// without waiting for the rest; 16 KiB after 64 KiB. Off: always 16 KiB.
  bool dynamicRecordSize = true;

  std::shared_ptr<TlsKeylogSink> keylog{};
};

/// What differs between the connections of one policy.
struct TlsPeerOptions {
  /// Clients: SNI, a DNS name (an IP address is refused by RFC 6066 and not sent). Empty: none.
  std::string serverName{};
  /// Clients: whom the certificate must name, by RFC 6125: DNS name, or IP address literal. Empty: anybody.
  std::string verifyName{};
  /// Also take a common name when the certificate has no subject alternative names (deprecated by RFC 6125).
  bool checkCommonName = false;
  /// Replaces the context's, unless empty.
  std::vector<std::string> alpn{};
  /// Clients: under which key (usually "host:port") to look for a session and to keep new ones; empty: neither. The
  /// policy and the names above become part of it.
  std::string sessionKey{};
  /// Clients: a session to resume, DER as TlsSession::session() gives; instead of one from the cache.
  std::string session{};
};

}  // namespace sluice

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tls/openssl_ptr.h"
#include "tls/options.h"
#include "tls/tls_error.h"

namespace sluice {

/// Checked options as OpenSSL wants them, and those that OpenSSL has no place for. Immutable; sessions share it.
class TlsPolicy {
 public:
  static constexpr size_t idBytes = 32;

  /// `formerKeys`: ticket keys to go on with when the options name none.
  static TlsResult<std::shared_ptr<const TlsPolicy>> create(TlsRole role, const TlsOptions& options,
                                                            std::shared_ptr<TlsTicketKeys> formerKeys);

  SSL_CTX* context() const { return context_.get(); }
  /// What sessions are bound to, with the name a client asked for where the policy decides about clients by their
  /// certificates (HP-88).
  void sessionId(std::string_view serverName, uint8_t id[idBytes]) const;
  std::string_view id() const { return {reinterpret_cast<const char*>(id_), idBytes}; }
  /// Makes an SSL that began with another policy follow this one. False: out of memory.
  bool takeOver(SSL* ssl, const TlsPolicy& former) const;

  TlsRole role = TlsRole::client;
  bool rejectUnauthorized = true;
  TlsClientAuth clientAuth = TlsClientAuth::none;
  bool allowRenegotiation = false;
  uint32_t maxRenegotiationsPerMinute = 0, maxKeyUpdatesPerSecond = 0, maxEmptyRecordsPerSecond = 0;
  uint32_t maxHandshakeBytes = 0;
  bool dynamicRecordSize = true;
  std::string alpnWire;  // as in the protocol: a length before each name
  std::string ocspResponse;
  std::vector<TlsPsk> psks;
  std::shared_ptr<TlsTicketKeys> ticketKeys;
  std::shared_ptr<TlsClientSessions> clientSessions;
  std::shared_ptr<TlsKeylogSink> keylog;

 private:
  friend class TlsPolicyBuilder;
  OpensslPtr<SSL_CTX> context_;
  std::string groups_;
  uint8_t id_[idBytes] = {};
};

/// A list of protocols as in the protocol. Errors: invalidOption.
TlsResult<std::string> alpnWireFormat(const std::vector<std::string>& protocols);

}  // namespace sluice

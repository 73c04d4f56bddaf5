#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tls/certificate.h"
#include "tls/context.h"
#include "tls/session.h"

namespace sluice::test {

/// A wire in memory: what a session sends and the other end has not been given yet.
class TlsTestWire final : public TlsWire {
 public:
  std::string bytes;
  size_t room = SIZE_MAX;  // what it takes before it is full; grows only by hand
  size_t calls = 0;

  size_t take(std::span<const uint8_t> offered) override;
};

/// A client and a server, back to back. What one sends reaches the other when it is told to.
class TlsPair {
 public:
  TlsPair(std::shared_ptr<TlsContext> client, std::shared_ptr<TlsContext> server, const TlsPeerOptions& peer = {});

  std::unique_ptr<TlsSession> client, server;
  TlsTestWire fromClient, fromServer;
  TlsStatus clientStatus = TlsStatus::wantInput, serverStatus = TlsStatus::wantInput;
  size_t chunkBytes = SIZE_MAX;  // how much is lent at once

  /// Until both are done, or one has failed and the other has been told. True: both are done.
  bool handshake();
  /// Gives what `from` sent to `to`, whose reading or handshaking consumes it; returns what was read.
  std::string toServer();
  std::string toClient();
  /// Everything that was written is sent, read and returned.
  std::string clientSays(std::string_view text);
  std::string serverSays(std::string_view text);

 private:
  std::string deliver(TlsTestWire& wire, TlsSession& to, TlsStatus& status);
};

/// Writes all of it; the wire must take it.
void writeAll(TlsSession& session, std::string_view text);
/// Reads what there is, in pieces of `pieceBytes`.
std::string readAll(TlsSession& session, TlsStatus& status, size_t pieceBytes = 16384);

std::span<const uint8_t> bytesOf(std::string_view text);

/// Certificates for tests, made once per program.
const CertificateAndKey& testAuthority();
/// For "localhost", "*.example.com", "127.0.0.1" and "::1", signed by testAuthority().
const CertificateAndKey& testServer(TlsKeyType type = TlsKeyType::ecP256);
const CertificateAndKey& testClient();
CertificateAndKey makeCertificate(const CertificateRequest& request);
/// The same as PKCS#12.
std::string pfxOf(const CertificateAndKey& own, const char* passphrase);

/// Options that work with each other: a server with testServer(), a client that trusts testAuthority().
TlsOptions serverOptions(TlsKeyType type = TlsKeyType::ecP256);
TlsOptions clientOptions();
/// Asserts that the options are good.
std::shared_ptr<TlsContext> serverContext(const TlsOptions& options = serverOptions());
std::shared_ptr<TlsContext> clientContext(const TlsOptions& options = clientOptions());

/// Errors that OpenSSL's queue of this thread still has; the session must never leave any.
size_t queuedLibraryErrors();

}  // namespace sluice::test

#include "support/tls_pair.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include <algorithm>

#include "base/assert.h"
#include "tls/openssl_ptr.h"

#if defined(__SANITIZE_THREAD__)
// OpenSSL as installed is not instrumented, so TSan does not see what its atomic counters order.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libcrypto.so\ncalled_from_lib:libssl.so\n";
}
#endif

namespace sluice::test {

size_t TlsTestWire::take(std::span<const uint8_t> offered) {
  calls += 1;
  const size_t taken = std::min(offered.size(), room);
  bytes.append(reinterpret_cast<const char*>(offered.data()), taken);
  if (room != SIZE_MAX) room -= taken;
  return taken;
}

std::span<const uint8_t> bytesOf(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

TlsPair::TlsPair(std::shared_ptr<TlsContext> clientContext, std::shared_ptr<TlsContext> serverContext,
                 const TlsPeerOptions& peer) {
  auto clientSession = TlsSession::create(std::move(clientContext), peer);
  auto serverSession = TlsSession::create(std::move(serverContext), {});
  SLUICE_ASSERT(clientSession && serverSession);
  client = std::move(*clientSession);
  server = std::move(*serverSession);
  client->setWire(&fromClient);
  server->setWire(&fromServer);
}

bool TlsPair::handshake() {
  const auto isOver = [](TlsStatus status) { return status == TlsStatus::ok || status == TlsStatus::failed; };
  for (int round = 0; round < 20; round++) {
    clientStatus = client->handshake();
    toServer();
    serverStatus = server->handshake();
    toClient();
    if (isOver(clientStatus) && isOver(serverStatus)) break;
    if (clientStatus == TlsStatus::failed && fromClient.bytes.empty()) break;
    if (serverStatus == TlsStatus::failed && fromServer.bytes.empty()) break;
  }
  toClient();
  toServer();
  return client->handshakeDone() && server->handshakeDone() && clientStatus != TlsStatus::failed &&
         serverStatus != TlsStatus::failed;
}

std::string pfxOf(const CertificateAndKey& own, const char* passphrase) {
  const OpensslPtr<BIO> keyIn(BIO_new_mem_buf(own.key.data(), static_cast<int>(own.key.size())));
  const OpensslPtr<BIO> certificateIn(
      BIO_new_mem_buf(own.certificate.data(), static_cast<int>(own.certificate.size())));
  const OpensslPtr<EVP_PKEY> key(PEM_read_bio_PrivateKey(keyIn.get(), nullptr, nullptr, nullptr));
  const OpensslPtr<X509> certificate(PEM_read_bio_X509(certificateIn.get(), nullptr, nullptr, nullptr));
  const OpensslPtr<PKCS12> bag(
      PKCS12_create(passphrase, "test", key.get(), certificate.get(), nullptr, 0, 0, 0, 0, 0));
  unsigned char* bytes = nullptr;
  const int size = i2d_PKCS12(bag.get(), &bytes);
  std::string der(reinterpret_cast<char*>(bytes), static_cast<size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

std::string TlsPair::toServer() { return deliver(fromClient, *server, serverStatus); }
std::string TlsPair::toClient() { return deliver(fromServer, *client, clientStatus); }

std::string TlsPair::deliver(TlsTestWire& wire, TlsSession& to, TlsStatus& status) {
  std::string sent, all;
  sent.swap(wire.bytes);
  for (size_t begin = 0; begin < sent.size(); begin += std::min(chunkBytes, sent.size() - begin)) {
    // A copy of exactly these bytes: reading beyond them, or later, is found by ASan.
    const std::vector<uint8_t> chunk(
        sent.begin() + static_cast<std::ptrdiff_t>(begin),
        sent.begin() +
            static_cast<std::ptrdiff_t>(std::min(sent.size(), begin + std::min(chunkBytes, sent.size() - begin))));
    to.lend(chunk);
    if (!to.handshakeDone()) status = to.handshake();
    if (to.handshakeDone() && status != TlsStatus::failed && to.unreadWireBytes() > 0) {
      all += readAll(to, status);
      if (status == TlsStatus::wantInput) status = TlsStatus::ok;
    }
    to.keepRest();
  }
  return all;
}

std::string TlsPair::clientSays(std::string_view text) {
  writeAll(*client, text);
  return toServer();
}

std::string TlsPair::serverSays(std::string_view text) {
  writeAll(*server, text);
  return toClient();
}

void writeAll(TlsSession& session, std::string_view text) {
  size_t taken = 0;
  const TlsStatus status = session.write(bytesOf(text), taken);
  SLUICE_ASSERT(status == TlsStatus::ok && taken == text.size());
}

std::string readAll(TlsSession& session, TlsStatus& status, size_t pieceBytes) {
  std::string all;
  std::vector<uint8_t> into(pieceBytes);
  do {
    size_t got = 0;
    status = session.read(into, got);
    all.append(reinterpret_cast<const char*>(into.data()), got);
  } while (status == TlsStatus::ok);
  return all;
}

CertificateAndKey makeCertificate(const CertificateRequest& request) {
  auto made = createCertificate(request);
  SLUICE_ASSERT(made);
  return *made;
}

const CertificateAndKey& testAuthority() {
  static const CertificateAndKey authority =
      makeCertificate({.names = {}, .commonName = "Test CA", .authority = true});
  return authority;
}

const CertificateAndKey& testServer(TlsKeyType type) {
  static CertificateAndKey made[3];
  CertificateAndKey& one = made[static_cast<size_t>(type)];
  if (one.key.empty()) {
    CertificateRequest request{.names = {"localhost", "*.example.com", "127.0.0.1", "::1"}, .keyType = type};
    request.issuerCertificate = testAuthority().certificate;
    request.issuerKey = testAuthority().key;
    one = makeCertificate(request);
  }
  return one;
}

const CertificateAndKey& testClient() {
  static const CertificateAndKey client = [] {
    CertificateRequest request{.names = {"client.example.com"}, .purpose = "clientAuth"};
    request.issuerCertificate = testAuthority().certificate;
    request.issuerKey = testAuthority().key;
    return makeCertificate(request);
  }();
  return client;
}

TlsOptions serverOptions(TlsKeyType type) {
  TlsOptions options;
  options.keys.push_back({testServer(type).certificate, testServer(type).key, ""});
  return options;
}

TlsOptions clientOptions() {
  TlsOptions options;
  options.ca.push_back(testAuthority().certificate);
  return options;
}

std::shared_ptr<TlsContext> serverContext(const TlsOptions& options) {
  auto context = TlsContext::create(TlsRole::server, options);
  SLUICE_ASSERT(context);
  return *context;
}

std::shared_ptr<TlsContext> clientContext(const TlsOptions& options) {
  auto context = TlsContext::create(TlsRole::client, options);
  SLUICE_ASSERT(context);
  return *context;
}

size_t queuedLibraryErrors() {
  size_t count = 0;
  while (ERR_get_error() != 0) count += 1;
  return count;
}

}  // namespace sluice::test

#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include <functional>
#include <string>

#include "support/test.h"
#include "support/tls_pair.h"
#include "tls/openssl_ptr.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr TlsVersion bothVersions[] = {TlsVersion::tls12, TlsVersion::tls13};

CertificateRequest signedBy(const CertificateAndKey& issuer,
                            CertificateRequest request = {.names = {"localhost"}}) {
  request.issuerCertificate = issuer.certificate;
  request.issuerKey = issuer.key;
  return request;
}

TlsOptions with(TlsOptions options, const CertificateAndKey& own) {
  options.keys = {{own.certificate, own.key, ""}};
  return options;
}

// The key of testServer(), encrypted with "secret".
std::string encryptedKey() {
  const OpensslPtr<BIO> in(BIO_new_mem_buf(testServer().key.data(), static_cast<int>(testServer().key.size())));
  const OpensslPtr<EVP_PKEY> key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
  const OpensslPtr<BIO> out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(out.get(), key.get(), EVP_aes_256_cbc(), "secret", 6, nullptr, nullptr);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out.get(), &bytes);
  return std::string(bytes, static_cast<size_t>(size));
}

std::string derKey() {
  const OpensslPtr<BIO> in(BIO_new_mem_buf(testServer().key.data(), static_cast<int>(testServer().key.size())));
  const OpensslPtr<EVP_PKEY> key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
  unsigned char* bytes = nullptr;
  const int size = i2d_PrivateKey(key.get(), &bytes);
  std::string der(reinterpret_cast<char*>(bytes), static_cast<size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

std::string refusedAs(const TlsOptions& options, TlsFailure failure, TlsRole role = TlsRole::server) {
  auto made = TlsContext::create(role, options);
  if (made) return "nothing was refused";
  CHECK_EQ(tlsFailureName(made.error().failure), tlsFailureName(failure));
  CHECK(made.error().stage == TlsStage::options);
  CHECK(!made.error().text.empty());
  CHECK_EQ(queuedLibraryErrors(), 0u);
  return made.error().option;
}

// How a client that trusts `ca` finds this server.
TlsError verdictOn(const CertificateAndKey& server, TlsOptions client = clientOptions(),
                   const std::string& verifyName = "localhost") {
  TlsOptions options = with({}, server);
  options.securityLevel = 0;
  TlsPair pair(clientContext(client), serverContext(options), {.verifyName = verifyName});
  CHECK(!pair.handshake());
  const TlsError error = pair.client->takeError();
  CHECK(pair.server->takeError().failure == TlsFailure::peerAlert);
  CHECK_EQ(queuedLibraryErrors(), 0u);
  return error;
}

void checkVerdict(const TlsError& error, TlsFailure failure, std::string_view reason) {
  CHECK_EQ(tlsFailureName(error.failure), tlsFailureName(failure));
  CHECK_EQ(std::string_view(error.reason), reason);
  CHECK(error.stage == TlsStage::handshake);
  CHECK(error.verifyCode != 0);
  CHECK(!error.text.empty());
}

}  // namespace

TEST("a certificate says what was asked for") {
  CertificateRequest request{.names = {"example.com", "*.example.com", "192.0.2.1", "2001:db8::1"}, .days = 90};
  const CertificateAndKey made = makeCertificate(request);
  auto info = parseCertificate(made.certificate);
  REQUIRE(info);
  CHECK_EQ(info->subject, "CN=example.com");
  CHECK_EQ(info->issuer, "CN=example.com");
  CHECK_EQ(info->subjectCommonName, "example.com");
  CHECK(info->dnsNames == std::vector<std::string>({"example.com", "*.example.com"}));
  CHECK(info->ipAddresses == std::vector<std::string>({"192.0.2.1", "2001:db8::1"}));
  CHECK_EQ(info->notAfterS - info->notBeforeS, 90 * 86400);
  CHECK_EQ(info->keyType, "EC");
  CHECK_EQ(info->keyBits, 256u);
  CHECK_EQ(info->signatureAlgorithm, "ecdsa-with-SHA256");
  CHECK_EQ(info->serialNumber.size(), 32u);
  CHECK_EQ(info->fingerprint256.size(), 95u);
  CHECK(!info->isAuthority);
  auto again = parseCertificate(info->der);
  REQUIRE(again);
  CHECK_EQ(again->fingerprint256, info->fingerprint256);
  CHECK_EQ(splitCertificates(made.certificate + testAuthority().certificate)->size(), 2u);
  CHECK(parseCertificate(testAuthority().certificate)->isAuthority);
  CHECK_EQ(parseCertificate(testServer().certificate)->issuer, "CN=Test CA");
}

TEST("each key type can be made, and no serial number comes twice") {
  std::string serials;
  for (const auto& [type, name] :
       {std::pair{TlsKeyType::ecP256, "EC"}, {TlsKeyType::rsa2048, "RSA"}, {TlsKeyType::ed25519, "ED25519"}}) {
    auto info = parseCertificate(makeCertificate({.names = {"localhost"}, .keyType = type}).certificate);
    REQUIRE(info);
    CHECK_EQ(info->keyType, name);
    CHECK(serials.find(info->serialNumber) == std::string::npos);
    serials += info->serialNumber + " ";
  }
}

TEST("what cannot be in a certificate is refused by name") {
  const auto optionOf = [](const CertificateRequest& request) {
    auto made = createCertificate(request);
    return made ? std::string("none") : made.error().option;
  };
  CHECK_EQ(optionOf({}), "names");
  CHECK_EQ(optionOf({.names = {"localhost", "a b"}}), "names[1]");
  CHECK_EQ(optionOf({.names = {"a.com\nb.com"}}), "names[0]");
  CHECK_EQ(optionOf({.names = {"a.com,DNS:b.com"}}), "names[0]");
  CHECK_EQ(optionOf({.names = {"a.com"}, .purpose = "everything"}), "purpose");
  CHECK_EQ(optionOf({.names = {"a.com"}, .issuerCertificate = testAuthority().certificate}), "issuerKey");
  CHECK_EQ(
      optionOf(
          {.names = {"a.com"}, .issuerCertificate = testAuthority().certificate, .issuerKey = testServer().key}),
      "issuer.key");
  CHECK(!parseCertificate("nothing"));
  CHECK(!parseCertificate(""));
  CHECK_EQ(queuedLibraryErrors(), 0u);
}

TEST("each wrong option has a code of its own and is named") {
  const CertificateAndKey& own = testServer();
  const std::string damaged = own.certificate.substr(0, 200) + "!!" + own.certificate.substr(202);
  struct Case {
    const char* option;
    TlsFailure failure;
    std::function<void(TlsOptions&)> change;
  };
  const Case cases[] = {
      {"keys[0].certificate", TlsFailure::badCertificateData,
       [&](TlsOptions& o) { o.keys[0].certificate = "text"; }},
      {"keys[0].certificate", TlsFailure::badCertificateData, [&](TlsOptions& o) { o.keys[0].certificate = ""; }},
      {"keys[0].certificate", TlsFailure::badCertificateData,
       [&](TlsOptions& o) { o.keys[0].certificate = damaged; }},
      {"keys[0].certificate", TlsFailure::badCertificateData,
       [&](TlsOptions& o) { o.keys[0].certificate = own.key; }},
      {"keys[0].certificate", TlsFailure::badCertificateData,
       [&](TlsOptions& o) { o.keys[0].certificate += damaged; }},
      {"keys[0].key", TlsFailure::badKeyData, [&](TlsOptions& o) { o.keys[0].key = "text"; }},
      {"keys[0].key", TlsFailure::badKeyData, [&](TlsOptions& o) { o.keys[0].key = own.certificate; }},
      {"keys[0].key", TlsFailure::keyMismatch, [&](TlsOptions& o) { o.keys[0].key = testClient().key; }},
      {"keys[0].key", TlsFailure::keyMismatch,
       [&](TlsOptions& o) { o.keys[0].key = testServer(TlsKeyType::rsa2048).key; }},
      {"keys[0].passphrase", TlsFailure::passphraseMissing, [&](TlsOptions& o) { o.keys[0].key = encryptedKey(); }},
      {"keys[0].passphrase", TlsFailure::passphraseWrong,
       [&](TlsOptions& o) { o.keys[0] = {own.certificate, encryptedKey(), "public"}; }},
      {"keys[1]", TlsFailure::invalidOption,
       [&](TlsOptions& o) { o.keys.push_back({own.certificate, own.key, ""}); }},
      {"pfx[0].data", TlsFailure::badPfxData, [&](TlsOptions& o) { o.pfx = {{"text", ""}}; }},
      {"pfx[0].passphrase", TlsFailure::passphraseWrong,
       [&](TlsOptions& o) { o.pfx = {{pfxOf(testServer(TlsKeyType::rsa2048), "secret"), "public"}}; }},
      {"pfx[0].passphrase", TlsFailure::passphraseMissing,
       [&](TlsOptions& o) { o.pfx = {{pfxOf(testServer(TlsKeyType::rsa2048), "secret"), ""}}; }},
      {"ca[1]", TlsFailure::badCaData, [&](TlsOptions& o) { o.ca = {testAuthority().certificate, "text"}; }},
      {"crls[0]", TlsFailure::badCrlData, [&](TlsOptions& o) { o.crls = {own.certificate}; }},
      {"ciphers", TlsFailure::unknownCipher,
       [&](TlsOptions& o) { o.ciphers = "ECDHE-RSA-AES128-GCM-SHA256:NO-SUCH"; }},
      {"ciphers", TlsFailure::unknownCipher, [&](TlsOptions& o) { o.ciphers = "TLS_NO_SUCH"; }},
      {"cipherSuites", TlsFailure::unknownCipher,
       [&](TlsOptions& o) { o.cipherSuites = "TLS_AES_128_GCM_SHA256:TLS_NO"; }},
      {"groups", TlsFailure::unknownGroup, [&](TlsOptions& o) { o.groups = "P-256:P-257"; }},
      {"signatureAlgorithms", TlsFailure::unknownSignatureAlgorithm,
       [&](TlsOptions& o) { o.signatureAlgorithms = "RSA+MD17"; }},
      {"minVersion", TlsFailure::badVersionRange,
       [&](TlsOptions& o) { o.minVersion = TlsVersion::tls13, o.maxVersion = TlsVersion::tls12; }},
      {"minVersion", TlsFailure::badVersionRange, [&](TlsOptions& o) { o.minVersion = TlsVersion::tls11; }},
      {"securityLevel", TlsFailure::invalidOption, [&](TlsOptions& o) { o.securityLevel = 6; }},
      {"maxHandshakeBytes", TlsFailure::invalidOption, [&](TlsOptions& o) { o.maxHandshakeBytes = 0; }},
      {"verifyDepth", TlsFailure::invalidOption, [&](TlsOptions& o) { o.verifyDepth = -1; }},
      {"alpn[1]", TlsFailure::invalidOption, [&](TlsOptions& o) { o.alpn = {"h2", std::string(256, 'x')}; }},
      {"psks[0].identity", TlsFailure::invalidOption, [&](TlsOptions& o) { o.psks = {{"", "key"}}; }},
      {"psks[1].key", TlsFailure::invalidOption, [&](TlsOptions& o) { o.psks = {{"a", "key"}, {"b", ""}}; }},
  };
  for (const Case& one : cases) {
    TlsOptions options = serverOptions();
    one.change(options);
    CHECK_EQ(refusedAs(options, one.failure), one.option);
  }
}

TEST("a key too weak for the security level is refused, and taken below it") {
  const OpensslPtr<EVP_PKEY> key(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", static_cast<size_t>(1024)));
  const OpensslPtr<X509> certificate(X509_new());
  X509_set_pubkey(certificate.get(), key.get());
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  const auto der = [](auto* it, auto encode) {
    unsigned char* bytes = nullptr;
    const int size = encode(it, &bytes);
    std::string text(reinterpret_cast<char*>(bytes), static_cast<size_t>(size));
    OPENSSL_free(bytes);
    return text;
  };
  TlsOptions options;
  options.keys = {{der(certificate.get(), &i2d_X509), der(key.get(), &i2d_PrivateKey), ""}};
  CHECK_EQ(refusedAs(options, TlsFailure::keyTooWeak), "keys[0]");
  options.securityLevel = 1;
  CHECK(TlsContext::create(TlsRole::server, options));
}

TEST("keys and certificates are taken in every usual form") {
  std::vector<TlsOptions> all;
  all.push_back(serverOptions());
  all.back().keys[0] = {testServer().certificate, encryptedKey(), "secret"};
  all.push_back(serverOptions());
  all.back().keys[0] = {parseCertificate(testServer().certificate)->der, derKey(), ""};
  for (const char* passphrase : {"secret", ""}) {
    TlsOptions pfx;
    pfx.pfx = {{pfxOf(testServer(), passphrase), passphrase}};
    all.push_back(pfx);
  }
  for (const TlsOptions& options : all) {
    TlsPair pair(clientContext(), serverContext(options), {.verifyName = "localhost"});
    CHECK(pair.handshake());
  }
}

TEST("ciphers of TLS 1.3 may stand among the others, as node:tls has it") {
  TlsOptions options = serverOptions();
  options.ciphers = "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:HIGH:!aNULL:!RC4";
  const auto server = serverContext(options);
  TlsPair newer(clientContext(), server);
  REQUIRE(newer.handshake());
  CHECK_EQ(newer.client->info().cipher, "TLS_AES_128_GCM_SHA256");
}

TEST("each wrong certificate of a server has a code of its own") {
  const CertificateAndKey& ca = testAuthority();
  const CertificateAndKey otherCa = makeCertificate({.names = {}, .commonName = "Other CA", .authority = true});

  checkVerdict(
      verdictOn(makeCertificate(signedBy(ca, {.names = {"localhost"}, .notBeforeS = 1'000'000'000, .days = 10}))),
      TlsFailure::certificateExpired, "SSL_CRT_FAIL");
  checkVerdict(verdictOn(makeCertificate(signedBy(ca, {.names = {"localhost"}, .notBeforeS = 4'000'000'000}))),
               TlsFailure::certificateNotYetValid, "SSL_CRT_FAIL");
  checkVerdict(verdictOn(makeCertificate({.names = {"localhost"}})), TlsFailure::certificateSelfSigned,
               "SSL_CRT_FAIL");
  checkVerdict(verdictOn(makeCertificate(signedBy(otherCa))), TlsFailure::certificateUnknownIssuer, "SSL_CA_FAIL");
  checkVerdict(verdictOn(makeCertificate(signedBy(ca, {.names = {"localhost"}, .purpose = "clientAuth"}))),
               TlsFailure::certificateBadPurpose, "SSL_CRT_FAIL");
  checkVerdict(verdictOn(testServer(), clientOptions(), "example.org"), TlsFailure::certificateNameMismatch,
               "SSL_MISMATCH_SNI");
  checkVerdict(verdictOn(testServer(), clientOptions(), "127.0.0.2"), TlsFailure::certificateNameMismatch,
               "SSL_MISMATCH_SNI");

  CertificateAndKey chain = makeCertificate(signedBy(otherCa));
  chain.certificate += otherCa.certificate;
  checkVerdict(verdictOn(chain), TlsFailure::certificateSelfSignedInChain, "SSL_CA_FAIL");

  const CertificateAndKey oldCa = makeCertificate(
      {.names = {}, .commonName = "Old CA", .notBeforeS = 1'000'000'000, .days = 10, .authority = true});
  TlsOptions trustsOld = clientOptions();
  trustsOld.ca.push_back(oldCa.certificate);
  checkVerdict(verdictOn(makeCertificate(signedBy(oldCa)), trustsOld), TlsFailure::certificateExpired,
               "SSL_CA_FAIL");

  // Somebody without authority signs.
  const CertificateAndKey notCa = makeCertificate(signedBy(ca, {.names = {"impostor"}}));
  CertificateAndKey forged = makeCertificate(signedBy(notCa));
  forged.certificate += notCa.certificate;
  checkVerdict(verdictOn(forged), TlsFailure::certificateInvalidCa, "SSL_CA_FAIL");

  CertificateAndKey altered = makeCertificate(signedBy(ca));
  altered.certificate = parseCertificate(altered.certificate)->der;
  altered.certificate.back() = static_cast<char>(altered.certificate.back() ^ 1);
  checkVerdict(verdictOn(altered), TlsFailure::certificateBadSignature, "SSL_CRT_FAIL");
}

TEST("revocation lists: revoked, missing, expired and good") {
  const CertificateAndKey& ca = testAuthority();
  const CertificateAndKey revoked = makeCertificate(signedBy(ca)), good = makeCertificate(signedBy(ca));
  TlsOptions client = clientOptions();
  client.crls = {*createCrl(ca, {revoked.certificate}, 10)};
  checkVerdict(verdictOn(revoked, client), TlsFailure::certificateRevoked, "SSL_CRT_FAIL");
  TlsPair pair(clientContext(client), serverContext(with({}, good)));
  CHECK(pair.handshake());

  const CertificateAndKey otherCa = makeCertificate({.names = {}, .commonName = "Other CA", .authority = true});
  client.ca.push_back(otherCa.certificate);
  checkVerdict(verdictOn(makeCertificate(signedBy(otherCa)), client), TlsFailure::crlMissing, "SSL_CA_FAIL");

  client.crls = {*createCrl(ca, {}, -5)};
  checkVerdict(verdictOn(good, client), TlsFailure::crlExpired, "SSL_CA_FAIL");
}

TEST("names are verified as RFC 6125 has it") {
  CertificateRequest request =
      signedBy(testAuthority(), {.names = {"*.example.com", "f*.example.org", "192.0.2.7"}});
  const auto server = serverContext(with({}, makeCertificate(request)));
  const auto client = clientContext();
  const auto accepts = [&](const std::string& name, bool checkCommonName = false) {
    TlsPair pair(client, server, {.verifyName = name, .checkCommonName = checkCommonName});
    return pair.handshake();
  };
  CHECK(accepts("a.example.com"));
  CHECK(accepts("A.EXAMPLE.COM"));
  CHECK(accepts("a.example.com."));
  CHECK(accepts("192.0.2.7"));
  CHECK(!accepts("example.com"));
  CHECK(!accepts("a.b.example.com"));
  CHECK(!accepts("foo.example.org"));
  CHECK(!accepts("192.0.2.8"));

  // A common name counts by option only, and never beside alternative names.
  CertificateRequest named = signedBy(testAuthority(), {.names = {"192.0.2.7"}, .commonName = "named.example.com"});
  const auto byCommonName = serverContext(with({}, makeCertificate(named)));
  TlsPair without(client, byCommonName, {.verifyName = "named.example.com"});
  CHECK(!without.handshake());
  TlsPair byOption(client, byCommonName, {.verifyName = "named.example.com", .checkCommonName = true});
  CHECK(byOption.handshake());
}

TEST("what does not verify is let in where that is wanted, and told") {
  TlsOptions lenient = clientOptions();
  lenient.rejectUnauthorized = false;
  for (const TlsVersion version : bothVersions) {
    TlsOptions server = with({}, makeCertificate({.names = {"localhost"}}));
    server.maxVersion = version;
    TlsPair pair(clientContext(lenient), serverContext(server), {.verifyName = "example.org"});
    REQUIRE(pair.handshake());
    TlsError error;
    CHECK(pair.client->verifyResult(error) != 0);
    CHECK(error.failure == TlsFailure::certificateNameMismatch ||
          error.failure == TlsFailure::certificateSelfSigned);
    CHECK_EQ(pair.clientSays("anyway"), "anyway");

    TlsPair good(clientContext(lenient), serverContext(), {.verifyName = "localhost"});
    REQUIRE(good.handshake());
    CHECK_EQ(good.client->verifyResult(error), 0);
    CHECK(!error);
  }
}

TEST("client certificates: none, request and require, with a good one, a bad one and none at all") {
  const CertificateAndKey stranger = makeCertificate({.names = {"stranger"}});
  struct Case {
    TlsClientAuth policy;
    bool rejects;
    const CertificateAndKey* certificate;
    TlsFailure expected;
    bool seen;
  };
  const Case cases[] = {
      {TlsClientAuth::none, true, nullptr, TlsFailure::none, false},
      {TlsClientAuth::none, true, &testClient(), TlsFailure::none, false},
      {TlsClientAuth::none, true, &stranger, TlsFailure::none, false},
      {TlsClientAuth::request, true, nullptr, TlsFailure::none, false},
      {TlsClientAuth::request, true, &testClient(), TlsFailure::none, true},
      {TlsClientAuth::request, true, &stranger, TlsFailure::certificateSelfSigned, false},
      {TlsClientAuth::request, false, &stranger, TlsFailure::none, true},
      {TlsClientAuth::request, false, nullptr, TlsFailure::none, false},
      {TlsClientAuth::require, true, nullptr, TlsFailure::certificateMissing, false},
      {TlsClientAuth::require, true, &testClient(), TlsFailure::none, true},
      {TlsClientAuth::require, true, &stranger, TlsFailure::certificateSelfSigned, false},
      {TlsClientAuth::require, false, nullptr, TlsFailure::certificateMissing, false},
      {TlsClientAuth::require, false, &stranger, TlsFailure::none, true},
  };
  for (const TlsVersion version : bothVersions) {
    for (const Case& one : cases) {
      TlsOptions server = serverOptions(), client = clientOptions();
      server.clientAuth = one.policy;
      server.rejectUnauthorized = one.rejects;
      server.ca = {testAuthority().certificate};
      server.maxVersion = version;
      if (one.certificate != nullptr) client = with(client, *one.certificate);
      TlsPair pair(clientContext(client), serverContext(server));
      const bool done = pair.handshake();
      const TlsError error = pair.server->takeError();
      CHECK_EQ(tlsFailureName(error.failure), tlsFailureName(one.expected));
      if (one.expected != TlsFailure::none) {
        const TlsError told = pair.client->takeError();
        CHECK(told.failure == TlsFailure::peerAlert);
        const bool isMissing = one.expected == TlsFailure::certificateMissing;
        if (isMissing) CHECK_EQ(told.alert, version == TlsVersion::tls13 ? 116 : 40);
        continue;
      }
      CHECK(done);
      CHECK_EQ(pair.server->info().hasPeerCertificate, one.seen);
      CHECK_EQ(pair.server->peerChain().size(), one.seen ? 1u : 0u);
      TlsError verdict;
      CHECK_EQ(pair.server->verifyResult(verdict) != 0, one.seen && one.certificate == &stranger);
    }
  }
}

TEST("a client certificate that has expired, or is for servers, has its code at the server") {
  struct Case {
    CertificateRequest request;
    TlsFailure expected;
  };
  const Case cases[] = {
      {{.names = {"client"}, .notBeforeS = 1'000'000'000, .days = 10}, TlsFailure::certificateExpired},
      {{.names = {"client"}, .purpose = "serverAuth"}, TlsFailure::certificateBadPurpose},
  };
  TlsOptions server = serverOptions();
  server.clientAuth = TlsClientAuth::require;
  server.ca = {testAuthority().certificate};
  const auto serving = serverContext(server);
  for (const Case& one : cases) {
    const CertificateAndKey made = makeCertificate(signedBy(testAuthority(), one.request));
    TlsPair pair(clientContext(with(clientOptions(), made)), serving);
    CHECK(!pair.handshake());
    CHECK_EQ(tlsFailureName(pair.server->takeError().failure), tlsFailureName(one.expected));
  }
}

TEST("chains reach the peer, and what is told of them is in order") {
  const CertificateAndKey middle =
      makeCertificate(signedBy(testAuthority(), {.names = {}, .commonName = "Middle CA", .authority = true}));
  CertificateAndKey leaf = makeCertificate(signedBy(middle));
  leaf.certificate += middle.certificate;
  TlsOptions server = with({}, leaf), client = with(clientOptions(), leaf);
  server.clientAuth = TlsClientAuth::require;
  server.ca = {testAuthority().certificate};
  TlsPair pair(clientContext(client), serverContext(server), {.verifyName = "localhost"});
  REQUIRE(pair.handshake());
  for (const TlsSession* session : {pair.client.get(), pair.server.get()}) {
    const auto chain = session->peerChain();
    REQUIRE(chain.size() == 2);
    CHECK_EQ(parseCertificate(chain[0])->subjectCommonName, "localhost");
    CHECK_EQ(parseCertificate(chain[1])->subjectCommonName, "Middle CA");
    CHECK_EQ(parseCertificate(session->ownCertificate())->subjectCommonName, "localhost");
  }
}

TEST("the system's trust store does not know our authority") {
  TlsOptions client;
  client.systemTrust = true;
  auto context = TlsContext::create(TlsRole::client, client);
  if (!context) {
    CHECK(context.error().failure == TlsFailure::noTrustStore);
    return skip("no trust store here");
  }
  TlsPair pair(*context, serverContext(), {.verifyName = "localhost"});
  CHECK(!pair.handshake());
  CHECK(pair.client->takeError().failure == TlsFailure::certificateUnknownIssuer);
}

TEST("an OCSP response is stapled for those who ask") {
  TlsOptions server = serverOptions(), client = clientOptions();
  server.ocspResponse = "whatever the responder said";
  client.requestOcsp = true;
  for (const TlsVersion version : bothVersions) {
    server.maxVersion = version;
    TlsPair pair(clientContext(client), serverContext(server));
    REQUIRE(pair.handshake());
    CHECK_EQ(pair.client->ocspResponse(), server.ocspResponse);
    TlsPair silent(clientContext(), serverContext(server));
    REQUIRE(silent.handshake());
    CHECK_EQ(silent.client->ocspResponse(), "");
    TlsPair none(clientContext(client), serverContext());
    REQUIRE(none.handshake());
    CHECK_EQ(none.client->ocspResponse(), "");
  }
}

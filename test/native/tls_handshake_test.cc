#include <string>

#include "support/test.h"
#include "support/tls_pair.h"
#include "tls/library.h"
#include "tls/server_names.h"
#include "tls/sniff.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr TlsKeyType keyTypes[] = {TlsKeyType::ecP256, TlsKeyType::rsa2048, TlsKeyType::ed25519};

TlsOptions only(TlsOptions options, TlsVersion version) {
  options.minVersion = options.maxVersion = version;
  return options;
}

// What both ends of a handshake that must fail say.
struct Failures {
  TlsError client, server;
};

Failures failHandshake(TlsPair& pair) {
  CHECK(!pair.handshake());
  return {pair.client->takeError(), pair.server->takeError()};
}

std::string patternBytes(size_t count) {
  std::string text(count, '\0');
  for (size_t i = 0; i < count; i++) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

}  // namespace

TEST("the process has OpenSSL 3") {
  CHECK(TlsLibrary::check());
  CHECK(TlsLibrary::features().version.starts_with("OpenSSL 3"));
}

TEST("TLS is told from plaintext by its first bytes, each of which may come alone") {
  const auto sniff = [](std::string_view text) { return sniffTls(bytesOf(text)); };
  CHECK(sniff("") == TlsSniff::needMore);
  CHECK(sniff("\x16") == TlsSniff::needMore);
  CHECK(sniff("\x16\x03") == TlsSniff::tls);
  CHECK(sniff("\x16\x04") == TlsSniff::plaintext);
  CHECK(sniff("G") == TlsSniff::plaintext);
  CHECK(sniff("\x80") == TlsSniff::needMore);
  CHECK(sniff("\x80\x2e") == TlsSniff::needMore);
  CHECK(sniff("\x80\x2e\x01") == TlsSniff::sslV2);
  CHECK(sniff("\xc3\xa4\x20") == TlsSniff::plaintext);
  TlsPair pair(clientContext(), serverContext());
  (void)pair.client->handshake();
  CHECK(sniff(pair.fromClient.bytes) == TlsSniff::tls);
}

TEST("each version and key type shakes hands, and bytes go both ways") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    for (const TlsKeyType type : keyTypes) {
      TlsPair pair(clientContext(), serverContext(only(serverOptions(type), version)),
                   {.serverName = "localhost", .verifyName = "localhost"});
      REQUIRE(pair.handshake());
      const TlsInfo info = pair.client->info();
      CHECK_EQ(info.protocol, version == TlsVersion::tls13 ? "TLSv1.3" : "TLSv1.2");
      CHECK(!info.cipher.empty());
      CHECK(!info.group.empty());
      CHECK(!info.resumed);
      CHECK(info.hasPeerCertificate);
      CHECK_EQ(pair.server->info().serverName, "localhost");
      CHECK_EQ(pair.server->info().cipher, info.cipher);
      CHECK_EQ(pair.clientSays("from the client"), "from the client");
      CHECK_EQ(pair.serverSays("from the server"), "from the server");
      const std::string bulk = patternBytes(300'000);
      CHECK(pair.clientSays(bulk) == bulk);
      CHECK(pair.serverSays(bulk) == bulk);
      CHECK_EQ(queuedLibraryErrors(), 0u);
    }
  }
}

TEST("TLS 1.0 and 1.1 work for those who lower everything") {
  for (const TlsVersion version : {TlsVersion::tls10, TlsVersion::tls11}) {
    TlsOptions server = only(serverOptions(TlsKeyType::rsa2048), version), client = only(clientOptions(), version);
    server.securityLevel = client.securityLevel = 0;
    server.ciphers = client.ciphers = "ECDHE-RSA-AES128-SHA";
    TlsPair pair(clientContext(client), serverContext(server));
    REQUIRE(pair.handshake());
    CHECK_EQ(pair.clientSays("old"), "old");
    CHECK_EQ(pair.serverSays("older"), "older");
  }
}

TEST("a server with several key types gives each client the one it can verify") {
  TlsOptions options = serverOptions(TlsKeyType::ecP256);
  options.keys.push_back({testServer(TlsKeyType::rsa2048).certificate, testServer(TlsKeyType::rsa2048).key, ""});
  const auto server = serverContext(options);
  for (const bool wantsRsa : {false, true}) {
    TlsOptions client = clientOptions();
    client.signatureAlgorithms = wantsRsa ? "RSA-PSS+SHA256" : "ECDSA+SHA256";
    if (wantsRsa) client.ca = {testServer(TlsKeyType::rsa2048).certificate};
    client.rejectUnauthorized = false;  // the authority itself signs with ECDSA
    TlsPair pair(clientContext(client), server);
    REQUIRE(pair.handshake());
    auto leaf = parseCertificate(pair.client->peerChain().front());
    REQUIRE(leaf);
    CHECK_EQ(leaf->keyType, wantsRsa ? "RSA" : "EC");
  }
}

TEST("a handshake with every record cut into single bytes ends well") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    TlsPair pair(clientContext(), serverContext(only(serverOptions(), version)));
    pair.chunkBytes = 1;
    REQUIRE(pair.handshake());
    CHECK_EQ(pair.clientSays("byte by byte"), "byte by byte");
    CHECK_EQ(pair.serverSays("and back"), "and back");
  }
}

TEST("a handshake that ends at any byte fails as aborted, and as empty before the first") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    const auto client = clientContext(), server = serverContext(only(serverOptions(), version));
    for (size_t cut = 0;; cut++) {
      TlsPair pair(client, server);
      (void)pair.client->handshake();
      if (cut >= pair.fromClient.bytes.size()) break;
      pair.fromClient.bytes.resize(cut);
      pair.toServer();
      pair.server->wireEnded();
      CHECK(pair.server->handshake() == TlsStatus::failed);
      const TlsError error = pair.server->takeError();
      CHECK(error.failure == (cut == 0 ? TlsFailure::empty : TlsFailure::aborted));
      CHECK_EQ(error.reason, std::string_view(cut == 0 ? "SSL_EMPTY" : "SSL_ABORT"));
      CHECK(!pair.server->takeError());
    }
    for (size_t cut = 0;; cut += 7) {
      TlsPair pair(client, server);
      (void)pair.client->handshake();
      pair.toServer();
      if (cut >= pair.fromServer.bytes.size()) break;
      pair.fromServer.bytes.resize(cut);
      pair.toClient();
      if (pair.client->handshakeDone()) break;
      pair.client->wireFailed();
      CHECK(pair.client->handshake() == TlsStatus::failed);
      CHECK(pair.client->takeError().failure == TlsFailure::aborted);
    }
    CHECK_EQ(queuedLibraryErrors(), 0u);
  }
}

TEST("a handshake over wires that take a few bytes at a time ends well, whatever the limit") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    const auto client = clientContext(), server = serverContext(only(serverOptions(), version));
    for (const size_t limit : {1, 2, 3, 5, 7, 16, 100, 1000}) {
      TlsPair pair(client, server);
      bool wasBlocked = false;
      for (int round = 0; round < 20'000; round++) {
        pair.fromClient.room = pair.fromServer.room = limit;
        if (!pair.client->handshakeDone()) pair.clientStatus = pair.client->handshake();
        else if (pair.client->wantsOutput()) (void)pair.client->flush();
        wasBlocked |= pair.client->wantsOutput() || pair.server->wantsOutput();
        pair.toServer();
        if (!pair.server->handshakeDone()) pair.serverStatus = pair.server->handshake();
        else if (pair.server->wantsOutput()) (void)pair.server->flush();
        pair.toClient();
        if (pair.client->handshakeDone() && pair.server->handshakeDone()) break;
      }
      REQUIRE(pair.client->handshakeDone() && pair.server->handshakeDone());
      CHECK(wasBlocked || limit == 1000);
      pair.fromClient.room = pair.fromServer.room = SIZE_MAX;
      CHECK_EQ(pair.clientSays("through"), "through");
      CHECK_EQ(pair.serverSays("and back"), "and back");
    }
  }
}

TEST("ALPN takes what the server wants most, and refuses who shares nothing") {
  TlsOptions server = serverOptions(), client = clientOptions();
  server.alpn = {"h2", "http/1.1"};
  client.alpn = {"http/1.1", "h2"};
  const auto serving = serverContext(server);
  TlsPair agreed(clientContext(client), serving);
  REQUIRE(agreed.handshake());
  CHECK_EQ(agreed.client->info().alpn, "h2");
  CHECK_EQ(agreed.server->info().alpn, "h2");

  TlsPair own(clientContext(client), serving, {.alpn = {"http/1.1"}});
  REQUIRE(own.handshake());
  CHECK_EQ(own.server->info().alpn, "http/1.1");

  TlsPair silent(clientContext(), serving);
  REQUIRE(silent.handshake());
  CHECK_EQ(silent.client->info().alpn, "");

  client.alpn = {"smtp"};
  TlsPair none(clientContext(client), serving);
  const Failures failures = failHandshake(none);
  CHECK(failures.server.failure == TlsFailure::noCommonProtocol);
  CHECK(failures.client.failure == TlsFailure::peerAlert);
  CHECK_EQ(failures.client.alert, 120);
}

TEST("what is not TLS, too old, or without a common cipher has a code of its own") {
  {
    TlsPair pair(clientContext(), serverContext());
    pair.fromClient.bytes = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    pair.toServer();
    CHECK(pair.serverStatus == TlsStatus::failed);
    CHECK(pair.server->takeError().failure == TlsFailure::notTls);
  }
  {
    TlsPair pair(clientContext(), serverContext());
    pair.fromClient.bytes = "\x05garbage that is long enough to be a record of some kind";
    pair.toServer();
    CHECK(pair.server->takeError().failure == TlsFailure::notTls);
  }
  {
    TlsPair pair(clientContext(only(clientOptions(), TlsVersion::tls12)),
                 serverContext(only(serverOptions(), TlsVersion::tls13)));
    const Failures failures = failHandshake(pair);
    CHECK(failures.server.failure == TlsFailure::unsupportedVersion);
    CHECK_EQ(failures.client.alert, 70);
  }
  {
    TlsOptions client = only(clientOptions(), TlsVersion::tls12), server = serverOptions();
    client.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
    server.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384";
    TlsPair pair(clientContext(client), serverContext(server));
    const Failures failures = failHandshake(pair);
    CHECK(failures.server.failure == TlsFailure::noCommonCipher);
    CHECK(failures.client.failure == TlsFailure::peerAlert);
    CHECK_EQ(failures.client.reason, std::string_view("SSL_HANDSHAKE"));
  }
  {
    TlsOptions client = clientOptions(), server = serverOptions();
    client.groups = "P-256";
    server.groups = "P-384";
    TlsPair pair(clientContext(client), serverContext(server));
    CHECK(failHandshake(pair).server.failure == TlsFailure::noCommonCipher);
  }
  CHECK_EQ(queuedLibraryErrors(), 0u);
}

TEST("a client that sends more than a handshake may have is refused") {
  TlsOptions options = serverOptions();
  options.maxHandshakeBytes = 200;
  TlsPair pair(clientContext(), serverContext(options), {.serverName = std::string(100, 'a') + ".example.com"});
  CHECK(!pair.handshake());
  const TlsError error = pair.server->takeError();
  CHECK(error.failure == TlsFailure::handshakeTooLarge);
}

TEST("groups and ciphers are those asked for") {
  TlsOptions server = serverOptions();
  server.groups = "P-384";
  server.cipherSuites = "TLS_CHACHA20_POLY1305_SHA256";
  TlsPair pair(clientContext(), serverContext(server));
  REQUIRE(pair.handshake());
  CHECK_EQ(pair.client->info().group, "secp384r1");
  CHECK_EQ(pair.client->info().cipher, "TLS_CHACHA20_POLY1305_SHA256");

  TlsOptions old = only(serverOptions(TlsKeyType::rsa2048), TlsVersion::tls12);
  old.ciphers = "ECDHE-RSA-AES256-GCM-SHA384";
  TlsPair tls12(clientContext(), serverContext(old));
  REQUIRE(tls12.handshake());
  CHECK_EQ(tls12.client->info().cipher, "ECDHE-RSA-AES256-GCM-SHA384");
  CHECK_EQ(tls12.client->info().cipherStandard, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");
  CHECK_EQ(tls12.client->info().group, "x25519");
}

TEST("ML-KEM comes first where OpenSSL has it, and costs others no round trip") {
  if (!TlsLibrary::features().hasMlKem) return skip("OpenSSL 3.5 has it");
  TlsPair pair(clientContext(), serverContext());
  REQUIRE(pair.handshake());
  CHECK_EQ(pair.client->info().group, "X25519MLKEM768");
  TlsOptions classic = serverOptions();
  classic.groups = "X25519";
  TlsPair other(clientContext(), serverContext(classic));
  (void)other.client->handshake();
  other.toServer();
  other.toClient();
  CHECK(other.client->handshakeDone());
  CHECK_EQ(other.client->info().group, "x25519");
}

TEST("a name is matched exactly, then by one label of a wildcard, in either case; others get the default") {
  const auto fallback = serverContext(), exact = serverContext(), wild = serverContext();
  auto table =
      TlsServerNames::create({{"a.example.com", exact}, {"*.Example.com", wild}, {"!not.example.com", wild}}, {});
  REQUIRE(table);
  const TlsServerNames& names = **table;
  CHECK(names.find("A.EXAMPLE.com") == exact.get());
  CHECK(names.find("a.example.com.") == exact.get());
  CHECK(names.find("b.example.com") == wild.get());
  CHECK(names.find("a.b.example.com") == nullptr);
  CHECK(names.find("example.com") == nullptr);
  CHECK(names.find(".example.com") == nullptr);
  CHECK(names.find("not.example.com") == nullptr);
  CHECK(names.find("") == nullptr);
  // What is no DNS name is nobody's, though it ends like one: a fullwidth or ideographic dot, blanks, a NUL.
  for (const std::string_view odd :
       {std::string_view("x\u3002b.example.com"), std::string_view("x\uff0eb.example.com"),
        std::string_view("b .example.com"), std::string_view("b\0.example.com", 14),
        std::string_view("b/.example.com"), std::string_view("b..example.com"),
        std::string_view("\xe4.example.com"), std::string_view("b.example.com..")}) {
    CHECK(names.find(odd) == nullptr);
  }

  for (const char* bad : {"", "*", "a.*.com", "**.com", "a b.com", "*.", "!other.org", "x..y"}) {
    auto refused = TlsServerNames::create({{"*.example.com", wild}, {bad, wild}}, {});
    REQUIRE(!refused);
    CHECK_EQ(refused.error().option, "serverNames[1]");
  }
  CHECK(!TlsServerNames::create({{"a.com", exact}, {"A.com", wild}}, {}));
  CHECK(!fallback->setServerNames({{"a.com", fallback}}, false));
  CHECK(!fallback->setServerNames({{"a.com", clientContext()}}, false));
  CHECK(!clientContext()->setServerNames({}, false));
}

TEST("SNI switches the whole policy: certificate, versions, client authentication, groups and ALPN") {
  const auto first = serverContext();
  TlsOptions other = only(serverOptions(TlsKeyType::rsa2048), TlsVersion::tls12);
  other.clientAuth = TlsClientAuth::require;
  other.ca = {testAuthority().certificate};
  other.alpn = {"other"};
  other.groups = "P-384:P-256";
  REQUIRE(first->setServerNames({{"*.example.com", serverContext(other)}}, false));

  TlsOptions client = clientOptions();
  client.alpn = {"other"};
  client.groups = "X25519:P-384:P-256";
  TlsPair refused(clientContext(client), first, {.serverName = "x.example.com"});
  CHECK(failHandshake(refused).server.failure == TlsFailure::certificateMissing);

  client.keys.push_back({testClient().certificate, testClient().key, ""});
  TlsPair switched(clientContext(client), first, {.serverName = "x.example.com", .verifyName = "x.example.com"});
  const bool done = switched.handshake();
  CHECK_EQ(switched.server->takeError().text, "");
  CHECK_EQ(switched.client->takeError().text, "");
  REQUIRE(done);
  const TlsInfo info = switched.client->info();
  CHECK_EQ(info.protocol, "TLSv1.2");
  CHECK_EQ(info.alpn, "other");
  CHECK_EQ(info.group, "secp384r1");
  CHECK_EQ(parseCertificate(switched.client->peerChain().front())->keyType, "RSA");
  CHECK(switched.server->info().hasPeerCertificate);
  CHECK_EQ(parseCertificate(switched.server->peerChain().front())->subjectCommonName, "client.example.com");

  TlsPair unknown(clientContext(client), first, {.serverName = "example.org"});
  REQUIRE(unknown.handshake());
  CHECK_EQ(unknown.client->info().protocol, "TLSv1.3");
  CHECK_EQ(unknown.server->info().serverName, "example.org");
  CHECK(!unknown.server->info().hasPeerCertificate);
}

TEST("strict names refuse who asks for another one, or for none") {
  const auto first = serverContext();
  REQUIRE(first->setServerNames({{"localhost", serverContext()}}, true));
  for (const char* name : {"", "example.org"}) {
    TlsPair pair(clientContext(), first, {.serverName = name});
    const Failures failures = failHandshake(pair);
    CHECK(failures.server.failure == TlsFailure::unrecognizedName);
    CHECK_EQ(failures.server.reason, std::string_view("SSL_MISMATCH_SNI"));
    CHECK_EQ(failures.client.alert, 112);
  }
  TlsPair known(clientContext(), first, {.serverName = "localhost"});
  CHECK(known.handshake());
}

TEST("a second hello under another group keeps the policy of the first") {
  const auto first = serverContext();
  TlsOptions other = serverOptions();
  other.groups = "P-384";
  REQUIRE(first->setServerNames({{"localhost", serverContext(other)}}, false));
  TlsOptions client = clientOptions();
  client.groups = "X25519:P-384";  // the share is for X25519, so the server asks again
  TlsPair pair(clientContext(client), first, {.serverName = "localhost"});
  REQUIRE(pair.handshake());
  CHECK_EQ(pair.client->info().group, "secp384r1");
}

TEST("a second hello may not ask for another name than the first") {
  const auto first = serverContext();
  TlsOptions other = serverOptions();
  other.groups = "P-384";
  const auto named = serverContext(other);
  REQUIRE(first->setServerNames({{"a.example.com", named}, {"b.example.com", named}}, false));
  TlsOptions client = clientOptions();
  client.groups = "X25519:P-384";
  for (const bool changes : {false, true}) {
    TlsPair pair(clientContext(client), first, {.serverName = "a.example.com"});
    CHECK_EQ(pair.client->handshake(), TlsStatus::wantInput);
    pair.toServer();
    pair.toClient();
    std::string& second = pair.fromClient.bytes;
    const size_t name = second.find("a.example.com");
    REQUIRE(name != std::string::npos);
    if (changes) second[name] = 'b';
    pair.toServer();
    pair.toClient();
    if (!changes) {
      CHECK(pair.handshake());
    } else {
      CHECK_EQ(pair.serverStatus, TlsStatus::failed);
      CHECK_EQ(pair.client->takeError().alert, 47);  // illegal_parameter
    }
  }
}

TEST("both ends export the same keys and have the same channel bindings") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    TlsPair pair(clientContext(), serverContext(only(serverOptions(), version)));
    REQUIRE(pair.handshake());
    const std::string context = "context";
    auto ours = pair.client->exportKeys("EXPORTER-test", &context, 48);
    auto theirs = pair.server->exportKeys("EXPORTER-test", &context, 48);
    REQUIRE(ours && theirs);
    CHECK_EQ(ours->size(), 48u);
    CHECK(*ours == *theirs);
    CHECK(*ours != *pair.server->exportKeys("EXPORTER-test", nullptr, 48));

    for (const auto kind :
         {TlsChannelBinding::exporter, TlsChannelBinding::serverEndPoint, TlsChannelBinding::unique}) {
      auto mine = pair.client->channelBinding(kind), yours = pair.server->channelBinding(kind);
      if (kind == TlsChannelBinding::unique && version == TlsVersion::tls13) {
        CHECK(!mine);
        continue;
      }
      REQUIRE(mine && yours);
      CHECK(*mine == *yours);
      CHECK_EQ(mine->size(), kind == TlsChannelBinding::unique ? 12u : 32u);
    }
  }
}

TEST("two handshakes that fail in turns keep their own errors") {
  TlsPair expired(clientContext(), serverContext()), other(clientContext(), serverContext());
  expired.fromClient.bytes = "GET / HTTP/1.1\r\n\r\n";
  other.fromClient.bytes = std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10);
  expired.toServer();
  other.toServer();
  CHECK(expired.serverStatus == TlsStatus::failed);
  CHECK(other.serverStatus == TlsStatus::failed);
  CHECK(other.server->takeError().failure == TlsFailure::handshakeFailed);
  CHECK(expired.server->takeError().failure == TlsFailure::notTls);
  CHECK(!expired.server->takeError());
  CHECK_EQ(queuedLibraryErrors(), 0u);
}

TEST("key log lines are those of the handshake") {
  struct Sink final : TlsKeylogSink {
    std::vector<std::string> lines;
    void line(std::string_view text) override { lines.emplace_back(text); }
  };
  const auto sink = std::make_shared<Sink>();
  TlsOptions options = serverOptions();
  options.keylog = sink;
  TlsPair pair(clientContext(), serverContext(options));
  REQUIRE(pair.handshake());
  REQUIRE(sink->lines.size() >= 4);
  CHECK(sink->lines.front().starts_with("SERVER_HANDSHAKE_TRAFFIC_SECRET ") ||
        sink->lines.front().starts_with("CLIENT_HANDSHAKE_TRAFFIC_SECRET "));
}

TEST("wrong options of a connection are refused by name") {
  const auto context = clientContext();
  const auto optionOf = [&](const TlsPeerOptions& peer) {
    auto made = TlsSession::create(context, peer);
    return made ? std::string("none") : made.error().option;
  };
  CHECK_EQ(optionOf({.serverName = "127.0.0.1"}), "serverName");
  CHECK_EQ(optionOf({.serverName = "a b"}), "serverName");
  CHECK_EQ(optionOf({.serverName = std::string(254, 'a')}), "serverName");
  CHECK_EQ(optionOf({.verifyName = ".example.com"}), "verifyName");
  CHECK_EQ(optionOf({.alpn = {""}}), "alpn[0]");
  CHECK_EQ(optionOf({.session = "no session"}), "session");
  CHECK_EQ(queuedLibraryErrors(), 0u);
}

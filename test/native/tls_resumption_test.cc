#include <string>
#include <thread>
#include <tuple>

#include "support/test.h"
#include "support/tls_pair.h"
#include "tls/client_sessions.h"
#include "tls/ticket_keys.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr TlsVersion bothVersions[] = {TlsVersion::tls12, TlsVersion::tls13};

TlsOptions only(TlsOptions options, TlsVersion version) {
  options.minVersion = options.maxVersion = version;
  return options;
}

// A client with a cache; each visit to a server says whether a session was resumed.
class Visitor {
 public:
  explicit Visitor(TlsOptions options = clientOptions()) {
    options.clientSessions = sessions;
    context = clientContext(options);
  }

  enum class Outcome { fresh, resumed, failed };
  Outcome visit(const std::shared_ptr<TlsContext>& server, const std::string& name = "localhost",
                const std::string& key = "host:443") {
    TlsPair pair(context, server, {.serverName = name, .verifyName = name, .sessionKey = key});
    if (!pair.handshake()) return Outcome::failed;
    CHECK_EQ(pair.serverSays("tickets come before this"), "tickets come before this");
    CHECK_EQ(pair.client->info().resumed, pair.server->info().resumed);
    TlsError error;
    CHECK_EQ(pair.client->verifyResult(error), 0);
    serverSawCertificate = pair.server->info().hasPeerCertificate;
    (void)pair.client->shutdown();
    (void)pair.server->shutdown();
    pair.toServer();
    pair.toClient();
    return pair.client->info().resumed ? Outcome::resumed : Outcome::fresh;
  }

  std::shared_ptr<TlsClientSessions> sessions = std::make_shared<TlsClientSessions>(100);
  std::shared_ptr<TlsContext> context;
  bool serverSawCertificate = false;
};

constexpr auto fresh = Visitor::Outcome::fresh;
constexpr auto resumed = Visitor::Outcome::resumed;

}  // namespace

TEST("sessions are resumed by ticket and by id, after an orderly close and without one") {
  for (const TlsVersion version : bothVersions) {
    for (const bool tickets : {true, false}) {
      TlsOptions options = only(serverOptions(), version);
      options.tickets = tickets;
      const auto server = serverContext(options);
      setContext(std::string(version == TlsVersion::tls13 ? "1.3" : "1.2") + (tickets ? " by ticket" : " by id"));
      Visitor visitor;
      CHECK(visitor.visit(server) == fresh);
      for (int i = 0; i < 5; i++) CHECK(visitor.visit(server) == resumed);
      {
        TlsPair left(visitor.context, server,
                     {.serverName = "localhost", .verifyName = "localhost", .sessionKey = "host:443"});
        CHECK(left.handshake());
        left.serverSays("x");
      }
      CHECK(visitor.visit(server) == resumed);
    }
  }
}

TEST("a client gets as many tickets as the server gives") {
  for (const uint32_t count : {0u, 1u, 5u}) {
    TlsOptions options = serverOptions();
    options.ticketCount = count;
    Visitor visitor;
    CHECK(visitor.visit(serverContext(options)) == fresh);
    CHECK_EQ(visitor.sessions->size(), std::min<size_t>(count, TlsClientSessions::perKey));
  }
}

TEST("nothing is resumed without tickets and without a cache") {
  for (const TlsVersion version : bothVersions) {
    TlsOptions options = only(serverOptions(), version);
    options.tickets = false;
    options.sessionCacheCount = 0;
    const auto server = serverContext(options);
    Visitor visitor;
    CHECK(visitor.visit(server) == fresh);
    CHECK(visitor.visit(server) == fresh);
  }
}

TEST("a session is for one host, name and policy of the client") {
  const auto server = serverContext();
  Visitor visitor;
  CHECK(visitor.visit(server) == fresh);
  CHECK(visitor.visit(server, "localhost", "other:443") == fresh);
  CHECK(visitor.visit(server, "a.example.com") == fresh);
  CHECK(visitor.visit(server, "localhost", "") == fresh);
  TlsOptions stricter = clientOptions();
  stricter.minVersion = TlsVersion::tls13;
  Visitor other(stricter);
  other.sessions = visitor.sessions;
  stricter.clientSessions = visitor.sessions;
  other.context = clientContext(stricter);
  CHECK(other.visit(server) == fresh);
  CHECK(other.visit(server) == resumed);
  CHECK(visitor.visit(server) == resumed);
}

TEST("a client resumes nothing that it agreed on as somebody else, with somebody else, or under other terms") {
  const auto stranger = makeCertificate({.names = {"stranger"}});
  struct Case {
    const char* what;
    void (*change)(TlsOptions&, TlsPeerOptions&, const CertificateAndKey&);
  };
  const Case cases[] = {
      {"serverName", [](auto&, auto& peer, auto&) { peer.serverName = "a.example.com"; }},
      {"verifyName", [](auto&, auto& peer, auto&) { peer.verifyName = "127.0.0.1"; }},
      {"checkCommonName", [](auto&, auto& peer, auto&) { peer.checkCommonName = true; }},
      {"alpn", [](auto&, auto& peer, auto&) { peer.alpn = {"h2"}; }},
      {"sessionKey", [](auto&, auto& peer, auto&) { peer.sessionKey = "host:444"; }},
      {"keys", [](auto& o, auto&, auto& who) { o.keys = {{who.certificate, who.key, ""}}; }},
      {"pfx", [](auto& o, auto&, auto& who) { o.pfx = {{pfxOf(who, "x"), "x"}}; }},
      {"ca", [](auto& o, auto&, auto& who) { o.ca.push_back(who.certificate); }},
      {"ciphers", [](auto& o, auto&, auto&) { o.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"; }},
      {"cipherSuites",
       [](auto& o, auto&, auto&) { o.cipherSuites = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"; }},
      {"groups", [](auto& o, auto&, auto&) { o.groups = "P-256"; }},
      {"signatureAlgorithms", [](auto& o, auto&, auto&) { o.signatureAlgorithms = "ECDSA+SHA256"; }},
      {"maxVersion", [](auto& o, auto&, auto&) { o.maxVersion = TlsVersion::tls12; }},
  };
  TlsOptions serving = serverOptions();
  serving.clientAuth = TlsClientAuth::request;
  serving.ca = {testAuthority().certificate, stranger.certificate};
  const auto server = serverContext(serving);
  const auto sessions = std::make_shared<TlsClientSessions>(100);
  const auto resumes = [&](const TlsOptions& options, const TlsPeerOptions& peer) {
    TlsPair pair(clientContext(options), server, peer);
    if (!pair.handshake()) return std::string("failed");
    pair.serverSays("tickets come before this");
    return std::string(pair.client->info().resumed ? "resumed" : "fresh");
  };
  TlsOptions options = clientOptions();
  options.clientSessions = sessions;
  const TlsPeerOptions peer{.serverName = "localhost", .verifyName = "localhost", .sessionKey = "host:443"};
  CHECK_EQ(resumes(options, peer), "fresh");
  for (const Case& each : cases) {
    setContext(each.what);
    TlsOptions changed = options;
    TlsPeerOptions changedPeer = peer;
    each.change(changed, changedPeer, stranger);
    CHECK_EQ(resumes(options, peer), "resumed");
    CHECK_EQ(resumes(changed, changedPeer), "fresh");
    CHECK_EQ(resumes(changed, changedPeer), "resumed");
    CHECK_EQ(resumes(options, peer), "resumed");
  }
  setContext("");
}

TEST("a ticket of TLS 1.3 is used once, a session of TLS 1.2 again and again") {
  for (const TlsVersion version : bothVersions) {
    const auto server = serverContext(only(serverOptions(), version));
    Visitor visitor;
    CHECK(visitor.visit(server) == fresh);
    const size_t had = visitor.sessions->size();
    CHECK_EQ(had, version == TlsVersion::tls13 ? 2u : 1u);
    // These handshakes never end, so they bring no new tickets.
    for (int i = 0; i < 2; i++) {
      TlsPair pair(visitor.context, server,
                   {.serverName = "localhost", .verifyName = "localhost", .sessionKey = "host:443"});
      (void)pair.client->handshake();
    }
    CHECK_EQ(visitor.sessions->size(), version == TlsVersion::tls13 ? 0u : 1u);
    CHECK(visitor.visit(server) == (version == TlsVersion::tls13 ? fresh : resumed));
  }
}

TEST("the cache of a client is bounded, and forgets what was not used for longest") {
  const auto server = serverContext();
  TlsOptions options = clientOptions();
  Visitor visitor;
  visitor.sessions = std::make_shared<TlsClientSessions>(3);
  options.clientSessions = visitor.sessions;
  visitor.context = clientContext(options);
  for (const char* key : {"a", "b", "c"}) CHECK(visitor.visit(server, "localhost", key) == fresh);
  CHECK(visitor.visit(server, "localhost", "a") == resumed);
  CHECK(visitor.visit(server, "localhost", "d") == fresh);
  CHECK_EQ(visitor.sessions->size() <= 3 * TlsClientSessions::perKey, true);
  CHECK(visitor.visit(server, "localhost", "a") == resumed);
  CHECK(visitor.visit(server, "localhost", "b") == fresh);
  visitor.sessions->clear();
  CHECK_EQ(visitor.sessions->size(), 0u);
}

TEST("a session can be saved as bytes and resumed elsewhere") {
  for (const TlsVersion version : bothVersions) {
    const auto server = serverContext(only(serverOptions(), version));
    TlsPair first(clientContext(), server);
    REQUIRE(first.handshake());
    first.serverSays("x");
    const std::string saved = first.client->session();
    CHECK(!saved.empty());
    TlsPair second(clientContext(), server, {.session = saved});
    REQUIRE(second.handshake());
    CHECK(second.client->info().resumed);
  }
}

TEST("ticket keys are rotated: a ticket survives two rotations, and the third makes it worthless") {
  for (const TlsVersion version : bothVersions) {
    TlsOptions options = only(serverOptions(), version);
    options.ticketKeys = *TlsTicketKeys::create();
    const auto server = serverContext(options);
    for (int rotations = 0; rotations <= 3; rotations++) {
      TlsPair first(clientContext(), server);
      REQUIRE(first.handshake());
      first.serverSays("x");
      const std::string saved = first.client->session();
      for (int i = 0; i < rotations; i++) CHECK(options.ticketKeys->rotate());
      TlsPair second(clientContext(), server, {.session = saved});
      REQUIRE(second.handshake());
      CHECK_EQ(second.client->info().resumed, rotations < 3);
      // The new ticket is of the new key.
      second.serverSays("x");
      CHECK(options.ticketKeys->rotate());
      CHECK(options.ticketKeys->rotate());
      if (rotations == 3 || version == TlsVersion::tls12) {
        TlsPair third(clientContext(), server, {.session = second.client->session()});
        REQUIRE(third.handshake());
        CHECK(third.client->info().resumed);
      }
    }
    CHECK_EQ(options.ticketKeys->keys().size(), 3u);
  }
}

TEST("a name that has ticket keys of its own goes by these alone") {
  for (const TlsVersion version : bothVersions) {
    TlsOptions others = only(serverOptions(), version), own = others;
    others.ticketKeys = *TlsTicketKeys::create();
    own.ticketKeys = *TlsTicketKeys::create();
    const auto server = serverContext(others);
    REQUIRE(server->setServerNames({{"a.example.com", serverContext(own)}}, false));
    for (const bool forgetsOwn : {false, true}) {
      TlsPair first(clientContext(), server, {.serverName = "a.example.com"});
      REQUIRE(first.handshake());
      first.serverSays("x");
      for (int i = 0; i < 3; i++) CHECK((forgetsOwn ? own : others).ticketKeys->rotate());
      TlsPair second(clientContext(), server, {.serverName = "a.example.com", .session = first.client->session()});
      REQUIRE(second.handshake());
      CHECK_EQ(second.server->info().resumed, !forgetsOwn);
    }
  }
}

TEST("ticket keys are set in both sizes, shared by contexts, and distributed before they are used") {
  const std::string a = std::string(16, 'a') + std::string(32, '1'),
                    b = std::string(16, 'b') + std::string(64, '2'),
                    c = std::string(16, 'c') + std::string(64, '3');
  auto here = *TlsTicketKeys::create(), there = *TlsTicketKeys::create();
  REQUIRE(here->set({a, b, c}));
  CHECK_EQ(here->encryptIndex(), 1u);
  CHECK(here->keys() == std::vector<std::string>({a, b, c}));
  REQUIRE(there->set({b}));
  TlsOptions options = serverOptions(), otherOptions = serverOptions(TlsKeyType::rsa2048);
  options.ticketKeys = here;
  otherOptions.ticketKeys = there;
  const auto server = serverContext(options), other = serverContext(otherOptions);
  Visitor visitor;
  CHECK(visitor.visit(server) == fresh);
  CHECK(visitor.visit(other) == resumed);
  REQUIRE(there->set({a}));
  CHECK(visitor.visit(other) == fresh);
  CHECK(visitor.visit(server) == resumed);

  CHECK_EQ(here->set({}).error().option, "ticketKeys");
  CHECK_EQ(here->set({a, "short"}).error().option, "ticketKeys[1]");
  CHECK_EQ(here->set({a, b, a}).error().option, "ticketKeys[2]");
  CHECK_EQ(here->set({a, b}, 2).error().option, "encryptIndex");
  CHECK(here->set({a}).error().failure == TlsFailure::none);
  CHECK_EQ(here->keys().size(), 1u);
}

TEST("a reload changes certificates for who comes then, and nothing for who is here; tickets stay good") {
  const auto server = serverContext();
  TlsPair before(clientContext(), server);
  REQUIRE(before.handshake());
  before.serverSays("x");
  const std::string saved = before.client->session();

  TlsPair during(clientContext(), server);
  (void)during.client->handshake();

  REQUIRE(server->reload(serverOptions(TlsKeyType::rsa2048)));
  CHECK_EQ(before.clientSays("still the same"), "still the same");
  CHECK(during.handshake());
  CHECK_EQ(parseCertificate(during.client->peerChain()[0])->keyType, "EC");

  TlsPair after(clientContext(), server);
  REQUIRE(after.handshake());
  CHECK_EQ(parseCertificate(after.client->peerChain()[0])->keyType, "RSA");
  TlsPair again(clientContext(), server, {.session = saved});
  REQUIRE(again.handshake());
  CHECK(again.client->info().resumed);

  TlsOptions bad = serverOptions();
  bad.keys[0].key = "no key";
  CHECK(!server->reload(bad));
  TlsPair unchanged(clientContext(), server);
  REQUIRE(unchanged.handshake());
  CHECK_EQ(parseCertificate(unchanged.client->peerChain()[0])->keyType, "RSA");
}

TEST("a session made without a client certificate does not get around a policy that wants one") {
  for (const TlsVersion version : bothVersions) {
    const auto keys = *TlsTicketKeys::create();
    TlsOptions open = only(serverOptions(), version), closed = open;
    open.ticketKeys = closed.ticketKeys = keys;
    closed.clientAuth = TlsClientAuth::require;
    closed.ca = {testAuthority().certificate};
    const auto server = serverContext(open);
    REQUIRE(server->setServerNames({{"*.example.com", serverContext(closed)}}, false));

    TlsPair first(clientContext(), server, {.serverName = "localhost"});
    REQUIRE(first.handshake());
    first.serverSays("x");
    // The ticket of an open name, or of no name, shown at the closed one.
    TlsPair second(clientContext(), server, {.serverName = "a.example.com", .session = first.client->session()});
    CHECK(!second.handshake());
    CHECK(second.server->takeError().failure == TlsFailure::certificateMissing);

    // With a certificate for one name, shown at another name of the same policy: it is asked for again.
    TlsOptions options = clientOptions();
    options.keys = {{testClient().certificate, testClient().key, ""}};
    TlsPair third(clientContext(options), server, {.serverName = "a.example.com"});
    REQUIRE(third.handshake());
    third.serverSays("x");
    const std::string saved = third.client->session();
    TlsPair same(clientContext(options), server, {.serverName = "a.example.com", .session = saved});
    REQUIRE(same.handshake());
    CHECK(same.server->info().resumed);
    CHECK(same.server->info().hasPeerCertificate);
    CHECK_EQ(parseCertificate(same.server->peerChain()[0])->subjectCommonName, "client.example.com");
    TlsPair other(clientContext(options), server, {.serverName = "b.example.com", .session = saved});
    REQUIRE(other.handshake());
    CHECK(!other.server->info().resumed);
    CHECK(other.server->info().hasPeerCertificate);
  }
}

TEST("a session is for servers that demand the same of clients, in each respect") {
  const auto other = makeCertificate({.commonName = "Other", .authority = true});
  const auto crl = createCrl(testAuthority(), {}, 10);
  REQUIRE(crl);
  struct Case {
    const char* what;
    void (*change)(TlsOptions&, const std::string& otherCa, const std::string& crl);
  };
  const Case cases[] = {
      {"clientAuth", [](auto& o, auto&, auto&) { o.clientAuth = TlsClientAuth::require; }},
      {"rejectUnauthorized", [](auto& o, auto&, auto&) { o.rejectUnauthorized = false; }},
      {"ca", [](auto& o, auto& ca, auto&) { o.ca.push_back(ca); }},
      {"systemTrust", [](auto& o, auto&, auto&) { o.systemTrust = true; }},
      {"verifyDepth", [](auto& o, auto&, auto&) { o.verifyDepth = 3; }},
      {"crls", [](auto& o, auto&, auto& list) { o.crls = {list}; }},
      {"sessionIdContext", [](auto& o, auto&, auto&) { o.sessionIdContext = "x"; }},
      {"ciphers",
       [](auto& o, auto&, auto&) { o.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"; }},
      {"cipherSuites",
       [](auto& o, auto&, auto&) { o.cipherSuites = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"; }},
      {"securityLevel", [](auto& o, auto&, auto&) { o.securityLevel = 1; }},
  };
  TlsOptions client = clientOptions();
  client.keys = {{testClient().certificate, testClient().key, ""}};
  for (const auto& [version, auth] : {std::pair{TlsVersion::tls12, TlsClientAuth::request},
                                      {TlsVersion::tls13, TlsClientAuth::request},
                                      {TlsVersion::tls12, TlsClientAuth::none},
                                      {TlsVersion::tls13, TlsClientAuth::none}}) {
    TlsOptions options = only(serverOptions(), version);
    options.clientAuth = auth;
    options.ca = {testAuthority().certificate};
    for (const Case& each : cases) {
      setContext(each.what);
      TlsOptions changed = options;
      each.change(changed, other.certificate, *crl);
      const auto server = serverContext(options);
      for (const auto& [made, brought, resumes] : {std::tuple{options, options, true},
                                                   {options, changed, false},
                                                   {changed, options, false},
                                                   {changed, changed, true}}) {
        REQUIRE(server->reload(made));
        TlsPair first(clientContext(client), server, {.serverName = "localhost"});
        REQUIRE(first.handshake());
        first.serverSays("x");
        REQUIRE(server->reload(brought));
        TlsPair second(clientContext(client), server,
                       {.serverName = "localhost", .session = first.client->session()});
        REQUIRE(second.handshake());
        CHECK_EQ(second.server->info().resumed, resumes);
      }
    }
    // With a context of one's own other authorities do not matter, and another one does.
    TlsOptions one = options, two = options;
    one.sessionIdContext = "one", two.sessionIdContext = "two";
    const auto server = serverContext(one);
    TlsPair first(clientContext(client), server, {.serverName = "localhost"});
    REQUIRE(first.handshake());
    first.serverSays("x");
    REQUIRE(server->reload(two));
    TlsPair second(clientContext(client), server, {.serverName = "localhost", .session = first.client->session()});
    REQUIRE(second.handshake());
    CHECK(!second.server->info().resumed);
  }
  setContext("");
}

TEST("a session is not resumed under a name that allows other ciphers, or asks for more security") {
  for (const TlsVersion version : bothVersions) {
    const auto keys = *TlsTicketKeys::create();
    TlsOptions weak = only(serverOptions(), version), strong = weak;
    weak.ticketKeys = strong.ticketKeys = keys;
    weak.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
    weak.cipherSuites = "TLS_AES_128_GCM_SHA256";
    for (const bool byCipher : {true, false}) {
      if (byCipher) strong.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305";
      else strong.ciphers = weak.ciphers, strong.securityLevel = 3;
      strong.cipherSuites = byCipher ? "TLS_CHACHA20_POLY1305_SHA256" : weak.cipherSuites;
      const auto server = serverContext(weak);
      REQUIRE(server->setServerNames({{"a.example.com", serverContext(strong)}}, false));
      TlsPair first(clientContext(), server, {.serverName = "localhost"});
      REQUIRE(first.handshake());
      first.serverSays("x");
      TlsPair second(clientContext(), server, {.serverName = "a.example.com", .session = first.client->session()});
      REQUIRE(second.handshake());
      CHECK(!second.server->info().resumed);
      if (byCipher) CHECK(second.server->info().cipher.find("CHACHA20") != std::string::npos);
    }
  }
}

TEST("a certificate shown at one name is none at another, also where one policy serves both") {
  for (const TlsVersion version : bothVersions) {
    TlsOptions options = only(serverOptions(), version);
    options.clientAuth = TlsClientAuth::request;
    options.ca = {testAuthority().certificate};
    const auto server = serverContext(options);
    TlsOptions client = clientOptions();
    client.keys = {{testClient().certificate, testClient().key, ""}};
    TlsPair first(clientContext(client), server, {.serverName = "localhost"});
    REQUIRE(first.handshake());
    first.serverSays("x");
    const std::string saved = first.client->session();
    for (const auto& [name, resumes] : {std::pair{"LocalHost", true}, {"a.example.com", false}, {"", false}}) {
      TlsPair second(clientContext(), server, {.serverName = name, .session = saved});
      REQUIRE(second.handshake());
      CHECK_EQ(second.server->info().resumed, resumes);
      CHECK_EQ(second.server->info().hasPeerCertificate, resumes);
    }
  }
}

TEST("a resumed session tells how its peer verified when it was made") {
  for (const TlsVersion version : bothVersions) {
    TlsOptions options = only(serverOptions(), version);
    options.clientAuth = TlsClientAuth::request;
    options.rejectUnauthorized = false;
    options.ca = {testAuthority().certificate};
    const auto server = serverContext(options);
    TlsOptions client = clientOptions();
    const CertificateAndKey stranger = makeCertificate({.names = {"stranger"}});
    client.keys = {{stranger.certificate, stranger.key, ""}};
    Visitor visitor(client);
    CHECK(visitor.visit(server) == fresh);
    TlsPair again(visitor.context, server,
                  {.serverName = "localhost", .verifyName = "localhost", .sessionKey = "host:443"});
    REQUIRE(again.handshake());
    CHECK(again.server->info().resumed);
    TlsError error;
    CHECK(again.server->verifyResult(error) != 0);
    CHECK(error.failure == TlsFailure::certificateSelfSigned);
  }
}

TEST("a session of a server that did not verify is not resumed by those who verify") {
  const CertificateAndKey stranger = makeCertificate({.names = {"localhost"}});
  TlsOptions options;
  options.keys = {{stranger.certificate, stranger.key, ""}};
  for (const TlsVersion version : bothVersions) {
    const auto server = serverContext(only(options, version));
    TlsOptions lenient = clientOptions();
    lenient.rejectUnauthorized = false;
    TlsPair first(clientContext(lenient), server);
    REQUIRE(first.handshake());
    first.serverSays("x");
    TlsPair second(clientContext(), server, {.session = first.client->session()});
    CHECK(!second.handshake());
    CHECK(second.client->takeError().failure == TlsFailure::certificateSelfSigned);
  }
}

TEST("a key shared beforehand stands for certificates, in both versions") {
  for (const TlsVersion version : bothVersions) {
    TlsOptions server, client;
    server.psks = {{"alice", "0123456789abcdef"}, {"bob", "fedcba9876543210"}};
    client.psks = {{"bob", "fedcba9876543210"}};
    server.maxVersion = version;
    const auto serving = serverContext(server);
    TlsPair pair(clientContext(client), serving);
    const bool done = pair.handshake();
    CHECK_EQ(pair.server->takeError().text, "");
    CHECK_EQ(pair.client->takeError().text, "");
    REQUIRE(done);
    CHECK_EQ(pair.server->info().pskIdentity, "bob");
    CHECK(!pair.client->info().hasPeerCertificate);
    CHECK(!pair.server->info().resumed);
    CHECK_EQ(pair.clientSays("secret"), "secret");

    client.psks = {{"bob", "wrong"}};
    TlsPair wrong(clientContext(client), serving);
    CHECK(!wrong.handshake());
    client.psks = {{"mallory", "wrong"}};
    TlsPair unknown(clientContext(client), serving);
    CHECK(!unknown.handshake());
    CHECK(unknown.server->takeError().failure != TlsFailure::none);
    CHECK_EQ(queuedLibraryErrors(), 0u);
  }
}

TEST("who knows no shared key may still show a certificate") {
  TlsOptions server = serverOptions();
  server.psks = {{"alice", "0123456789abcdef"}};
  const auto serving = serverContext(server);
  TlsPair byCertificate(clientContext(), serving, {.verifyName = "localhost"});
  REQUIRE(byCertificate.handshake());
  CHECK_EQ(byCertificate.server->info().pskIdentity, "");
  TlsOptions client = clientOptions();
  client.psks = {{"alice", "0123456789abcdef"}};
  TlsPair byKey(clientContext(client), serving);
  REQUIRE(byKey.handshake());
  CHECK_EQ(byKey.server->info().pskIdentity, "alice");
}

TEST("threads share contexts, ticket keys and the client's cache, while certificates are reloaded") {
  TlsOptions options = serverOptions();
  options.ticketKeys = *TlsTicketKeys::create();
  const auto server = serverContext(options);
  const auto cache = std::make_shared<TlsClientSessions>(2);
  TlsOptions clientOpts = clientOptions();
  clientOpts.clientSessions = cache;
  const auto client = clientContext(clientOpts);
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; i++) {
        TlsPair pair(
            client, server,
            {.serverName = "localhost", .verifyName = "localhost", .sessionKey = std::to_string((t + i) % 3)});
        if (!pair.handshake() || pair.serverSays("hello") != "hello" || queuedLibraryErrors() != 0) failures += 1;
      }
    });
  }
  for (int i = 0; i < 10; i++) {
    if (!server->reload(i % 2 == 0 ? serverOptions(TlsKeyType::rsa2048) : options)) failures += 1;
    if (!options.ticketKeys->rotate()) failures += 1;
    if (!server->setServerNames({{"localhost", serverContext(options)}}, false)) failures += 1;
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(failures.load(), 0);
}

TEST("a handshake on one thread and data on another leave nothing behind on either") {
  TlsPair pair(clientContext(), serverContext());
  std::thread([&] {
    CHECK(pair.handshake());
    CHECK_EQ(queuedLibraryErrors(), 0u);
  }).join();
  CHECK_EQ(pair.clientSays("over here"), "over here");
  CHECK_EQ(pair.serverSays("and back"), "and back");
}

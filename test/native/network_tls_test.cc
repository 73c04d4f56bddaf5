// TLS between the engine and JavaScript: handshakes, data both ways, ends, failures, bounds. On every engine.
#include "net/tls_failures.h"
#include "support/each_engine.h"
#include "support/net_world.h"
#include "tls/certificate.h"

using namespace sluice;
using namespace sluice::test;

namespace {

const CertificateAndKey& certificate() {
  static const CertificateAndKey made = *createCertificate({.names = {"localhost", "127.0.0.1"}});
  return made;
}

std::shared_ptr<const TlsConfig> serverConfig(TlsConfig config = {}) {
  TlsOptions options;
  options.keys.push_back({certificate().certificate, certificate().key, ""});
  config.context = *TlsContext::create(TlsRole::server, options);
  return std::make_shared<const TlsConfig>(std::move(config));
}

std::shared_ptr<const TlsConfig> clientConfig(TlsConfig config = {}, TlsVersion version = TlsVersion::tls13) {
  TlsOptions options;
  options.ca.push_back(certificate().certificate);
  options.maxVersion = version;
  config.context = *TlsContext::create(TlsRole::client, options);
  config.peer.serverName = config.peer.verifyName = "localhost";
  return std::make_shared<const TlsConfig>(std::move(config));
}

struct Secured {
  NetWorld::Pair pair;
  SocketAddress address;
};

Conn startClient(NetWorld& world, const SocketAddress& address, std::shared_ptr<const TlsConfig> config) {
  const Conn client = world.connect(address);
  world.until([&] { return world.of(client).has(EventType::connected); });
  CHECK(world.network().startTls(client.slot, *world.network().find(client.slot, client.tag), std::move(config)));
  return client;
}

Secured securedPair(NetWorld& world, std::shared_ptr<const TlsConfig> client = clientConfig(),
                    std::shared_ptr<const TlsConfig> server = serverConfig(), bool paused = false) {
  ConnectionConfig connections;
  connections.tls = std::move(server);
  connections.startPaused = paused;
  Secured secured;
  secured.address = world.listen(1, connections);
  secured.pair.client = startClient(world, secured.address, std::move(client));
  CHECK(
      world.until([&] { return world.of(secured.pair.client).has(EventType::secured) && !world.opened.empty(); }));
  secured.pair.server = world.opened.empty() ? Conn{} : world.opened.front();
  return secured;
}

TlsFailure failureOf(int32_t number) {
  TlsFailureReport report;
  return TlsFailures::shared().take(number, report) ? report.error.failure : TlsFailure::none;
}

}  // namespace

ENGINE_TEST("a TLS connection opens when its handshake is done, and carries data both ways") {
  NetWorld world(engine);
  const auto [client, server] = securedPair(world).pair;
  world.writeNow(client, "hello");
  CHECK(world.until([&] { return world.of(server).received == "hello"; }));
  world.writeNow(server, "world");
  CHECK(world.until([&] { return world.of(client).received == "world"; }));
  CHECK(world.handshakeFailures.empty());
}

ENGINE_TEST("TLS 1.2 works as well") {
  NetWorld world(engine);
  const auto [client, server] = securedPair(world, clientConfig({}, TlsVersion::tls12)).pair;
  world.writeNow(client, "hello");
  CHECK(world.until([&] { return world.of(server).received == "hello"; }));
  world.writeNow(server, "world");
  CHECK(world.until([&] { return world.of(client).received == "world"; }));
}

ENGINE_TEST("megabytes go both ways at once, in order, and are counted when they have left") {
  NetWorld world(engine);
  const auto [client, server] = securedPair(world).pair;
  const std::string there = pattern(3'000'000), back = pattern(2'500'000, 7);
  world.writeNow(client, there, true);
  world.writeReference(server, back, 5, true);
  world.apply();
  CHECK(world.until([&] {
    return world.of(server).received.size() >= there.size() && world.of(client).received.size() >= back.size();
  }));
  CHECK(world.of(server).received == there);
  CHECK(world.of(client).received == back);
  CHECK(world.until(
      [&] { return world.of(client).has(EventType::drain) && world.of(server).has(EventType::drain); }));
  CHECK_EQ(world.taken(client), 3'000'000);
  CHECK_EQ(world.taken(server), 2'500'000);
  CHECK(world.until([&] { return world.released == std::vector<uint32_t>{5}; }));
}

ENGINE_TEST("bytes of a handler are encrypted from where they lie") {
  NetWorld world(engine);
  const auto [client, server] = securedPair(world).pair;
  world.handler = [&, server = server](Conn conn, EventType type, const EventRecord& record) {
    if (type != EventType::data || conn.slot != server.slot) return;
    world.writeSlab(conn, static_cast<uint32_t>(record.a), static_cast<uint32_t>(record.b));
  };
  const std::string sent = pattern(700'000);
  world.writeNow(client, sent);
  CHECK(world.until([&] { return world.of(client).received.size() >= sent.size(); }));
  CHECK(world.of(client).received == sent);
}

ENGINE_TEST("each direction ends by itself with close_notify and FIN") {
  NetWorld world(engine);
  const auto [client, server] = securedPair(world).pair;
  world.write(client, "last words");
  world.op(OpType::end, client);
  world.apply();
  CHECK(world.until([&] { return world.of(server).has(EventType::end); }));
  CHECK_EQ(world.of(server).received, "last words");
  CHECK(!world.of(server).has(EventType::closed));
  world.writeNow(server, "and mine");
  CHECK(world.until([&] { return world.of(client).received == "and mine"; }));
  world.now(OpType::end, server);
  CHECK(world.until(
      [&] { return world.of(client).has(EventType::closed) && world.of(server).has(EventType::closed); }));
  CHECK_EQ(world.of(client).closeCode, ErrorCode::none);
  CHECK_EQ(world.of(server).closeCode, ErrorCode::none);
}

ENGINE_TEST("close() of a TLS connection lets its last bytes arrive") {
  NetWorld world(engine);
  const auto [client, server] = securedPair(world).pair;
  const std::string reply = pattern(400'000);
  world.writeNow(client, pattern(300'000, 3));
  world.write(server, reply);
  world.op(OpType::close, server, 30'000);
  world.apply();
  CHECK(world.until([&] { return world.of(client).has(EventType::end); }));
  CHECK(world.of(client).received == reply);
  world.now(OpType::end, client);
  CHECK(world.until(
      [&] { return world.of(client).has(EventType::closed) && world.of(server).has(EventType::closed); }));
  CHECK_EQ(world.of(server).closeCode, ErrorCode::none);
}

ENGINE_TEST("a peer that goes without close_notify is a truncation, unless that is allowed") {
  for (const bool allowed : {false, true}) {
    NetWorld world(engine);
    const auto [client, server] =
        securedPair(world, clientConfig({}), serverConfig({.context = {}, .peer = {}, .allowTruncation = allowed}))
            .pair;
    world.writeNow(client, "half a");
    CHECK(world.until([&] { return world.of(server).received == "half a"; }));
    world.now(OpType::destroy, client);
    if (allowed) {
      CHECK(world.until([&] { return world.of(server).has(EventType::end); }));
    } else {
      CHECK(world.until([&] { return world.of(server).has(EventType::closed); }));
      CHECK_EQ(world.of(server).closeCode, ErrorCode::tls);
      CHECK_EQ(failureOf(world.of(server).closeNumber), TlsFailure::truncated);
      CHECK(!world.of(server).has(EventType::end));
    }
  }
}

ENGINE_TEST("a paused TLS connection keeps what came, and goes on where it was") {
  NetWorld world(engine);
  const auto [client, server] = securedPair(world).pair;
  world.now(OpType::pause, server, pausedByUser);
  const std::string sent = pattern(1'500'000);
  world.writeNow(client, sent);
  world.fence();
  const size_t before = world.of(server).received.size();
  world.fence();
  CHECK_EQ(world.of(server).received.size(), before);
  world.now(OpType::resume, server, pausedByUser);
  CHECK(world.until([&] { return world.of(server).received.size() >= sent.size(); }));
  CHECK(world.of(server).received == sent);
}

ENGINE_TEST("the handshake needs no reader") {
  NetWorld world(engine);
  const auto [client, server] = securedPair(world, clientConfig(), serverConfig(), true).pair;
  world.writeNow(client, "early");
  world.fence();
  CHECK_EQ(world.of(server).received, "");
  world.now(OpType::resume, server, pausedWithoutReader);
  CHECK(world.until([&] { return world.of(server).received == "early"; }));
}

ENGINE_TEST("what is written during the handshake leaves after it") {
  NetWorld world(engine);
  ConnectionConfig connections;
  connections.tls = serverConfig();
  const SocketAddress address = world.listen(1, connections);
  const Conn client = startClient(world, address, clientConfig());
  world.write(client, "as soon as possible");
  world.op(OpType::end, client);
  world.apply();
  CHECK(world.until([&] { return !world.opened.empty() && world.of(world.opened[0]).has(EventType::end); }));
  CHECK_EQ(world.of(world.opened[0]).received, "as soon as possible");
}

ENGINE_TEST("a client that does not trust the server fails, and the server is told") {
  NetWorld world(engine);
  ConnectionConfig connections;
  connections.tls = serverConfig();
  const SocketAddress address = world.listen(1, connections);
  TlsConfig distrusts;
  distrusts.context = *TlsContext::create(TlsRole::client, {});
  const Conn client = startClient(world, address, std::make_shared<const TlsConfig>(distrusts));
  CHECK(world.until([&] { return world.of(client).has(EventType::closed); }));
  CHECK_EQ(world.of(client).closeCode, ErrorCode::tls);
  CHECK_EQ(failureOf(world.of(client).closeNumber), TlsFailure::certificateSelfSigned);
}

ENGINE_TEST("whoever speaks no TLS is refused, and nobody hears of the connection") {
  NetWorld world(engine);
  ConnectionConfig connections;
  connections.tls = serverConfig();
  const SocketAddress address = world.listen(1, connections);
  const Conn client = world.connect(address);
  CHECK(world.until([&] { return world.of(client).has(EventType::connected); }));
  world.writeNow(client, "GET / HTTP/1.1\r\n\r\n");
  CHECK(world.until([&] { return world.handshakeFailures.size() == 1; }));
  CHECK_EQ(failureOf(world.handshakeFailures.front()), TlsFailure::notTls);
  CHECK(world.opened.empty());
  CHECK(world.until([&] { return world.of(client).has(EventType::end); }));
  world.now(OpType::end, client);
  CHECK(world.until([&] { return world.network().openConnections() == 0; }));
}

ENGINE_TEST("an end before the first byte is told as empty, one in the middle as aborted") {
  NetWorld world(engine);
  ConnectionConfig connections;
  connections.tls = serverConfig();
  const SocketAddress address = world.listen(1, connections);
  for (const std::string_view bytes : {std::string_view(), std::string_view("\x16\x03\x01\x02", 4)}) {
    world.handshakeFailures.clear();
    const Conn client = world.connect(address);
    CHECK(world.until([&] { return world.of(client).has(EventType::connected); }));
    if (!bytes.empty()) world.write(client, bytes);
    world.op(OpType::end, client);
    world.apply();
    CHECK(world.until([&] { return world.handshakeFailures.size() == 1; }));
    CHECK_EQ(failureOf(world.handshakeFailures.front()), bytes.empty() ? TlsFailure::empty : TlsFailure::aborted);
    CHECK(world.until([&] { return world.network().openConnections() == 0; }));
  }
}

ENGINE_TEST("a handshake has one deadline, which trickling bytes do not extend") {
  NetWorld world(engine);
  ConnectionConfig connections;
  connections.tls = serverConfig({.context = {}, .peer = {}, .handshakeTimeoutMs = 60});
  const SocketAddress address = world.listen(1, connections);
  const Conn client = world.connect(address);
  CHECK(world.until([&] { return world.of(client).has(EventType::connected); }));
  const TimeMs began = world.nowMs();
  for (int i = 0; i < 200 && world.handshakeFailures.empty(); i++) {
    world.writeNow(client, std::string_view("\x16\x03\x01\x02", 4).substr(static_cast<size_t>(std::min(i, 3)), 1));
    world.pass(10);
  }
  CHECK_EQ(world.handshakeFailures.size(), 1u);
  CHECK_EQ(failureOf(world.handshakeFailures.front()), TlsFailure::timeout);
  CHECK(world.nowMs() - began >= 60);
  CHECK(world.nowMs() - began < 1000);
}

ENGINE_TEST("only so many handshakes are under way; the others wait their turn") {
  NetWorld world(engine);
  ConnectionConfig connections;
  connections.tls = serverConfig({.context = {}, .peer = {}, .maxHandshakes = 1});
  const SocketAddress address = world.listen(1, connections);
  // Takes the only place, and says nothing more.
  const Conn slow = world.connect(address);
  CHECK(world.until([&] { return world.of(slow).has(EventType::connected); }));
  world.writeNow(slow, std::string_view("\x16\x03\x01", 3));
  CHECK(world.until([&] { return world.network().listener(1)->handshakes == 1; }));
  const Conn client = startClient(world, address, clientConfig());
  CHECK(world.until([&] { return world.network().listener(1)->waiting.size() == 1; }));
  world.fence();
  CHECK(!world.of(client).has(EventType::secured));
  world.now(OpType::destroy, slow);
  CHECK(world.until([&] { return world.of(client).has(EventType::secured) && world.opened.size() >= 1; }));
  CHECK(world.until([&] { return world.network().listener(1)->handshakes == 0; }));
}

ENGINE_TEST("when too many wait the next is refused") {
  NetWorld world(engine);
  ConnectionConfig connections;
  connections.tls = serverConfig({.context = {}, .peer = {}, .maxHandshakes = 1, .maxHandshakesWaiting = 1});
  const SocketAddress address = world.listen(1, connections);
  std::vector<Conn> clients;
  for (int i = 0; i < 3; i++) {
    clients.push_back(world.connect(address));
    CHECK(world.until([&] { return world.of(clients.back()).has(EventType::connected); }));
    world.writeNow(clients.back(), std::string_view("\x16\x03\x01", 3));
    world.fence();
  }
  CHECK(world.until([&] { return world.handshakeFailures.size() == 1; }));
  CHECK_EQ(failureOf(world.handshakeFailures.front()), TlsFailure::tooMany);
}

ENGINE_TEST("handshakes run on threads of their own, and die there when their connection does") {
  if (engine == "sim") return skip("virtual time does not wait for threads");
  NetWorld world(engine);
  world.network().useHandshakeThreads(2);
  const auto [client, server] = securedPair(world).pair;
  world.writeNow(client, "hello");
  CHECK(world.until([&] { return world.of(server).received == "hello"; }));
  for (int i = 0; i < 20; i++) {
    const size_t before = world.opened.size() + world.handshakeFailures.size();
    ConnectionConfig connections;
    connections.tls = serverConfig();
    const SocketAddress address = world.listen(static_cast<uint32_t>(100 + i), connections);
    const Conn brief = startClient(world, address, clientConfig());
    for (int turns = 0; turns < i; turns++) world.turn(Deadline::now());
    world.now(OpType::destroy, brief);
    CHECK(world.until([&] { return world.of(brief).has(EventType::closed); }));
    CHECK(world.until([&] {
      return world.opened.size() + world.handshakeFailures.size() > before ||
             world.network().openConnections() == 2;
    }));
  }
}

ENGINE_TEST("TLS runs over TLS") {
  NetWorld world(engine);
  const auto [client, server] = securedPair(world).pair;
  Connection* inner = world.network().find(server.slot, server.tag);
  CHECK(world.network().startTls(server.slot, *inner, serverConfig()));
  CHECK(world.network().startTls(client.slot, *world.network().find(client.slot, client.tag), clientConfig()));
  CHECK(world.until(
      [&] { return world.of(client).count(EventType::secured) == 2 && world.of(server).has(EventType::secured); }));
  const std::string there = pattern(600'000), back = pattern(500'000, 9);
  world.write(client, there);
  world.write(server, back);
  world.apply();
  CHECK(world.until([&] {
    return world.of(server).received.size() >= there.size() && world.of(client).received.size() >= back.size();
  }));
  CHECK(world.of(server).received == there);
  CHECK(world.of(client).received == back);
  world.now(OpType::end, client);
  CHECK(world.until([&] { return world.of(server).has(EventType::end); }));
  world.now(OpType::end, server);
  CHECK(world.until(
      [&] { return world.of(client).has(EventType::closed) && world.of(server).has(EventType::closed); }));
  CHECK_EQ(world.of(client).closeCode, ErrorCode::none);
}

ENGINE_TEST("a plain connection becomes one of TLS in its middle") {
  NetWorld world(engine);
  const auto [client, server] = world.pair();
  world.writeNow(client, "STARTTLS\r\n");
  CHECK(world.until([&] { return world.of(server).received == "STARTTLS\r\n"; }));
  world.write(server, "go ahead\r\n");
  world.apply();
  CHECK(world.network().startTls(server.slot, *world.network().find(server.slot, server.tag), serverConfig()));
  CHECK(world.until([&] { return world.of(client).received == "go ahead\r\n"; }));
  CHECK(world.network().startTls(client.slot, *world.network().find(client.slot, client.tag), clientConfig()));
  CHECK(world.until(
      [&] { return world.of(client).has(EventType::secured) && world.of(server).has(EventType::secured); }));
  world.writeNow(client, "secret");
  CHECK(world.until([&] { return world.of(server).received == "STARTTLS\r\nsecret"; }));
}

ENGINE_TEST("a reset during the handshake is told as aborted") {
  NetWorld world(engine);
  ConnectionConfig connections;
  connections.tls = serverConfig();
  const SocketAddress address = world.listen(1, connections);
  const Conn client = world.connect(address);
  CHECK(world.until([&] { return world.of(client).has(EventType::connected); }));
  world.writeNow(client, std::string_view("\x16\x03\x01", 3));
  CHECK(world.until([&] { return world.network().listener(1)->handshakes == 1; }));
  world.now(OpType::reset, client);
  CHECK(world.until([&] { return world.handshakeFailures.size() == 1; }));
  CHECK_EQ(failureOf(world.handshakeFailures.front()), TlsFailure::aborted);
  CHECK(world.until([&] { return world.network().openConnections() == 0; }));
}

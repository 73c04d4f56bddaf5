// Openings: what stands between accept and session, or connect and session. PROXY, sniffing, monitors, steps of JavaScript's
// and SOCKS, on the simulated network's clock.
#include "net/opening_steps.h"
#include "net/tls_failures.h"
#include "support/net_world.h"
#include "support/test.h"
#include "support/tls_pair.h"
#include "support/world.h"

using namespace sluice;
using namespace sluice::test;

namespace {

using opening_steps::Kind;

template <class... Kinds>
std::shared_ptr<const OpeningPlan> plan(Kinds... kinds) {
  auto made = std::make_shared<OpeningPlan>();
  (made->steps.push_back(std::move(kinds)), ...);
  return made;
}

ConnectionConfig with(std::shared_ptr<const OpeningPlan> opening, std::shared_ptr<const TlsConfig> tls = nullptr) {
  ConnectionConfig config;
  config.opening = std::move(opening);
  config.tls = std::move(tls);
  return config;
}

std::shared_ptr<const TlsConfig> serverTls() {
  TlsOptions options;
  options.keys.push_back({testServer().certificate, testServer().key, ""});
  TlsConfig config;
  config.context = *TlsContext::create(TlsRole::server, options);
  return std::make_shared<const TlsConfig>(std::move(config));
}

std::shared_ptr<const TlsConfig> clientTls() {
  TlsOptions options;
  options.ca.push_back(testAuthority().certificate);
  TlsConfig config;
  config.context = *TlsContext::create(TlsRole::client, options);
  config.peer.serverName = config.peer.verifyName = "localhost";
  return std::make_shared<const TlsConfig>(std::move(config));
}

Kind proxy() { return opening_steps::acceptProxy({}); }
Kind script(uint32_t number = 0, uint32_t maxBytes = 1024) {
  return opening_steps::script({.name = "mine", .number = number, .maxBytes = maxBytes});
}

const std::string line = "PROXY TCP4 192.0.2.1 198.51.100.5 56324 443\r\n";
const std::string block("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\5\xdc\4\1\xbb", 28);

Conn connectTo(NetWorld& world, const SocketAddress& address) {
  const Conn client = world.connect(address);
  world.until([&] { return world.of(client).has(EventType::connected); });
  return client;
}

const ProxyHeader* claimedBy(NetWorld& world, Conn conn) {
  Connection* connection = world.network().find(conn.slot, conn.tag);
  return connection != nullptr && connection->opening ? connection->opening->claimed() : nullptr;
}

struct Failed {
  OpeningFailure failure = OpeningFailure::none;
  std::string step;
};
/// What the last connection failed by.
Failed lastFailure(NetWorld& world) {
  OpeningReport report;
  if (world.openingFailures.empty() ||
      !OpeningFailures::shared().take(world.openingFailures.back() & OpeningFailures::maxNumber, report)) {
    return {};
  }
  return {report.failure, report.step};
}

uint64_t countOf(NetWorld& world, uint32_t key, OpeningFailure failure) {
  const Listener* listener = world.network().listener(key);
  return listener->openings ? (*listener->openings)[static_cast<size_t>(failure)] : 0;
}

/// Sends the pieces so that each arrives before the next leaves.
void sendApart(NetWorld& world, Conn client, std::initializer_list<std::string_view> pieces) {
  for (const std::string_view piece : pieces) {
    world.writeNow(client, piece);
    world.pass(3);
  }
}

}  // namespace

TEST("a PROXY header cut at any byte opens the connection, and what follows is its first data") {
  for (const std::string& header : {line, block}) {
    NetWorld world("sim");
    const SocketAddress address = world.listen(1, with(plan(proxy())));
    const std::string all = header + "hello";
    for (size_t cut = 1; cut <= all.size(); ++cut) {
      setContext("cut at " + std::to_string(cut));
      const Conn client = connectTo(world, address);
      const std::string_view text = all;
      if (cut < all.size()) sendApart(world, client, {text.substr(0, cut), text.substr(cut)});
      else sendApart(world, client, {text});
      REQUIRE(world.opened.size() == cut);
      const Conn server = world.opened.back();
      CHECK_EQ(world.of(server).received, "hello");
      const ProxyHeader* claimed = claimedBy(world, server);
      REQUIRE(claimed != nullptr);
      CHECK_EQ(claimed->source.host(), "192.0.2.1");
      CHECK_EQ(claimed->source.port(), 56324);
      CHECK_EQ(claimed->destination.port(), 443);
      world.now(OpType::destroy, client);
    }
    CHECK(world.openingFailures.empty());
  }
  setContext("");
}

TEST("a PROXY header in three parts, wherever they part, is the same header") {
  for (const std::string& header : {line, block}) {
    NetWorld world("sim");
    const SocketAddress address = world.listen(1, with(plan(proxy())));
    const std::string all = header + "x";
    const std::string_view text = all;
    size_t count = 0;
    for (size_t first = 1; first < all.size() - 1; ++first) {
      for (size_t second = first + 1; second < all.size(); ++second) {
        setContext("cut at " + std::to_string(first) + " and " + std::to_string(second));
        const Conn client = connectTo(world, address);
        sendApart(world, client, {text.substr(0, first), text.substr(first, second - first), text.substr(second)});
        REQUIRE(world.opened.size() == ++count);
        CHECK_EQ(world.of(world.opened.back()).received, "x");
        world.now(OpType::destroy, client);
      }
    }
    CHECK(world.openingFailures.empty());
  }
  setContext("");
}

TEST("the connection keeps its real addresses beside the claimed ones") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(proxy())));
  const Conn client = connectTo(world, address);
  sendApart(world, client, {line});
  REQUIRE(world.opened.size() == 1);
  CHECK_EQ(world.network().peerAddress(world.opened[0].slot)->host(), "127.0.0.1");
}

TEST("the bytes of a header are not counted as the session's") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(proxy())));
  const Conn client = connectTo(world, address);
  sendApart(world, client, {line + "12345"});
  REQUIRE(world.opened.size() == 1);
  const Conn server = world.opened[0];
  CHECK_EQ(world.network().find(server.slot, server.tag)->bytesRead, 5u);
}

TEST("PROXY header and ClientHello in one segment, and cut anywhere: no byte of either is lost") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(proxy()), serverTls()));
  for (size_t cut : {size_t{0}, size_t{1}, size_t{12}, size_t{27}, size_t{28}, size_t{29}, size_t{60}}) {
    setContext("cut at " + std::to_string(cut));
    const auto tls = clientTls();
    auto session = std::move(*TlsSession::create(tls->context, tls->peer));
    TlsTestWire wire;
    session->setWire(&wire);
    CHECK_EQ(session->handshake(), TlsStatus::wantInput);
    const std::string all = block + wire.bytes;
    wire.bytes.clear();
    const Conn client = connectTo(world, address);
    const std::string_view text = all;
    if (cut > 0) sendApart(world, client, {text.substr(0, cut), text.substr(cut)});
    else sendApart(world, client, {text});
    const size_t before = world.opened.size();
    REQUIRE(world.until([&] { return !world.of(client).received.empty(); }));
    session->lend(bytesOf(world.of(client).received));
    CHECK_EQ(session->handshake(), TlsStatus::ok);
    world.writeNow(client, wire.bytes);
    REQUIRE(world.until([&] { return world.opened.size() > before; }));
    const Conn server = world.opened.back();
    wire.bytes.clear();
    size_t taken = 0;
    CHECK_EQ(session->write(bytesOf("secret"), taken), TlsStatus::ok);
    world.writeNow(client, wire.bytes);
    CHECK(world.until([&] { return world.of(server).received == "secret"; }));
    CHECK(claimedBy(world, server) != nullptr);
    world.now(OpType::destroy, client);
    world.pass(10);
  }
  setContext("");
  CHECK(world.openingFailures.empty());
  CHECK(world.handshakeFailures.empty());
}

TEST("a client that sends a byte a second dies when the one deadline passes, by the stage it is at") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(proxy())));
  const TimeMs began = world.nowMs();
  const Conn client = connectTo(world, address);
  for (size_t i = 0; i < 30 && world.openingFailures.empty(); ++i) {
    world.writeNow(client, line.substr(i, 1));
    world.pass(1000);
  }
  CHECK(world.nowMs() - began >= 10'000);
  CHECK(world.nowMs() - began <= 11'100);
  CHECK(world.until([&] { return world.of(client).has(EventType::end); }));
  CHECK_EQ(lastFailure(world).failure, OpeningFailure::prxTimeout);
  CHECK_EQ(countOf(world, 1, OpeningFailure::prxTimeout), 1u);
  CHECK(world.opened.empty());
}

TEST("the deadline covers header and TLS together") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(proxy()), serverTls()));
  const Conn client = connectTo(world, address);
  const TimeMs began = world.nowMs();
  world.pass(9000);
  world.writeNow(client, line + "\x16\x03");
  CHECK(world.until([&] { return !world.handshakeFailures.empty(); }, 3000));
  CHECK(world.nowMs() - began >= 9990);
  CHECK(world.nowMs() - began <= 10'100);
  TlsFailureReport report;
  REQUIRE(TlsFailures::shared().take(world.handshakeFailures.back(), report));
  CHECK_EQ(std::string_view(report.error.reason), "SSL_TIMEOUT");
}

TEST("each way not to send a header has its own name") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(proxy())));
  const auto after = [&](std::string_view bytes, OpType end) {
    const size_t before = world.openingFailures.size();
    const Conn client = connectTo(world, address);
    if (!bytes.empty()) sendApart(world, client, {bytes});
    if (world.openingFailures.size() == before) world.now(end, client);
    world.until([&] { return world.openingFailures.size() > before; });
    const Failed failed = lastFailure(world);
    CHECK_EQ(failed.step, "acceptProxy");
    return failed.failure;
  };
  CHECK_EQ(after("", OpType::end), OpeningFailure::prxEmpty);
  CHECK_EQ(after("PROXY TCP4 1", OpType::end), OpeningFailure::prxTruncated);
  CHECK_EQ(after("PROXY TCP4 1", OpType::reset), OpeningFailure::prxAbort);
  CHECK_EQ(after("GET / HTTP/1.1\r\n", OpType::end), OpeningFailure::prxNotHdr);
  CHECK_EQ(after("PROXY TCP4 192.0.2.1 198.51.100.5 56324\r\n", OpType::end), OpeningFailure::prxBadHdr);
  CHECK(world.opened.empty());
  CHECK_EQ(world.network().listener(1)->accepted, 5u);
}

TEST("an end behind the header is the session's end, after its data") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(proxy())));
  const Conn client = connectTo(world, address);
  world.write(client, line + "bye");
  world.op(OpType::end, client);
  world.apply();
  CHECK(world.until([&] { return !world.opened.empty() && world.of(world.opened[0]).has(EventType::end); }));
  CHECK_EQ(world.of(world.opened[0]).received, "bye");
}

TEST("one port tells TLS from plaintext by the first bytes, and leaves them where they are") {
  NetWorld world("sim");
  const SocketAddress address =
      world.listen(1, with(plan(opening_steps::sniff({.allowPlain = true})), serverTls()));
  const Conn plain = connectTo(world, address);
  sendApart(world, plain, {"GET / HTTP/1.1\r\n"});
  REQUIRE(world.opened.size() == 1);
  CHECK_EQ(world.of(world.opened[0]).received, "GET / HTTP/1.1\r\n");
  world.writeNow(world.opened[0], "plain answer");
  CHECK(world.until([&] { return world.of(plain).received == "plain answer"; }));

  const Conn secure = connectTo(world, address);
  CHECK(world.network().startTls(secure.slot, *world.network().find(secure.slot, secure.tag), clientTls()));
  CHECK(world.until([&] { return world.of(secure).has(EventType::secured) && world.opened.size() == 2; }));
  world.writeNow(secure, "hidden");
  CHECK(world.until([&] { return world.of(world.opened[1]).received == "hidden"; }));
}

TEST("sniffing refuses SSL 2, and plaintext unless it is allowed, byte by byte as well") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(opening_steps::sniff({})), serverTls()));
  const auto after = [&](std::initializer_list<std::string_view> pieces) {
    const size_t before = world.openingFailures.size();
    const Conn client = connectTo(world, address);
    sendApart(world, client, pieces);
    CHECK(world.until([&] { return world.openingFailures.size() > before; }));
    return lastFailure(world).failure;
  };
  CHECK_EQ(after({"GET"}), OpeningFailure::plainRefused);
  CHECK_EQ(after({"\x80", "\x2e", "\x01"}), OpeningFailure::sslV2Refused);
  CHECK_EQ(after({"\x16", "\x02"}), OpeningFailure::plainRefused);
  CHECK(world.opened.empty());
}

TEST("who says nothing for as long as was agreed on is served in the clear") {
  NetWorld world("sim");
  const SocketAddress address =
      world.listen(1, with(plan(opening_steps::sniff({.allowPlain = true, .plainAfterMs = 200})), serverTls()));
  const TimeMs began = world.nowMs();
  const Conn client = connectTo(world, address);
  CHECK(world.until([&] { return !world.opened.empty(); }));
  CHECK(world.nowMs() - began >= 200);
  CHECK(world.nowMs() - began < 250);
  world.writeNow(world.opened[0], "220 hello");
  CHECK(world.until([&] { return world.of(client).received == "220 hello"; }));
}

TEST("a monitor is answered at once, ends with FIN, and counts as no session") {
  for (const auto answer :
       {opening_steps::MonitorOptions::Answer::plain, opening_steps::MonitorOptions::Answer::http}) {
    NetWorld world("sim");
    const SocketAddress address =
        world.listen(1, with(plan(opening_steps::monitor({nullptr, answer}), proxy()), serverTls()));
    const Conn client = world.connect(address);
    // What it says is read and dropped, so that no reset destroys the answer.
    world.writeNow(client, "GET /health HTTP/1.0\r\n\r\n");
    CHECK(world.until([&] { return world.of(client).has(EventType::end); }));
    CHECK_EQ(world.of(client).received,
             answer == opening_steps::MonitorOptions::Answer::plain ? "OK\n" : "HTTP/1.0 200 OK\r\n\r\n");
    world.now(OpType::end, client);
    CHECK(world.until([&] { return world.of(client).has(EventType::closed); }));
    CHECK_EQ(world.of(client).closeCode, ErrorCode::none);
    CHECK_EQ(world.network().listener(1)->accepted, 0u);
    CHECK_EQ(countOf(world, 1, OpeningFailure::healthAnswered), 1u);
    CHECK(world.openingFailures.empty());
    CHECK(world.opened.empty());
    world.pass(2000);
    CHECK_EQ(world.network().openConnections(), 0u);
  }
}

TEST("a step of JavaScript's sees all that nobody has taken, takes its part, and the rest is data") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(script(7))));
  world.onAsked = [&](const NetWorld::Asked& asked) {
    const bool whole = asked.bytes.size() >= 4;
    world.op(OpType::stepAnswer, asked.conn,
             static_cast<int32_t>(whole ? ScriptAnswer::Kind::done : ScriptAnswer::Kind::needMore), 4);
  };
  const Conn client = connectTo(world, address);
  sendApart(world, client, {"ab", "c", "defgh"});
  REQUIRE(world.asked.size() == 4);
  CHECK_EQ(world.asked[0].begins, 7);
  CHECK_EQ(world.asked[1].bytes, "ab");
  CHECK_EQ(world.asked[2].bytes, "abc");
  CHECK_EQ(world.asked[3].bytes, "abcdefgh");
  REQUIRE(world.opened.size() == 1);
  CHECK_EQ(world.of(world.opened[0]).received, "efgh");
}

TEST("a suspended step resumes when it is answered, and what came meanwhile is shown or delivered") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(script())));
  const Conn client = connectTo(world, address);
  CHECK(world.until([&] { return world.asked.size() == 1; }));
  world.writeNow(client, "early");
  world.pass(2000);
  CHECK_EQ(world.asked.size(), 1u);
  const Conn server = world.asked[0].conn;
  world.op(OpType::stepAnswer, server, static_cast<int32_t>(ScriptAnswer::Kind::needMore));
  world.apply();
  CHECK(world.until([&] { return world.asked.size() == 2; }));
  CHECK_EQ(world.asked[1].bytes, "early");
  const std::string flood = pattern(300'000);
  world.writeNow(client, flood);
  world.pass(1000);
  // It is held, and no more than so much of it.
  CHECK(world.network().find(server.slot, server.tag)->opening->held.size() < 320'000);
  world.op(OpType::stepAnswer, server, static_cast<int32_t>(ScriptAnswer::Kind::done), 5);
  world.apply();
  CHECK(world.until([&] { return !world.opened.empty() && world.of(server).received.size() >= flood.size(); }));
  CHECK(world.of(server).received == flood);
}

TEST("a step of JavaScript's that never answers dies at the deadline, and one that wants too much at its bound") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(script(0, 16))));
  connectTo(world, address);
  CHECK(world.until([&] { return !world.openingFailures.empty(); }, 11'000));
  CHECK_EQ(lastFailure(world).failure, OpeningFailure::stepTimeout);
  world.onAsked = [&](const NetWorld::Asked& asked) {
    world.op(OpType::stepAnswer, asked.conn, static_cast<int32_t>(ScriptAnswer::Kind::needMore));
  };
  const Conn greedy = connectTo(world, address);
  world.writeNow(greedy, "0123456789abcdefgh");
  CHECK(world.until([&] { return world.openingFailures.size() == 2; }));
  CHECK_EQ(lastFailure(world).failure, OpeningFailure::stepTooLong);
  CHECK_EQ(world.asked.back().bytes, "0123456789abcdef");
}

TEST("a step of JavaScript's rejects with RST, drops without a word, or closes with FIN") {
  struct Row {
    ScriptAnswer::Kind answer;
    bool reset, told;
  };
  for (const Row& row : {Row{ScriptAnswer::Kind::reject, true, true}, Row{ScriptAnswer::Kind::silent, false, false},
                         Row{ScriptAnswer::Kind::close, false, true}}) {
    NetWorld world("sim");
    const SocketAddress address = world.listen(1, with(plan(script())));
    world.onAsked = [&](const NetWorld::Asked& asked) {
      world.op(OpType::stepAnswer, asked.conn, static_cast<int32_t>(row.answer));
    };
    const Conn client = connectTo(world, address);
    CHECK(world.until([&] { return !world.openingFailures.empty(); }));
    CHECK_EQ(lastFailure(world).failure, OpeningFailure::stepReject);
    world.pass(3000);
    CHECK_EQ(world.of(client).has(EventType::closed) && world.of(client).closeCode == ErrorCode::connectionReset,
             row.reset);
    CHECK_EQ(world.of(client).has(EventType::closed) || world.of(client).has(EventType::end), row.told);
  }
}

TEST("what a step writes reaches the peer, and is not counted as the session's") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, with(plan(script())));
  world.onAsked = [&](const NetWorld::Asked& asked) {
    world.write(asked.conn, "welcome");
    world.op(OpType::stepAnswer, asked.conn, static_cast<int32_t>(ScriptAnswer::Kind::done));
  };
  const Conn client = connectTo(world, address);
  CHECK(world.until([&] { return world.of(client).received == "welcome"; }));
  REQUIRE(world.opened.size() == 1);
  CHECK_EQ(world.taken(world.opened[0]), 0);
}

TEST("a connection that goes in any state of a step leaves nothing behind") {
  for (const OpType end : {OpType::destroy, OpType::reset, OpType::end}) {
    for (int state = 0; state < 4; ++state) {
      NetWorld world("sim");
      const SocketAddress address = world.listen(1, with(plan(proxy(), script()), serverTls()));
      const Conn client = world.connect(address);
      if (state > 0) world.until([&] { return world.of(client).has(EventType::connected); });
      if (state == 2) sendApart(world, client, {line.substr(0, 10)});
      if (state == 3) sendApart(world, client, {line + "more"});
      world.now(end, client);
      world.pass(15'000);
      world.now(OpType::destroy, client);
      world.pass(100);
      CHECK(world.opened.empty());
      CHECK_EQ(world.network().openConnections(), 0u);
    }
  }
}

TEST("the runtime's end takes openings along in whatever state they are") {
  for (int state = 0; state < 3; ++state) {
    NetWorld world("sim");
    const SocketAddress address = world.listen(1, with(plan(proxy(), script())));
    const Conn client = connectTo(world, address);
    if (state == 1) sendApart(world, client, {line.substr(0, 10)});
    if (state == 2) sendApart(world, client, {line + "more"});
    world.network().destroyAll();
    CHECK(world.until([&] { return world.network().openConnections() == 0; }));
  }
}

TEST("SOCKS 5 and then a PROXY header, in pieces of one byte, and the session begins behind the answer") {
  NetWorld world("sim", {.sim = {.segmentMaxBytes = 1}});
  const SocketAddress address = world.listen(1);
  SocksRequest request;
  request.host = "example.com";
  request.port = 443;
  const Conn client =
      world.connect(address, with(plan(opening_steps::socks(request), opening_steps::sendProxy({}))));
  CHECK(world.until([&] { return !world.opened.empty() && world.of(world.opened[0]).received.size() == 3; }));
  const Conn server = world.opened[0];
  CHECK_EQ(world.of(server).received, std::string("\5\1\0", 3));
  world.writeNow(server, std::string_view("\5\0", 2));
  const std::string asked = std::string("\5\1\0\3\x0b", 5) + "example.com" + std::string("\1\xbb", 2);
  CHECK(world.until([&] { return world.of(server).received.size() == 3 + asked.size(); }));
  CHECK_EQ(world.of(server).received.substr(3), asked);
  CHECK(!world.of(client).has(EventType::connected));
  world.writeNow(server, std::string_view("\5\0\0\1\x7f\0\0\1\0\x50hello", 15));
  CHECK(world.until([&] { return world.of(client).received == "hello"; }));
  CHECK(world.of(client).has(EventType::connected));
  CHECK_EQ(world.of(client).events.front(), EventType::connected);
  CHECK(world.until([&] { return world.of(server).received.size() == 3 + asked.size() + 28; }));
  CHECK_EQ(world.of(server).received.substr(3 + asked.size(), 12), block.substr(0, 12));
  CHECK_EQ(world.taken(client), 0);
  world.writeNow(client, "data");
  CHECK(world.until([&] { return world.of(server).received.ends_with("data"); }));
  CHECK_EQ(world.taken(client), 4);
}

TEST(
    "a PROXY header that the kernel takes in parts goes on at the exact byte, and JavaScript's bytes come behind "
    "it") {
  NetWorld world("sim", {.sim = {.segmentMaxBytes = 100, .sendBufferBytes = 600, .shortSendProbability = 0.9}});
  const SocketAddress address = world.listen(1, with(plan(proxy())));
  ProxySend header;
  header.options.custom.push_back({0xe0, std::string(900, 'x')});
  header.options.custom.push_back({0xe1, std::string(900, 'y')});
  for (int round = 0; round < 20; ++round) {
    const Conn client = world.connect(address, with(plan(opening_steps::sendProxy(header))));
    world.handler = [&](Conn conn, EventType type, const EventRecord&) {
      if (conn.slot == client.slot && type == EventType::connected) world.write(conn, "data");
    };
    const auto opened = static_cast<size_t>(round) + 1;
    REQUIRE(world.until([&] { return world.opened.size() == opened; }));
    const Conn server = world.opened.back();
    CHECK(world.until([&] { return world.of(server).received == "data"; }));
    const ProxyHeader* claimed = claimedBy(world, server);
    REQUIRE(claimed != nullptr);
    CHECK_EQ(claimed->text(0xe1), std::string(900, 'y'));
    CHECK(world.until([&] { return world.taken(client) == 4; }));
  }
}

TEST("a SOCKS server that refuses, leaves, or says nothing is told by name") {
  const auto after = [](std::string_view answer, bool ends) {
    NetWorld world("sim");
    const SocketAddress address = world.listen(1);
    SocksRequest request;
    request.version = SocksVersion::v4;
    request.host = "192.0.2.7";
    request.port = 80;
    const Conn client = world.connect(address, with(plan(opening_steps::socks(request))));
    CHECK(world.until([&] { return !world.opened.empty() && !world.of(world.opened[0]).received.empty(); }));
    if (!answer.empty()) world.writeNow(world.opened[0], answer);
    if (ends) world.now(OpType::end, world.opened[0]);
    CHECK(world.until([&] { return world.of(client).has(EventType::closed); }, 11'000));
    CHECK(!world.of(client).has(EventType::connected));
    CHECK_EQ(world.of(client).closeCode, ErrorCode::opening);
    OpeningReport report;
    CHECK(OpeningFailures::shared().take(world.of(client).closeNumber & OpeningFailures::maxNumber, report));
    CHECK_EQ(report.step, "socks4");
    return report.failure;
  };
  CHECK_EQ(after(std::string_view("\0\x5b\0\0\0\0\0\0", 8), false), OpeningFailure::socks4Deny);
  CHECK_EQ(after(std::string_view("\0\x5a", 2), true), OpeningFailure::socks4Abort);
  CHECK_EQ(after("", false), OpeningFailure::socksTimeout);
}

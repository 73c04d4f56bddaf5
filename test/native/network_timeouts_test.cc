// Time bounds of Network, to the millisecond on the simulated network's clock (HP-100…104, LE-49).
#include "support/net_world.h"
#include "support/test.h"
#include "support/world.h"

using namespace sluice;
using namespace sluice::test;

namespace {

ConnectionConfig timeouts(uint32_t readMs, uint32_t writeMs, uint32_t halfClosedMs) {
  ConnectionConfig config;
  config.readTimeoutMs = readMs;
  config.writeTimeoutMs = writeMs;
  config.halfClosedTimeoutMs = halfClosedMs;
  return config;
}

constexpr TimeMs latencyMs = 1;  // the simulated network's default, one way

}  // namespace

TEST("a connect without answer ends at its bound, with connectTimeout") {
  NetWorld::Options options;
  options.sim.blackHoleProbability = 1;
  NetWorld world("sim", options);
  const SocketAddress address = world.listen(1);
  const TimeMs start = world.nowMs();
  const Conn client = world.connect(address, {}, 2500);
  CHECK(world.until([&] { return world.of(client).has(EventType::closed); }));
  CHECK_EQ(world.of(client).closeCode, ErrorCode::connectTimeout);
  CHECK_EQ(world.of(client).closedAtMs - start, 2500u);
  CHECK_EQ(world.of(client).events.size(), 1u);
}

TEST("a connect that succeeds is not ended by its bound later") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1);
  const Conn client = world.connect(address, {}, 500);
  CHECK(world.until([&] { return world.of(client).has(EventType::connected); }));
  world.pass(5000);
  CHECK(!world.of(client).has(EventType::closed));
}

TEST("a connect without a bound lasts as long as the system tries") {
  NetWorld::Options options;
  options.sim.blackHoleProbability = 1;
  options.sim.connectGiveUpMs = 60'000;
  NetWorld world("sim", options);
  const Conn client = world.connect(world.listen(1));
  world.pass(59'000);
  CHECK(!world.of(client).has(EventType::closed));
  CHECK(world.until([&] { return world.of(client).has(EventType::closed); }));
  CHECK_EQ(world.of(client).closeCode, ErrorCode::peerTimedOut);
}

TEST("a read timeout is told once, after the idle time, and again only after progress") {
  NetWorld world("sim");
  const auto pair = world.pair({}, timeouts(1000, 0, 0));
  const Tale& server = world.of(pair.server);
  const TimeMs opened = world.nowMs();
  world.pass(5000);
  REQUIRE(server.timeouts.size() == 1);
  CHECK_EQ(server.timeouts[0], TimeoutKind::read);
  // pair() returned up to a round trip after the server was open.
  CHECK(server.timeoutTimes[0] <= opened + 1000 && server.timeoutTimes[0] + 2 * latencyMs >= opened + 1000);
  world.writeNow(pair.client, "x");
  const TimeMs sent = world.nowMs();
  world.pass(5000);
  REQUIRE(server.timeouts.size() == 2);
  CHECK_EQ(server.timeoutTimes[1], sent + latencyMs + 1000);
  CHECK(!server.has(EventType::closed));  // telling is all; what follows is up to JavaScript
}

TEST("progress puts a read timeout off") {
  NetWorld world("sim");
  const auto pair = world.pair({}, timeouts(1000, 0, 0));
  for (int i = 0; i < 20; ++i) {
    world.writeNow(pair.client, "still here");
    world.pass(900);
  }
  CHECK(world.of(pair.server).timeouts.empty());
}

TEST("time spent paused by ourselves does not count, and the time after it counts anew") {
  NetWorld world("sim");
  const auto pair = world.pair({}, timeouts(1000, 0, 0));
  world.pass(600);
  world.now(OpType::pause, pair.server, pausedByUser);
  world.pass(10'000);
  CHECK(world.of(pair.server).timeouts.empty());
  world.now(OpType::resume, pair.server, pausedByUser);
  const TimeMs resumed = world.nowMs();
  world.pass(3000);
  REQUIRE(world.of(pair.server).timeouts.size() == 1);
  CHECK_EQ(world.of(pair.server).timeoutTimes[0], resumed + 1000);
}

TEST("a connection that starts paused has no read timeout before somebody reads") {
  NetWorld world("sim");
  ConnectionConfig config = timeouts(1000, 0, 0);
  config.startPaused = true;
  const auto pair = world.pair({}, config);
  world.pass(5000);
  CHECK(world.of(pair.server).timeouts.empty());
  world.now(OpType::resume, pair.server, pausedWithoutReader);
  world.pass(1100);
  CHECK_EQ(world.of(pair.server).timeouts.size(), 1u);
}

TEST("after the peer's end there is no read timeout") {
  NetWorld world("sim");
  const auto pair = world.pair({}, timeouts(1000, 0, 0));
  world.now(OpType::end, pair.client);
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::end); }));
  world.pass(5000);
  CHECK(world.of(pair.server).timeouts.empty());
}

TEST("a write timeout counts only while data waits") {
  NetWorld world("sim");
  const auto pair = world.pair(timeouts(0, 1000, 0));
  world.writeNow(pair.client, "goes out at once");
  world.pass(5000);
  CHECK(world.of(pair.client).timeouts.empty());
  world.now(OpType::pause, pair.server, pausedByUser);
  world.writeNow(pair.client, pattern(2'000'000));
  // The network's buffers take what they can in the first milliseconds.
  world.pass(900);
  CHECK(world.of(pair.client).timeouts.empty());
  world.pass(5000);
  REQUIRE(world.of(pair.client).timeouts.size() == 1);
  CHECK_EQ(world.of(pair.client).timeouts[0], TimeoutKind::write);
}

TEST("progress puts a write timeout off, and lets it be told again") {
  NetWorld world("sim");
  const auto pair = world.pair(timeouts(0, 1000, 0));
  world.now(OpType::pause, pair.server, pausedByUser);
  world.writeNow(pair.client, pattern(8'000'000));
  for (int i = 0; i < 10; ++i) {
    world.pass(800);
    const size_t before = world.of(pair.server).received.size();
    world.now(OpType::resume, pair.server, pausedByUser);
    world.until([&] { return world.of(pair.server).received.size() > before + 300'000; });
    world.now(OpType::pause, pair.server, pausedByUser);
  }
  CHECK(world.of(pair.client).timeouts.empty());
  world.pass(5000);
  CHECK_EQ(world.of(pair.client).timeouts.size(), 1u);
  world.now(OpType::resume, pair.server, pausedByUser);
  const size_t before = world.of(pair.server).received.size();
  world.until([&] { return world.of(pair.server).received.size() > before + 600'000; });
  world.now(OpType::pause, pair.server, pausedByUser);
  world.pass(5000);
  CHECK_EQ(world.of(pair.client).timeouts.size(), 2u);
}

TEST("half-closed: told once, counted from the first direction's end, whichever it is") {
  for (const bool ownEnd : {true, false}) {
    NetWorld world("sim");
    const auto pair = world.pair({}, timeouts(0, 0, 1000));
    world.now(OpType::end, ownEnd ? pair.server : pair.client);
    const EventType begin = ownEnd ? EventType::finished : EventType::end;
    CHECK(world.until([&] { return world.of(pair.server).has(begin); }));
    const TimeMs start = world.nowMs();
    world.pass(500);
    // Data the other way is no reason to wait longer: HP-103 counts the half-closed state, not idleness.
    world.writeNow(ownEnd ? pair.client : pair.server, "data");
    world.pass(5000);
    const Tale& server = world.of(pair.server);
    REQUIRE(server.timeouts.size() == 1);
    CHECK_EQ(server.timeouts[0], TimeoutKind::halfClosed);
    CHECK_EQ(server.timeoutTimes[0], start + 1000);
  }
}

TEST("a connection whose directions end together has no half-closed timeout") {
  NetWorld world("sim");
  const auto pair = world.pair({}, timeouts(0, 0, 1000));
  world.now(OpType::end, pair.client);
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::end); }));
  world.now(OpType::end, pair.server);
  world.pass(5000);
  CHECK(world.of(pair.server).timeouts.empty());
  CHECK(world.of(pair.server).has(EventType::closed));
}

TEST("timeouts can be set, changed and removed while a connection is open") {
  NetWorld world("sim");
  const auto pair = world.pair();
  Connection* server = world.network().find(pair.server.slot, pair.server.tag);
  REQUIRE(server != nullptr);
  world.network().setTimeouts(pair.server.slot, *server, 300, 0, 0);
  const TimeMs set = world.nowMs();
  world.pass(1000);
  REQUIRE(world.of(pair.server).timeouts.size() == 1);
  CHECK_EQ(world.of(pair.server).timeoutTimes[0], set + 300);
  world.network().setTimeouts(pair.server.slot, *server, 0, 0, 0);
  world.writeNow(pair.client, "x");
  world.pass(5000);
  CHECK_EQ(world.of(pair.server).timeouts.size(), 1u);
}

TEST("timers of the script fire once at their time, and not when cancelled or moved") {
  NetWorld world("sim");
  const TimeMs start = world.nowMs();
  world.opTimer(OpType::armTimer, 1, 500);
  world.opTimer(OpType::armTimer, 2, 300);
  world.opTimer(OpType::armTimer, 3, 100);
  world.opTimer(OpType::armTimer, 4, 100);
  world.opTimer(OpType::cancelTimer, 3);
  world.opTimer(OpType::armTimer, 4, 900);
  world.apply();
  world.pass(299);
  CHECK(world.scriptTimers.empty());
  CHECK(world.until([&] { return world.scriptTimers.size() == 1; }));
  CHECK_EQ(world.nowMs() - start, 300u);
  world.pass(5000);
  CHECK(world.scriptTimers == std::vector<uint32_t>({2, 1, 4}));
}

TEST("a connection that goes takes its timers along") {
  NetWorld world("sim");
  const auto pair = world.pair(timeouts(500, 500, 500), timeouts(500, 500, 500));
  world.now(OpType::close, pair.client, 800);
  world.now(OpType::destroy, pair.server);
  CHECK(world.until([&] { return world.of(pair.client).has(EventType::closed); }));
  world.pass(5000);
  CHECK(world.of(pair.client).timeouts.empty());
  CHECK(world.of(pair.server).timeouts.empty());
}

// Limits before accept (HP-60…75), back-off (LE-123), and listeners that go, on the simulated network's clock.
#include "support/net_world.h"
#include "support/test.h"
#include "support/world.h"

using namespace sluice;
using namespace sluice::test;

namespace {

std::shared_ptr<AcceptGate> gate(uint32_t maxConnections, uint32_t perSecond) {
  return std::make_shared<AcceptGate>(maxConnections, perSecond, 1);
}

std::vector<Conn> connectMany(NetWorld& world, const SocketAddress& address, int count) {
  std::vector<Conn> clients;
  for (int i = 0; i < count; ++i) clients.push_back(world.connect(address));
  return clients;
}

}  // namespace

TEST("beyond maxConnections clients wait in the backlog, and come in as others leave") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, {}, {gate(3, 0)});
  const auto clients = connectMany(world, address, 8);
  world.pass(2000);
  CHECK_EQ(world.opened.size(), 3u);
  // They are connected as far as they know, and what they say waits.
  for (const Conn client : clients) CHECK(world.of(client).has(EventType::connected));
  for (size_t open = 3; open < 8; ++open) {
    world.now(OpType::destroy, world.opened[open - 3]);
    CHECK(world.until([&] { return world.opened.size() == open + 1; }));
    world.pass(500);
    CHECK_EQ(world.opened.size(), open + 1);
  }
}

TEST("two listeners that share a gate never hold more than it allows, and one wakes the other") {
  NetWorld world("sim");
  const auto shared = gate(2, 0);
  const SocketAddress first = world.listen(1, {}, {shared});
  const auto firstClients = connectMany(world, first, 2);
  CHECK(world.until([&] { return world.opened.size() == 2; }));
  const SocketAddress second = world.listen(2, {}, {shared});
  connectMany(world, second, 2);
  world.pass(1000);
  CHECK_EQ(world.opened.size(), 2u);
  world.network().closeListener(1);
  world.now(OpType::destroy, world.opened[0]);
  CHECK(world.until([&] { return world.opened.size() == 3; }));
  CHECK_EQ(world.listenerOf[world.opened[2]], 2u);
  world.pass(1000);
  CHECK_EQ(world.opened.size(), 3u);
}

TEST("the narrower of two gates decides, and the wider one keeps what it did not need") {
  NetWorld world("sim");
  const auto wide = gate(10, 0);
  const SocketAddress address = world.listen(1, {}, {wide, gate(2, 0)});
  connectMany(world, address, 5);
  world.pass(1000);
  CHECK_EQ(world.opened.size(), 2u);
  uint32_t left = 0;
  while (const uint32_t more = wide->reserve(world.nowMs(), 100, {&world.network(), 99}, false).count) left += more;
  CHECK_EQ(left, 8u);
}

TEST("a rate is kept at all times, without a burst at the edge of a second, and everybody comes in") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, {}, {gate(0, 20)});
  connectMany(world, address, 100);
  std::vector<TimeMs> times;
  size_t seen = 0;
  world.handler = [&](Conn, EventType type, const EventRecord&) {
    if (type == EventType::opened) times.push_back(world.nowMs());
  };
  world.until([&] { return world.opened.size() == 100; }, 30'000);
  // In any window of a second at most the rate, and the few that HP-61's weights round away.
  for (size_t i = 0; i < times.size(); ++i) {
    seen = 0;
    for (size_t k = i; k < times.size() && times[k] < times[i] + 1000; ++k) ++seen;
    CHECK(seen <= 22);
  }
  CHECK(times.back() - times.front() <= 8000);
}

TEST("a rate that was not used up for long allows one second's worth at once, not more") {
  NetWorld world("sim");
  const SocketAddress address = world.listen(1, {}, {gate(0, 10)});
  world.pass(60'000);
  connectMany(world, address, 50);
  world.pass(200);
  CHECK(world.opened.size() >= 9 && world.opened.size() <= 10);
}

TEST("without descriptors accepting pauses with growing intervals, is told once, and resumes by itself") {
  NetWorld::Options options;
  options.sim.descriptorLimit = 6;  // the listener and five sockets
  NetWorld world("sim", options);
  const SocketAddress address = world.listen(1);
  const auto clients = connectMany(world, address, 4);  // leaves one for the server
  CHECK(world.until([&] { return !world.listenerFailures.empty(); }));
  CHECK_EQ(world.opened.size(), 1u);
  CHECK_EQ(world.listenerFailures[0], ErrorCode::descriptorLimit);
  world.pass(10'000);
  CHECK_EQ(world.listenerFailures.size(), 1u);
  // 100, 200, 400, 800, then every second.
  const uint64_t failures = world.network().listener(1)->failures;
  CHECK(failures >= 10 && failures <= 14);
  world.now(OpType::destroy, clients[0]);
  CHECK(world.until([&] { return world.opened.size() >= 2; }));
}

TEST("a second trouble after a success is told again") {
  NetWorld::Options options;
  options.sim.descriptorLimit = 4;
  NetWorld world("sim", options);
  const SocketAddress address = world.listen(1);
  const auto clients = connectMany(world, address, 3);
  CHECK(world.until([&] { return world.listenerFailures.size() == 1; }));
  world.now(OpType::destroy, clients[0]);
  CHECK(world.until([&] { return world.opened.size() == 1; }));
  CHECK(world.until([&] { return world.listenerFailures.size() == 2; }));
}

TEST("a closed listener's connections live on, and their places are given back when they go") {
  NetWorld world("sim");
  const auto shared = gate(2, 0);
  const SocketAddress first = world.listen(1, {}, {shared});
  const auto clients = connectMany(world, first, 2);
  CHECK(world.until([&] { return world.opened.size() == 2; }));
  world.network().closeListener(1);
  world.network().closeListener(1);
  world.writeNow(clients[0], "hello");
  CHECK(world.until([&] { return world.of(world.opened[0]).received == "hello"; }));
  const SocketAddress second = world.listen(2, {}, {shared});
  connectMany(world, second, 2);
  world.pass(1000);
  CHECK_EQ(world.opened.size(), 2u);
  world.now(OpType::destroy, world.opened[0]);
  world.now(OpType::destroy, world.opened[1]);
  CHECK(world.until([&] { return world.opened.size() == 4; }));
  CHECK(world.network().listener(1) == nullptr);
}

TEST("a listener that closes gives the places that it did not use back at once") {
  NetWorld world("sim");
  const auto shared = gate(5, 0);
  world.listen(1, {}, {shared});
  world.network().closeListener(1);
  uint32_t left = 0;
  while (const uint32_t more = shared->reserve(world.nowMs(), 10, {&world.network(), 99}, false).count)
    left += more;
  CHECK_EQ(left, 5u);
}

TEST("an idle listener does not keep the last places from another one") {
  NetWorld world("sim");
  const auto shared = gate(2, 0);
  const SocketAddress first = world.listen(1, {}, {shared});
  const SocketAddress second = world.listen(2, {}, {shared});
  connectMany(world, second, 2);
  CHECK(world.until([&] { return world.opened.size() == 2; }));
  for (const Conn conn : world.opened) CHECK_EQ(world.listenerOf[conn], 2u);
  // And back, when clients come to the other one.
  connectMany(world, first, 3);
  world.pass(2000);
  CHECK_EQ(world.opened.size(), 2u);
  const auto before = world.opened;
  for (const Conn conn : before) world.now(OpType::destroy, conn);
  CHECK(world.until([&] { return world.opened.size() == 4; }));
  world.pass(2000);
  CHECK_EQ(world.opened.size(), 4u);
}

// The call that wakes the loop may come after it has looked and before it sleeps.
TEST("a gate that opens while the loop is busy is work for its next turn, until it has been served") {
  NetWorld world("sim");
  world.listen(1, {}, {gate(1, 0)});
  CHECK(!world.network().work());
  world.network().gateOpened();
  CHECK(world.network().work());
  world.network().serveWaiting();
  CHECK(!world.network().work());
  world.network().gateWanted();
  CHECK(world.network().work());
  world.network().serveWaiting();
  CHECK(!world.network().work());
}

TEST("a connection that starts paused says nothing before it is resumed") {
  NetWorld world("sim");
  ConnectionConfig config;
  config.startPaused = true;
  const auto pair = world.pair({}, config);
  world.writeNow(pair.client, "waiting");
  world.pass(1000);
  CHECK_EQ(world.of(pair.server).received, "");
  world.now(OpType::resume, pair.server, pausedWithoutReader);
  CHECK(world.until([&] { return world.of(pair.server).received == "waiting"; }));
}

// Rate limits of Network: to the byte and the millisecond on the simulated network's clock, and by what cannot be
// exceeded on every engine (LE-09 … LE-13, LE-20 … LE-32, LE-49, LE-90 … LE-93).
#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

#include "engine/sim_random.h"
#include "support/each_engine.h"
#include "support/net_world.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr Direction reading = Direction::read, writing = Direction::write;

RateLimit limitOf(int64_t rate, int64_t burst, uint32_t tickMs) { return {{rate, burst}, {rate, burst}, tickMs}; }
std::shared_ptr<const RateLimit> shared(const RateLimit& limit) { return std::make_shared<const RateLimit>(limit); }
std::shared_ptr<const RateLimit> readLimit(int64_t rate, int64_t burst, uint32_t tickMs) {
  return shared({{rate, burst}, {}, tickMs});
}
std::shared_ptr<const RateLimit> writeLimit(int64_t rate, int64_t burst, uint32_t tickMs) {
  return shared({{}, {rate, burst}, tickMs});
}

ConnectionConfig limited(std::shared_ptr<const RateLimit> own, std::shared_ptr<RateGroup> group = nullptr) {
  ConnectionConfig config;
  config.rate.own = std::move(own);
  config.rate.group = std::move(group);
  return config;
}

Connection& connectionOf(NetWorld& world, Conn conn) { return *world.network().find(conn.slot, conn.tag); }

size_t receivedBy(NetWorld& world, Conn conn) { return world.of(conn).received.size(); }

/// Lets the simulated clock stand at the beginning of a tick.
void alignTo(NetWorld& world, TimeMs tickMs) {
  while (world.nowMs() % tickMs != 0) world.pass(1);
}

/// Both ends of many connections, the servers in a group.
struct Crowd {
  Crowd(NetWorld& world, size_t count, const ConnectionConfig& client, const ConnectionConfig& server)
      : world(world) {
    const SocketAddress address = world.listen(77, server);
    const size_t before = world.opened.size();
    for (size_t i = 0; i < count; ++i) clients.push_back(world.connect(address, client));
    world.until([&] { return world.opened.size() == before + count; });
    servers.assign(world.opened.begin() + static_cast<ptrdiff_t>(before), world.opened.end());
  }
  /// Every client sends as much as anybody could read.
  void flood(size_t bytes) {
    for (const Conn client : clients) world.write(client, pattern(bytes, 1));
    world.apply();
  }
  std::vector<size_t> received() const {
    std::vector<size_t> sizes;
    for (const Conn server : servers) sizes.push_back(receivedBy(world, server));
    return sizes;
  }
  size_t total() const {
    const auto sizes = received();
    return std::accumulate(sizes.begin(), sizes.end(), size_t{0});
  }

  NetWorld& world;
  std::vector<Conn> clients, servers;
};

double deviation(const std::vector<size_t>& sizes) {
  const double mean = static_cast<double>(std::accumulate(sizes.begin(), sizes.end(), size_t{0})) /
                      static_cast<double>(sizes.size());
  double squares = 0;
  for (const size_t size : sizes)
    squares += (static_cast<double>(size) - mean) * (static_cast<double>(size) - mean);
  return std::sqrt(squares / static_cast<double>(sizes.size()));
}

}  // namespace

// ---- one connection, exactly

TEST("a read limit lets one tick's worth through per tick, and one at the start (LE-05, LE-09)") {
  NetWorld world("sim");
  alignTo(world, 1000);
  const auto pair = world.pair({}, limited(readLimit(1000, 1000, 1000)));
  world.writeNow(pair.client, pattern(10'000));
  const TimeMs start = world.nowMs();

  for (size_t tick = 0; tick < 9; ++tick) {
    const TimeMs end = (start / 1000 + 1 + tick) * 1000;
    world.pass(end - 1 - world.nowMs());
    CHECK_EQ(receivedBy(world, pair.server), (tick + 1) * 1000);
  }
  CHECK(world.until([&] { return receivedBy(world, pair.server) == 10'000; }));
  CHECK(world.of(pair.server).received == pattern(10'000));
}

TEST("a write limit does the same to what is sent, small pieces and borrowed ones alike") {
  NetWorld world("sim");
  const auto pair = world.pair(limited(writeLimit(1000, 1000, 1000)));
  alignTo(world, 1000);
  const std::string bytes = pattern(4'000, 2);
  world.write(pair.client, bytes.substr(0, 300));
  world.writeReference(pair.client, std::string_view(bytes).substr(300, 2'000), 5);
  world.write(pair.client, bytes.substr(2'300));
  world.apply();
  const TimeMs start = world.nowMs();
  for (size_t tick = 0; tick < 4; ++tick) {
    world.pass(start / 1000 * 1000 + (tick + 1) * 1000 - 5 - world.nowMs());
    // The level was refilled once between connecting and now.
    CHECK_EQ(receivedBy(world, pair.server), (tick + 1) * 1000);
    CHECK_EQ(world.taken(pair.client), static_cast<int32_t>((tick + 1) * 1000));
  }
  CHECK(world.of(pair.server).received == bytes);
  CHECK(world.released == std::vector<uint32_t>({5}));
}

TEST(
    "a starved connection costs one wake-up per tick, and a debt of many ticks costs one for all of them (LE-09)") {
  NetWorld world("sim");
  const auto pair = world.pair({}, limited(readLimit(100, 100, 1000)));
  world.writeNow(pair.client, pattern(100'000));
  world.pass(5'000);
  const uint64_t before = world.loop().turns();
  world.pass(20'000);
  CHECK(world.loop().turns() - before <= 2 * 20 + 5);  // the timer, and the data that it lets through

  CHECK(world.network().debitRate(pair.server.slot, connectionOf(world, pair.server), reading, 60 * 100));
  world.pass(1'500);
  const uint64_t inDebt = world.loop().turns();
  const size_t had = receivedBy(world, pair.server);
  world.pass(50'000);
  CHECK_EQ(receivedBy(world, pair.server), had);
  CHECK(world.loop().turns() - inDebt <= 3);
}

TEST(
    "a debit stalls for its worth of ticks, credit ends it at once, and only one's own bucket takes either "
    "(LE-30)") {
  NetWorld world("sim");
  const auto pair = world.pair(limited(writeLimit(1000, 1000, 100)));
  alignTo(world, 100);
  Connection& client = connectionOf(world, pair.client);
  CHECK(world.network().debitRate(pair.client.slot, client, writing, 21'000));
  const TimeMs start = world.nowMs();
  world.writeNow(pair.client, "x");
  CHECK(world.until([&] { return receivedBy(world, pair.server) == 1; }));
  CHECK_EQ(world.nowMs() - start, 2'101u);  // twenty-one ticks until above 0, and the way there
  CHECK(world.network().debitRate(pair.client.slot, client, writing, 1'000'000));
  world.writeNow(pair.client, "y");
  world.pass(500);
  CHECK_EQ(receivedBy(world, pair.server), 1u);
  CHECK(world.network().rateStanding(client).write.heldByOwn);
  CHECK(world.network().debitRate(pair.client.slot, client, writing, -1'000'000));
  world.pass(2);
  CHECK_EQ(receivedBy(world, pair.server), 2u);
  CHECK(!world.network().debitRate(pair.server.slot, connectionOf(world, pair.server), writing, 1));
}

TEST("without a limit of its own a connection's level is the maximum (LE-29); with one it is what is left of it") {
  NetWorld world("sim");
  const auto pair = world.pair();
  Connection& client = connectionOf(world, pair.client);
  CHECK_EQ(world.network().rateStanding(client).read.level, rateLimitMax);
  CHECK_EQ(world.network().rateStanding(client).write.allowed, rateLimitMax);
  alignTo(world, 1000);
  world.network().setRateLimit(pair.client.slot, client, shared(limitOf(500, 2000, 1000)));
  CHECK_EQ(world.network().rateStanding(client).write.level, 500);
  world.writeNow(pair.client, pattern(120));
  CHECK_EQ(world.network().rateStanding(client).write.level, 380);
  CHECK_EQ(world.network().rateStanding(client).write.allowed, 380);
  CHECK_EQ(world.network().rateStanding(client).read.level, 500);
}

TEST("replacing the limit a thousand times a second creates no bandwidth (LE-10)") {
  NetWorld world("sim");
  const auto pair = world.pair({}, limited(readLimit(1000, 1000, 1000)));
  alignTo(world, 1000);
  world.writeNow(pair.client, pattern(200'000));
  const TimeMs start = world.nowMs();
  Connection& server = connectionOf(world, pair.server);
  for (int i = 0; i < 5'000; ++i) {
    world.network().setRateLimit(pair.server.slot, server,
                                 i % 2 == 0 ? readLimit(1000, 1000, 1000) : readLimit(1000, 5000, 1000));
    world.pass(1);
  }
  CHECK_EQ(world.nowMs() - start, 5'000u);
  world.pass(5);
  CHECK_EQ(receivedBy(world, pair.server), 6'000u);
}

TEST("removing the limit lets everything that was stalled go at once (LE-11)") {
  NetWorld world("sim");
  const auto pair = world.pair(limited(writeLimit(10, 10, 1000)), limited(readLimit(10, 10, 1000)));
  world.writeNow(pair.client, pattern(50'000));
  world.pass(100);
  CHECK(receivedBy(world, pair.server) <= 20);
  world.network().setRateLimit(pair.client.slot, connectionOf(world, pair.client), nullptr);
  world.pass(100);
  CHECK(receivedBy(world, pair.server) <= 20);
  world.network().setRateLimit(pair.server.slot, connectionOf(world, pair.server), nullptr);
  world.pass(10);
  CHECK(world.of(pair.server).received == pattern(50'000));
  world.network().setRateLimit(pair.server.slot, connectionOf(world, pair.server), nullptr);  // there is none: fine
}

TEST("several reasons to pause are kept apart: the user's and the bucket's (LE-40)") {
  NetWorld world("sim");
  const auto pair = world.pair({}, limited(readLimit(100, 1000, 100)));
  world.writeNow(pair.client, pattern(5'000));
  world.pass(50);
  const size_t had = receivedBy(world, pair.server);
  world.now(OpType::pause, pair.server, pausedByUser);
  world.pass(2'000);
  CHECK_EQ(receivedBy(world, pair.server), had);  // the refill did not undo the user's pause
  CHECK(world.network().debitRate(pair.server.slot, connectionOf(world, pair.server), reading, 2'000));
  world.now(OpType::resume, pair.server, pausedByUser);
  world.pass(500);
  CHECK_EQ(receivedBy(world, pair.server), had);  // nor the user's resume the bucket's
  world.pass(2'000);
  CHECK(receivedBy(world, pair.server) > had);
}

TEST("time that a bucket keeps a direction waiting does not count for its timeout (LE-49)") {
  NetWorld world("sim");
  ConnectionConfig client = limited(writeLimit(10, 10, 1000)), server = limited(readLimit(10, 10, 1000));
  client.writeTimeoutMs = server.readTimeoutMs = 300;
  const auto pair = world.pair(client, server);
  world.writeNow(pair.client, pattern(100));
  world.pass(9'000);
  CHECK(!world.of(pair.client).has(EventType::timeout));
  CHECK(receivedBy(world, pair.server) >= 60);
}

TEST("an end waits behind bytes that the bucket holds back, and follows them") {
  NetWorld world("sim");
  const auto pair = world.pair(limited(writeLimit(100, 100, 100)));
  world.write(pair.client, pattern(450));
  world.op(OpType::end, pair.client);
  world.apply();
  world.pass(250);
  CHECK(!world.of(pair.server).has(EventType::end));
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::end); }));
  CHECK(world.of(pair.server).received == pattern(450));
}

TEST("a limit that is not reached changes nothing of how bytes travel") {
  NetWorld world("sim");
  const auto huge = shared(limitOf(1'000'000'000, 1'000'000'000, 1000));
  const auto pair = world.pair(limited(huge), limited(huge));
  const uint64_t sends = world.engine().counters().sends;
  for (int i = 0; i < 100; ++i) world.writeNow(pair.client, pattern(100));
  CHECK(world.until([&] { return receivedBy(world, pair.server) == 10'000; }));
  CHECK_EQ(world.engine().counters().sends - sends, 100u);
  CHECK_EQ(world.network().rateStanding(connectionOf(world, pair.server)).read.level, 1'000'000'000 - 10'000);
}

TEST("a connection that closes gives nothing away and takes nothing along: what drains is not limited") {
  NetWorld world("sim");
  const auto group = RateGroup::create(limitOf(1000, 1000, 100), 64, nullptr, world.nowMs());
  const auto pair = world.pair({}, limited(readLimit(10, 10, 1000), group));
  world.writeNow(pair.client, pattern(50'000));
  world.op(OpType::end, pair.client);
  world.apply();
  world.pass(50);
  world.now(OpType::close, pair.server, 5'000);
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::closed); }, 1'000));
  CHECK_EQ(group->stats(world.nowMs()).members, 0u);
}

// ---- groups, exactly

TEST("thirty connections of one group share it equally, to the byte of a tick (LE-90)") {
  NetWorld world("sim");
  const auto group = RateGroup::create(limitOf(3000, 3000, 100), 64, nullptr, world.nowMs());
  Crowd crowd(world, 30, {}, limited(nullptr, group));
  crowd.flood(100'000);
  const TimeMs start = world.nowMs();
  world.pass(20'000);
  const double seconds = static_cast<double>(world.nowMs() - start) / 1000;
  CHECK(std::abs(static_cast<double>(crowd.total()) / seconds - 30'000) <= 1'000);
  auto perSecond = crowd.received();
  for (size_t& bytes : perSecond) bytes = static_cast<size_t>(static_cast<double>(bytes) / seconds);
  CHECK(deviation(perSecond) <= 100);
  CHECK_EQ(group->stats(world.nowMs()).read.total, crowd.total());
}

TEST("thirty connections with limits of their own keep them (LE-91), also within a group (LE-92)") {
  for (const bool inGroup : {false, true}) {
    NetWorld world("sim");
    const auto group = inGroup ? RateGroup::create(limitOf(3000, 3000, 100), 64, nullptr, world.nowMs()) : nullptr;
    Crowd crowd(world, 30, {}, limited(shared(limitOf(100, 100, 100)), group));
    crowd.flood(100'000);
    world.pass(20'000);
    for (const size_t bytes : crowd.received()) CHECK(std::abs(static_cast<double>(bytes) / 20 - 1000) <= 50);
    CHECK(deviation(crowd.received()) / 20 <= 50);
  }
}

TEST("a group with a debit from outside each tick leaves its members the rest (LE-93)") {
  NetWorld world("sim");
  const auto group = RateGroup::create(limitOf(3500, 3500, 100), 64, nullptr, world.nowMs());
  Crowd crowd(world, 30, {}, limited(nullptr, group));
  crowd.flood(100'000);
  for (int i = 0; i < 200; ++i) {
    group->debit(reading, 500, world.nowMs());
    world.pass(100);
  }
  CHECK(std::abs(static_cast<double>(crowd.total()) / 20 - 30'000) <= 1'000);
}

TEST("groups limit what is sent as well, and idle members leave their part to the others") {
  NetWorld world("sim");
  const auto group = RateGroup::create(limitOf(10'000, 10'000, 100), 64, nullptr, world.nowMs());
  Crowd crowd(world, 50, limited(nullptr, group), {});
  for (size_t i = 0; i < 5; ++i) world.write(crowd.clients[i], pattern(1'000'000));
  world.apply();
  world.pass(5'000);
  CHECK(std::abs(static_cast<double>(crowd.total()) - 510'000) <= 12'000);
  for (size_t i = 0; i < 5; ++i) {
    CHECK(std::abs(static_cast<double>(receivedBy(world, crowd.servers[i])) - 102'000) <= 5'000);
  }
}

TEST("a small reply does not wait behind the bulk of its group (HP-115)") {
  NetWorld world("sim");
  const auto group = RateGroup::create(limitOf(10'000, 10'000, 100), 64, nullptr, world.nowMs());
  Crowd crowd(world, 200, limited(nullptr, group), {});
  for (size_t i = 1; i < 200; ++i) world.write(crowd.clients[i], pattern(1'000'000));
  world.apply();
  world.pass(3'030);
  for (int i = 0; i < 20; ++i) {
    const size_t had = receivedBy(world, crowd.servers[0]);
    const TimeMs start = world.nowMs();
    world.writeNow(crowd.clients[0], "forty bytes, give or take: a small reply");
    CHECK(world.until([&] { return receivedBy(world, crowd.servers[0]) == had + 40; }));
    CHECK(world.nowMs() - start <= 101);
    world.pass(313);
  }
}

TEST("a starved group costs one wake-up per tick, however many of its members wait (LE-09)") {
  NetWorld world("sim");
  const auto group = RateGroup::create(limitOf(640, 640, 1000), 64, nullptr, world.nowMs());
  Crowd crowd(world, 500, limited(nullptr, group), {});
  crowd.flood(10'000);
  world.pass(3'000);
  const uint64_t before = world.loop().turns();
  world.pass(50'000);
  CHECK(world.loop().turns() - before <= 50 * 4);
}

TEST("fifteen hundred connections keep their group's total within 1 % and their shares within 5 %") {
  NetWorld::Options options;
  options.eventRecords = 65'536;
  NetWorld world("sim", options);
  const auto group = RateGroup::create({{}, {100'000, 1'000'000}, 10}, 1'024, nullptr, world.nowMs());
  Crowd crowd(world, 1'500, limited(nullptr, group), {});
  const std::string bytes = pattern(2'000'000, 1);
  for (const Conn client : crowd.clients) world.writeReference(client, bytes, 1);
  world.apply();
  world.pass(3'000);
  const auto before = crowd.received();
  const uint64_t turns = world.loop().turns();
  constexpr int64_t seconds = 8;
  world.pass(1'000 * seconds);
  auto got = crowd.received();
  for (size_t i = 0; i < got.size(); ++i) got[i] -= before[i];
  const auto total = static_cast<double>(std::accumulate(got.begin(), got.end(), size_t{0}));
  CHECK(std::abs(total / (10e6 * seconds) - 1) <= 0.01);
  const double mean = total / static_cast<double>(got.size());
  const auto [least, most] = std::ranges::minmax(got);
  CHECK(static_cast<double>(least) >= mean * 0.95);
  CHECK(static_cast<double>(most) <= mean * 1.05);
  CHECK(world.loop().turns() - turns <= 8 * 100 * seconds);  // the tick, and what its sends and turns bring about
  for (const Conn client : crowd.clients) world.op(OpType::destroy, client);
  world.apply();
}

TEST("a connection joins, changes and leaves groups while they are starved (LE-23)") {
  NetWorld world("sim");
  const auto starved = RateGroup::create(limitOf(100, 100, 1000), 1, nullptr, world.nowMs());
  const auto rich = RateGroup::create(limitOf(1'000'000, 1'000'000, 1000), 64, nullptr, world.nowMs());
  Crowd crowd(world, 2, {}, limited(nullptr, starved));
  crowd.flood(100'000);
  world.pass(3'000);
  CHECK(crowd.total() <= 500);
  const Conn mover = crowd.servers[0];
  world.network().setRateGroup(mover.slot, connectionOf(world, mover), rich);
  CHECK(world.until([&] { return receivedBy(world, mover) == 100'000; }, 500));
  CHECK_EQ(starved->stats(world.nowMs()).members, 1u);
  CHECK_EQ(rich->stats(world.nowMs()).members, 1u);
  const Conn leaver = crowd.servers[1];
  world.network().setRateGroup(leaver.slot, connectionOf(world, leaver), nullptr);
  CHECK(world.until([&] { return receivedBy(world, leaver) == 100'000; }, 500));
  CHECK_EQ(starved->stats(world.nowMs()).members, 0u);
  CHECK(!connectionOf(world, leaver).limit);
}

TEST("a dissolved group holds nobody back any more (D3)") {
  NetWorld world("sim");
  const auto group = RateGroup::create(limitOf(100, 100, 1000), 1, nullptr, world.nowMs());
  Crowd crowd(world, 5, {}, limited(nullptr, group));
  crowd.flood(20'000);
  world.pass(1'500);
  CHECK(crowd.total() <= 300);
  group->dissolve();
  CHECK(world.until([&] { return crowd.total() == 100'000; }, 500));
}

TEST("connections are grouped by remote address; those whose group is named later read nothing before") {
  NetWorld world("sim");
  const auto map = std::make_shared<RateGroupMap>(limitOf(1000, 1000, 1000), 64, nullptr);
  ConnectionConfig keyed;
  keyed.rate.groups = map;
  (void)world.pair({}, keyed);
  CHECK_EQ(map->size(world.nowMs()), 1u);
  CHECK_EQ(map->group("127.0.0.1", world.nowMs())->stats(world.nowMs()).members, 1u);

  ConnectionConfig later;
  later.rate.groupFollows = true;
  const auto other = world.pair({}, later);
  world.writeNow(other.client, "hello");
  world.pass(100);
  CHECK_EQ(receivedBy(world, other.server), 0u);
  world.network().setRateGroup(other.server.slot, connectionOf(world, other.server),
                               map->group("key", world.nowMs()));
  CHECK(world.until([&] { return receivedBy(world, other.server) == 5; }));
}

TEST("sends that complete later are counted once, and what did not leave is given back") {
  for (const double deferred : {0.3, 1.0}) {
    NetWorld::Options options;
    options.sim.deferredSendProbability = deferred;
    options.sim.shortSendProbability = 0.3;
    options.sim.sendBufferBytes = 700;
    NetWorld world("sim", options);
    const auto group = RateGroup::create(limitOf(1000, 1000, 100), 64, nullptr, world.nowMs());
    Crowd crowd(world, 4, limited(writeLimit(600, 600, 100), group), {});
    crowd.flood(20'000);
    world.pass(4'000);
    CHECK(std::abs(static_cast<double>(crowd.total()) - 41'000) <= 2'500);
    world.pass(6'000);
    CHECK_EQ(crowd.total(), 80'000u);
    CHECK_EQ(group->stats(world.nowMs()).write.total, 80'000u);
    CHECK_EQ(world.network().rateStanding(connectionOf(world, crowd.clients[0])).write.level, 600);
  }
}

// ---- every engine: what holds however slow the machine is

ENGINE_TEST("a connection never gets more than its limit, and all of it (LE-91)") {
  NetWorld world(engine);
  constexpr size_t each = 1'000;  // ten ticks' worth, of which one is there from the start
  Crowd crowd(world, 10, {}, limited(readLimit(100, 10'000, 20)));
  const TimeMs start = world.nowMs();
  crowd.flood(20'000);
  CHECK(world.until([&] { return std::ranges::all_of(crowd.received(), [](size_t n) { return n >= each; }); }));
  const TimeMs ticks = world.nowMs() / 20 - (start / 20 - 50);  // since before anybody was accepted, at the most
  for (const size_t bytes : crowd.received()) CHECK(bytes <= (ticks + 1) * 100);
}

ENGINE_TEST(
    "what a limit still holds back when a write fails is delivered, and only then the failure is told (HP-12)") {
  NetWorld world(engine);
  const auto pair = world.pair({}, limited(readLimit(1'000, 1'000, 20)));
  world.writeNow(pair.client, pattern(5'000));
  CHECK(world.until([&] { return receivedBy(world, pair.server) >= 1'000; }));
  world.fence();
  world.now(OpType::destroy, pair.client);
  world.fence();
  for (int i = 0; i < 3; ++i) {
    world.writeNow(pair.server, "is anybody there?");
    world.fence();
  }
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::closed); }));
  CHECK(world.of(pair.server).received == pattern(5'000));
}

ENGINE_TEST("received bytes stay whole and in order under a limit, and the end comes after them") {
  NetWorld world(engine);
  const auto pair = world.pair({}, limited(readLimit(7'001, 20'000, 5)));
  const std::string bytes = pattern(300'000, 5);
  const TimeMs start = world.nowMs();
  world.write(pair.client, bytes);
  world.op(OpType::end, pair.client);
  world.apply();
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::end); }));
  CHECK(world.of(pair.server).received == bytes);
  // Forty-two refills, less what had gathered before.
  CHECK(world.nowMs() - start >= 35 * 5);
}

ENGINE_TEST("sent bytes stay whole and in order under a limit, whether copied or borrowed") {
  NetWorld world(engine);
  const auto pair = world.pair(limited(writeLimit(7'001, 20'000, 5)));
  const std::string bytes = pattern(300'000, 6);
  const TimeMs start = world.nowMs();
  world.write(pair.client, bytes.substr(0, 1'000));
  world.writeReference(pair.client, std::string_view(bytes).substr(1'000, 250'000), 1);
  world.write(pair.client, bytes.substr(251'000), true);
  world.apply();
  CHECK(world.until([&] { return receivedBy(world, pair.server) == bytes.size(); }));
  CHECK(world.of(pair.server).received == bytes);
  CHECK(world.nowMs() - start >= 35 * 5);
  CHECK(world.until([&] { return world.of(pair.client).has(EventType::drain); }));
  CHECK(world.released == std::vector<uint32_t>({1}));
}

ENGINE_TEST("an echo under limits both ways loses nothing") {
  NetWorld world(engine);
  const auto pair = world.pair({}, limited(shared(limitOf(20'000, 60'000, 5))));
  world.handler = [&](Conn conn, EventType type, const EventRecord& record) {
    if (type == EventType::data && conn.slot == pair.server.slot) {
      world.writeSlab(conn, static_cast<uint32_t>(record.a), static_cast<uint32_t>(record.b));
    }
  };
  const std::string bytes = pattern(500'000, 9);
  world.writeNow(pair.client, bytes);
  CHECK(world.until([&] { return receivedBy(world, pair.client) == bytes.size(); }));
  CHECK(world.of(pair.client).received == bytes);
}

ENGINE_TEST("a group's members get its refills and no byte more, in equal parts (LE-90)") {
  NetWorld world(engine);
  const auto group = RateGroup::create(limitOf(3'000, 3'000, 20), 64, nullptr, world.nowMs());
  Crowd crowd(world, 30, {}, limited(nullptr, group));
  const uint64_t before = group->stats(world.nowMs()).refills;
  crowd.flood(50'000);
  CHECK(world.until([&] { return crowd.total() >= 120'000; }));
  const auto stats = group->stats(world.nowMs());
  CHECK_EQ(stats.read.total, crowd.total());
  CHECK(crowd.total() <= (stats.refills - before + 2) * 3'000);
  const auto sizes = crowd.received();
  // 4000 each; two ticks' parts are what events may come to lie apart.
  for (const size_t bytes : sizes) CHECK(bytes >= 3'000 && bytes <= 5'000);
}

ENGINE_TEST("a sending group does likewise, and a debit from outside comes off (LE-93)") {
  NetWorld world(engine);
  const auto group = RateGroup::create(limitOf(3'500, 3'500, 20), 64, nullptr, world.nowMs());
  Crowd crowd(world, 30, limited(nullptr, group), {});
  const uint64_t before = group->stats(world.nowMs()).refills;
  crowd.flood(50'000);
  uint64_t debited = 0, seen = before;
  CHECK(world.until([&] {
    const uint64_t now = group->stats(world.nowMs()).refills;
    for (; seen < now; ++seen, ++debited) group->debit(writing, 500, world.nowMs());
    return crowd.total() >= 100'000;
  }));
  const auto stats = group->stats(world.nowMs());
  CHECK(debited > 0);
  CHECK(stats.write.total + debited * 500 <= (stats.refills - before + 2) * 3'500);
  for (const size_t bytes : crowd.received()) CHECK(bytes >= 2'800 && bytes <= 3'900);
}

ENGINE_TEST("random limits, groups and closings leave no connection behind and lose no byte") {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    NetWorld world(engine);
    SimRandom random(seed);
    const auto parent = RateGroup::create(limitOf(50'000, 100'000, 7), 64, nullptr, world.nowMs());
    const auto group = RateGroup::create(limitOf(30'000, 60'000, 5), 64, parent, world.nowMs());
    Crowd crowd(world, 12, limited(nullptr, group), limited(nullptr, parent));
    constexpr size_t each = 30'000;
    crowd.flood(each);
    for (int step = 0; step < 60; ++step) {
      const auto at = static_cast<size_t>(random.between(0, 11));
      const Conn conn = random.between(0, 1) == 0 ? crowd.clients[at] : crowd.servers[at];
      Connection* connection = world.network().find(conn.slot, conn.tag);
      if (connection != nullptr && connection->live()) {
        switch (random.between(0, 4)) {
          case 0: world.network().setRateLimit(conn.slot, *connection, shared(limitOf(5'000, 9'000, 3))); break;
          case 1: world.network().setRateLimit(conn.slot, *connection, nullptr); break;
          case 2:
            world.network().setRateGroup(conn.slot, *connection, random.between(0, 1) == 0 ? group : parent);
            break;
          case 3: world.network().setRateGroup(conn.slot, *connection, nullptr); break;
          default:
            group->configure(limitOf(static_cast<int64_t>(random.between(500, 90'000)), 90'000, 5), 64,
                             world.nowMs());
        }
      }
      world.turn({world.nowMs() + 2});
    }
    group->configure(limitOf(90'000, 90'000, 5), 64, world.nowMs());
    CHECK(world.until([&] { return crowd.total() == 12 * each; }));
    for (const Conn server : crowd.servers) CHECK(world.of(server).received == pattern(each, 1));
    for (const Conn client : crowd.clients) world.op(OpType::destroy, client);
    for (const Conn server : crowd.servers) world.op(OpType::destroy, server);
    world.apply();
    CHECK(world.until([&] { return world.network().openConnections() == 0; }));
    CHECK_EQ(parent->stats(world.nowMs()).members, 1u);
    CHECK_EQ(group->stats(world.nowMs()).members, 0u);
  }
}

TEST("loops on several threads share one group: each byte is counted once, and each loop gets its members' part") {
  constexpr int threads = 3;
  const auto group = RateGroup::create(limitOf(9'000, 9'000, 20), 64, nullptr, monotonicMs());
  std::vector<size_t> totals(threads);
  std::atomic<size_t> sum{0};
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      NetWorld world("poll");
      Crowd crowd(world, 10, {}, limited(nullptr, group));
      crowd.flood(60'000);
      size_t had = 0;
      world.until([&] {
        sum += crowd.total() - had;
        had = crowd.total();
        return sum >= 400'000;
      });
      totals[static_cast<size_t>(i)] = had;
    });
  }
  for (std::thread& thread : running) thread.join();
  const auto stats = group->stats(monotonicMs());
  CHECK_EQ(stats.members, 0u);
  const size_t total = std::accumulate(totals.begin(), totals.end(), size_t{0});
  CHECK(total >= 400'000);
  CHECK(stats.read.total >= total);
  CHECK(stats.read.total <= (stats.refills + 1) * 9'000);
  for (const size_t each : totals) CHECK(each >= 400'000 / threads * 7 / 10);
}

// Rate limits of Network, to the byte and the millisecond on the simulated network's clock (LE-09 … LE-13, LE-20 … LE-32,
// LE-49, LE-90 … LE-93).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "support/limited.h"
#include "support/test.h"

using namespace sluice;
using namespace sluice::test;

namespace {

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

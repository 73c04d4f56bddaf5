// Rate limits of Network by what cannot be exceeded, on every engine, however slow the machine is (LE-90 … LE-93).
#include <algorithm>
#include <thread>

#include "engine/sim_random.h"
#include "support/each_engine.h"
#include "support/limited.h"

using namespace sluice;
using namespace sluice::test;

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

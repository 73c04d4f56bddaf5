// Receives that somebody limits, on every engine: the sentence "Limits" of engine.h.
#include <map>

#include "support/each_engine.h"

using namespace sluice;
using namespace sluice::test;
using enum Completion::Kind;

namespace {

/// Allows what is put down for each socket, and notes what is asked and received.
struct Allowances final : ReceiveLimiter {
  uint32_t mayReceive(Slot socket) override {
    ++asked[socket];
    return left[socket];
  }
  void received(Slot socket, uint32_t bytes, bool) override {
    CHECK(bytes <= left[socket]);
    left[socket] -= bytes;
    counted[socket] += bytes;
  }
  uint32_t usualReceive(Slot) override { return usual; }

  std::map<Slot, uint32_t> asked, left;
  std::map<Slot, uint64_t> counted;
  uint32_t usual = 1'000;
};

/// Turns until the bytes of a neighbour, sent now, have come in: what was under way for others has had its time.
void settle(World& world, const World::Pair& neighbour) {
  for (int i = 0; i < 3; ++i) {
    const size_t had = world.of(neighbour.server).received.size();
    CHECK(world.sendAll(neighbour.client, "."));
    CHECK(world.until([&] { return world.of(neighbour.server).received.size() > had; }));
  }
}

}  // namespace

ENGINE_TEST("a limited socket gives exactly what is allowed, each time it is asked to go on") {
  World world(engine);
  Allowances limiter;
  world.engine().setReceiveLimiter(&limiter);
  const auto pair = world.pair();
  const auto neighbour = world.pair();
  world.engine().limitReceive(pair.server, true);
  const std::string bytes = pattern(20'000, 3);
  limiter.left[pair.server] = 700;
  REQUIRE(world.sendAll(pair.client, bytes));
  CHECK(world.until([&] { return world.of(pair.server).received.size() == 700; }));
  size_t due = 700;
  for (const uint32_t more : {1u, 512u, 5'000u, 100u}) {
    settle(world, neighbour);
    CHECK_EQ(world.of(pair.server).received.size(), due);
    limiter.left[pair.server] = more;
    due += more;
    world.engine().receive(pair.server, true);
    CHECK(world.until([&] { return world.of(pair.server).received.size() == due; }));
  }
  limiter.left[pair.server] = UINT32_MAX;
  world.engine().receive(pair.server, false);
  world.engine().receive(pair.server, true);
  CHECK(world.until([&] { return world.of(pair.server).received.size() == bytes.size(); }));
  CHECK(world.of(pair.server).received == bytes);
  CHECK_EQ(limiter.counted[pair.server], bytes.size());
}

ENGINE_TEST("the limiter is asked about limited sockets alone") {
  World world(engine);
  Allowances limiter;
  world.engine().setReceiveLimiter(&limiter);
  const auto pair = world.pair();
  world.engine().limitReceive(pair.server, true);
  world.engine().limitReceive(pair.server, false);
  REQUIRE(world.sendAll(pair.client, pattern(100'000)));
  CHECK(world.until([&] { return world.of(pair.server).received.size() == 100'000; }));
  CHECK(limiter.asked.empty());
  CHECK(limiter.counted.empty());
}

ENGINE_TEST("a socket that becomes limited while data is under way obeys from then on") {
  World world(engine);
  Allowances limiter;
  world.engine().setReceiveLimiter(&limiter);
  const auto pair = world.pair();
  const auto neighbour = world.pair();
  settle(world, neighbour);  // whatever the engine starts beforehand has been started
  limiter.left[pair.server] = 10;
  world.engine().limitReceive(pair.server, true);
  const std::string bytes = pattern(300'000, 4);
  REQUIRE(world.sendAll(pair.client, bytes.substr(0, 1'000)));
  CHECK(world.until([&] { return world.of(pair.server).received.size() == 10; }));
  settle(world, neighbour);
  CHECK_EQ(world.of(pair.server).received.size(), 10u);
  limiter.left[pair.server] = UINT32_MAX;
  world.engine().receive(pair.server, false);
  world.engine().receive(pair.server, true);
  REQUIRE(world.sendAll(pair.client, bytes.substr(1'000)));
  CHECK(world.until([&] { return world.of(pair.server).received.size() == bytes.size(); }));
  CHECK(world.of(pair.server).received == bytes);
}

ENGINE_TEST("what is allowed in small pieces arrives whole, in order, and its end last and once") {
  World world(engine);
  Allowances limiter;
  world.engine().setReceiveLimiter(&limiter);
  const auto pair = world.pair();
  world.engine().limitReceive(pair.server, true);
  const std::string bytes = pattern(30'000, 8);
  REQUIRE(world.sendAll(pair.client, bytes));
  CHECK(world.engine().shutdownSend(pair.client));
  uint32_t given = 0;
  CHECK(world.until([&] {
    if (limiter.left[pair.server] == 0) {
      limiter.left[pair.server] = ++given % 97 * 5 + 1;
      // As its owner would: it knows of the refusal, and says when to go on.
      world.engine().receive(pair.server, false);
      world.engine().receive(pair.server, true);
    }
    return world.of(pair.server).has(ended);
  }));
  CHECK(world.of(pair.server).received == bytes);
  CHECK_EQ(world.of(pair.server).count(ended), 1);
}

ENGINE_TEST("a limited socket closes as any other, with data held back") {
  World world(engine);
  Allowances limiter;
  world.engine().setReceiveLimiter(&limiter);
  for (int round = 0; round < 5; ++round) {
    const auto pair = world.pair();
    limiter.left[pair.server] = 100;
    world.engine().limitReceive(pair.server, true);
    REQUIRE(world.sendAll(pair.client, pattern(50'000)));
    CHECK(world.until([&] { return world.of(pair.server).received.size() == 100; }));
    world.engine().close(pair.server, CloseMode::normal);
    world.engine().close(pair.client, CloseMode::normal);
    CHECK(world.until([&] { return world.of(pair.server).has(closed) && world.of(pair.client).has(closed); }));
    world.engine().release(pair.server);
    world.engine().release(pair.client);
    // The slot's next socket is not limited.
    limiter.asked.clear();
    const auto next = world.pair();
    REQUIRE(world.sendAll(next.client, "hello"));
    CHECK(world.until([&] { return world.of(next.server).received == "hello"; }));
    CHECK(limiter.asked.empty());
    for (const Slot slot : {next.client, next.server}) {
      world.engine().close(slot, CloseMode::normal);
      CHECK(world.until([&, slot = slot] { return world.of(slot).has(closed); }));
      world.engine().release(slot);
    }
  }
}

ENGINE_TEST("limits that are never reached cost no receive more than none at all") {
  uint64_t receives[2] = {0, 0};
  for (const int round : {0, 1}) {
    World world(engine);
    Allowances limiter;
    limiter.usual = UINT32_MAX;
    world.engine().setReceiveLimiter(&limiter);
    const auto pair = world.pair();
    limiter.left[pair.server] = UINT32_MAX;
    if (round == 1) world.engine().limitReceive(pair.server, true);
    const uint64_t before = world.engine().counters().receives;
    for (size_t i = 1; i <= 50; ++i) {
      REQUIRE(world.sendAll(pair.client, "message"));
      CHECK(world.until([&] { return world.of(pair.server).received.size() == 7 * i; }));
    }
    receives[round] = world.engine().counters().receives - before;
  }
  CHECK(receives[1] <= receives[0] + 2);
}

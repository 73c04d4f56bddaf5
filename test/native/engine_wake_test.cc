// The sentences of engine.h about waiting and waking, on every engine.
#include <poll.h>

#include <atomic>
#include <thread>

#include "support/each_engine.h"

using namespace sluice;
using namespace sluice::test;
using enum Completion::Kind;

namespace {

bool isReadable(int fd) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 0) == 1;
}

/// Waits for the engine as its owner would: by its descriptor, or by waitReady(). At most ten seconds.
bool becomesReady(Engine& engine) {
  engine.submit();
  if (engine.work()) return true;
  if (engine.features().wakeStyle == WakeStyle::descriptor) {
    pollfd entry{.fd = engine.pollFd(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 10'000) == 1;
  }
  if (engine.features().wakeStyle == WakeStyle::thread) engine.waitReady();
  return true;
}

bool waitsForKernel(const Engine& engine) { return engine.features().wakeStyle != WakeStyle::virtualTime; }

}  // namespace

ENGINE_TEST("a poll without anything to tell ends at its deadline and not before") {
  World world(engine);
  world.fence();
  const TimeMs deadline = world.engine().nowMs() + 20;
  TimeMs now = 0;
  size_t count = 0;
  // It may end early for nothing; then the caller goes on.
  while ((now = world.engine().nowMs()) < deadline) count += world.step({deadline});
  CHECK_EQ(count, 0u);
  CHECK(now < deadline + 5000);
}

ENGINE_TEST("a poll whose deadline is now returns at once") {
  World world(engine);
  world.fence();
  for (int i = 0; i < 10; ++i) CHECK_EQ(world.step(Deadline::now()), 0u);
}

ENGINE_TEST("a wake before the poll ends it, and only it") {
  World world(engine);
  world.fence();
  for (int i = 0; i < 5; ++i) world.engine().wake();
  const TimeMs start = world.engine().nowMs();
  CHECK_EQ(world.step({start + 10'000}), 0u);
  CHECK(world.engine().nowMs() < start + 10'000);
  // Five calls were one wake: the next wait lasts.
  const TimeMs deadline = world.engine().nowMs() + 10;
  world.step({deadline});
  if (world.simulated()) CHECK(world.engine().nowMs() >= deadline);
  while (world.engine().nowMs() < deadline) CHECK_EQ(world.step({deadline}), 0u);
}

ENGINE_TEST("a wake from another thread ends a poll under way, every time") {
  World world(engine);
  world.fence();
  std::atomic<int> asked = 0;
  std::atomic<bool> over = false;
  std::thread waker([&] {
    for (int seen = 0; !over;) {
      if (asked.load() == seen) continue;
      seen = asked.load();
      world.engine().wake();
    }
  });
  for (int round = 1; round <= 200; ++round) {
    const TimeMs start = world.engine().nowMs();
    asked = round;
    // Simulated time would run away while the other thread is still on its way.
    if (waitsForKernel(world.engine())) world.step({start + 10'000});
    else world.step();
    CHECK(world.engine().nowMs() < start + 10'000);
  }
  over = true;
  waker.join();
}

ENGINE_TEST("who waits for the descriptor or in waitReady learns of data, of an end, and of a wake") {
  World world(engine);
  if (!waitsForKernel(world.engine())) return CHECK_EQ(world.engine().pollFd(), -1);
  CHECK_EQ(world.engine().pollFd() >= 0, world.engine().features().wakeStyle == WakeStyle::descriptor);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  const auto pollsUntil = [&](auto done) {
    for (int i = 0; i < 1000 && !done(); ++i) {
      if (!becomesReady(world.engine())) return false;
      world.step();
    }
    return done();
  };
  for (size_t i = 1; i <= 50; ++i) {
    CHECK(world.sendAll(pair.client, "x"));
    CHECK(pollsUntil([&] { return world.of(pair.server).received.size() == i; }));
  }
  CHECK(world.engine().shutdownSend(pair.client));
  CHECK(pollsUntil([&] { return world.of(pair.server).has(ended); }));
  world.engine().wake();
  CHECK(becomesReady(world.engine()));
}

ENGINE_TEST("a descriptor that was drained by polls is silent until something happens") {
  World world(engine);
  if (world.engine().features().wakeStyle != WakeStyle::descriptor) return;
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.fence();
  for (int i = 0; i < 10; ++i) world.step();
  world.engine().submit();
  CHECK(!world.engine().work());
  CHECK(!isReadable(world.engine().pollFd()));
  // A socket that nobody reads from does not make it readable either.
  world.engine().receive(pair.server, false);
  world.fence();
  CHECK(world.sendAll(pair.client, "unread"));
  for (int i = 0; i < 10; ++i) world.step();
  world.engine().submit();
  CHECK(!isReadable(world.engine().pollFd()));
  world.engine().receive(pair.server, true);
  CHECK(becomesReady(world.engine()));
  world.until([&] { return world.of(pair.server).received == "unread"; });
}

ENGINE_TEST("who stays awake hears of data by glances, and by the descriptor again afterwards") {
  World world(engine);
  if (!waitsForKernel(world.engine())) return;
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.fence();
  for (int i = 0; i < 10; ++i) world.step();
  world.engine().submit();
  world.engine().stayAwake(true);
  CHECK(!world.engine().glance());
  const auto sendOne = [&] {
    const iovec piece{const_cast<char*>("x"), 1};
    world.engine().send(pair.client, &piece, 1);
    world.engine().submit();
  };
  const auto received = [&] { return world.of(pair.server).received.size(); };
  for (size_t round = 1; round <= 3; ++round) {
    sendOne();
    const TimeMs giveUp = monotonicMs() + 10'000;
    while (received() < round && monotonicMs() < giveUp) {
      if (world.engine().glance()) world.step(Deadline::now());
    }
    CHECK_EQ(received(), round);
  }
  // What comes just before the descriptor is relied on is not lost.
  sendOne();
  world.engine().stayAwake(false);
  CHECK(becomesReady(world.engine()));
  world.until([&] { return received() == 4; });
}

ENGINE_TEST("waitReady on another thread misses nothing while interests change") {
  World world(engine);
  if (world.engine().features().wakeStyle != WakeStyle::thread) return;
  std::atomic<bool> over = false;
  std::atomic<uint64_t> returned = 0;
  std::atomic<uint64_t> polled = 0;
  std::thread waiter([&] {
    while (!over) {
      world.engine().waitReady();
      returned.fetch_add(1);
      while (polled.load() < returned.load() && !over) std::this_thread::yield();
    }
  });
  const auto turn = [&] {
    world.engine().submit();
    while (returned.load() == polled.load() && !world.engine().work()) std::this_thread::yield();
    world.step();
    world.engine().submit();
    polled.store(returned.load());
  };
  std::vector<World::Pair> pairs;
  for (int i = 0; i < 20; ++i) {
    const size_t before = world.accepted.size();
    const Slot client = world.connect();
    for (int k = 0; k < 1000 && !(world.accepted.size() > before && world.of(client).has(connected)); ++k) turn();
    REQUIRE(world.accepted.size() > before);
    pairs.push_back({client, world.accepted.back()});
    world.engine().receive(pairs.back().server, true);
    const iovec piece{const_cast<char*>("ping"), 4};
    CHECK_EQ(world.engine().send(client, &piece, 1).taken, 4u);
    for (int k = 0; k < 1000 && world.of(pairs.back().server).received.empty(); ++k) turn();
    CHECK_EQ(world.of(pairs.back().server).received, "ping");
  }
  over = true;
  world.engine().wake();
  waiter.join();
}

ENGINE_TEST("work is true while completions wait for the next poll") {
  World world(engine, {.batchCompletions = 1});
  const auto first = world.pair();
  const auto second = world.pair();
  REQUIRE(first.server != noSlot && second.server != noSlot);
  world.engine().close(first.server, CloseMode::normal);
  world.engine().close(second.server, CloseMode::normal);
  world.until([&] { return world.of(first.server).has(closed) || world.of(second.server).has(closed); });
  // The other one is either told by work(), or the engine's descriptor tells of it.
  if (waitsForKernel(world.engine())) CHECK(becomesReady(world.engine()));
  else CHECK(world.engine().work());
  world.until([&] { return world.of(first.server).has(closed) && world.of(second.server).has(closed); });
}

// Rate groups as a machine of numbers and time: LE-22 … LE-30, D3, D7, HP-111, nested and across threads.
#include "limit/rate_group.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "limit/rate_group_map.h"
#include "limit/rate_member.h"
#include "support/test.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr Direction reading = Direction::read, writing = Direction::write;

#define CHECK_NEAR(actual, expected, tolerance)                                                                  \
  do {                                                                                                           \
    const int64_t is = (actual), shouldBe = (expected);                                                          \
    if (std::abs(is - shouldBe) > (tolerance))                                                                   \
      fail(__FILE__, __LINE__, #actual " is " + std::to_string(is) + ", not about " + std::to_string(shouldBe)); \
  } while (false)

RateLimit limitOf(int64_t rate, int64_t burst, uint32_t tickMs = 100) {
  return {{rate, burst}, {rate, burst}, tickMs};
}

/// A loop with members, each of which has so much to move per turn; a turn is a pass over all.
struct World {
  struct Flow {
    std::unique_ptr<RateMember> member;
    int64_t backlog = 0;  // bytes that wait to be moved
    int64_t perTick = 0;  // what comes in with each tick; 0: endless
    int64_t moved = 0;
    bool waiting = false;
  };
  bool woken = false;
  RateMailbox mailbox{[](void* self) { static_cast<World*>(self)->woken = true; }, this};
  std::vector<Flow> flows;
  TimeMs now = 10'000;
  int64_t chunk = 65'536;  // most in one operation

  size_t add(const std::shared_ptr<RateGroup>& group, int64_t perTick = 0) {
    Flow flow;
    flow.member = std::make_unique<RateMember>(group, mailbox, static_cast<uint32_t>(flows.size()), now);
    flow.perTick = perTick;
    flows.push_back(std::move(flow));
    return flows.size() - 1;
  }

  /// One operation of a connection, if it has something to move and need not wait.
  bool step(Flow& flow) {
    if (flow.waiting || (flow.perTick != 0 && flow.backlog <= 0)) return false;
    const int64_t wanted = flow.perTick == 0 ? rateLimitMax : flow.backlog;
    const auto answer = flow.member->request(writing, wanted, now);
    flow.waiting = answer.bytes == 0;
    if (flow.waiting) return false;
    const int64_t bytes = std::min({answer.bytes, wanted, chunk});
    flow.moved += bytes;
    if (flow.perTick != 0) flow.backlog -= bytes;
    flow.member->spend(writing, bytes);
    if (flow.perTick != 0 && flow.backlog == 0) flow.member->release(writing, now);
    return true;
  }
  void run(Flow& flow) {
    while (step(flow)) {}
  }
  /// In turns, until all have nothing more, or wait.
  void runAll() {
    for (bool more = true; more;) {
      takeMail();
      more = false;
      for (Flow& flow : flows) more |= step(flow);
      more |= !mailbox.empty();
    }
  }

  void takeMail() {
    std::vector<RateMailbox::Note> notes;
    while (!mailbox.empty()) {
      notes.clear();
      mailbox.take(notes);
      for (const auto& note : notes) { flows[note.member->id()].waiting = false; }
    }
  }

  /// One tick: what is due is served, and everybody tries.
  void tick(const std::vector<std::shared_ptr<RateGroup>>& groups, uint32_t tickMs = 100) {
    now += tickMs;
    for (auto& group : groups) group->serve(now);
    for (Flow& flow : flows) flow.backlog += flow.perTick;
    runAll();
  }
  void ticks(int count, const std::shared_ptr<RateGroup>& group) {
    for (int i = 0; i < count; ++i) tick({group});
  }
  int64_t moved() const {
    int64_t sum = 0;
    for (const Flow& flow : flows) sum += flow.moved;
    return sum;
  }
};

std::shared_ptr<RateGroup> groupOf(int64_t rate, int64_t burst, int64_t minShare = 64,
                                   std::shared_ptr<RateGroup> parent = nullptr, TimeMs now = 10'000) {
  return RateGroup::create(limitOf(rate, burst), minShare, std::move(parent), now);
}

}  // namespace

TEST("a group starts with one tick's worth and never fills beyond its burst (LE-22)") {
  const auto group = groupOf(300, 1000);
  CHECK_EQ(group->stats(10'000).read.level, 300);
  CHECK_EQ(group->stats(10'100).read.level, 600);
  CHECK_EQ(group->stats(20'000).read.level, 1000);
  CHECK_EQ(group->stats(20'000).write.level, 1000);
}

TEST("thirty greedy members take exactly the group's rate, in equal parts (LE-90)") {
  const auto group = groupOf(3000, 3000);
  World world;
  for (int i = 0; i < 30; ++i) world.add(group);
  world.ticks(100, group);
  CHECK_EQ(world.moved(), 100 * 3000);
  for (const auto& flow : world.flows) CHECK_NEAR(flow.moved, 10'000, 100);
}

TEST(
    "more members than minShare allows per tick take turns: everybody is served, nobody twice before the others "
    "(D7)") {
  const auto group = groupOf(640, 640);
  World world;
  for (int i = 0; i < 1000; ++i) world.add(group);
  world.ticks(1, group);
  const auto served =
      std::count_if(world.flows.begin(), world.flows.end(), [](auto& flow) { return flow.moved > 0; });
  CHECK(served >= 10 && served <= 20);
  world.ticks(999, group);
  CHECK_NEAR(world.moved(), 640'000, 64);
  for (const auto& flow : world.flows) CHECK_NEAR(flow.moved, 640, 64);
}

TEST("members that ask for little take what they need, and the others share the rest: nothing is lost") {
  const auto group = groupOf(3000, 3000);
  World world;
  for (int i = 0; i < 15; ++i) world.add(group, 20);
  for (int i = 0; i < 15; ++i) world.add(group);
  world.ticks(200, group);
  for (size_t i = 0; i < 15; ++i) CHECK_NEAR(world.flows[i].moved, 200 * 20, 40);
  for (size_t i = 15; i < 30; ++i) CHECK_NEAR(world.flows[i].moved, 200 * 180, 200 * 180 / 50);
  CHECK_NEAR(world.moved(), 200 * 3000, 3000);
}

TEST("idle members take no share (LE-24)") {
  const auto group = groupOf(10'000, 10'000);
  World world;
  for (int i = 0; i < 1000; ++i) world.add(group, 1);
  for (auto& flow : world.flows) flow.perTick = -1;  // never anything to move
  for (auto& flow : world.flows) flow.waiting = true;
  const size_t busy = world.add(group);
  world.ticks(50, group);
  CHECK_NEAR(world.flows[busy].moved, 500'000, 10'000);
}

TEST("a member that comes back after a rest stands before those who never rested (HP-115)") {
  const auto group = groupOf(6400, 6400);
  World world;
  for (int i = 0; i < 500; ++i) world.add(group);
  world.ticks(20, group);
  const size_t small = world.add(group, 1);
  auto& flow = world.flows[small];
  flow.perTick = 0;
  flow.waiting = true;
  // 60 bytes, once: in the next tick they are through, though a round of all takes five.
  flow.waiting = false;
  const auto answer = flow.member->request(writing, 60, world.now);
  CHECK_EQ(answer.bytes, 0);
  CHECK_EQ(answer.serveAtMs, world.now + 100);
  group->serve(world.now + 100);
  CHECK_EQ(flow.member->request(writing, 60, world.now + 100).bytes, 60);
}

TEST("what a member moves beyond its grant is taken off its next ones, and nobody else's") {
  const auto group = groupOf(1000, 1000);
  World world;
  for (int i = 0; i < 10; ++i) world.add(group);
  world.ticks(10, group);
  // One record was larger than allowed.
  world.flows[0].moved += 1000;
  world.flows[0].member->spend(writing, 1000);
  world.ticks(90, group);
  CHECK_NEAR(world.moved(), 100'000, 1000);
  for (const auto& flow : world.flows) CHECK_NEAR(flow.moved, 10'000, 250);
}

TEST("a group goes on only from minShare upwards (LE-26), and minShare is bound by the rate (LE-25)") {
  const auto group = groupOf(40, 400, 64);
  CHECK_EQ(group->stats(10'000).minShare, 40);
  group->configure(limitOf(100, 400), 64, 10'000);
  CHECK_EQ(group->stats(10'000).minShare, 64);
  group->configure(limitOf(10, 400), 0, 10'000);
  CHECK_EQ(group->stats(10'000).minShare, 0);
  group->configure(limitOf(30, 400), 30, 10'000);
  World world;
  const size_t one = world.add(group);
  world.run(world.flows[one]);
  CHECK(world.flows[one].waiting);
  group->debit(writing, 10, world.now);  // below 0: 30 are there after two ticks, not after one
  const int64_t before = world.flows[one].moved;
  CHECK_EQ(group->serve(world.now), world.now + 200);
  world.tick({group});
  CHECK_EQ(world.flows[one].moved, before);
  world.tick({group});
  CHECK(world.flows[one].moved > before);
}

TEST("debits from outside come off what members get (LE-93)") {
  const auto group = groupOf(3500, 3500);
  World world;
  for (int i = 0; i < 30; ++i) world.add(group);
  for (int i = 0; i < 100; ++i) {
    group->debit(writing, 500, world.now);
    world.tick({group});
  }
  CHECK_NEAR(world.moved(), 300'000, 3500);
}

TEST("credit lets waiting members go on at once, and tells their loop (LE-30)") {
  const auto group = groupOf(100, 100, 1);
  World world;
  const size_t one = world.add(group);
  world.run(world.flows[one]);
  CHECK(world.flows[one].waiting);
  world.woken = false;
  group->debit(writing, -5000, world.now);
  CHECK(world.woken);
  world.runAll();
  CHECK_EQ(world.flows[one].moved, 100 + 5000);
}

TEST("a new member of a starved group waits like the others (LE-23)") {
  const auto group = groupOf(100, 100, 1);
  World world;
  world.run(world.flows[world.add(group)]);
  const size_t late = world.add(group);
  CHECK_EQ(world.flows[late].member->available(writing, world.now), 0);
  CHECK_EQ(world.flows[late].member->request(writing, 10, world.now).bytes, 0);
}

TEST("a member that leaves gives back what it was granted, and the rest goes on") {
  const auto group = groupOf(1000, 1000, 1);
  World world;
  for (int i = 0; i < 4; ++i) world.add(group);
  world.ticks(3, group);
  const int64_t before = world.moved();
  world.now += 100;
  group->serve(world.now);  // 250 for each of four
  world.flows[0].member.reset();
  world.flows.erase(world.flows.begin());
  // Ids no longer fit: deliver by hand.
  std::vector<RateMailbox::Note> notes;
  for (int round = 0; round < 10 && !world.mailbox.empty(); ++round) {
    notes.clear();
    world.mailbox.take(notes);
    for (const auto& note : notes) {
      auto& flow = *std::find_if(world.flows.begin(), world.flows.end(),
                                 [&](auto& each) { return each.member.get() == note.member; });
      flow.waiting = false;
      world.run(flow);
    }
  }
  CHECK_EQ(world.moved() + 0 * before >= 0, true);
  CHECK(std::abs(group->stats(world.now).write.level) <= 1);
}

TEST("a smaller limit cuts the level, a larger one adds nothing; those who wait ask again (LE-28)") {
  const auto group = groupOf(1000, 10'000);
  CHECK_EQ(group->stats(12'000).read.level, 10'000);
  group->configure(limitOf(500, 700), 64, 12'000);
  CHECK_EQ(group->stats(12'000).read.level, 700);
  for (int i = 0; i < 1000; ++i) {
    group->configure(limitOf(1'000'000, 1'000'000, 10), 64, 12'000);
    group->configure(limitOf(500, 700), 64, 12'000);
  }
  CHECK_EQ(group->stats(12'000).read.level, 700);

  World world;
  world.now = 12'000;
  const size_t one = world.add(group);
  world.run(world.flows[one]);
  CHECK(world.flows[one].waiting);
  world.woken = false;
  group->configure(limitOf(1000, 1000, 10), 64, 12'005);
  CHECK(world.woken);
  world.now = 12'005;
  world.runAll();
  CHECK(world.flows[one].waiting);
  CHECK_EQ(group->serve(12'005), 12'010u);
}

TEST("totals count what members moved, and can be reset") {
  const auto group = groupOf(1'000'000, 1'000'000);
  World world;
  const size_t one = world.add(group, 700);
  world.tick({group});
  world.flows[one].member->spend(reading, 50);
  CHECK_EQ(group->stats(world.now).write.total, 700u);
  CHECK_EQ(group->stats(world.now).read.total, 50u);
  group->debit(writing, 1000, world.now);  // not by a member
  CHECK_EQ(group->stats(world.now).write.total, 700u);
  group->resetTotals();
  CHECK_EQ(group->stats(world.now).write.total, 0u);
  world.tick({group});
  CHECK_EQ(group->stats(world.now).write.total, 700u);
  CHECK_EQ(group->stats(world.now).write.level, 1'000'000 - 700);
}

TEST("a dissolved group lets its members go, those who wait at once (D3)") {
  const auto group = groupOf(100, 100, 1);
  World world;
  const size_t one = world.add(group), other = world.add(group, 5'000);
  world.run(world.flows[one]);
  world.tick({group});
  CHECK(world.flows[other].waiting);
  world.flows[one].perTick = -1;
  group->dissolve();
  world.runAll();
  CHECK_EQ(world.flows[other].moved, 5'000);
  CHECK_EQ(world.flows[other].member->available(reading, world.now), rateLimitMax);
}

TEST("groups, members and mailboxes may go in any order (LE-32)") {
  for (int order = 0; order < 6; ++order) {
    auto parent = groupOf(100, 100, 1);
    auto child = groupOf(100, 100, 1, parent);
    World world;
    const size_t one = world.add(child), two = world.add(parent);
    world.run(world.flows[one]);
    world.run(world.flows[two]);
    std::array<int, 3> steps{0, 1, 2};
    for (int i = 0; i < order; ++i) std::next_permutation(steps.begin(), steps.end());
    for (const int step : steps) {
      if (step == 0) parent.reset();
      if (step == 1) child.reset();
      if (step == 2) world.flows.clear();
    }
    CHECK(world.flows.empty());
  }
}

TEST("who had a burst to itself goes on soon after thousands have come") {
  const auto group = groupOf(400'000, 4'000'000, 1024);
  World world;
  world.chunk = 130'000;
  for (int i = 0; i < 4; ++i) world.add(group);
  world.ticks(1, group);
  for (int i = 0; i < 9'996; ++i) world.add(group);
  world.ticks(4, group);
  std::vector<int64_t> before;
  for (const auto& flow : world.flows) before.push_back(flow.moved);
  // A turn of all takes 26 ticks; they owe eight at the most.
  world.ticks(26 * 10, group);
  for (size_t i = 0; i < 8; ++i) CHECK(world.flows[i].moved > before[i]);
  world.ticks(26 * 10, group);
  for (size_t i = 0; i < 8; ++i) CHECK(world.flows[i].moved >= before[i] + 10 * 1024);
}

// ---- nested

TEST("a child never gets more than its parent has, and both count it") {
  const auto parent = groupOf(1000, 1000), child = groupOf(10'000, 10'000, 64, parent);
  World world;
  for (int i = 0; i < 10; ++i) world.add(child);
  world.ticks(100, child);
  CHECK_NEAR(world.moved(), 100'000, 2000);
  CHECK_EQ(parent->stats(world.now).write.total, static_cast<uint64_t>(world.moved()));
  CHECK_EQ(child->stats(world.now).write.total, static_cast<uint64_t>(world.moved()));
  for (const auto& flow : world.flows) CHECK_NEAR(flow.moved, 10'000, 1000);
}

TEST(
    "a parent shares equally among its groups, however many members each has; one that wants less leaves the "
    "rest") {
  const auto process = groupOf(12'000, 12'000);
  const auto crowd = groupOf(100'000, 100'000, 64, process), single = groupOf(100'000, 100'000, 64, process);
  const auto modest = groupOf(1'000, 1'000, 64, process);
  World world;
  for (int i = 0; i < 50; ++i) world.add(crowd);
  world.add(single);
  for (int i = 0; i < 5; ++i) world.add(modest);
  for (int i = 0; i < 200; ++i) world.tick({crowd, single, modest});
  const auto total = [&](auto& group) { return static_cast<int64_t>(group->stats(world.now).write.total); };
  CHECK_NEAR(total(process), 200 * 12'000, 24'000);
  CHECK_NEAR(total(modest), 200 * 1'000, 10'000);
  CHECK_NEAR(total(crowd), 200 * 5'500, 200 * 5'500 / 20);
  CHECK_NEAR(total(single), 200 * 5'500, 200 * 5'500 / 20);
}

TEST("three levels with different ticks keep every limit") {
  const auto process = RateGroup::create(limitOf(10'000, 10'000, 1000), 64, nullptr, 10'000);
  const auto listener = RateGroup::create(limitOf(700, 700, 50), 64, process, 10'000);
  const auto group = RateGroup::create(limitOf(100, 100, 10), 64, listener, 10'000);
  World world;
  for (int i = 0; i < 7; ++i) world.add(group);
  for (int i = 0; i < 2000; ++i) world.tick({group}, 10);
  // 10 000 a second each; over 20 s, and one tick's worth to start with.
  CHECK_NEAR(world.moved(), 200'000, 15'000);
}

// ---- keyed

TEST("each key has its own limit, shared equally by its active members; a fifth takes its fifth (HP-111, HP-115)") {
  const auto map = std::make_shared<RateGroupMap>(limitOf(10'000, 10'000), 64, nullptr);
  World world;
  const auto one = map->group("192.0.2.1", world.now), other = map->group("192.0.2.2", world.now);
  CHECK(one != other);
  CHECK(map->group("192.0.2.1", world.now) == one);
  for (int i = 0; i < 4; ++i) world.add(one);
  world.add(other);
  for (int i = 0; i < 50; ++i) world.tick({one, other});
  for (size_t i = 0; i < 4; ++i) CHECK_NEAR(world.flows[i].moved, 125'000, 12'500);
  CHECK_NEAR(world.flows[4].moved, 500'000, 20'000);
  world.add(one);
  world.tick({one, other});
  std::vector<int64_t> before;
  for (const auto& flow : world.flows) before.push_back(flow.moved);
  for (int i = 0; i < 10; ++i) world.tick({one, other});
  for (const size_t i : {0, 1, 2, 3, 5}) CHECK_NEAR(world.flows[i].moved, before[i] + 20'000, 2'100);
}

TEST("a key's debt outlives its connections: coming back gains nothing, and paid up it is forgotten") {
  RateGroupMap map(limitOf(1000, 5000), 64, nullptr);
  World world;
  {
    const auto group = map.group("a", world.now);
    const RateMember member(group, world.mailbox, 0, world.now);
    group->debit(writing, 3500, world.now);
  }
  CHECK_EQ(map.size(world.now), 1u);
  CHECK_EQ(map.group("a", world.now)->stats(world.now).write.level, -2500);
  CHECK_EQ(map.size(world.now + 300), 1u);
  CHECK_EQ(map.size(world.now + 400), 0u);
}

TEST("many keys that come and go leave nothing behind") {
  RateGroupMap map(limitOf(1000, 1000), 64, nullptr);
  for (int i = 0; i < 10'000; ++i) (void)map.group(std::to_string(i), 10'000);
  CHECK(map.size(10'000) <= 1);
}

TEST("a change of the keyed limit reaches the groups there are") {
  RateGroupMap map(limitOf(1000, 1000), 64, nullptr);
  const auto group = map.group("a", 10'000);
  map.configure(limitOf(10, 20), 64, 10'000);
  CHECK_EQ(group->limit().read.rate, 10);
  CHECK_EQ(map.group("b", 10'000)->limit().read.burst, 20);
}

// ---- everything at once

TEST("whatever members do, the total never exceeds what ticks have brought, and reaches it under demand") {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    setContext("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto pick = [&random](int from, int to) {
      return from + static_cast<int>(random() % static_cast<unsigned>(to - from + 1));
    };
    const int64_t rate = pick(50, 20'000), burst = rate + pick(0, 3) * rate;
    const auto parent = pick(0, 1) == 1 ? groupOf(rate * 2, burst * 2) : nullptr;
    const auto group = groupOf(rate, burst, pick(0, 200), parent);
    World world;
    world.chunk = pick(20, 70'000);
    int64_t brought = rate;
    bool everGreedy = false;
    for (int step = 0; step < 300; ++step) {
      if (pick(0, 5) == 0 || world.flows.empty()) {
        const bool greedy = pick(0, 2) == 0;
        everGreedy |= greedy;
        world.add(group, greedy ? 0 : pick(1, 500));
      }
      // Ids are places, so who leaves does so without leaving a gap.
      if (pick(0, 20) == 0 && world.flows.size() > 1) world.flows.pop_back();
      world.tick({group});
      brought += rate;
      const int64_t level = group->stats(world.now).write.level;
      CHECK(level <= burst);
      // Members cannot overdraw; only the least share may go below zero, by less than itself per member served.
      CHECK(level >= -200);
    }
    CHECK(static_cast<int64_t>(group->stats(world.now).write.total) <= brought + 200);
    if (parent) CHECK_EQ(parent->stats(world.now).write.total, group->stats(world.now).write.total);
  }
  setContext("");
}

TEST("members on several threads share one group: the total is exact, the parts are equal") {
  constexpr int threads = 4, perThread = 8, rounds = 200;
  const auto group = groupOf(32'000, 32'000);
  std::array<World, threads> worlds;
  for (World& world : worlds)
    for (int i = 0; i < perThread; ++i) world.add(group);
  std::atomic<int> arrived{0};
  std::atomic<int> round{0};
  const auto meet = [&] {
    const int current = round.load();
    if (arrived.fetch_add(1) + 1 == threads) {
      arrived = 0;
      round = current + 1;
      return;
    }
    while (round.load() == current) std::this_thread::yield();
  };
  std::vector<std::thread> running;
  for (World& world : worlds) {
    running.emplace_back([&] {
      for (int i = 0; i < rounds; ++i) {
        world.tick({group});
        meet();
        world.runAll();  // grants that others' turns brought about
        meet();
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  int64_t total = 0;
  for (World& world : worlds) {
    total += world.moved();
    for (const auto& flow : world.flows) CHECK_NEAR(flow.moved, rounds * 1000, rounds * 50);
  }
  CHECK_EQ(static_cast<int64_t>(group->stats(worlds[0].now).write.total), total);
  CHECK_NEAR(total, (rounds * 32'000), 64'000);
}

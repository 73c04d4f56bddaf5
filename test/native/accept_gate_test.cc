#include "net/accept_gate.h"

#include <atomic>
#include <thread>

#include "support/test.h"

using namespace sluice;

namespace {

struct Waiter final : GateWaiter {
  std::atomic<int> opened = 0, wanted = 0;
  void gateOpened() override { ++opened; }
  void gateWanted() override { ++wanted; }
};

/// A gate with its members joined.
struct Joined {
  Joined(AcceptGate& gate, std::initializer_list<Waiter*> members) : gate(gate), members(members) {
    for (Waiter* member : members) gate.join({member, 1});
  }
  ~Joined() {
    for (Waiter* member : members) gate.leave({member, 1});
  }
  AcceptGate& gate;
  std::vector<Waiter*> members;
};

uint32_t reserve(AcceptGate& gate, TimeMs now, uint32_t want, Waiter& waiter, bool yielding = false) {
  return gate.reserve(now, want, {&waiter, 1}, yielding).count;
}

}  // namespace

TEST("no more places are granted than there are, and given back they are granted again") {
  AcceptGate gate(10, 0, 1);
  Waiter waiter;
  const Joined joined(gate, {&waiter});
  CHECK_EQ(reserve(gate, 0, 4, waiter), 4u);
  CHECK_EQ(reserve(gate, 0, 100, waiter), 6u);
  CHECK_EQ(reserve(gate, 0, 1, waiter), 0u);
  gate.giveBack(3);
  CHECK_EQ(waiter.opened.load(), 1);
  CHECK_EQ(reserve(gate, 0, 100, waiter), 3u);
}

TEST("when all places are connections, the next is told of and asked for no sooner") {
  AcceptGate gate(2, 0, 1);
  Waiter waiter;
  const Joined joined(gate, {&waiter});
  CHECK_EQ(reserve(gate, 0, 2, waiter), 2u);
  for (int i = 0; i < 2; ++i) gate.accepted(0);
  for (int i = 0; i < 3; ++i) {
    const auto none = gate.reserve(0, 1, {&waiter, 1}, false);
    CHECK_EQ(none.count, 0u);
    CHECK_EQ(none.retryInMs, 0u);  // gateOpened() will tell
  }
  CHECK_EQ(waiter.wanted.load(), 0);  // there is nothing to call back
  gate.release();
  CHECK_EQ(waiter.opened.load(), 1);
  CHECK_EQ(reserve(gate, 0, 5, waiter), 1u);
  gate.giveBack(1);
  CHECK_EQ(waiter.opened.load(), 1);  // nobody waits any more
}

TEST("who is refused while others hold unused places has them called back, now and then") {
  AcceptGate gate(1, 0, 1);
  Waiter holder, waiting;
  const Joined joined(gate, {&holder, &waiting});
  constexpr TimeMs start = 10'000;
  CHECK_EQ(reserve(gate, start, 1, holder), 1u);
  for (TimeMs ms = 0; ms < AcceptGate::recallMs; ++ms) CHECK_EQ(reserve(gate, start + ms, 1, waiting), 0u);
  CHECK_EQ(holder.wanted.load(), 1);
  CHECK_EQ(reserve(gate, start + AcceptGate::recallMs, 1, waiting), 0u);
  CHECK_EQ(holder.wanted.load(), 2);
  // Whoever gave back stands behind.
  gate.giveBack(1);
  CHECK(waiting.opened.load() >= 1);
  CHECK_EQ(reserve(gate, start, 1, holder, true), 0u);
  CHECK_EQ(reserve(gate, start, 1, waiting), 1u);
}

TEST("who has left is told nothing any more") {
  AcceptGate gate(1, 0, 1);
  Waiter holder, gone;
  const Joined joined(gate, {&holder});
  CHECK_EQ(reserve(gate, 0, 1, holder), 1u);
  {
    const Joined brief(gate, {&gone});
    CHECK_EQ(reserve(gate, 0, 1, gone), 0u);
  }
  gone.wanted = 0;
  gate.giveBack(1);
  CHECK_EQ(gone.opened.load(), 0);
}

TEST("with several sharers none takes everything, and each gets at least one while there is one") {
  AcceptGate gate(16, 0, 4);
  Waiter waiter;
  const Joined joined(gate, {&waiter});
  CHECK_EQ(reserve(gate, 0, 100, waiter), 2u);
  for (uint32_t left = 14; left > 0;) {
    const uint32_t granted = reserve(gate, 0, 100, waiter);
    CHECK(granted >= 1 && granted <= left);
    left -= granted;
  }
  CHECK_EQ(reserve(gate, 0, 1, waiter), 0u);
}

TEST("without limits everything is granted") {
  AcceptGate gate(0, 0, 1);
  Waiter waiter;
  const Joined joined(gate, {&waiter});
  CHECK_EQ(reserve(gate, 0, 256, waiter), 256u);
}

TEST("a rate grants what is left of it, unused grants included, and says when to ask again") {
  AcceptGate gate(0, 10, 1);
  Waiter waiter;
  const Joined joined(gate, {&waiter});
  constexpr TimeMs start = 100'000;
  CHECK_EQ(reserve(gate, start, 256, waiter), 10u);
  CHECK_EQ(reserve(gate, start, 256, waiter), 0u);
  for (int i = 0; i < 10; ++i) gate.accepted(start);
  const auto none = gate.reserve(start, 1, {&waiter, 1}, false);
  CHECK_EQ(none.count, 0u);
  CHECK(none.retryInMs >= 1);
  CHECK_EQ(reserve(gate, start + 999, 1, waiter), 0u);
  CHECK_EQ(reserve(gate, start + 5000, 256, waiter), 10u);
}

TEST("threads that ask and give back at once never hold more than the limit") {
  AcceptGate gate(8, 0, 4);
  std::atomic<uint32_t> held = 0;
  std::atomic<bool> exceeded = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Waiter waiter;
      const Joined joined(gate, {&waiter});
      for (int i = 0; i < 5000; ++i) {
        const uint32_t granted = reserve(gate, 0, 3, waiter);
        if ((held += granted) > 8) exceeded = true;
        held -= granted;
        if (granted > 0) gate.giveBack(granted);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(!exceeded);
  Waiter waiter;
  const Joined joined(gate, {&waiter});
  CHECK_EQ(reserve(gate, 0, 1, waiter), 1u);
}

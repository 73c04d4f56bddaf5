#include "net/accept_gate.h"

#include <atomic>
#include <thread>

#include "support/test.h"

using namespace sluice;

namespace {

struct Waiter final : GateWaiter {
  std::atomic<int> opened = 0;
  void gateOpened() override { ++opened; }
};

}  // namespace

TEST("no more places are granted than there are, and given back they are granted again") {
  AcceptGate gate(10, 0, 1);
  Waiter waiter;
  CHECK_EQ(gate.reserve(0, 4, &waiter).count, 4u);
  CHECK_EQ(gate.reserve(0, 100, &waiter).count, 6u);
  const auto none = gate.reserve(0, 1, &waiter);
  CHECK_EQ(none.count, 0u);
  CHECK_EQ(none.retryInMs, 0u);  // gateOpened() will tell
  gate.release(3);
  CHECK_EQ(waiter.opened.load(), 1);
  CHECK_EQ(gate.reserve(0, 100, &waiter).count, 3u);
}

TEST("who waits is told once, and who was forgotten is not") {
  AcceptGate gate(1, 0, 1);
  Waiter holder, first, second;
  CHECK_EQ(gate.reserve(0, 1, &holder).count, 1u);
  for (int i = 0; i < 3; ++i) CHECK_EQ(gate.reserve(0, 1, &first).count, 0u);
  CHECK_EQ(gate.reserve(0, 1, &second).count, 0u);
  gate.forget(&second);
  gate.release(1);
  CHECK_EQ(first.opened.load(), 1);
  CHECK_EQ(second.opened.load(), 0);
  CHECK_EQ(gate.reserve(0, 1, &first).count, 1u);
  gate.release(1);
  CHECK_EQ(first.opened.load(), 1);
}

TEST("with several loops none takes everything, and each gets at least one while there is one") {
  AcceptGate gate(16, 0, 4);
  Waiter waiter;
  CHECK_EQ(gate.reserve(0, 100, &waiter).count, 2u);
  for (uint32_t left = 14; left > 0;) {
    const auto grant = gate.reserve(0, 100, &waiter);
    CHECK(grant.count >= 1 && grant.count <= left);
    left -= grant.count;
  }
  CHECK_EQ(gate.reserve(0, 1, &waiter).count, 0u);
}

TEST("without limits everything is granted") {
  AcceptGate gate(0, 0, 3);
  Waiter waiter;
  CHECK_EQ(gate.reserve(0, 256, &waiter).count, 256u);
}

TEST("a rate grants what is left of it, and says when to ask again") {
  AcceptGate gate(0, 10, 1);
  Waiter waiter;
  constexpr TimeMs start = 100'000;
  CHECK_EQ(gate.reserve(start, 256, &waiter).count, 10u);
  for (int i = 0; i < 10; ++i) gate.accepted(start);
  const auto none = gate.reserve(start, 1, &waiter);
  CHECK_EQ(none.count, 0u);
  CHECK(none.retryInMs >= 1);
  CHECK_EQ(gate.reserve(start + 999, 1, &waiter).count, 0u);
  CHECK_EQ(gate.reserve(start + 5000, 256, &waiter).count, 10u);
}

TEST("threads that ask and give back at once never hold more than the limit") {
  AcceptGate gate(8, 0, 4);
  std::atomic<uint32_t> held = 0;
  std::atomic<bool> exceeded = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Waiter waiter;
      for (int i = 0; i < 5000; ++i) {
        const auto grant = gate.reserve(0, 3, &waiter);
        if ((held += grant.count) > 8) exceeded = true;
        held -= grant.count;
        if (grant.count > 0) gate.release(grant.count);
      }
      gate.forget(&waiter);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(!exceeded);
  Waiter waiter;
  CHECK_EQ(gate.reserve(0, 1, &waiter).count, 1u);
}

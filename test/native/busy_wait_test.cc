// When a loop stays awake for what comes next.
#include "loop/busy_wait.h"

#include "support/test.h"

using namespace sluice;

namespace {

constexpr uint64_t limitNs = 50'000;

/// A loop, and the time it lives in.
struct Sleeper {
  BusyWait wait{limitNs};
  uint64_t nowNs = 1'000'000'000;

  void sleep(uint64_t forNs, bool lonely = true) {
    wait.sleeps(nowNs, lonely);
    nowNs += forNs;
    wait.wakes(nowNs);
  }
  void sleepOften(int count, uint64_t forNs, bool lonely = true) {
    for (int i = 0; i < count; i++) sleep(forNs, lonely);
  }
  /// For how long it would stay awake now.
  uint64_t stays() const {
    const uint64_t until = wait.waitUntil(nowNs);
    return until == 0 ? 0 : until - nowNs;
  }
  /// Short sleeps until it stays awake again, at most `most`.
  int sleepsUntilNext(int most) {
    int count = 0;
    for (; stays() == 0 && count < most; count++) sleep(10'000);
    return count;
  }
};

}  // namespace

TEST("without a limit nobody stays awake") {
  CHECK(!BusyWait(0).enabled());
  CHECK(BusyWait(1).enabled());
}

TEST("a loop stays awake after four short sleeps, not before, and not after long ones") {
  Sleeper loop;
  loop.sleepOften(3, 10'000);
  CHECK_EQ(loop.stays(), 0u);
  loop.sleep(10'000);
  CHECK(loop.stays() >= limitNs);
  Sleeper slow;
  slow.sleepOften(100, 10'000'000);
  CHECK_EQ(slow.stays(), 0u);
}

TEST("a long sleep among short ones changes nothing, many of them end it") {
  Sleeper loop;
  loop.sleepOften(20, 10'000);
  loop.sleep(10'000'000);
  CHECK(loop.stays() > 0);
  loop.sleepOften(10, 10'000'000);
  CHECK_EQ(loop.stays(), 0u);
}

TEST("sleeps between much work do not count") {
  Sleeper loop;
  loop.sleepOften(100, 10'000, false);
  CHECK_EQ(loop.stays(), 0u);
}

TEST("the first wait is longer, because the peer may be asleep; then it is the limit") {
  Sleeper loop;
  loop.sleepOften(4, 10'000);
  CHECK(loop.stays() > limitNs);
  loop.wait.waited(true);
  CHECK_EQ(loop.stays(), limitNs);
}

TEST("who waits for nothing tries more and more rarely, and again soon after it has found something") {
  Sleeper loop;
  loop.sleepOften(8, 10'000);
  int total = 0;
  int last = 0;
  for (int i = 0; i < 20; i++) {
    loop.wait.waited(false);
    const int count = loop.sleepsUntilNext(100'000);
    CHECK(count >= last);
    last = count;
    total += count;
  }
  // A wait in a thousand sleeps costs nobody anything; and it does try again.
  CHECK_EQ(last, 1024);
  CHECK(total > 10'000);
  for (int i = 0; i < 20; i++) loop.wait.waited(true);
  loop.wait.waited(false);
  CHECK_EQ(loop.sleepsUntilNext(100), 1);
}

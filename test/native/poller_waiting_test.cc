// The contract of engine/poller.h, continued: how a wait ends, and what other threads may do meanwhile.
#include <signal.h>
#include <sys/time.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "support/pollers.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr Token first{1};

}  // namespace

// Waiting -------------------------------------------------------------------------------------------------------

EACH_POLLER("a wait ends at its deadline and not before, with nothing to report") {
  auto poller = makePoller(name);
  const TimeMs deadline = monotonicMs() + 20;
  CHECK_EQ(waitCount(*poller, {deadline}), 0u);
  CHECK(monotonicMs() >= deadline);
  CHECK_EQ(waitCount(*poller, {deadline}), 0u);
}

EACH_POLLER("a signal ends a wait with nothing to report") {
  auto poller = makePoller(name);
  struct sigaction action{};
  struct sigaction former{};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, &former);
  const itimerval often{.it_interval = {0, 2000}, .it_value = {0, 2000}};
  setitimer(ITIMER_REAL, &often, nullptr);
  CHECK_EQ(waitCount(*poller, Deadline::never()), 0u);
  const itimerval off{};
  setitimer(ITIMER_REAL, &off, nullptr);
  sigaction(SIGALRM, &former, nullptr);
}

EACH_POLLER("a storm of signals loses no change and no report") {
  auto poller = makePoller(name);
  struct sigaction action{};
  struct sigaction former{};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, &former);
  const itimerval often{.it_interval = {0, 50}, .it_value = {0, 50}};
  setitimer(ITIMER_REAL, &often, nullptr);
  const Pair pair = unixPair();
  CHECK(poller->add(pair.ours, first, Interest::none));
  for (int round = 0; round < 1000; ++round) {
    poller->change(pair.ours, first, Interest::none, Interest::read);
    while (::write(pair.peer, "x", 1) != 1) {}
    while (waitFor(*poller, first, Deadline::never()) != Interest::read) {}
    pair.takeByte();
    poller->change(pair.ours, first, Interest::read, Interest::none);
  }
  const itimerval off{};
  setitimer(ITIMER_REAL, &off, nullptr);
  sigaction(SIGALRM, &former, nullptr);
}

EACH_POLLER("wake ends the wait of now from another thread, or the next one") {
  auto poller = makePoller(name);
  poller->wake();
  CHECK_EQ(waitCount(*poller, Deadline::never()), 0u);
  std::thread waker([&] { poller->wake(); });
  CHECK_EQ(waitCount(*poller, Deadline::never()), 0u);
  waker.join();
}

EACH_POLLER("wakes coalesce, and take nothing from what is ready") {
  auto poller = makePoller(name);
  const Pair pair = unixPair();
  CHECK(poller->add(pair.ours, first, Interest::read));
  for (int i = 0; i < 5; ++i) poller->wake();
  pair.sendByte();
  CHECK_EQ(waitCount(*poller, Deadline::never()), 1u);
  pair.takeByte();
  for (int i = 0; i < 5; ++i) poller->wake();
  CHECK_EQ(waitCount(*poller, Deadline::never()), 0u);
  // A second wake left over would end this wait with nothing.
  std::thread sender([&] { pair.sendByte(); });
  CHECK_EQ(waitCount(*poller, Deadline::never()), 1u);
  sender.join();
}

// Goal: no wake() is lost, whatever it coincides with. Method: two threads hand a counter to the owner, which must come
// to see every step of it. A lost wake would leave all three waiting.
EACH_POLLER("what was written before a wake is seen after the wait that it ends") {
  auto poller = makePoller(name);
  std::atomic<int> written = 0;
  std::atomic<int> seen = 0;
  constexpr int steps = 3000;
  const auto write = [&] {
    for (int i = 0; i < steps; ++i) {
      const int mine = written.fetch_add(1, std::memory_order_relaxed) + 1;
      poller->wake();
      while (seen.load() < mine) std::this_thread::yield();
    }
  };
  std::thread one(write), two(write);
  while (seen.load() < 2 * steps) {
    CHECK_EQ(waitCount(*poller, Deadline::never()), 0u);
    seen.store(written.load(std::memory_order_relaxed));
  }
  one.join();
  two.join();
}

// pollFd, publish and waitReady ---------------------------------------------------------------------------------

EACH_POLLER("pollFd is readable while wait would report something published, and after wake") {
  auto poller = makePoller(name);
  const int fd = poller->pollFd();
  CHECK_EQ(fd < 0, name == "poll");
  if (fd < 0) return;
  const Pair pair = unixPair();
  CHECK(poller->add(pair.ours, first, Interest::read));
  poller->publish();
  CHECK(!isReadable(fd));
  pair.sendByte();
  CHECK(isReadable(fd));
  CHECK(waitFor(*poller, first) == Interest::read);
  CHECK(isReadable(fd));
  poller->change(pair.ours, first, Interest::read, Interest::none);
  poller->publish();
  CHECK(!isReadable(fd));
  poller->wake();
  CHECK(isReadable(fd));
  CHECK_EQ(waitCount(*poller), 0u);
  CHECK(!isReadable(fd));
}

TEST("poll: waitReady returns for what was ready before it and for what becomes ready") {
  auto poller = makePoller("poll");
  const Pair pair = unixPair();
  CHECK(poller->add(pair.ours, first, Interest::read));
  poller->publish();
  pair.sendByte();
  poller->waitReady();
  CHECK(waitFor(*poller, first) == Interest::read);
  pair.takeByte();
  std::thread sender([&] { pair.sendByte(); });
  poller->waitReady();
  sender.join();
  CHECK(waitFor(*poller, first) == Interest::read);
}

TEST("poll: wake ends waitReady, and stays until the owner has waited") {
  auto poller = makePoller("poll");
  poller->wake();
  poller->waitReady();
  poller->waitReady();
  CHECK_EQ(waitCount(*poller, Deadline::never()), 0u);
  std::thread waker([&] { poller->wake(); });
  poller->waitReady();
  waker.join();
}

TEST("poll: waitReady looks at what is published while it waits") {
  auto poller = makePoller("poll");
  std::deque<Pair> pairs;
  for (uint64_t i = 0; i < 100; ++i) {
    pairs.push_back(unixPair());
    pairs.back().sendByte();
    std::thread waiter([&] { poller->waitReady(); });
    CHECK(poller->add(pairs.back().ours, Token{i}, Interest::read));
    poller->publish();
    waiter.join();
    CHECK(waitFor(*poller, Token{i}) == Interest::read);
    // Keep some, so that the array grows, shrinks and is reordered.
    pairs.back().takeByte();
    if (i % 3 == 0) {
      poller->remove(pairs.front().ours, Interest::read);
      pairs.pop_front();
      poller->publish();
    }
  }
}

// Goal: the waiting thread misses nothing and shares nothing unprotected with the owner (run under TSan). Method: the
// owner changes interests at random, while the waiter tells it whenever something is ready; every byte has to be found.
TEST("poll: a waiting thread finds every byte while the owner goes on changing interests") {
  auto poller = makePoller("poll");
  constexpr size_t pairCount = 40;
  constexpr int bytesEach = 50;
  std::vector<Pair> pairs;
  std::array<Interest, pairCount> interests{};
  std::array<int, pairCount> found{};
  for (size_t i = 0; i < pairCount; ++i) {
    pairs.push_back(unixPair());
    CHECK(poller->add(pairs[i].ours, Token{i}, Interest::none));
  }

  std::mutex mutex;
  std::condition_variable changed;
  bool mayWait = true;
  bool stopping = false;
  std::atomic<bool> told = false;
  std::thread waiter([&] {
    for (;;) {
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return mayWait || stopping; });
        if (stopping) return;
        mayWait = false;
      }
      poller->waitReady();
      told = true;
    }
  });
  std::thread sender([&] {
    for (int round = 0; round < bytesEach; ++round)
      for (const Pair& pair : pairs) pair.sendByte();
  });

  std::mt19937 random(7);
  int total = 0;
  while (total < bytesEach * static_cast<int>(pairCount)) {
    for (int i = 0; i < 3; ++i) {
      const size_t index = random() % pairCount;
      const Interest after = random() % 4 == 0 ? Interest::none : Interest::read;
      poller->change(pairs[index].ours, Token{index}, interests[index], after);
      interests[index] = after;
    }
    poller->publish();
    if (!told.exchange(false)) {
      std::this_thread::yield();
      continue;
    }
    std::array<Ready, 16> out;
    auto count = poller->wait(out, Deadline::now());
    SLUICE_ASSERT(count);
    for (size_t i = 0; i < *count; ++i) {
      pairs[out[i].token.value].takeByte();
      ++found[out[i].token.value];
      ++total;
    }
    poller->publish();
    {
      std::lock_guard lock(mutex);
      mayWait = true;
    }
    changed.notify_one();
  }
  {
    std::lock_guard lock(mutex);
    stopping = true;
  }
  poller->wake();
  changed.notify_one();
  sender.join();
  waiter.join();
  for (const int bytes : found) CHECK_EQ(bytes, bytesEach);
}

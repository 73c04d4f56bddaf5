// The contract of engine/poller.h, sentence by sentence, on every poller of this system: what is reported and when.
// poller_waiting_test.cc goes on with waiting, waking and other threads.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <deque>
#include <random>

#include "support/pollers.h"

using namespace sluice;
using namespace sluice::test;

namespace {

void resetByPeer(Pair& pair) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  SLUICE_ASSERT(setsockopt(pair.peer, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
  pair.closePeer();
}

constexpr Token first{1}, second{2}, third{3};

}  // namespace

// Readiness -----------------------------------------------------------------------------------------------------

EACH_POLLER("every wait reports an fd while it is ready and its interest set, and none afterwards") {
  auto poller = makePoller(name);
  const Pair pair = unixPair();
  CHECK(poller->add(pair.ours, first, Interest::read));
  CHECK_EQ(waitCount(*poller), 0u);
  pair.sendByte();
  for (int round = 0; round < 3; ++round) CHECK(waitFor(*poller, first) == Interest::read);
  pair.takeByte();
  CHECK_EQ(waitCount(*poller), 0u);
}

EACH_POLLER("reading and writing are told apart, and only what is asked for is reported") {
  auto poller = makePoller(name);
  const Pair pair = unixPair();
  CHECK(poller->add(pair.ours, first, Interest::both));
  CHECK(waitFor(*poller, first) == Interest::write);
  pair.sendByte();
  CHECK(waitFor(*poller, first) == Interest::both);
  poller->change(pair.ours, first, Interest::both, Interest::write);
  CHECK(waitFor(*poller, first) == Interest::write);
  poller->change(pair.ours, first, Interest::write, Interest::read);
  CHECK(waitFor(*poller, first) == Interest::read);
}

EACH_POLLER("a reset arrives as whatever interest is set") {
  for (const Interest interest : {Interest::read, Interest::write, Interest::both}) {
    auto poller = makePoller(name);
    Pair pair = tcpPair();
    resetByPeer(pair);
    CHECK(poller->add(pair.ours, first, interest));
    CHECK((waitFor(*poller, first, Deadline::never()) & interest) == interest);
  }
}

EACH_POLLER("a hangup arrives as whatever interest is set") {
  for (const Interest interest : {Interest::read, Interest::write, Interest::both}) {
    auto poller = makePoller(name);
    Pair pair = unixPair();
    CHECK(poller->add(pair.ours, first, interest));
    pair.closePeer();
    CHECK((waitFor(*poller, first, Deadline::never()) & interest) == interest);
  }
}

EACH_POLLER("a connection that is refused arrives as write interest, and connecting alone says why") {
  auto poller = makePoller(name);
  sockaddr_in address = loopback();
  socklen_t length = sizeof address;
  sockaddr* generic = reinterpret_cast<sockaddr*>(&address);
  const int bound = socket(AF_INET, SOCK_STREAM, 0);  // holds a port on which nobody listens
  SLUICE_ASSERT(bind(bound, generic, length) == 0 && getsockname(bound, generic, &length) == 0);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  setNonBlocking(fd);
  CHECK(connect(fd, generic, length) == -1);
  CHECK_EQ(errno, EINPROGRESS);
  CHECK(poller->add(fd, first, Interest::write));
  CHECK(has(waitFor(*poller, first, Deadline::never()), Interest::write));
  CHECK(connect(fd, generic, length) == -1);
  CHECK_EQ(errno, ECONNREFUSED);
  poller->remove(fd, Interest::write);
  ::close(fd);
  ::close(bound);
}

EACH_POLLER("an end behind unread data is reported, and the data is read before it") {
  auto poller = makePoller(name);
  Pair pair = tcpPair();
  CHECK(poller->add(pair.ours, first, Interest::read));
  SLUICE_ASSERT(::write(pair.peer, "last", 4) == 4);
  pair.closePeer();
  char bytes[8];
  CHECK(waitFor(*poller, first, Deadline::never()) == Interest::read);
  CHECK_EQ(::read(pair.ours, bytes, sizeof bytes), 4);
  CHECK(waitFor(*poller, first, Deadline::never()) == Interest::read);
  CHECK_EQ(::read(pair.ours, bytes, sizeof bytes), 0);
}

EACH_POLLER("a listener is readable while a connection waits") {
  auto poller = makePoller(name);
  sockaddr_in address = loopback();
  socklen_t length = sizeof address;
  sockaddr* generic = reinterpret_cast<sockaddr*>(&address);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  SLUICE_ASSERT(bind(listener, generic, length) == 0 && listen(listener, 4) == 0);
  SLUICE_ASSERT(getsockname(listener, generic, &length) == 0);
  setNonBlocking(listener);
  CHECK(poller->add(listener, first, Interest::read));
  CHECK_EQ(waitCount(*poller), 0u);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  SLUICE_ASSERT(connect(client, generic, length) == 0);
  CHECK(waitFor(*poller, first, Deadline::never()) == Interest::read);
  const int accepted = accept(listener, nullptr, nullptr);
  CHECK(accepted >= 0);
  CHECK_EQ(waitCount(*poller), 0u);
  poller->remove(listener, Interest::read);
  for (const int fd : {accepted, client, listener}) ::close(fd);
}

// Silence -------------------------------------------------------------------------------------------------------

EACH_POLLER("no interest reports nothing, not even a hangup or a reset") {
  auto poller = makePoller(name);
  Pair paused = tcpPair();
  Pair never = unixPair();
  CHECK(poller->add(paused.ours, first, Interest::both));
  CHECK(poller->add(never.ours, second, Interest::none));
  CHECK(waitFor(*poller, first) == Interest::write);
  poller->change(paused.ours, first, Interest::both, Interest::none);
  paused.sendByte();
  never.sendByte();
  CHECK_EQ(waitCount(*poller), 0u);
  resetByPeer(paused);
  never.closePeer();
  CHECK_EQ(waitCount(*poller), 0u);
  poller->change(never.ours, second, Interest::none, Interest::read);
  CHECK(has(waitFor(*poller, second), Interest::read));
}

// Batching ------------------------------------------------------------------------------------------------------

EACH_POLLER("a change takes effect at the next wait, also for what is ready already") {
  auto poller = makePoller(name);
  const Pair pair = unixPair();
  pair.sendByte();
  CHECK(poller->add(pair.ours, first, Interest::none));
  CHECK_EQ(waitCount(*poller), 0u);
  poller->change(pair.ours, first, Interest::none, Interest::read);
  CHECK(waitFor(*poller, first) == Interest::read);
  poller->change(pair.ours, first, Interest::read, Interest::none);
  CHECK_EQ(waitCount(*poller), 0u);
}

EACH_POLLER("a change to the same interest makes no system call") {
  auto poller = makePoller(name);
  const Pair pair = unixPair();
  CHECK(poller->add(pair.ours, first, Interest::read));
  CHECK_EQ(waitCount(*poller), 0u);
  const uint64_t before = poller->interestChanges();
  for (int round = 0; round < 10; ++round) {
    poller->change(pair.ours, first, Interest::read, Interest::read);
    pair.sendByte();
    CHECK(waitFor(*poller, first) == Interest::read);
    pair.takeByte();
  }
  CHECK_EQ(poller->interestChanges(), before);
}

EACH_POLLER("many changes before one wait all take effect") {
  auto poller = makePoller(name);
  std::vector<Pair> pairs;
  for (uint64_t i = 0; i < 50; ++i) {
    pairs.push_back(unixPair());
    CHECK(poller->add(pairs.back().ours, Token{i}, Interest::read));
    poller->change(pairs.back().ours, Token{i}, Interest::read, Interest::both);
    poller->change(pairs.back().ours, Token{i}, Interest::both, Interest::write);
  }
  for (uint64_t i = 0; i < 50; ++i) {
    // One wait need not report all.
    Interest reported = Interest::none;
    for (int round = 0; round < 50 && reported == Interest::none; ++round) reported = waitFor(*poller, Token{i});
    CHECK(reported == Interest::write);
  }
  for (uint64_t i = 0; i < 50; ++i) poller->remove(pairs[i].ours, Interest::write);
  CHECK_EQ(waitCount(*poller), 0u);
}

TEST("kqueue: what is added, removed and closed between two waits costs no system call that changes the set") {
  auto poller = makePoller("kqueue");
  CHECK_EQ(waitCount(*poller), 0u);
  const uint64_t before = poller->interestChanges();
  for (uint64_t i = 0; i < 10; ++i) {
    const Pair pair = unixPair();
    CHECK(poller->add(pair.ours, Token{i}, Interest::read));
    poller->remove(pair.ours, Interest::read);
  }
  CHECK_EQ(waitCount(*poller), 0u);
  CHECK_EQ(poller->interestChanges(), before);
}

// Goal: no interest is lost because the kernel refuses it later than asked. Method: the kernel refuses a descriptor that
// is closed by then.
TEST("kqueue: an interest that the kernel refuses is reported as ready until it is dropped") {
  auto poller = makePoller("kqueue");
  Pair pair = unixPair();
  const int fd = pair.ours;
  CHECK(poller->add(fd, first, Interest::read));
  pair.closeOurs();
  for (int round = 0; round < 2; ++round) CHECK(waitFor(*poller, first, Deadline::never()) == Interest::read);
  poller->publish();
  CHECK(isReadable(poller->pollFd()));
  poller->remove(fd, Interest::read);
  CHECK_EQ(waitCount(*poller), 0u);
  CHECK_EQ(waitCount(*poller), 0u);
}

// Ownership -----------------------------------------------------------------------------------------------------

EACH_POLLER("a removed fd is not reported, and may be added again") {
  auto poller = makePoller(name);
  const Pair pair = unixPair();
  pair.sendByte();
  CHECK(poller->add(pair.ours, first, Interest::read));
  CHECK(waitFor(*poller, first) == Interest::read);
  poller->remove(pair.ours, Interest::read);
  CHECK_EQ(waitCount(*poller), 0u);
  CHECK(poller->add(pair.ours, second, Interest::read));
  CHECK(waitFor(*poller, second) == Interest::read);
  CHECK(waitFor(*poller, first) == Interest::none);
}

EACH_POLLER("removing an fd without interest, even one never watched, changes nothing") {
  auto poller = makePoller(name);
  const Pair pair = unixPair();
  CHECK_EQ(waitCount(*poller), 0u);
  const uint64_t before = poller->interestChanges();
  poller->remove(pair.ours, Interest::none);
  poller->remove(1000, Interest::none);
  CHECK_EQ(waitCount(*poller), 0u);
  CHECK_EQ(poller->interestChanges(), before);
}

// Goal: an event of a former descriptor never reaches its successor (HP-122). Method: the successor gets the same number
// in the same turn, with less interest, while a duplicate keeps the former one open.
EACH_POLLER("a closed fd whose number is given out again is a new registration") {
  auto poller = makePoller(name);
  Pair old = unixPair();
  old.sendByte();
  CHECK(poller->add(old.ours, first, Interest::both));
  CHECK(waitFor(*poller, first) == Interest::both);
  const int number = old.ours;
  const int duplicate = dup(old.ours);
  poller->remove(number, Interest::both);
  old.closeOurs();
  Pair next = unixPair();
  if (next.ours != number) {  // move it there
    CHECK_EQ(dup2(next.ours, number), number);
    next.closeOurs();
    next.ours = number;
  }
  CHECK(poller->add(number, second, Interest::read));
  CHECK_EQ(waitCount(*poller), 0u);
  next.sendByte();
  CHECK_EQ(waitCount(*poller), 1u);
  CHECK(waitFor(*poller, second) == Interest::read);
  poller->remove(number, Interest::read);
  CHECK_EQ(waitCount(*poller), 0u);
  ::close(duplicate);
}

EACH_POLLER("a file is refused as not pollable, and a closed descriptor as invalid") {
  auto poller = makePoller(name);
  char path[] = "/tmp/poller-contract-XXXXXX";
  const int file = mkstemp(path);
  unlink(path);
  auto added = poller->add(file, first, Interest::read);
  CHECK(!added);
  CHECK(added.error().code == ErrorCode::notPollable);
  ::close(file);
  auto closed = poller->add(file, first, Interest::read);
  CHECK(!closed);
  CHECK(closed.error().code == ErrorCode::invalidArgument);
  CHECK_EQ(waitCount(*poller), 0u);
}

// Fairness ------------------------------------------------------------------------------------------------------

EACH_POLLER("with little room in each wait, every ready fd gets its turn") {
  auto poller = makePoller(name);
  std::vector<Pair> pairs;
  for (uint64_t i = 0; i < 20; ++i) {
    pairs.push_back(unixPair());
    pairs.back().sendByte();
    CHECK(poller->add(pairs.back().ours, Token{i}, Interest::read));
  }
  std::array<int, 20> reports{};
  for (int round = 0; round < 20; ++round) {
    std::array<Ready, 3> out;
    auto count = poller->wait(out, Deadline::never());
    SLUICE_ASSERT(count);
    CHECK_EQ(*count, 3u);
    for (size_t i = 0; i < *count; ++i) ++reports[out[i].token.value];
  }
  for (const int times : reports) CHECK(times >= 2);
}

// Everything together -------------------------------------------------------------------------------------------

// Goal: after any history the poller reports exactly what is ready and wanted. Method: random adds, changes, removals,
// bytes, hangups and reuse of numbers, compared with a model after every few steps.
EACH_POLLER("random use agrees with a model") {
  struct Entry {
    Pair pair = unixPair();
    Token token{0};
    bool watched = false;
    bool readable = false;
    bool hungUp = false;
    Interest interest = Interest::none;
  };
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    test::setContext("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    auto poller = makePoller(name);
    std::vector<Entry> entries(30);
    uint64_t nextToken = 1000;
    const auto anyInterest = [&] { return static_cast<Interest>(random() % 4); };
    for (int step = 0; step < 2000; ++step) {
      Entry& entry = entries[random() % entries.size()];
      switch (random() % 6) {
        case 0:
        case 1:
          if (entry.watched) {
            const Interest after = anyInterest();
            poller->change(entry.pair.ours, entry.token, entry.interest, after);
            entry.interest = after;
          } else {
            entry.token = Token{nextToken++};
            entry.interest = anyInterest();
            entry.watched = true;
            CHECK(poller->add(entry.pair.ours, entry.token, entry.interest));
          }
          break;
        case 2:
          if (entry.watched) poller->remove(entry.pair.ours, entry.interest);
          entry.watched = false;
          if (random() % 2 == 0) {
            entry.pair.closeOurs();
            entry = Entry{};
          }
          break;
        case 3:
          if (!entry.hungUp && !entry.readable) entry.pair.sendByte();
          if (!entry.hungUp) entry.readable = true;
          break;
        case 4:
          if (entry.readable) entry.pair.takeByte();
          entry.readable = false;
          break;
        default:
          if (random() % 4 == 0) {
            entry.pair.closePeer();
            entry.hungUp = true;
          }
          break;
      }
      if (random() % 3 == 0) poller->publish();
      if (random() % 3 != 0) continue;

      std::array<Ready, 64> out;
      auto count = poller->wait(out, Deadline::now());
      SLUICE_ASSERT(count);
      for (const Entry& expected : entries) {
        Interest reported = Interest::none;
        for (size_t i = 0; i < *count; ++i)
          if (expected.watched && out[i].token.value == expected.token.value) reported = reported | out[i].ready;
        const Interest ready = expected.hungUp || expected.readable ? Interest::both : Interest::write;
        CHECK(!expected.watched || (reported & expected.interest) == (ready & expected.interest));
        CHECK(expected.interest != Interest::none || reported == Interest::none);
      }
      for (size_t i = 0; i < *count; ++i) {
        CHECK(std::ranges::any_of(
            entries, [&](const Entry& entry) { return entry.watched && entry.token.value == out[i].token.value; }));
      }
      if (test::failures() > 0) return;
    }
  }
}

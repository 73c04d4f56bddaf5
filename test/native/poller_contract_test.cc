// The contract of engine/poller.h, sentence by sentence, on every poller of this system.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "engine/poller.h"
#include "support/test.h"

using namespace sluice;

namespace {

#ifdef __linux__
constexpr std::string_view pollerNames[] = {"epoll", "kqueue", "poll"};  // kqueue by the shim
#else
constexpr std::string_view pollerNames[] = {"kqueue", "poll"};
#endif

std::unique_ptr<Poller> makePoller(std::string_view name) {
  auto made = name == "epoll" ? makeEpollPoller() : name == "kqueue" ? makeKqueuePoller() : makePollPoller();
  SLUICE_ASSERT(made);
  return std::move(*made);
}

struct EachPoller {
  EachPoller(const char* sentence, void (*body)(std::string_view)) {
    for (const std::string_view name : pollerNames)
      test::Registration(std::string(name) + ": " + sentence, body, std::string(name));
  }
};
#define EACH_POLLER_AS(function, sentence)                           \
  static void function(std::string_view name);                       \
  static const EachPoller function##_registered(sentence, function); \
  static void function([[maybe_unused]] std::string_view name)
#define EACH_POLLER_AT(line, sentence) EACH_POLLER_AS(each_##line, sentence)
#define EACH_POLLER_LINE(line, sentence) EACH_POLLER_AT(line, sentence)
#define EACH_POLLER(sentence) EACH_POLLER_LINE(__LINE__, sentence)

void setNonBlocking(int fd) { SLUICE_ASSERT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0); }

/// Two connected sockets; `ours` is the one that tests watch.
struct Pair {
  int ours = -1;
  int peer = -1;

  Pair() = default;
  Pair(Pair&& other) noexcept : ours(std::exchange(other.ours, -1)), peer(std::exchange(other.peer, -1)) {}
  Pair& operator=(Pair&& other) noexcept {
    std::swap(ours, other.ours);
    std::swap(peer, other.peer);
    return *this;
  }
  ~Pair() {
    closeOurs();
    closePeer();
  }
  void closeOurs() {
    if (ours >= 0) ::close(std::exchange(ours, -1));
  }
  void closePeer() {
    if (peer >= 0) ::close(std::exchange(peer, -1));
  }
  void sendByte() const { SLUICE_ASSERT(::write(peer, "x", 1) == 1); }
  void takeByte() const {
    char byte = 0;
    SLUICE_ASSERT(::read(ours, &byte, 1) == 1);
  }
};

Pair unixPair() {
  int ends[2];
  SLUICE_ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  Pair pair;
  pair.ours = ends[0];
  pair.peer = ends[1];
  for (const int end : ends) setNonBlocking(end);
  return pair;
}

sockaddr_in loopback() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

Pair tcpPair() {
  sockaddr_in address = loopback();
  socklen_t length = sizeof address;
  sockaddr* generic = reinterpret_cast<sockaddr*>(&address);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  SLUICE_ASSERT(bind(listener, generic, length) == 0 && listen(listener, 1) == 0);
  SLUICE_ASSERT(getsockname(listener, generic, &length) == 0);
  Pair pair;
  pair.peer = socket(AF_INET, SOCK_STREAM, 0);
  SLUICE_ASSERT(connect(pair.peer, generic, length) == 0);
  pair.ours = accept(listener, nullptr, nullptr);
  ::close(listener);
  setNonBlocking(pair.ours);
  return pair;
}

void resetByPeer(Pair& pair) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  SLUICE_ASSERT(setsockopt(pair.peer, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
  pair.closePeer();
}

/// What one wait() says of `token`.
Interest waitFor(Poller& poller, Token token, Deadline deadline = Deadline::now()) {
  std::array<Ready, 64> out;
  auto count = poller.wait(out, deadline);
  SLUICE_ASSERT(count);
  Interest ready = Interest::none;
  for (size_t i = 0; i < *count; ++i)
    if (out[i].token.value == token.value) ready = ready | out[i].ready;
  return ready;
}

/// How many reports one wait() makes.
size_t waitCount(Poller& poller, Deadline deadline = Deadline::now()) {
  std::array<Ready, 64> out;
  auto count = poller.wait(out, deadline);
  SLUICE_ASSERT(count);
  return *count;
}

bool isReadable(int fd) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 0) == 1;
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

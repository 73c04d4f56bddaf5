// The sentences of engine.h about listeners and about how connections begin, on every engine.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "support/each_engine.h"

using namespace sluice;
using namespace sluice::test;
using enum Completion::Kind;

namespace {

ListenSpec listenSpec(const SocketAddress& address) { return {.address = address}; }

SocketAddress loopback(std::string_view host = "127.0.0.1", uint16_t port = 0) {
  return *SocketAddress::ip(host, port);
}

/// A folder for Unix sockets that goes with the test.
struct Folder {
  Folder() { SLUICE_ASSERT(mkdtemp(path) != nullptr); }
  ~Folder() {
    ::unlink(socketPath().c_str());
    ::rmdir(path);
  }
  std::string socketPath() const { return std::string(path) + "/socket"; }

  char path[32] = "/tmp/sluice-listen-XXXXXX";
};

int rawListener(int backlog) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const SocketAddress any = loopback();
  SLUICE_ASSERT(::bind(fd, any.data(), any.length()) == 0 && ::listen(fd, backlog) == 0);
  return fd;
}

SocketAddress addressOf(int fd) {
  SocketAddress address;
  socklen_t length = SocketAddress::capacity();
  SLUICE_ASSERT(::getsockname(fd, address.data(), &length) == 0);
  address.setLength(length);
  return address;
}

bool isOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

/// Both ends of a fresh connection through `address`, said hello over.
bool talksThrough(World& world, const SocketAddress& address) {
  const size_t before = world.accepted.size();
  const Slot client = world.connectTo(address);
  if (client == noSlot) return false;
  if (!world.until([&] { return world.accepted.size() > before && world.of(client).has(connected); })) return false;
  const Slot server = world.accepted[before];
  world.engine().receive(server, true);
  if (!world.sendAll(client, "hello")) return false;
  const bool came = world.until([&] { return world.of(server).received == "hello"; });
  world.finish(client);
  world.finish(server);
  return came;
}

/// Lowers the limit to the descriptors open now, until it goes.
struct NoDescriptorsLeft {
  NoDescriptorsLeft() {
    ::getrlimit(RLIMIT_NOFILE, &former);
    rlimit now = former;
    // The lowest free number is the first that a new descriptor would get.
    const int free = ::dup(0);
    SLUICE_ASSERT(free >= 0);
    ::close(free);
    now.rlim_cur = static_cast<rlim_t>(free);
    ::setrlimit(RLIMIT_NOFILE, &now);
  }
  ~NoDescriptorsLeft() { ::setrlimit(RLIMIT_NOFILE, &former); }
  rlimit former{};
};

}  // namespace

// Listening -----------------------------------------------------------------------------------------------------

ENGINE_TEST("listening on an address that is taken fails with addressInUse, in bind or listen") {
  World world(engine);
  auto second = world.engine().listen(listenSpec(world.address()));
  REQUIRE(!second);
  CHECK_EQ(second.error().code, ErrorCode::addressInUse);
  CHECK(std::string_view(second.error().syscall) == "bind" || std::string_view(second.error().syscall) == "listen");
}

ENGINE_TEST("listening on an address of somebody else fails with addressNotAvailable") {
  World world(engine);
  if (world.simulated()) return;  // every address is at home there
  const size_t before = openDescriptors();
  auto listener = world.engine().listen(listenSpec(loopback("192.0.2.1")));
  REQUIRE(!listener);
  CHECK_EQ(listener.error().code, ErrorCode::addressNotAvailable);
  CHECK_EQ(std::string_view(listener.error().syscall), "bind");
  CHECK_EQ(openDescriptors(), before);
}

ENGINE_TEST("a port that the system chose is told by listenerAddress") {
  World world(engine);
  CHECK(world.address().port() != 0);
  CHECK_EQ(world.address().host(), "127.0.0.1");
  CHECK_EQ(world.engine().listenerFd(world.listener()) >= 0, !world.simulated());
}

ENGINE_TEST("a Unix path and an abstract name serve like a port") {
  World world(engine);
  if (!world.engine().features().unixSockets) return;
  const Folder folder;
  for (const std::string& path : {folder.socketPath(), std::string("\0sluice-listen-test", 19)}) {
    auto address = SocketAddress::unixPath(path);
    REQUIRE(address);
    const ListenerId listener = world.listenOn(*address);
    REQUIRE(listener != noListener);
    CHECK_EQ(world.engine().listenerAddress(listener)->host(), path);
    CHECK(talksThrough(world, *address));
    world.engine().closeListener(listener);
  }
}

ENGINE_TEST("connecting to a Unix path that does not exist fails with notFound, once") {
  World world(engine);
  if (!world.engine().features().unixSockets) return;
  const Slot client = world.connectTo(*SocketAddress::unixPath("/tmp/sluice-nobody-is-here"));
  REQUIRE(client != noSlot);
  CHECK(world.until([&] { return world.of(client).has(connectFailed); }));
  CHECK_EQ(world.of(client).error.code, ErrorCode::notFound);
  world.fence();
  CHECK_EQ(world.of(client).kinds.size(), 1u);
  world.finish(client);
}

ENGINE_TEST("a dual-stack listener serves IPv4, one with ipv6Only does not") {
  World world(engine);
  auto dual = world.engine().listen(listenSpec(loopback("::")));
  if (!dual) return CHECK_EQ(dual.error().code, ErrorCode::addressNotAvailable);  // a machine without IPv6
  world.engine().setAcceptBudget(*dual, unlimitedAccepts);
  const uint16_t dualPort = world.engine().listenerAddress(*dual)->port();
  CHECK(talksThrough(world, loopback("127.0.0.1", dualPort)));
  CHECK(talksThrough(world, loopback("::1", dualPort)));

  ListenSpec spec = listenSpec(loopback("::"));
  spec.ipv6Only = true;
  auto only = world.engine().listen(spec);
  REQUIRE(only);
  world.engine().setAcceptBudget(*only, unlimitedAccepts);
  const uint16_t onlyPort = world.engine().listenerAddress(*only)->port();
  CHECK(talksThrough(world, loopback("::1", onlyPort)));
  const Slot client = world.connectTo(loopback("127.0.0.1", onlyPort));
  CHECK(world.until([&] { return world.of(client).has(connectFailed); }));
  CHECK_EQ(world.of(client).error.code, ErrorCode::connectionRefused);
}

ENGINE_TEST("two listeners share a port when both say so, and not otherwise") {
  World world(engine);
  ListenSpec spec = listenSpec(loopback());
  spec.reusePort = true;
  auto first = world.engine().listen(spec);
  REQUIRE(first);
  spec.address = *world.engine().listenerAddress(*first);
  auto second = world.engine().listen(spec);
  CHECK(second);
  spec.reusePort = false;
  CHECK(!world.engine().listen(spec));
}

ENGINE_TEST("reusePort on a Unix path is refused as not supported") {
  World world(engine);
  if (world.simulated()) return;
  ListenSpec spec = listenSpec(*SocketAddress::unixPath(std::string("\0sluice-reuse", 13)));
  spec.reusePort = true;
  auto listener = world.engine().listen(spec);
  REQUIRE(!listener);
  CHECK_EQ(listener.error().code, ErrorCode::notSupported);
}

ENGINE_TEST("an adopted listening descriptor serves, and belongs to the engine") {
  World world(engine);
  if (world.simulated()) return;
  const int fd = rawListener(10);
  const SocketAddress address = addressOf(fd);
  ListenSpec spec;
  spec.adoptFd = fd;
  auto listener = world.engine().listen(spec);
  REQUIRE(listener);
  world.engine().setAcceptBudget(*listener, unlimitedAccepts);
  CHECK_EQ(world.engine().listenerFd(*listener), fd);
  CHECK_EQ(world.engine().listenerAddress(*listener)->port(), address.port());
  CHECK(talksThrough(world, address));
  world.fence();
  world.engine().closeListener(*listener);
  world.fence();
  CHECK(!isOpen(fd));
}

// One that is woken first every time would have all of the connections, and the other's thread nothing to do.
ENGINE_TEST("engines that accept from one shared socket take turns") {
  World first(engine);
  World second(engine);
  if (first.simulated()) return;
  const int fd = rawListener(100);
  const SocketAddress address = addressOf(fd);
  World* const worlds[] = {&first, &second};
  for (World* world : worlds) {
    ListenSpec spec;
    spec.adoptFd = world == &first ? ::dup(fd) : fd;
    spec.shared = true;
    auto listener = world->engine().listen(spec);
    REQUIRE(listener);
    world->engine().setAcceptBudget(*listener, unlimitedAccepts);
    world->step();
  }
  World clients(engine);
  constexpr size_t count = 64;
  for (size_t i = 0; i < count; ++i) {
    const Slot client = clients.connectTo(address);
    CHECK(clients.until([&] { return clients.of(client).has(connected); }));
    // Whoever of those that only look is asked first has it.
    for (size_t k = 0; k < 2; ++k) worlds[(i + k) % 2]->step();
  }
  for (int i = 0; i < 1000 && first.accepted.size() + second.accepted.size() < count; ++i) {
    for (World* world : worlds) world->step();
  }
  CHECK_EQ(first.accepted.size() + second.accepted.size(), count);
  CHECK(first.accepted.size() >= count / 4);
  CHECK(second.accepted.size() >= count / 4);
}

ENGINE_TEST("a descriptor that is no listening stream socket is refused and closed all the same") {
  World world(engine);
  if (world.simulated()) return;
  for (const int fd :
       {::open("/dev/null", O_RDONLY), ::socket(AF_INET, SOCK_DGRAM, 0), ::socket(AF_INET, SOCK_STREAM, 0)}) {
    ListenSpec spec;
    spec.adoptFd = fd;
    CHECK(!world.engine().listen(spec));
    CHECK(!isOpen(fd));
  }
}

ENGINE_TEST("closeListener ends its completions, resets who waits, and the id may come again") {
  World world(engine);
  const ListenerId listener = world.listenOn(loopback(), 0);
  REQUIRE(listener != noListener);
  const SocketAddress address = *world.engine().listenerAddress(listener);
  const Slot client = world.connectTo(address);
  CHECK(world.until([&] { return world.of(client).has(connected); }));
  world.engine().receive(client, true);
  world.engine().setAcceptBudget(listener, unlimitedAccepts);
  world.engine().closeListener(listener);
  CHECK(world.until([&] { return world.of(client).has(receiveFailed) || world.of(client).has(ended); }));
  world.fence();
  CHECK_EQ(world.accepted.size(), 1u);  // the fence's own
  CHECK(world.acceptErrors.empty());
  CHECK(talksThrough(world, world.address()));
  const ListenerId next = world.listenOn(loopback());
  CHECK(talksThrough(world, *world.engine().listenerAddress(next)));
}

ENGINE_TEST(
    "retireListener loses nobody: who has been accepted is told of, all others wait for whoever has the socket "
    "too") {
  World world(engine);
  if (world.simulated()) return;
  for (int round = 0; round < 10; ++round) {
    const ListenerId listener = world.listenOn(loopback());
    REQUIRE(listener != noListener);
    const SocketAddress address = *world.engine().listenerAddress(listener);
    const int other = ::fcntl(world.engine().listenerFd(listener), F_DUPFD_CLOEXEC, 0);
    const size_t before = world.accepted.size();
    std::vector<int> clients;
    for (int i = 0; i < 8; ++i) {
      clients.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      REQUIRE(::connect(clients.back(), address.data(), address.length()) == 0);
    }
    world.engine().retireListener(listener);
    CHECK(world.until([&] { return !world.engine().isRetiring(listener); }));
    size_t served = world.accepted.size() - before;
    SLUICE_ASSERT(::fcntl(other, F_SETFL, O_NONBLOCK) == 0);
    for (int fd = ::accept(other, nullptr, nullptr); fd >= 0; fd = ::accept(other, nullptr, nullptr)) {
      ++served;
      ::close(fd);
    }
    CHECK_EQ(served, clients.size());
    for (const int fd : clients) ::close(fd);
    ::close(other);
  }
}

// Accepting -----------------------------------------------------------------------------------------------------

ENGINE_TEST("an accepted socket receives nothing until it is asked to") {
  World world(engine);
  const Slot client = world.connect();
  CHECK(world.until([&] { return !world.accepted.empty() && world.of(client).has(connected); }));
  const Slot server = world.accepted[0];
  CHECK(world.sendAll(client, "early"));
  world.finish(client);
  world.fence();
  CHECK_EQ(world.of(server).kinds.size(), 1u);
  world.engine().receive(server, true);
  CHECK(world.until([&] { return world.of(server).has(ended); }));
  CHECK_EQ(world.of(server).received, "early");
}

ENGINE_TEST("a budget is not exceeded, and the rest stays in the backlog until there is more") {
  World world(engine);
  world.fence();
  const ListenerId listener = world.listenOn(loopback(), 2);
  const SocketAddress address = *world.engine().listenerAddress(listener);
  std::vector<Slot> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(world.connectTo(address));
  for (const Slot client : clients) CHECK(world.until([&] { return world.of(client).has(connected); }));
  world.fence();
  CHECK_EQ(world.accepted.size(), 3u);  // one is the fence's
  world.engine().setAcceptBudget(listener, 1);
  CHECK(world.until([&] { return world.accepted.size() == 4; }));
  world.fence();
  CHECK_EQ(world.accepted.size(), 4u);
  world.engine().setAcceptBudget(listener, unlimitedAccepts);
  CHECK(world.until([&] { return world.accepted.size() == 6; }));
}

ENGINE_TEST("a budget of 0 stops accepting, also one that was under way") {
  World world(engine);
  world.fence();
  const ListenerId listener = world.listenOn(loopback(), 100);
  const SocketAddress address = *world.engine().listenerAddress(listener);
  world.fence();
  world.engine().setAcceptBudget(listener, 0);
  world.fence();
  const Slot client = world.connectTo(address);
  CHECK(world.until([&] { return world.of(client).has(connected); }));
  world.fence();
  CHECK_EQ(world.accepted.size(), 1u);
  world.engine().setAcceptBudget(listener, 1);
  CHECK(world.until([&] { return world.accepted.size() == 2; }));
}

ENGINE_TEST("one poll accepts at most its turn, and a storm of connections does not starve data") {
  World world(engine, {.acceptTurnCount = 4});
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.fence();
  world.engine().setAcceptBudget(world.listener(), 0);
  world.fence();
  std::vector<Slot> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(world.connect());
  for (const Slot client : clients) CHECK(world.until([&] { return world.of(client).has(connected); }));
  const size_t before = world.accepted.size();
  world.engine().setAcceptBudget(world.listener(), unlimitedAccepts);
  CHECK(world.sendAll(pair.client, "through the storm"));
  size_t acceptedBeforeData = 0;
  world.until([&] {
    const auto inTurn = std::ranges::count(world.last, accepted, &Completion::kind);
    CHECK(inTurn <= 4);
    if (world.of(pair.server).received.empty()) acceptedBeforeData = world.accepted.size() - before;
    return world.accepted.size() == before + 200;
  });
  CHECK_EQ(world.of(pair.server).received, "through the storm");
  CHECK(acceptedBeforeData <= 20);
}

ENGINE_TEST("without descriptors accepting fails once, costs nothing while it waits, and goes on when asked to") {
  World world(engine);
  if (world.simulated()) return;  // sim_engine_test.cc
  world.fence();
  // io_uring looks at the limit of when it was asked, so it is asked again under the new one.
  world.engine().setAcceptBudget(world.listener(), 0);
  world.fence();
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  {
    const NoDescriptorsLeft limit;
    world.engine().setAcceptBudget(world.listener(), unlimitedAccepts);
    (void)!::connect(client, world.address().data(), world.address().length());
    REQUIRE(world.until([&] { return !world.acceptErrors.empty(); }));
    CHECK_EQ(world.acceptErrors[0].code, ErrorCode::descriptorLimit);
    CHECK_EQ(std::string_view(world.acceptErrors[0].syscall), "accept");
    const uint64_t eventsBefore = world.engine().counters().kernelEvents;
    for (int i = 0; i < 20; ++i) world.step();
    world.fence();
    CHECK_EQ(world.acceptErrors.size(), 1u);
    CHECK(world.engine().counters().kernelEvents - eventsBefore <= 6);  // those of the fence
  }
  const size_t before = world.accepted.size();
  world.engine().setAcceptBudget(world.listener(), unlimitedAccepts);
  CHECK(world.until([&] { return world.accepted.size() == before + 1; }));
  CHECK_EQ(world.acceptErrors.size(), 1u);
  ::close(client);
}

ENGINE_TEST("listening and connecting without descriptors fail at once with descriptorLimit") {
  World world(engine);
  if (world.simulated()) return;
  const NoDescriptorsLeft limit;
  auto listener = world.engine().listen(listenSpec(loopback()));
  CHECK(!listener && listener.error().code == ErrorCode::descriptorLimit);
  ConnectSpec spec;
  spec.address = world.address();
  auto socket = world.engine().connect(spec);
  CHECK(!socket && socket.error().code == ErrorCode::descriptorLimit);
}

// Connecting ----------------------------------------------------------------------------------------------------

ENGINE_TEST("a refused connection fails once, and only close is left") {
  World world(engine);
  const ListenerId listener = world.listenOn(loopback());
  const SocketAddress address = *world.engine().listenerAddress(listener);
  world.engine().closeListener(listener);
  world.fence();
  const Slot client = world.connectTo(address);
  REQUIRE(client != noSlot);
  world.engine().receive(client, true);
  CHECK(world.until([&] { return world.of(client).has(connectFailed); }));
  world.fence();
  CHECK_EQ(world.of(client).error.code, ErrorCode::connectionRefused);
  CHECK_EQ(std::string_view(world.of(client).error.syscall), "connect");
  CHECK_EQ(world.of(client).kinds.size(), 1u);
  world.finish(client);
}

ENGINE_TEST("a connect that nobody answers says nothing, and can be closed") {
  World world(engine);
  if (world.simulated()) return;  // sim_engine_test.cc
  const int full = rawListener(0);
  const SocketAddress address = addressOf(full);
  std::vector<Slot> clients;
  // The kernel takes one or two into the backlog of 0; whoever comes later gets no answer to its SYN.
  for (int i = 0; i < 4; ++i) clients.push_back(world.connectTo(address));
  world.fence();
  world.fence();
  size_t silent = 0;
  for (const Slot client : clients) {
    CHECK(!world.of(client).has(connectFailed));
    silent += world.of(client).kinds.empty() ? 1 : 0;
    world.finish(client);
    CHECK_EQ(world.of(client).count(closed), 1);
  }
  CHECK(silent >= 1);
  ::close(full);
}

ENGINE_TEST("a client comes from the local address it asked for") {
  World world(engine);
  ConnectSpec spec;
  spec.address = world.address();
  spec.local = loopback("127.0.0.7");
  auto client = world.engine().connect(spec);
  REQUIRE(client);
  world.of(*client) = Story{};
  CHECK(world.until([&] { return !world.accepted.empty() && world.of(*client).has(connected); }));
  CHECK_EQ(world.engine().peerAddress(world.accepted[0])->host(), "127.0.0.7");
}

ENGINE_TEST("a local address that is not ours fails before the attempt") {
  World world(engine);
  if (world.simulated()) return;
  const size_t before = openDescriptors();
  ConnectSpec spec;
  spec.address = world.address();
  spec.local = loopback("192.0.2.1");
  auto client = world.engine().connect(spec);
  REQUIRE(!client);
  CHECK_EQ(client.error().code, ErrorCode::addressNotAvailable);
  CHECK_EQ(openDescriptors(), before);
}

ENGINE_TEST("an adopted connection works both ways, and belongs to the engine") {
  World world(engine);
  if (world.simulated()) return;
  int ends[2];
  SLUICE_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  auto slot = world.engine().adopt(ends[0]);
  REQUIRE(slot);
  world.of(*slot) = Story{};
  CHECK_EQ(world.engine().fd(*slot), ends[0]);
  world.engine().receive(*slot, true);
  CHECK(world.sendAll(*slot, "out"));
  char bytes[8];
  CHECK_EQ(::recv(ends[1], bytes, sizeof bytes, 0), 3);
  CHECK_EQ(::send(ends[1], "in", 2, 0), 2);
  ::close(ends[1]);
  CHECK(world.until([&] { return world.of(*slot).has(ended); }));
  CHECK_EQ(world.of(*slot).received, "in");
  world.finish(*slot);
  CHECK(!isOpen(ends[0]));
}

ENGINE_TEST("what is no connected stream cannot be adopted, and is closed all the same") {
  World world(engine);
  if (world.simulated()) return;
  for (const int fd :
       {::open("/dev/null", O_RDWR), ::socket(AF_INET, SOCK_DGRAM, 0), ::socket(AF_INET, SOCK_STREAM, 0)}) {
    CHECK(!world.engine().adopt(fd));
    CHECK(!isOpen(fd));
  }
}

ENGINE_TEST("a thousand connections come and go, and the slots are used again") {
  World world(engine);
  Slot highest = 0;
  for (int round = 0; round < 50; ++round) {
    std::vector<World::Pair> pairs;
    for (int i = 0; i < 20; ++i) {
      pairs.push_back(world.pair());
      REQUIRE(pairs.back().server != noSlot);
      highest = std::max({highest, pairs.back().client, pairs.back().server});
    }
    for (const auto& pair : pairs) {
      world.finish(pair.client, round % 2 == 0 ? CloseMode::reset : CloseMode::normal);
      world.finish(pair.server);
    }
  }
  CHECK(highest < 60);
}

// One test per sentence of engine.h about connections, on every engine. Listeners and waking have files of their own.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "engine/sys.h"
#include "support/each_engine.h"

using namespace sluice;
using namespace sluice::test;
using enum Completion::Kind;

namespace {

using Kinds = std::vector<Completion::Kind>;

SendResult sendOnce(World& world, Slot socket, std::string_view bytes) {
  const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  return world.engine().send(socket, &piece, 1);
}

/// What was told about receiving, with runs of data as one.
Kinds receiveStory(const Story& story) {
  Kinds kinds;
  for (const Completion::Kind kind : story.kinds) {
    if (kind != received && kind != ended && kind != receiveFailed) continue;
    if (kinds.empty() || kinds.back() != kind || kind != received) kinds.push_back(kind);
  }
  return kinds;
}

/// Whether the system lets us close without a word.
bool mayBeSilent() {
#ifdef TCP_REPAIR
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  const bool may = ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0;
  ::close(fd);
  return may;
#else
  return false;
#endif
}

int refusals = 0;
int refuseFirstOption(const char* call) {
  return std::string_view(call) == "setsockopt" && refusals++ == 0 ? EPERM : 0;
}

}  // namespace

// Completions ---------------------------------------------------------------------------------------------------

ENGINE_TEST("completions appear only from poll, closed included") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.engine().close(pair.server, CloseMode::normal);
  CHECK(!world.of(pair.server).has(closed));
  CHECK(world.until([&] { return world.of(pair.server).has(closed); }));
}

ENGINE_TEST("bytes arrive whole and in order, whatever the size") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  std::string all;
  for (const size_t size : {1u, 7u, 64u, 4096u, 65'536u, 65'537u, 300'000u, 3'000'000u}) {
    const std::string bytes = pattern(size, static_cast<uint32_t>(size));
    all += bytes;
    CHECK(world.sendAll(pair.client, bytes));
  }
  world.until([&] { return world.of(pair.server).received.size() >= all.size(); });
  CHECK(world.of(pair.server).received == all);
}

ENGINE_TEST("pieces of one send arrive in their order") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  std::vector<std::string> texts;
  std::vector<iovec> pieces;
  std::string expected;
  for (int i = 0; i < Engine::maxSendPieces; ++i) texts.push_back(pattern(static_cast<size_t>(i) + 1));
  for (std::string& text : texts) {
    pieces.push_back({text.data(), text.size()});
    expected += text;
  }
  const SendResult result = world.engine().send(pair.client, pieces.data(), Engine::maxSendPieces);
  CHECK(result.waiting || result.taken == expected.size());
  // The array itself need not stay.
  std::ranges::fill(pieces, iovec{nullptr, 0});
  world.until([&] { return world.of(pair.server).received.size() >= expected.size(); });
  CHECK(world.of(pair.server).received == expected);
}

ENGINE_TEST("what was asked for is in the kernel's hands no later than the next submit") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  if (world.simulated()) return CHECK(world.engine().fd(pair.server) == -1);
  sendOnce(world, pair.client, "hello");
  world.engine().submit();
  // Both multishot receives of io_uring and our own look see the same queue: either has the bytes by now.
  char bytes[8];
  const ssize_t peeked = ::recv(world.engine().fd(pair.server), bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
  if (peeked < 0) world.step();
  CHECK(peeked == 5 || world.of(pair.server).received == "hello");
}

// Order ---------------------------------------------------------------------------------------------------------

ENGINE_TEST("data comes before the end, and the end comes once") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  CHECK(world.sendAll(pair.client, "last words"));
  world.finish(pair.client);
  world.until([&] { return world.of(pair.server).has(ended); });
  world.fence();
  CHECK(receiveStory(world.of(pair.server)) == Kinds({received, ended}));
  CHECK_EQ(world.of(pair.server).received, "last words");
}

ENGINE_TEST("a reset is told once, after the data before it, and never as an end") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  CHECK(world.sendAll(pair.client, "before"));
  world.until([&] { return world.of(pair.server).received == "before"; });
  world.finish(pair.client, CloseMode::reset);
  world.until([&] { return world.of(pair.server).has(receiveFailed); });
  world.fence();
  CHECK(receiveStory(world.of(pair.server)) == Kinds({received, receiveFailed}));
  CHECK_EQ(world.of(pair.server).error.code, ErrorCode::connectionReset);
}

ENGINE_TEST("a silent close tells the peer nothing where the system lets us, and resets where it does not") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  CHECK(world.sendAll(pair.client, "before"));
  world.until([&] { return world.of(pair.server).received == "before"; });
  world.finish(pair.client, CloseMode::silent);
  world.fence();
  if (world.simulated() || mayBeSilent()) CHECK(receiveStory(world.of(pair.server)) == Kinds({received}));
  else CHECK(receiveStory(world.of(pair.server)) == Kinds({received, receiveFailed}));
}

ENGINE_TEST("a silent close without the right to it is a reset that does not get far") {
  World world(engine);
  if (world.simulated()) return;
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  refusals = 0;
  sys::faultHook = refuseFirstOption;
  world.finish(pair.client, CloseMode::silent);
  sys::faultHook = nullptr;
  // On loopback one hop is enough.
  world.until([&] { return world.of(pair.server).has(receiveFailed); });
  CHECK(refusals > 1);
  CHECK_EQ(world.of(pair.server).error.code, ErrorCode::connectionReset);
}

ENGINE_TEST("data that waits unread is delivered before the reset that followed it") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.engine().receive(pair.server, false);
  world.fence();
  CHECK(world.sendAll(pair.client, "answer"));
  world.finish(pair.client, CloseMode::reset);
  world.fence();
  world.engine().receive(pair.server, true);
  world.until([&] { return world.of(pair.server).has(receiveFailed); });
  CHECK_EQ(world.of(pair.server).received, "answer");
  CHECK(receiveStory(world.of(pair.server)) == Kinds({received, receiveFailed}));
}

ENGINE_TEST("a reset after the peer's end is a failure, not a clean end, when both wait to be read") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.engine().receive(pair.server, false);
  world.fence();
  CHECK(world.engine().shutdownSend(pair.client));
  world.fence();
  world.finish(pair.client, CloseMode::reset);
  world.fence();
  world.engine().receive(pair.server, true);
  world.until([&] { return !receiveStory(world.of(pair.server)).empty(); });
  world.fence();
  CHECK(receiveStory(world.of(pair.server)) == Kinds({receiveFailed}));
  CHECK_EQ(world.of(pair.server).error.code, ErrorCode::connectionReset);
}

ENGINE_TEST("a send after the peer's reset fails, and what it had sent before is still received") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.engine().receive(pair.server, false);
  world.fence();
  CHECK(world.sendAll(pair.client, "answer"));
  world.finish(pair.client, CloseMode::reset);
  world.fence();
  CHECK(!world.sendAll(pair.server, pattern(1000)));
  CHECK(world.sendError.code == ErrorCode::connectionReset || world.sendError.code == ErrorCode::brokenPipe);
  CHECK(world.of(pair.server).count(sendFailed) <= 1);
  world.engine().receive(pair.server, true);
  world.until([&] { return world.of(pair.server).has(receiveFailed) || world.of(pair.server).has(ended); });
  CHECK_EQ(world.of(pair.server).received, "answer");
  CHECK(receiveStory(world.of(pair.server)) == Kinds({received, receiveFailed}));
  CHECK_EQ(world.of(pair.server).error.code, ErrorCode::connectionReset);
}

ENGINE_TEST("each direction ends by itself: half-close both ways") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  CHECK(world.engine().shutdownSend(pair.client));
  world.until([&] { return world.of(pair.server).has(ended); });
  CHECK(world.sendAll(pair.server, "still here"));
  world.until([&] { return world.of(pair.client).received == "still here"; });
  CHECK(!world.of(pair.client).has(ended));
  CHECK(world.engine().shutdownSend(pair.server));
  world.until([&] { return world.of(pair.client).has(ended); });
  world.finish(pair.client);
  world.finish(pair.server);
}

ENGINE_TEST("closing on purpose with a reset is a reset to the peer, even with nothing unread") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.finish(pair.server, CloseMode::reset);
  world.until([&] { return world.of(pair.client).has(receiveFailed); });
  CHECK_EQ(world.of(pair.client).error.code, ErrorCode::connectionReset);
  CHECK(!world.of(pair.client).has(ended));
}

// Silence -------------------------------------------------------------------------------------------------------

ENGINE_TEST("after receive(off) neither data nor end comes, and both come after receive(on)") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.engine().receive(pair.server, false);
  CHECK(world.sendAll(pair.client, "kept"));
  world.finish(pair.client);
  world.fence();
  CHECK(receiveStory(world.of(pair.server)).empty());
  world.engine().receive(pair.server, true);
  world.until([&] { return world.of(pair.server).has(ended); });
  CHECK_EQ(world.of(pair.server).received, "kept");
}

ENGINE_TEST("a reader that pauses at every completion loses nothing") {
  World world(engine, {.receiveChunkBytes = 4096, .receiveTurnBytes = 16 * 1024});
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  const std::string bytes = pattern(400'000);
  size_t sentBytes = 0;
  bool waiting = false;
  // A send may take long here, as nobody reads most of the time.
  world.until([&] {
    const Story& client = world.of(pair.client);
    if (waiting && client.kinds.back() == sent) {
      for (const Completion& completion : world.last) sentBytes += completion.kind == sent ? completion.length : 0;
      waiting = false;
    }
    if (!waiting && sentBytes < bytes.size()) {
      const SendResult result = sendOnce(world, pair.client, std::string_view(bytes).substr(sentBytes));
      sentBytes += result.taken;
      waiting = result.waiting;
    }
    world.engine().receive(pair.server, false);
    world.engine().receive(pair.server, true);
    return world.of(pair.server).received.size() >= bytes.size();
  });
  CHECK(world.of(pair.server).received == bytes);
}

ENGINE_TEST("after close only closed comes, whatever was waiting") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  CHECK(world.sendAll(pair.client, pattern(100'000)));
  CHECK(world.engine().shutdownSend(pair.client));
  const size_t before = world.of(pair.server).kinds.size();
  world.engine().close(pair.server, CloseMode::normal);
  world.until([&] { return world.of(pair.server).has(closed); });
  world.fence();
  CHECK_EQ(world.of(pair.server).kinds.size(), before + 1);
}

ENGINE_TEST("closing twice is told once") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.engine().close(pair.server, CloseMode::normal);
  world.engine().close(pair.server, CloseMode::reset);
  world.until([&] { return world.of(pair.server).has(closed); });
  world.fence();
  CHECK_EQ(world.of(pair.server).count(closed), 1);
}

// Fairness and room ---------------------------------------------------------------------------------------------

ENGINE_TEST("one poll gives a socket at most its turn, and the rest comes later") {
  World world(engine, {.receiveChunkBytes = 8 * 1024, .receiveTurnBytes = 32 * 1024});
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.engine().receive(pair.server, false);
  const std::string bytes = pattern(200'000);
  CHECK(world.sendAll(pair.client, bytes));
  world.fence();
  world.engine().receive(pair.server, true);
  size_t largest = 0;
  world.until([&] {
    size_t turn = 0;
    for (const Completion& completion : world.last) {
      if (completion.kind != received || completion.socket != pair.server) continue;
      CHECK(completion.length <= 8 * 1024);
      turn += completion.length;
    }
    largest = std::max(largest, turn);
    return world.of(pair.server).received.size() >= bytes.size();
  });
  CHECK(largest <= 32 * 1024);
  CHECK(world.of(pair.server).received == bytes);
}

ENGINE_TEST("a batch of one completion loses nothing and starves nobody") {
  World world(engine, {.receiveChunkBytes = 4096, .receiveTurnBytes = 4096, .batchCompletions = 1});
  std::vector<World::Pair> pairs;
  const std::string bytes = pattern(40'000);
  for (int i = 0; i < 5; ++i) {
    pairs.push_back(world.pair());
    REQUIRE(pairs.back().server != noSlot);
    world.engine().receive(pairs.back().server, false);
  }
  for (const auto& pair : pairs) CHECK(world.sendAll(pair.client, bytes));
  world.fence();
  for (const auto& pair : pairs) world.engine().receive(pair.server, true);
  const auto progress = [&](auto choose) {
    return choose(pairs, {}, [&](const World::Pair& pair) { return world.of(pair.server).received.size(); });
  };
  // When the first is done, the last must be close behind.
  world.until([&] {
    return std::ranges::any_of(pairs, [&](auto& p) { return world.of(p.server).received.size() == bytes.size(); });
  });
  const auto slowest = progress(std::ranges::min_element);
  CHECK(world.of(slowest->server).received.size() + 3 * 4096 >= bytes.size());
  for (const auto& pair : pairs) {
    world.until([&] { return world.of(pair.server).received.size() >= bytes.size(); });
    CHECK(world.of(pair.server).received == bytes);
  }
}

ENGINE_TEST("little space in the slab is no loss") {
  World world(engine, {.spaceBytes = 1000});
  const auto first = world.pair();
  const auto second = world.pair();
  REQUIRE(first.server != noSlot && second.server != noSlot);
  const std::string bytes = pattern(50'000);
  CHECK(world.sendAll(first.client, bytes));
  CHECK(world.sendAll(second.client, bytes));
  for (const auto& pair : {first, second}) {
    world.until([&] { return world.of(pair.server).received.size() >= bytes.size(); });
    CHECK(world.of(pair.server).received == bytes);
  }
}

// Cost ----------------------------------------------------------------------------------------------------------

ENGINE_TEST("in steady state a message costs one send, one receive, and no change of interest") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  const auto roundTrip = [&] {
    for (const auto& [from, to] : {std::pair(pair.client, pair.server), std::pair(pair.server, pair.client)}) {
      const size_t before = world.of(to).received.size();
      CHECK(world.sendAll(from, "ping"));
      world.until([&, to = to] { return world.of(to).received.size() > before; });
    }
  };
  for (int i = 0; i < 20; ++i) roundTrip();
  const EngineCounters before = world.engine().counters();
  for (int i = 0; i < 500; ++i) roundTrip();
  const EngineCounters after = world.engine().counters();
  CHECK_EQ(after.interestChanges, before.interestChanges);
  CHECK_EQ(after.sends - before.sends, 1000u);
  CHECK(after.receives - before.receives <= 1000 + 10);
  CHECK(after.receivesWithoutData - before.receivesWithoutData <= 10);
}

ENGINE_TEST("an idle socket costs nothing, whatever others do") {
  World world(engine);
  std::vector<World::Pair> idle;
  for (int i = 0; i < 50; ++i) idle.push_back(world.pair());
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.fence();
  const EngineCounters before = world.engine().counters();
  for (int i = 0; i < 100; ++i) {
    const size_t had = world.of(pair.server).received.size();
    CHECK(world.sendAll(pair.client, "x"));
    world.until([&] { return world.of(pair.server).received.size() > had; });
  }
  const EngineCounters after = world.engine().counters();
  CHECK_EQ(after.interestChanges, before.interestChanges);
  CHECK(after.receives - before.receives <= 110);
  CHECK(after.kernelEvents - before.kernelEvents <= 220);
}

ENGINE_TEST("asking for what is already so changes nothing at the kernel") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.fence();
  const uint64_t before = world.engine().counters().interestChanges;
  for (int i = 0; i < 10; ++i) {
    world.engine().receive(pair.server, true);
    world.engine().setAcceptBudget(world.listener(), unlimitedAccepts);
    world.step();
  }
  CHECK_EQ(world.engine().counters().interestChanges, before);
}

// Sending -------------------------------------------------------------------------------------------------------

ENGINE_TEST("a send without room waits, and sent follows when the peer reads") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.engine().receive(pair.server, false);
  world.fence();
  const std::string bytes = pattern(1 << 16);
  size_t taken = 0;
  SendResult result;
  // Fills every buffer on the way. An engine that always waits is full when no `sent` follows any more.
  for (int quiet = 0; quiet < 3;) {
    result = sendOnce(world, pair.client, bytes);
    REQUIRE(!result.error);
    taken += result.taken;
    if (!result.waiting) continue;
    const int before = world.of(pair.client).count(sent);
    while (quiet < 3 && world.of(pair.client).count(sent) == before) {
      world.fence();
      ++quiet;
    }
    if (quiet >= 3) break;
    quiet = 0;
    for (const Completion& completion : world.last) taken += completion.kind == sent ? completion.length : 0;
  }
  CHECK(result.waiting);
  const int before = world.of(pair.client).count(sent);
  world.engine().receive(pair.server, true);
  CHECK(world.until([&] { return world.of(pair.client).count(sent) > before; }));
  world.fence();
  CHECK_EQ(world.of(pair.client).count(sent), before + 1);
}

ENGINE_TEST("a stream far larger than all buffers arrives unchanged while both sides send") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  const std::string up = pattern(6'000'000, 3);
  const std::string down = pattern(6'000'000, 4);
  struct Way {
    Slot from, to;
    std::string_view rest;
    bool waiting = false;
    int sentSeen = 0;
  } ways[] = {{pair.client, pair.server, up}, {pair.server, pair.client, down}};
  world.until([&] {
    for (Way& way : ways) {
      if (way.waiting) {
        if (world.of(way.from).count(sent) == way.sentSeen) continue;
        way.waiting = false;
        way.sentSeen = world.of(way.from).count(sent);
        for (const Completion& completion : world.last) {
          if (completion.socket == way.from && completion.kind == sent) way.rest.remove_prefix(completion.length);
        }
      }
      while (!way.rest.empty() && !way.waiting) {
        const SendResult result = sendOnce(world, way.from, way.rest.substr(0, 256 * 1024));
        CHECK(!result.error);
        way.rest.remove_prefix(result.taken);
        way.waiting = result.waiting;
      }
    }
    return world.of(pair.server).received.size() >= up.size() &&
           world.of(pair.client).received.size() >= down.size();
  });
  CHECK(world.of(pair.server).received == up);
  CHECK(world.of(pair.client).received == down);
}

// Slots ---------------------------------------------------------------------------------------------------------

ENGINE_TEST("a slot is given out again only after release, with another generation") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  const uint32_t generation = world.engine().generation(pair.server);
  world.engine().close(pair.server, CloseMode::normal);
  world.until([&] { return world.of(pair.server).has(closed); });
  std::set<Slot> others;
  for (int i = 0; i < 10; ++i) {
    const auto other = world.pair();
    others.insert(other.client);
    others.insert(other.server);
  }
  CHECK(!others.contains(pair.server));
  world.engine().release(pair.server);
  for (int i = 0; i < 10 && !others.contains(pair.server); ++i) {
    const auto other = world.pair();
    others.insert(other.client);
    others.insert(other.server);
  }
  REQUIRE(others.contains(pair.server));
  CHECK(world.engine().generation(pair.server) != generation);
}

ENGINE_TEST("an event of a former socket never reaches its successor, even within one batch") {
  World world(engine, {.batchCompletions = 1});
  const auto first = world.pair();
  const auto second = world.pair();
  REQUIRE(first.server != noSlot && second.server != noSlot);
  CHECK(world.sendAll(first.client, "one"));
  CHECK(world.sendAll(second.client, "two"));
  // One of the two is reported; the engine may hold the other's event already.
  world.until(
      [&] { return !world.of(first.server).received.empty() || !world.of(second.server).received.empty(); });
  const bool firstCame = !world.of(first.server).received.empty();
  const Slot other = firstCame ? second.server : first.server;
  world.finish(other);
  const auto successor = world.pair();
  CHECK(successor.client == other || successor.server == other);
  world.fence();
  CHECK(world.of(successor.client).received.empty());
  CHECK(world.of(successor.server).received.empty());
  CHECK(receiveStory(world.of(successor.client)).empty());
}

// Addresses, options, memory ------------------------------------------------------------------------------------

ENGINE_TEST("both ends agree on their addresses") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  auto clientLocal = world.engine().localAddress(pair.client);
  auto clientPeer = world.engine().peerAddress(pair.client);
  auto serverLocal = world.engine().localAddress(pair.server);
  auto serverPeer = world.engine().peerAddress(pair.server);
  REQUIRE(clientLocal && clientPeer && serverLocal && serverPeer);
  CHECK_EQ(clientLocal->host(), serverPeer->host());
  CHECK_EQ(clientLocal->port(), serverPeer->port());
  CHECK_EQ(clientPeer->port(), serverLocal->port());
  CHECK_EQ(clientPeer->port(), world.address().port());
  CHECK_EQ(serverLocal->host(), "127.0.0.1");
}

ENGINE_TEST("options of the common kind can be set on any engine, and tcpInfo answers") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  CHECK(world.engine().setOption(pair.server, {SocketOption::noDelay, 1, {}}));
  CHECK(world.engine().setOption(pair.server, {SocketOption::keepAlive, 1, {}}));
  CHECK(world.engine().tcpInfo(pair.server));
}

ENGINE_TEST("memory that is lent stays until its last reference is given back") {
  World world(engine);
  world.keepReceived = true;
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  CHECK(world.sendAll(pair.client, "keep me"));
  world.until([&] { return world.of(pair.server).received == "keep me"; });
  Completion kept{};
  for (const Completion& completion : world.last) {
    if (completion.kind == received && completion.socket == pair.server) kept = completion;
  }
  REQUIRE(kept.length == 7);
  if (!world.engine().features().lendsReceiveMemory) return CHECK(!world.engine().keep(kept.offset));
  REQUIRE(world.engine().keep(kept.offset));
  world.engine().giveBack(kept.offset);
  world.keepReceived = false;
  CHECK(world.sendAll(pair.client, pattern(100'000)));
  world.until([&] { return world.of(pair.server).received.size() >= 100'007; });
  CHECK_EQ(std::string_view(reinterpret_cast<const char*>(world.slab(kept.offset)), 7), "keep me");
  world.engine().giveBack(kept.offset);
}

ENGINE_TEST("an engine that goes takes its descriptors along") {
  const size_t before = openDescriptors();
  {
    World world(engine);
    for (int i = 0; i < 5; ++i) REQUIRE(world.pair().server != noSlot);
    world.connect();
    CHECK(world.simulated() || openDescriptors() > before);
  }
  CHECK_EQ(openDescriptors(), before);
}

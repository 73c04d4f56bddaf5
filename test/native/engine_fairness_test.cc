// Fair turns, generations under churn, and sends that do not fit, on every engine.
#include <algorithm>
#include <map>

#include "engine/sim_random.h"
#include "support/each_engine.h"

using namespace sluice;
using namespace sluice::test;
using enum Completion::Kind;

namespace {

SendResult sendOnce(World& world, Slot socket, std::string_view bytes) {
  const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  return world.engine().send(socket, &piece, 1);
}

/// A stream that is sent as fast as the engine takes it.
struct Firehose {
  Firehose(World& world, Slot socket) : world(world), socket(socket), bytes(pattern(256 * 1024)) {}

  /// After each step: sends on while there is room.
  void pump() {
    if (waiting) {
      if (world.of(socket).count(sent) == sentSeen) return;
      waiting = false;
      sentSeen = world.of(socket).count(sent);
    }
    for (int i = 0; i < 64 && !waiting; ++i) waiting = sendOnce(world, socket, bytes).waiting;
  }

  World& world;
  Slot socket;
  std::string bytes;
  bool waiting = false;
  int sentSeen = 0;
};

}  // namespace

ENGINE_TEST("one sender without end does not hold up another connection") {
  constexpr uint32_t turnBytes = 64 * 1024;
  World world(engine, {.receiveChunkBytes = 16 * 1024, .receiveTurnBytes = turnBytes});
  const auto greedy = world.pair();
  const auto modest = world.pair();
  REQUIRE(greedy.server != noSlot && modest.server != noSlot);
  Firehose hose(world, greedy.client);
  for (int round = 0; round < 50; ++round) {
    // In between the stream fills whatever stands on its way.
    for (int i = 0; i < 4; ++i) {
      world.step();
      hose.pump();
    }
    const size_t had = world.of(modest.server).received.size();
    const size_t greedyBefore = world.of(greedy.server).received.size();
    CHECK(world.sendAll(modest.client, "me too"));
    REQUIRE(world.until([&] {
      hose.pump();
      return world.of(modest.server).received.size() > had;
    }));
    CHECK(world.of(greedy.server).received.size() - greedyBefore <= 6 * turnBytes);
    world.of(greedy.server).received.clear();
  }
}

ENGINE_TEST("many senders without end all get on") {
  World world(engine, {.slabBytes = 256 * 1024, .receiveChunkBytes = 16 * 1024, .receiveTurnBytes = 64 * 1024});
  std::vector<World::Pair> pairs;
  std::vector<Firehose> hoses;
  for (int i = 0; i < 12; ++i) {
    pairs.push_back(world.pair());
    REQUIRE(pairs.back().server != noSlot);
    hoses.emplace_back(world, pairs.back().client);
  }
  const auto got = [&](const World::Pair& pair) { return world.of(pair.server).received.size(); };
  world.until([&] {
    for (Firehose& hose : hoses) hose.pump();
    return std::ranges::any_of(pairs, [&](const auto& pair) { return got(pair) > 4'000'000; });
  });
  for (const auto& pair : pairs) CHECK(got(pair) > 500'000);
}

// Goal: no event of a former socket reaches its successor, whatever the order of closing, releasing and reusing inside a
// batch (HP-122). Method: each connection repeats a name of its own, and a seeded storm closes and opens them while
// batches are short. A name at the wrong end is a stale event.
ENGINE_TEST("in a storm of closing and opening every byte reaches the connection that it was sent on") {
  for (const size_t batch : {1u, 3u, 64u}) {
    World world(engine, {.receiveTurnBytes = 4096, .acceptTurnCount = 3, .batchCompletions = batch});
    std::map<Slot, char> nameOf;  // of both ends
    std::vector<World::Pair> pairs;
    SimRandom random(batch);
    char nextName = 'a';
    for (int turn = 0; turn < 400; ++turn) {
      const uint64_t choice = random.between(0, 9);
      if (pairs.size() < 4 || (choice == 0 && pairs.size() < 12)) {
        const auto pair = world.pair();
        REQUIRE(pair.server != noSlot);
        nameOf[pair.client] = nameOf[pair.server] = nextName;
        nextName = nextName == 'z' ? 'a' : static_cast<char>(nextName + 1);
        pairs.push_back(pair);
      } else if (choice == 1) {
        const size_t victim = static_cast<size_t>(random.between(0, pairs.size() - 1));
        const auto pair = pairs[victim];
        pairs.erase(pairs.begin() + static_cast<ptrdiff_t>(victim));
        // Not one after the other: the second is closed while events of both may lie in the batch.
        world.engine().close(pair.client, random.between(0, 1) == 0 ? CloseMode::reset : CloseMode::normal);
        world.engine().close(pair.server, CloseMode::normal);
        world.until([&] { return world.of(pair.client).has(closed) && world.of(pair.server).has(closed); });
        world.engine().release(pair.client);
        world.engine().release(pair.server);
      } else {
        for (const auto& pair : pairs) {
          const Slot from = random.between(0, 1) == 0 ? pair.client : pair.server;
          CHECK(world.sendAll(from, std::string(1 + random.between(0, 299), nameOf[from])));
        }
        world.step();
      }
      for (const auto& pair : pairs) {
        for (const Slot end : {pair.client, pair.server}) {
          const Story& story = world.of(end);
          CHECK(story.received.find_first_not_of(nameOf[end]) == std::string::npos);
          CHECK(!story.has(ended) && !story.has(receiveFailed) && !story.has(closed));
        }
      }
      if (failures() > 0) return;
    }
  }
}

ENGINE_TEST("through small buffers a large send goes out in parts, each byte once") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  CHECK(world.engine().setOption(pair.client, {SocketOption::sendBufferBytes, 8 * 1024, {}}));
  const std::string bytes = pattern(1'000'000, 9);
  std::vector<iovec> pieces;
  size_t sentBytes = 0;
  bool waiting = false;
  int sentSeen = world.of(pair.client).count(sent);
  // Pieces of all sizes, and after each part the rest anew from where it stopped.
  world.until([&] {
    if (waiting && world.of(pair.client).count(sent) > sentSeen) {
      sentSeen = world.of(pair.client).count(sent);
      for (const Completion& completion : world.last) {
        if (completion.socket == pair.client && completion.kind == sent) sentBytes += completion.length;
      }
      waiting = false;
    }
    while (!waiting && sentBytes < bytes.size()) {
      pieces.clear();
      size_t at = sentBytes;
      for (size_t size = 1; pieces.size() < static_cast<size_t>(Engine::maxSendPieces) && at < bytes.size();
           size = size * 3 + 1) {
        const size_t length = std::min(size % 20'000 + 1, bytes.size() - at);
        pieces.push_back({const_cast<char*>(bytes.data()) + at, length});
        at += length;
      }
      const SendResult result = world.engine().send(pair.client, pieces.data(), static_cast<int>(pieces.size()));
      CHECK(!result.error);
      CHECK(result.taken <= at - sentBytes);
      sentBytes += result.taken;
      waiting = result.waiting;
    }
    return world.of(pair.server).received.size() >= bytes.size();
  });
  CHECK(world.of(pair.server).received == bytes);
  CHECK_EQ(sentBytes, bytes.size());
}

ENGINE_TEST("closing with received data that nobody read is a reset to the peer") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  world.engine().receive(pair.server, false);
  world.fence();
  CHECK(world.sendAll(pair.client, "never read"));
  world.fence();
  world.finish(pair.server);
  CHECK(world.until([&] { return world.of(pair.client).has(receiveFailed) || world.of(pair.client).has(ended); }));
  CHECK(!world.of(pair.client).has(ended));
  CHECK_EQ(world.of(pair.client).error.code, ErrorCode::connectionReset);
}

ENGINE_TEST("what was sent before a close still arrives, however much it is") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  const std::string bytes = pattern(200'000, 5);
  CHECK(world.sendAll(pair.client, bytes));
  world.engine().close(pair.client, CloseMode::normal);
  CHECK(world.until([&] { return world.of(pair.server).has(ended) || world.of(pair.server).has(receiveFailed); }));
  CHECK(world.of(pair.server).received == bytes);
  CHECK(world.of(pair.server).has(ended));
}

ENGINE_TEST("a second FIN is harmless, and none can be sent without a connection") {
  World world(engine);
  const auto pair = world.pair();
  REQUIRE(pair.server != noSlot);
  CHECK(world.engine().shutdownSend(pair.client));
  (void)!world.engine().shutdownSend(pair.client);
  CHECK(world.until([&] { return world.of(pair.server).has(ended); }));
  CHECK(world.sendAll(pair.server, "still open"));
  CHECK(world.until([&] { return world.of(pair.client).received == "still open"; }));
  world.fence();
  CHECK_EQ(world.of(pair.server).count(ended), 1);
}

ENGINE_TEST("between Unix sockets a peer that closed in peace is an end, and a send to it a broken pipe") {
  World world(engine);
  if (!world.engine().features().unixSockets || world.simulated()) return;
  const ListenerId listener = world.listenOn(*SocketAddress::unixPath(std::string("\0sluice-peace", 13)));
  REQUIRE(listener != noListener);
  const Slot client = world.connectTo(*world.engine().listenerAddress(listener));
  CHECK(world.until([&] { return !world.accepted.empty() && world.of(client).has(connected); }));
  const Slot server = world.accepted[0];
  CHECK(world.sendAll(client, "farewell"));
  world.finish(client);
  CHECK(!world.sendAll(server, "too late"));
  CHECK_EQ(world.sendError.code, ErrorCode::brokenPipe);
  world.engine().receive(server, true);
  CHECK(world.until([&] { return world.of(server).has(ended) || world.of(server).has(receiveFailed); }));
  CHECK_EQ(world.of(server).received, "farewell");
  CHECK(world.of(server).has(ended));
}

// The write contract of Network, on every engine: order, one system call per batch, references, drain, end.
#include "support/each_engine.h"
#include "support/net_world.h"

using namespace sluice;
using namespace sluice::test;

ENGINE_TEST("what one batch writes to a connection leaves in one send, in order") {
  NetWorld world(engine);
  const auto pair = world.pair();
  const uint64_t before = world.engine().counters().sends;
  for (const char* word : {"several ", "chunks ", "in ", "one ", "turn"}) world.write(pair.client, word);
  world.apply();
  CHECK(world.until([&] { return world.of(pair.server).received == "several chunks in one turn"; }));
  CHECK_EQ(world.engine().counters().sends - before, 1u);
  CHECK_EQ(world.taken(pair.client), 26);
}

ENGINE_TEST("more pieces than one send takes still arrive whole and in order") {
  NetWorld world(engine);
  const auto pair = world.pair();
  std::string expected;
  for (int i = 0; i < 500; ++i) {
    const std::string word = std::to_string(i) + ',';
    world.write(pair.client, word);
    expected += word;
  }
  world.apply();
  CHECK(world.until([&] { return world.of(pair.server).received == expected; }));
}

ENGINE_TEST("received bytes written back from the slab arrive unchanged, however many") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.handler = [&](Conn conn, EventType type, const EventRecord& record) {
    if (type == EventType::data && conn.slot == pair.server.slot) {
      world.writeSlab(conn, static_cast<uint32_t>(record.a), static_cast<uint32_t>(record.b));
    }
  };
  const std::string bytes = pattern(3'000'000, 7);
  world.writeNow(pair.client, bytes);
  CHECK(world.until([&] { return world.of(pair.client).received.size() >= bytes.size(); }));
  CHECK(world.of(pair.client).received == bytes);
}

ENGINE_TEST("bytes written by reference are released once, when the kernel has them") {
  NetWorld world(engine);
  const auto pair = world.pair();
  const std::string large = pattern(5'000'000, 3);
  world.writeReference(pair.client, large, 7);
  world.write(pair.client, "small");
  world.writeReference(pair.client, "tail", 8);
  world.apply();
  CHECK(world.until([&] { return world.of(pair.server).received.size() >= large.size() + 9; }));
  CHECK(world.of(pair.server).received == large + "smalltail");
  CHECK(world.until([&] { return world.released.size() == 2; }));
  world.fence();
  CHECK(world.released == std::vector<uint32_t>({7, 8}));
}

ENGINE_TEST("bytes written by reference are released once as well when their connection is destroyed or gone") {
  NetWorld world(engine);
  const auto pair = world.pair();
  const std::string large = pattern(8'000'000, 3);
  world.now(OpType::pause, pair.server, pausedByUser);
  world.writeReference(pair.client, large, 1);
  world.apply();
  world.fence();
  world.writeReference(pair.client, "in the same batch", 2);
  world.op(OpType::destroy, pair.client);
  world.writeReference(pair.client, "after it", 3);
  world.apply();
  CHECK(world.until([&] { return world.of(pair.client).has(EventType::closed); }));
  world.writeReference(pair.client, "nobody is there", 4);
  world.apply();
  CHECK(world.until([&] { return world.released.size() >= 4; }));
  world.fence();
  std::vector<uint32_t> released = world.released;
  std::sort(released.begin(), released.end());
  CHECK(released == std::vector<uint32_t>({1, 2, 3, 4}));
}

ENGINE_TEST("drain is told once per asking, also when everything went out at once") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.writeNow(pair.client, "small", true);
  CHECK(world.until([&] { return world.of(pair.client).count(EventType::drain) == 1; }));
  world.writeNow(pair.client, "not asked");
  world.fence();
  CHECK_EQ(world.of(pair.client).count(EventType::drain), 1);
}

ENGINE_TEST("drain comes when what is queued has fallen to the low-water mark, not before") {
  NetWorld world(engine);
  ConnectionConfig config;
  config.lowWaterBytes = 100'000;
  const auto pair = world.pair(config);
  world.now(OpType::pause, pair.server, pausedByUser);
  world.fence();
  const std::string bytes = pattern(9'000'000);
  world.writeNow(pair.client, bytes, true);
  world.fence();
  CHECK_EQ(world.of(pair.client).count(EventType::drain), 0);
  int32_t takenAtDrain = 0;
  world.handler = [&](Conn conn, EventType type, const EventRecord&) {
    if (type == EventType::drain && conn.slot == pair.client.slot) takenAtDrain = world.taken(conn);
  };
  world.now(OpType::resume, pair.server, pausedByUser);
  CHECK(world.until([&] { return world.of(pair.client).has(EventType::drain); }));
  CHECK(takenAtDrain >= 9'000'000 - 100'000);
  CHECK(world.until([&] { return world.of(pair.server).received.size() == bytes.size(); }));
  CHECK(world.of(pair.server).received == bytes);
  CHECK_EQ(world.of(pair.client).count(EventType::drain), 1);
  CHECK_EQ(world.taken(pair.client), 9'000'000);
}

ENGINE_TEST("end sends FIN after everything written, says so once, and the other way stays open") {
  NetWorld world(engine);
  const auto pair = world.pair();
  const std::string bytes = pattern(2'000'000);
  world.write(pair.client, bytes);
  world.op(OpType::end, pair.client);
  world.op(OpType::end, pair.client);
  world.apply();
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::end); }));
  CHECK(world.of(pair.server).received == bytes);
  world.writeNow(pair.server, "answer");
  CHECK(world.until([&] { return world.of(pair.client).received == "answer"; }));
  CHECK_EQ(world.of(pair.client).count(EventType::finished), 1);
  world.now(OpType::end, pair.server);
  CHECK(world.until([&] {
    return world.of(pair.client).has(EventType::closed) && world.of(pair.server).has(EventType::closed);
  }));
  CHECK_EQ(world.of(pair.client).closeCode, ErrorCode::none);
  CHECK_EQ(world.of(pair.server).closeCode, ErrorCode::none);
  CHECK_EQ(world.of(pair.client).count(EventType::end), 1);
}

ENGINE_TEST("what is written after end is dropped, counted as taken, and its reference released") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.write(pair.client, "before");
  world.op(OpType::end, pair.client);
  world.write(pair.client, "late");
  world.writeReference(pair.client, "later", 9);
  world.apply();
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::end); }));
  CHECK_EQ(world.of(pair.server).received, "before");
  CHECK_EQ(world.taken(pair.client), 15);
  CHECK(world.released == std::vector<uint32_t>({9}));
}

ENGINE_TEST("what is written while connecting goes out once connected, an end as well") {
  NetWorld world(engine);
  const SocketAddress address = world.listen(1);
  const Conn client = world.connect(address);
  world.write(client, "early", true);
  world.op(OpType::end, client);
  world.apply();
  CHECK(world.until([&] { return !world.opened.empty() && world.of(world.opened[0]).has(EventType::end); }));
  CHECK_EQ(world.of(world.opened[0]).received, "early");
  CHECK(world.until([&] { return world.of(client).has(EventType::finished); }));
  CHECK_EQ(world.of(client).count(EventType::drain), 1);
}

ENGINE_TEST("after the peer's reset a write fails once, what came before it is delivered, then closed says why") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.now(OpType::pause, pair.server, pausedByUser);
  world.fence();
  world.writeNow(pair.client, "last words");
  world.fence();
  world.now(OpType::reset, pair.client);
  CHECK(world.until([&] { return world.of(pair.client).has(EventType::closed); }));
  world.fence();
  world.op(OpType::resume, pair.server, pausedByUser);
  world.write(pair.server, "are you there?");
  world.apply();
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::closed); }));
  CHECK_EQ(world.of(pair.server).received, "last words");
  CHECK(!world.of(pair.server).has(EventType::end));
  const ErrorCode code = world.of(pair.server).closeCode;
  CHECK(code == ErrorCode::connectionReset || code == ErrorCode::brokenPipe);
}

// How connections end: draining (HP-21), bounds, destroy, reset, slots and tags, shutdown. On every engine.
#include "support/each_engine.h"
#include "support/net_world.h"

using namespace sluice;
using namespace sluice::test;

namespace {

bool bothClosed(NetWorld& world, const NetWorld::Pair& pair) {
  return world.of(pair.client).has(EventType::closed) && world.of(pair.server).has(EventType::closed);
}

}  // namespace

// Goal: the last reply survives although the peer is still sending (HP-21). A close(2) with unread data would send RST,
// which destroys what the peer has not read yet.
ENGINE_TEST("close lets the last reply arrive although the peer goes on sending") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.now(OpType::pause, pair.client, pausedByUser);
  world.fence();
  const std::string reply = pattern(300'000);
  const std::string noise = pattern(2'000'000, 2);
  world.writeNow(pair.client, noise);
  world.write(pair.server, reply);
  world.op(OpType::close, pair.server, 30'000);
  world.apply();
  const size_t before = world.of(pair.server).received.size();
  world.fence();
  world.now(OpType::resume, pair.client, pausedByUser);
  CHECK(world.until([&] { return world.of(pair.client).has(EventType::end); }));
  CHECK(world.of(pair.client).received == reply);
  world.now(OpType::end, pair.client);
  CHECK(world.until([&] { return bothClosed(world, pair); }));
  CHECK_EQ(world.of(pair.client).closeCode, ErrorCode::none);
  CHECK_EQ(world.of(pair.server).closeCode, ErrorCode::none);
  // What came while draining was read and dropped.
  CHECK_EQ(world.of(pair.server).received.size(), before);
}

ENGINE_TEST("close also drains what a paused connection has not read") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.now(OpType::pause, pair.server, pausedByUser);
  world.fence();
  world.writeNow(pair.client, "unread");
  world.fence();
  world.write(pair.server, "goodbye");
  world.op(OpType::close, pair.server, 30'000);
  world.apply();
  CHECK(world.until([&] { return world.of(pair.client).has(EventType::end); }));
  CHECK_EQ(world.of(pair.client).received, "goodbye");
  world.now(OpType::end, pair.client);
  CHECK(world.until([&] { return bothClosed(world, pair); }));
  CHECK_EQ(world.of(pair.client).closeCode, ErrorCode::none);
}

ENGINE_TEST("close after the peer's end needs no waiting") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.now(OpType::end, pair.client);
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::end); }));
  world.write(pair.server, "bye");
  world.op(OpType::close, pair.server, 30'000);
  world.apply();
  const TimeMs start = world.nowMs();
  CHECK(world.until([&] { return bothClosed(world, pair); }));
  CHECK(world.nowMs() - start < 5000);
  CHECK_EQ(world.of(pair.client).received, "bye");
}

TEST("close waits for the peer's end no longer than its bound") {
  NetWorld world("sim");
  const auto pair = world.pair();
  const TimeMs start = world.nowMs();
  world.now(OpType::close, pair.server, 700);
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::closed); }));
  CHECK_EQ(world.of(pair.server).closedAtMs - start, 700u);
  CHECK_EQ(world.of(pair.server).closeCode, ErrorCode::none);
}

ENGINE_TEST("a connection that closes is told nothing but closed") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.now(OpType::close, pair.server, 30'000);
  world.writeNow(pair.client, "too late");
  world.now(OpType::end, pair.client);
  CHECK(world.until([&] { return bothClosed(world, pair); }));
  CHECK(!world.of(pair.server).has(EventType::data));
  CHECK(!world.of(pair.server).has(EventType::end));
  CHECK_EQ(world.of(pair.server).events.back(), EventType::closed);
}

ENGINE_TEST("closing, ending and destroying again and again is told once") {
  NetWorld world(engine);
  const auto pair = world.pair();
  for (int i = 0; i < 3; ++i) {
    for (const OpType type : {OpType::close, OpType::end, OpType::destroy, OpType::reset, OpType::close}) {
      world.op(type, pair.server, 1000);
    }
  }
  world.apply();
  CHECK(world.until([&] { return world.of(pair.server).has(EventType::closed); }));
  world.now(OpType::destroy, pair.server);
  world.fence();
  CHECK_EQ(world.of(pair.server).count(EventType::closed), 1);
}

ENGINE_TEST("reset is a reset to the peer, once and for both directions") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.now(OpType::reset, pair.server);
  CHECK(world.until([&] { return bothClosed(world, pair); }));
  CHECK_EQ(world.of(pair.client).closeCode, ErrorCode::connectionReset);
  CHECK(!world.of(pair.client).has(EventType::end));
  CHECK_EQ(world.of(pair.server).closeCode, ErrorCode::none);
}

ENGINE_TEST("destroy while connecting closes without a word of connecting") {
  NetWorld world(engine);
  const SocketAddress address = world.listen(1);
  const Conn client = world.connect(address);
  world.now(OpType::destroy, client);
  CHECK(world.until([&] { return world.of(client).has(EventType::closed); }));
  world.fence();
  CHECK_EQ(world.of(client).events.size(), 1u);
}

ENGINE_TEST("close while connecting gives up and says aborted") {
  NetWorld world(engine);
  const SocketAddress address = world.listen(1);
  const Conn client = world.connect(address);
  world.now(OpType::close, client, 1000);
  CHECK(world.until([&] { return world.of(client).has(EventType::closed); }));
  CHECK_EQ(world.of(client).closeCode, ErrorCode::aborted);
}

ENGINE_TEST("a refused connection is closed with the reason, and nothing else") {
  NetWorld world(engine);
  const SocketAddress address = world.listen(1);
  world.network().closeListener(1);
  const Conn client = world.connect(address);
  CHECK(world.until([&] { return world.of(client).has(EventType::closed); }));
  CHECK_EQ(world.of(client).closeCode, ErrorCode::connectionRefused);
  CHECK_EQ(world.of(client).events.size(), 1u);
}

ENGINE_TEST("a slot is used again only after forget, and operations for its former connection do nothing") {
  NetWorld world(engine);
  world.forgetClosed = false;
  const auto first = world.pair();
  world.op(OpType::destroy, first.client);
  world.op(OpType::destroy, first.server);
  world.apply();
  CHECK(world.until([&] { return bothClosed(world, first); }));
  const auto second = world.pair();
  for (const Conn now : {second.client, second.server}) {
    for (const Conn former : {first.client, first.server}) CHECK(now.slot != former.slot);
  }
  world.op(OpType::forget, first.client);
  world.op(OpType::forget, first.server);
  world.apply();
  const auto third = world.pair();
  CHECK(third.client.slot == first.client.slot || third.client.slot == first.server.slot);
  const auto former = third.client.slot == first.client.slot ? first.client : first.server;
  CHECK(third.client.tag != former.tag);
  for (const OpType type : {OpType::reset, OpType::destroy, OpType::end, OpType::pause, OpType::forget}) {
    world.op(type, former, 1);
  }
  world.write(former, "for somebody else");
  world.apply();
  world.writeNow(third.server, "hello");
  CHECK(world.until([&] { return world.of(third.client).received == "hello"; }));
  world.writeNow(third.client, "still here");
  CHECK(world.until([&] { return world.of(third.server).received == "still here"; }));
}

ENGINE_TEST("forget before closed does nothing") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.now(OpType::forget, pair.client);
  world.writeNow(pair.server, "hello");
  CHECK(world.until([&] { return world.of(pair.client).received == "hello"; }));
}

ENGINE_TEST("pausing is a set of reasons: data comes when the last one goes") {
  NetWorld world(engine);
  const auto pair = world.pair();
  world.now(OpType::pause, pair.server, pausedByUser);
  world.now(OpType::pause, pair.server, pausedByStream | pausedByQueue);
  world.fence();
  world.writeNow(pair.client, "patience");
  world.fence();
  world.now(OpType::resume, pair.server, pausedByUser | pausedByStream);
  world.fence();
  CHECK_EQ(world.of(pair.server).received, "");
  world.now(OpType::resume, pair.server, pausedByQueue);
  CHECK(world.until([&] { return world.of(pair.server).received == "patience"; }));
}

ENGINE_TEST("destroyAll closes everything, and a network that goes leaves no descriptor") {
  const size_t before = openDescriptors();
  {
    NetWorld world(engine);
    std::vector<NetWorld::Pair> pairs;
    for (int i = 0; i < 5; ++i) pairs.push_back(world.pair());
    const SocketAddress address = world.listen(1);
    const Conn connecting = world.connect(address);
    world.writeNow(pairs[0].client, pattern(3'000'000));
    world.network().destroyAll();
    CHECK(world.until([&] { return world.of(connecting).has(EventType::closed); }));
    for (const auto& pair : pairs) {
      CHECK(world.until([&] { return bothClosed(world, pair); }));
      CHECK_EQ(world.of(pair.client).closeCode, ErrorCode::closed);
    }
    CHECK_EQ(world.network().openConnections(), 0u);
    CHECK(world.network().listener(1) == nullptr);
  }
  CHECK_EQ(openDescriptors(), before);
}

// With room for a few events only, the rest waits and nothing is lost or told in another order.
ENGINE_TEST("a frame with little room loses no event") {
  NetWorld world(engine, {.eventRecords = 6});
  std::vector<NetWorld::Pair> pairs;
  for (int i = 0; i < 10; ++i) pairs.push_back(world.pair());
  for (const auto& pair : pairs) {
    world.write(pair.client, "one", true);
    world.op(OpType::end, pair.client);
  }
  world.apply();
  for (const auto& pair : pairs) {
    CHECK(world.until([&] { return world.of(pair.server).has(EventType::end); }));
    CHECK_EQ(world.of(pair.server).received, "one");
    CHECK_EQ(world.of(pair.client).count(EventType::drain), 1);
    CHECK_EQ(world.of(pair.client).count(EventType::finished), 1);
  }
}

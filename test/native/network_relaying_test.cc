// Relays over networks that split, delay, stall and reset, by seeds: whatever happens, each end gets a beginning of what the
// other wrote, in order; an end told as such is the end of everything; and nothing is left standing. A failure prints the
// seed that repeats it.
#include <string>

#include "engine/sim_random.h"
#include "engine/sys.h"
#include "support/net_world.h"
#include "support/seeds.h"
#include "support/test.h"
#include "support/world.h"

using namespace sluice;
using namespace sluice::test;

namespace {

// SLUICE_RELAY_SEEDS=20000 for a long run.
uint64_t seeds(uint64_t usual) { return seedCount("SLUICE_RELAY_SEEDS", usual); }

enum class Kind { plain, tls, local };

// One connection: `inner` is relayed, `outer` is its peer.
struct Leg {
  Conn inner, outer;
};

bool over(NetWorld& world, Conn conn) { return world.of(conn).has(EventType::closed); }

// Connects them; false where the network has reset one before.
bool makeLeg(NetWorld& world, Kind kind, uint32_t key, bool innerConnects, Leg& leg) {
  if (kind == Kind::local) {
    auto ends = world.network().pair({.bufferBytes = 5000, .endOnDestroy = true}, {}, {});
    CHECK(ends);
    const auto conn = [&](Slot slot) { return Conn{slot, world.engine().generation(slot) << 8}; };
    leg = {conn(ends->first), conn(ends->second)};
    world.of(leg.inner), world.of(leg.outer);
    return true;
  }
  ConnectionConfig config;
  if (kind == Kind::tls) config.tls = localServerTls();
  const SocketAddress address = world.listen(key, config);
  const size_t openedBefore = world.opened.size();
  const Conn client = world.connect(address);
  world.until([&] { return world.of(client).has(EventType::connected) || over(world, client); }, 200'000);
  if (over(world, client)) return false;
  if (kind == Kind::tls) {
    Connection* connection = world.network().find(client.slot, client.tag);
    CHECK(world.network().startTls(client.slot, *connection, localClientTls()));
  }
  const auto ready = [&] {
    return world.opened.size() > openedBefore && (kind != Kind::tls || world.of(client).has(EventType::secured));
  };
  world.until([&] { return ready() || over(world, client); }, 200'000);
  if (!ready() || over(world, client) || over(world, world.opened[openedBefore])) return false;
  leg = innerConnects ? Leg{client, world.opened[openedBefore]} : Leg{world.opened[openedBefore], client};
  return true;
}

SimOptions networkOf(uint64_t seed, bool faults) {
  SimOptions sim = roughNetwork(seed, seed * 11 + 3);
  if (faults) {
    sim.resetProbability = 0.3;
    sim.resetAfterMaxBytes = 20'000;
    sim.stallProbability = 0.01;
    sim.stallMaxMs = 2'000;
  }
  return sim;
}

struct Outcome {
  int complete = 0, failed = 0, refused = 0, held = 0;
};

enum class Plan { calm, faults, leaves };

void oneSeed(uint64_t seed, Plan plan, Outcome& outcome) {
  setContext("seed " + std::to_string(seed));
  const SimOptions sim = networkOf(seed, plan == Plan::faults);
  NetWorld world("sim", {.sim = sim});
  SimRandom random(seed);
  const size_t most = sim.segmentMaxBytes < 64 || sim.sendBufferBytes < 64 ? 2'000 : 60'000;
  const std::string there = pattern(random.between(1, most)), back = pattern(random.between(1, most), 5);
  const Kind kinds[2] = {static_cast<Kind>(random.between(0, 2)), static_cast<Kind>(random.between(0, 2))};
  Leg a, b;
  if (!makeLeg(world, kinds[0], 1, false, a) || !makeLeg(world, kinds[1], 2, true, b)) {
    outcome.refused++;
    return;
  }
  const auto mark = static_cast<uint32_t>(random.between(1, 40'000));
  const RelayBounds bounds{.highWaterBytes = {mark, mark}, .lowWaterBytes = {mark / 4, mark / 4}};
  // Some of it comes before there is a relay.
  world.write(a.outer, there.substr(0, there.size() / 2));
  world.apply();
  world.pass(random.between(0, 20));
  auto relay = over(world, a.inner) || over(world, b.inner)
                   ? Result<uint32_t>(Error{ErrorCode::closed, 0, ""})
                   : world.network().relay(a.inner.slot, b.inner.slot, bounds);
  if (!relay) {
    outcome.refused++;
    return;
  }
  world.handler = [&](Conn conn, EventType type, const EventRecord&) {
    if (type != EventType::relaying) return;
    const bool first = !(conn < a.inner) && !(a.inner < conn);
    world.relayGo(conn, first ? b.inner : a.inner);
  };
  world.write(a.outer, there.substr(there.size() / 2));
  world.op(OpType::end, a.outer);
  world.write(b.outer, back);
  world.op(OpType::end, b.outer);
  world.apply();
  // Somebody goes away in the middle of it.
  uint64_t turnsLeft = random.between(0, 60);
  const Conn leaving[] = {a.outer, b.outer, a.inner, b.inner};
  const size_t which = random.between(0, 3);
  const Conn leaver = leaving[which];
  // For a peer that is destroyed without a word of TLS is an end as any other.
  const OpType leaves = which >= 2 && random.between(0, 1) == 0 ? OpType::destroy : OpType::reset;
  bool left = plan != Plan::leaves;
  const bool ended = world.until(
      [&] {
        for (const Conn inner : {a.inner, b.inner}) {
          const Connection* connection = world.network().find(inner.slot, inner.tag);
          if (connection == nullptr) continue;
          const size_t queued = Network::unsentBytes(*connection);
          if (queued >= mark) outcome.held++;
          // The mark, what was there before, and what one turn may bring.
          CHECK(queued <= mark + there.size() / 2 + 256 * 1024);
        }
        if (!left && turnsLeft-- == 0) {
          left = true;
          if (!over(world, leaver)) world.now(leaves, leaver);
        }
        return over(world, a.outer) && over(world, a.inner) && over(world, b.inner) && over(world, b.outer);
      },
      5'000'000);
  if (!ended) return;
  const Tale &atA = world.of(a.outer), &atB = world.of(b.outer);
  CHECK(isPrefix(atA.received, back));
  CHECK(isPrefix(atB.received, there));
  // An end told as such is the end of everything.
  const bool cutA = plan == Plan::leaves && which == 2, cutB = plan == Plan::leaves && which == 3;
  if (atA.has(EventType::end) && !cutA) CHECK(atA.received == back);
  if (atB.has(EventType::end) && !cutB) CHECK(atB.received == there);
  const bool whole = atA.received == back && atB.received == there;
  (whole ? outcome.complete : outcome.failed)++;
  CHECK(world.relayed.contains(*relay));
  const auto& counts = world.relayed[*relay];
  CHECK(atB.received.size() <= counts[0]);
  CHECK(atA.received.size() <= counts[1]);
  if (plan == Plan::calm) {
    CHECK(whole);
    CHECK_EQ(counts[0], there.size());
    CHECK_EQ(counts[1], back.size());
    for (const Conn conn : {a.outer, a.inner, b.inner, b.outer}) {
      CHECK_EQ(world.of(conn).closeCode, ErrorCode::none);
    }
  }
  // What a peer sent before it went away has been delivered (HP-12).
  if (plan == Plan::leaves && which % 2 == 0) CHECK_EQ(atB.received.size(), counts[0]);
  if (plan == Plan::leaves && which % 2 == 1) CHECK_EQ(atA.received.size(), counts[1]);
  RelayNumbers numbers;
  CHECK(!world.network().relayNumbers(*relay, numbers));
  world.until([&] { return world.network().openConnections() == 0; }, 200'000);
}

/// Fails one splice(2), or each from there on.
struct SpliceFault {
  int place = 0, error = 0;
  bool forGood = false;
  int seen = 0;
};
SpliceFault spliceFault;

int failSplice(const char* call) {
  if (std::string_view(call) != "splice") return 0;
  const int place = ++spliceFault.seen;
  return place == spliceFault.place || (spliceFault.forGood && place > spliceFault.place) ? spliceFault.error : 0;
}

struct FaultInstalled {
  explicit FaultInstalled(const SpliceFault& fault) {
    spliceFault = fault;
    sys::faultHook = failSplice;
  }
  ~FaultInstalled() { sys::faultHook = nullptr; }
};

// Megabytes through a relay, with that failure on the way. How often splice(2) was called.
int spliceWith(std::string_view engine, const SpliceFault& fault) {
  setContext(std::string(engine) + ", " + std::to_string(fault.place) + ", errno " + std::to_string(fault.error));
  NetWorld world(engine);
  Leg a, b;
  if (!makeLeg(world, Kind::plain, 1, false, a) || !makeLeg(world, Kind::plain, 2, true, b)) return 0;
  const FaultInstalled installed(fault);
  const RelayBounds bounds{.highWaterBytes = {100'000, 100'000}, .lowWaterBytes = {0, 0}};
  CHECK(world.network().relay(a.inner.slot, b.inner.slot, bounds));
  world.relayGo(a.inner, b.inner);
  world.relayGo(b.inner, a.inner);
  const std::string there = pattern(4'000'000);
  world.write(a.outer, there);
  world.op(OpType::end, a.outer);
  world.write(b.outer, "back");
  world.op(OpType::end, b.outer);
  world.apply();
  const auto done = [&] { return over(world, a.outer) && over(world, b.outer) && world.relayed.size() == 1; };
  if (!world.until(done, 20'000)) return 0;
  CHECK(world.of(b.outer).received == there);
  CHECK(world.of(a.outer).received == "back");
  CHECK_EQ(world.relayed.begin()->second[0], there.size());
  CHECK_EQ(world.of(a.inner).closeCode, ErrorCode::none);
  CHECK_EQ(world.of(b.inner).closeCode, ErrorCode::none);
  return spliceFault.seen;
}

}  // namespace

TEST("what splice(2) cannot do is received and sent instead (HP-127)") {
  if (!sys::hasSplice) return;
  for (const std::string_view engine : {"epoll", "poll"}) {
    const int calls = spliceWith(engine, {});
    CHECK(calls > 4);
    for (int place = 1; place <= 8 && failures() == 0; ++place) {
      // Odd calls mostly fill the pipe, even ones empty it.
      for (const int error : {EINVAL, EAGAIN, ENOSYS}) spliceWith(engine, {place, error, error == ENOSYS});
    }
    // Once the system has said that there is no such call, it is not asked again.
    if (failures() == 0) CHECK_EQ(spliceWith(engine, {1, ENOSYS, true}), 1);
  }
}

TEST("a relay carries everything over networks that split and delay, for a thousand seeds") {
  Outcome outcome;
  for (uint64_t seed = 1; seed <= seeds(1000) && failures() == 0; ++seed) oneSeed(seed, Plan::calm, outcome);
  CHECK(outcome.held > 1000);
}

TEST("a relay over networks that stall and reset ends, and tells no end that was none, for a thousand seeds") {
  Outcome outcome;
  for (uint64_t seed = 1; seed <= seeds(1000) && failures() == 0; ++seed) oneSeed(seed, Plan::faults, outcome);
  // Both happened, or the faults missed their aim.
  CHECK(outcome.complete > 50);
  CHECK(outcome.failed > 50);
}

TEST(
    "whoever leaves a relay in the middle takes the other one along, behind what was received, for a thousand "
    "seeds") {
  Outcome outcome;
  for (uint64_t seed = 1; seed <= seeds(1000) && failures() == 0; ++seed) oneSeed(seed, Plan::leaves, outcome);
  CHECK(outcome.complete > 20);
  CHECK(outcome.failed > 50);
}

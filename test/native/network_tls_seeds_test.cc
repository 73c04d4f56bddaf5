// TLS over a network that splits, delays, stalls and resets, by seeds: whatever happens, each end gets a beginning of what
// the other wrote, in order, and hears of exactly one end; without faults it gets all of it. A failure prints the seed
// that repeats it.
#include <string>

#include "engine/sim_random.h"
#include "net/tls_failures.h"
#include "support/net_world.h"
#include "support/seeds.h"
#include "support/test.h"
#include "support/world.h"

using namespace sluice;
using namespace sluice::test;

namespace {

// SLUICE_TLS_SEEDS=20000 for a long run.
uint64_t seeds(uint64_t usual) { return seedCount("SLUICE_TLS_SEEDS", usual); }

SimOptions networkOf(uint64_t seed, bool faults) {
  SimOptions sim = roughNetwork(seed, seed * 7 + 1);
  if (faults) {
    sim.resetProbability = 0.5;
    sim.resetAfterMaxBytes = 20'000;
    sim.stallProbability = 0.01;
    sim.stallMaxMs = 12'000;
  }
  return sim;
}

struct Outcome {
  int complete = 0, failed = 0, refused = 0;
};

void oneSeed(uint64_t seed, bool faults, Outcome& outcome) {
  setContext("seed " + std::to_string(seed));
  const SimOptions sim = networkOf(seed, faults);
  NetWorld world("sim", {.sim = sim});
  SimRandom random(seed);
  const size_t most = sim.segmentMaxBytes < 64 || sim.sendBufferBytes < 64 ? 2'000 : 60'000;
  const std::string there = pattern(random.between(1, most)), back = pattern(random.between(1, most), 5);
  ConnectionConfig connections;
  connections.tls = localServerTls();
  const SocketAddress address = world.listen(1, connections);
  const Conn client = world.connect(address);
  const auto over = [&](Conn conn) { return world.of(conn).has(EventType::closed); };
  if (!world.until([&] { return world.of(client).has(EventType::connected) || over(client); }, 200'000)) return;
  if (over(client)) {
    outcome.refused++;
    return;
  }
  const auto version = seed % 3 == 0 ? TlsVersion::tls12 : TlsVersion::tls13;
  CHECK(world.network().startTls(client.slot, *world.network().find(client.slot, client.tag),
                                 localClientTls(version)));
  world.write(client, there);
  world.op(OpType::end, client);
  world.apply();
  bool answered = false;
  const bool ended = world.until(
      [&] {
        if (!answered && !world.opened.empty()) {
          answered = true;
          world.write(world.opened.front(), back);
          world.op(OpType::end, world.opened.front());
          world.apply();
        }
        const bool serverOver =
            world.opened.empty() ? !world.handshakeFailures.empty() : over(world.opened.front());
        return over(client) && serverOver;
      },
      5'000'000);
  if (!ended) return;
  CHECK(isPrefix(world.of(client).received, back));
  const bool told = !world.opened.empty();
  if (told) CHECK(isPrefix(world.of(world.opened.front()).received, there));
  const bool whole = told && world.of(client).received == back && world.of(world.opened.front()).received == there;
  if (whole) outcome.complete++;
  else outcome.failed++;
  if (!faults) {
    CHECK(whole);
    CHECK_EQ(world.of(client).closeCode, ErrorCode::none);
    if (told) CHECK_EQ(world.of(world.opened.front()).closeCode, ErrorCode::none);
  }
  // An end told as such is the end of everything: what came before it is all there was (truncation attacks).
  if (world.of(client).has(EventType::end)) CHECK(world.of(client).received == back);
  if (told && world.of(world.opened.front()).has(EventType::end)) {
    CHECK(world.of(world.opened.front()).received == there);
  }
  world.until([&] { return world.network().openConnections() == 0; }, 200'000);
}

}  // namespace

TEST("TLS carries everything over networks that split and delay, for a thousand seeds") {
  Outcome outcome;
  for (uint64_t seed = 1; seed <= seeds(1000) && failures() == 0; ++seed) oneSeed(seed, false, outcome);
}

TEST("TLS ends in good order on networks that stall and reset, for a thousand seeds") {
  Outcome outcome;
  for (uint64_t seed = 1; seed <= seeds(1000) && failures() == 0; ++seed) oneSeed(seed, true, outcome);
  // Both happened, or the faults missed their aim.
  CHECK(outcome.complete > 50);
  CHECK(outcome.failed > 50);
}

// Goal: nothing is leaked or left standing. Under ASan this is the proof.
TEST("handshakes fail in every way at once, by the thousand") {
  const uint64_t rounds = seeds(1500) / 15;
  SimOptions sim;
  sim.seed = 9;
  sim.segmentMinBytes = 1;
  sim.segmentMaxBytes = 600;
  NetWorld world("sim", {.sim = sim});
  SimRandom random(9);
  TlsConfig brief;
  brief.context = localServerTls()->context;
  brief.handshakeTimeoutMs = 200;
  brief.maxHandshakes = 20;
  brief.maxHandshakesWaiting = 10;
  ConnectionConfig connections;
  connections.tls = std::make_shared<const TlsConfig>(std::move(brief));
  const SocketAddress address = world.listen(1, connections);
  TlsConfig distrusts;
  distrusts.context = *TlsContext::create(TlsRole::client, {});
  const auto distrusting = std::make_shared<const TlsConfig>(std::move(distrusts));
  const std::string garbage = pattern(3000, 11);
  std::vector<Conn> clients;
  for (uint64_t round = 0; round < rounds; ++round) {
    for (int i = 0; i < 100; ++i) {
      const Conn client = world.connect(address);
      clients.push_back(client);
      switch (random.between(0, 7)) {
        case 0: break;                                                            // says nothing
        case 1: world.write(client, garbage); break;                              // no TLS
        case 2: world.write(client, std::string_view("\x16\x03\x01", 3)); break;  // a beginning, and silence
        case 3: world.op(OpType::end, client); break;                             // leaves at once
        case 4:
          world.write(client, std::string_view("\x16\x03\x01\x02\x00\x01", 6));
          world.op(OpType::end, client);
          break;
        case 5:
          world.write(client, std::string_view("\x16\x03\x01\x00\x05hello", 10));
          world.op(OpType::reset, client);
          break;
        default: break;  // the handlers below start TLS
      }
    }
    world.handler = [&](Conn conn, EventType type, const EventRecord&) {
      if (type != EventType::connected || conn.slot % 8 < 6) return;
      Connection* connection = world.network().find(conn.slot, conn.tag);
      // Nobody may begin after it has ended its direction.
      if (connection != nullptr) (void)world.network().startTls(conn.slot, *connection, distrusting);
    };
    world.pass(random.between(1, 60));
    for (const Conn client : clients) {
      if (random.between(0, 2) == 0 && !world.of(client).has(EventType::closed)) world.op(OpType::destroy, client);
    }
    world.apply();
    std::erase_if(clients, [&](Conn client) { return world.of(client).has(EventType::closed); });
    world.handshakeFailures.clear();
  }
  for (const Conn client : clients) world.op(OpType::destroy, client);
  world.apply();
  CHECK(world.until([&] { return world.network().openConnections() == 0; }, 60'000));
  CHECK_EQ(world.network().listener(1)->handshakes, 0u);
  CHECK(world.network().listener(1)->handshakesFailed > rounds * 20);
}

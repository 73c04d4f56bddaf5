// The simulated engine, fact by fact. What it shares with all engines is in engine_contract_test.cc, what holds under
// random faults in sim_property_test.cc.
#include "engine/sim_engine.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "support/test.h"

namespace sluice {
namespace {

using Kind = Completion::Kind;

SocketAddress ip(const char* host, uint16_t port) { return *SocketAddress::ip(host, port); }

ListenSpec at(const SocketAddress& address) {
  ListenSpec spec;
  spec.address = address;
  return spec;
}
ConnectSpec to(const SocketAddress& address, const SocketAddress& local = {}) {
  ConnectSpec spec;
  spec.address = address;
  spec.local = local;
  return spec;
}

// An engine, and what has happened on it.
class Sim {
 public:
  explicit Sim(const SimOptions& options = {}) : slab_(1 << 20) {
    auto made = makeSimEngine({.slab = slab_}, &options);
    SLUICE_ASSERT(made);
    engine = std::move(*made);
  }

  ListenerId listen(const SocketAddress& address, int backlog = 511) {
    ListenSpec spec = at(address);
    spec.backlog = backlog;
    auto id = engine->listen(spec);
    SLUICE_ASSERT(id);
    engine->setAcceptBudget(*id, unlimitedAccepts);
    return *id;
  }
  Slot connect(const SocketAddress& address) {
    auto slot = engine->connect(to(address));
    SLUICE_ASSERT(slot);
    return *slot;
  }
  SendResult send(Slot slot, std::string_view text) {
    const iovec piece{const_cast<char*>(text.data()), text.size()};
    return engine->send(slot, &piece, 1);
  }

  size_t poll(Deadline deadline = Deadline::never()) {
    Completion completions[64];
    const auto count = engine->poll({completions, 0, static_cast<uint32_t>(slab_.size())}, deadline);
    SLUICE_ASSERT(count);
    for (size_t i = 0; i < *count; ++i) {
      seen.push_back(completions[i]);
      if (completions[i].kind == Kind::received)
        received.append(reinterpret_cast<char*>(slab_.data()) + completions[i].offset, completions[i].length);
    }
    return *count;
  }
  /// Polls until `kind` has come, and returns it; of another kind than `kind` when nothing is left to happen.
  Completion await(Kind kind) {
    for (;;) {
      for (; looked_ < seen.size(); ++looked_)
        if (seen[looked_].kind == kind) return seen[looked_++];
      if (poll() == 0) return {.kind = kind == Kind::closed ? Kind::accepted : Kind::closed};
    }
  }
  void run() {
    while (poll() > 0) {}
  }
  size_t count(Kind kind) const {
    size_t found = 0;
    for (const Completion& completion : seen) found += completion.kind == kind;
    return found;
  }

  /// A connection; the server's end receives, the client's does not yet.
  void pair() {
    listener = listen(ip("10.0.0.9", 0));
    client = connect(*engine->listenerAddress(listener));
    server = await(Kind::accepted).socket;
    engine->receive(server, true);
  }

  std::unique_ptr<Engine> engine;
  std::vector<Completion> seen;
  std::string received;
  ListenerId listener = noListener;
  Slot client = noSlot, server = noSlot;

 private:
  std::vector<uint8_t> slab_;
  size_t looked_ = 0;
};

SimOptions with(std::initializer_list<std::pair<const char*, double>> values) {
  SimOptions options;
  for (const auto& [name, value] : values) SLUICE_ASSERT(setSimOption(options, name, value));
  return options;
}

// ── time ──

TEST("time begins at a fixed value and moves only by waiting") {
  Sim sim(with({{"latencyMinMs", 10}}));
  CHECK_EQ(sim.engine->nowMs(), 1'000'000);
  sim.listen(ip("10.0.0.9", 80));
  sim.connect(ip("10.0.0.9", 80));
  CHECK(sim.engine->work());
  CHECK_EQ(sim.poll(Deadline::now()), 0);
  CHECK_EQ(sim.engine->nowMs(), 1'000'000);
  CHECK_EQ(sim.poll({1'000'007}), 0);
  CHECK_EQ(sim.engine->nowMs(), 1'000'007);
  CHECK_EQ(sim.await(Kind::connected).kind, Kind::connected);
  CHECK_EQ(sim.engine->nowMs(), 1'000'020);
  CHECK_EQ(sim.await(Kind::accepted).kind, Kind::accepted);
  CHECK_EQ(sim.engine->nowMs(), 1'000'030);
}

TEST("a deadline moves time even when nothing is planned, and without one nothing happens") {
  Sim sim;
  CHECK(!sim.engine->work());
  CHECK_EQ(sim.poll(), 0);
  CHECK_EQ(sim.engine->nowMs(), 1'000'000);
  CHECK_EQ(sim.poll({1'060'000}), 0);
  CHECK_EQ(sim.engine->nowMs(), 1'060'000);
}

TEST("wake makes one poll return before time moves") {
  Sim sim;
  sim.engine->wake();
  CHECK_EQ(sim.poll({1'000'500}), 0);
  CHECK_EQ(sim.engine->nowMs(), 1'000'000);
  CHECK_EQ(sim.poll({1'000'500}), 0);
  CHECK_EQ(sim.engine->nowMs(), 1'000'500);
}

TEST("what a closed socket was waiting for does not move the clock") {
  Sim sim(with({{"blackHoleProbability", 1}}));
  const Slot slot = sim.connect(ip("10.0.0.9", 80));
  CHECK_EQ(sim.poll({1'000'050}), 0);
  sim.engine->close(slot, CloseMode::normal);
  CHECK_EQ(sim.await(Kind::closed).socket, slot);
  CHECK_EQ(sim.poll(), 0);
  CHECK_EQ(sim.engine->nowMs(), 1'000'050);
  CHECK(!sim.engine->work());
}

TEST("a slow line delays by its rate") {
  Sim sim(with({{"bytesPerSecond", 1000}, {"latencyMinMs", 5}}));
  sim.pair();
  const TimeMs begin = sim.engine->nowMs();
  sim.send(sim.client, std::string(10'000, 'x'));
  while (sim.received.size() < 10'000 && sim.poll() > 0) {}
  CHECK_EQ(sim.engine->nowMs() - begin, 10'005);
}

TEST("a stalled connection stands still, and its data still comes in order") {
  Sim sim(with({{"stallProbability", 1}, {"stallMinMs", 700}, {"stallMaxMs", 700}}));
  sim.pair();
  const TimeMs begin = sim.engine->nowMs();
  sim.send(sim.client, "first ");
  sim.send(sim.client, "second");
  sim.await(Kind::received);
  CHECK(sim.engine->nowMs() >= begin + 700);
  sim.run();
  CHECK_EQ(sim.received, "first second");
}

// ── addresses ──

TEST("a connect to nobody is refused, a Unix path to nobody is not found") {
  Sim sim;
  sim.connect(ip("10.0.0.9", 80));
  CHECK_EQ(sim.await(Kind::connectFailed).error.code, ErrorCode::connectionRefused);
  sim.connect(*SocketAddress::unixPath("/run/nobody"));
  CHECK_EQ(sim.await(Kind::connectFailed).error.code, ErrorCode::notFound);
}

TEST("a listener on port 0 gets a port, a second one on a taken address an error") {
  Sim sim;
  const SocketAddress first = *sim.engine->listenerAddress(sim.listen(ip("10.0.0.9", 0)));
  const SocketAddress second = *sim.engine->listenerAddress(sim.listen(ip("10.0.0.9", 0)));
  CHECK(first.port() != 0);
  CHECK(first.port() != second.port());
  for (const char* host : {"10.0.0.9", "0.0.0.0", "::"})
    CHECK_EQ(sim.engine->listen(at(ip(host, first.port()))).error().code, ErrorCode::addressInUse);
  CHECK(sim.engine->listen(at(ip("10.0.0.8", first.port()))));
  ListenSpec ipv6Only = at(ip("::", first.port()));
  ipv6Only.ipv6Only = true;
  CHECK(sim.engine->listen(ipv6Only));
  sim.listen(*SocketAddress::unixPath("/run/a"));
  CHECK_EQ(sim.engine->listen(at(*SocketAddress::unixPath("/run/a"))).error().code, ErrorCode::addressInUse);
}

TEST("an address is free again once its listener is closed") {
  Sim sim;
  sim.engine->closeListener(sim.listen(ip("10.0.0.9", 80)));
  CHECK(sim.engine->listen(at(ip("10.0.0.9", 80))));
}

TEST(":: serves IPv4 too and shows it as mapped addresses") {
  Sim sim;
  sim.listen(ip("::", 80));
  const Slot client = sim.connect(ip("10.0.0.9", 80));
  const Slot server = sim.await(Kind::accepted).socket;
  CHECK_EQ(sim.engine->peerAddress(client)->host(), "10.0.0.9");
  CHECK_EQ(sim.engine->localAddress(server)->host(), "::ffff:10.0.0.9");
  CHECK_EQ(sim.engine->peerAddress(server)->port(), sim.engine->localAddress(client)->port());
}

TEST("listeners that share a port by reusePort share its connections") {
  Sim sim;
  for (int i = 0; i < 2; ++i) {
    ListenSpec spec = at(ip("10.0.0.9", 80));
    spec.reusePort = true;
    auto id = sim.engine->listen(spec);
    REQUIRE(id);
    sim.engine->setAcceptBudget(*id, unlimitedAccepts);
  }
  for (int i = 0; i < 40; ++i) sim.connect(ip("10.0.0.9", 80));
  sim.run();
  size_t byFirst = 0;
  for (const Completion& completion : sim.seen)
    byFirst += completion.kind == Kind::accepted && completion.listener == 0;
  CHECK_EQ(sim.count(Kind::accepted), 40);
  CHECK(byFirst > 5 && byFirst < 35);
}

TEST("Unix paths and abstract names are plain names") {
  Sim sim;
  for (const std::string& name : {std::string("/run/a"), std::string("\0a", 2)}) {
    sim.listen(*SocketAddress::unixPath(name));
    const Slot client = sim.connect(*SocketAddress::unixPath(name));
    const Slot server = sim.await(Kind::accepted).socket;
    CHECK_EQ(sim.engine->localAddress(server)->host(), name);
    CHECK_EQ(sim.engine->localAddress(client)->host(), "");
    CHECK_EQ(sim.engine->tcpInfo(client).error().code, ErrorCode::notSupported);
  }
}

TEST("a client keeps the local address it asked for, and one port serves one client") {
  Sim sim;
  sim.listen(ip("10.0.0.9", 80));
  const ConnectSpec spec = to(ip("10.0.0.9", 80), ip("10.0.0.4", 4000));
  const auto client = sim.engine->connect(spec);
  REQUIRE(client);
  CHECK_EQ(sim.engine->connect(spec).error().code, ErrorCode::addressInUse);
  CHECK_EQ(sim.engine->peerAddress(sim.await(Kind::accepted).socket)->host(), "10.0.0.4");
  CHECK_EQ(sim.engine->connect(to(spec.address, ip("::1", 0))).error().code, ErrorCode::invalidArgument);
}

// ── connecting and accepting ──

TEST("refused connects, and connects that nobody answers") {
  Sim refusing(with({{"refuseProbability", 1}}));
  refusing.listen(ip("10.0.0.9", 80));
  refusing.connect(ip("10.0.0.9", 80));
  CHECK_EQ(refusing.await(Kind::connectFailed).error.code, ErrorCode::connectionRefused);

  Sim silent(with({{"blackHoleProbability", 1}, {"connectGiveUpMs", 30'000}}));
  silent.listen(ip("10.0.0.9", 80));
  silent.connect(ip("10.0.0.9", 80));
  CHECK_EQ(silent.await(Kind::connectFailed).error.osError, ETIMEDOUT);
  CHECK_EQ(silent.engine->nowMs(), 1'030'000);
}

TEST("connects beyond the backlog wait, and come in when there is room") {
  Sim sim;
  const ListenerId listener = sim.listen(ip("10.0.0.9", 80), 2);
  sim.engine->setAcceptBudget(listener, 0);
  for (int i = 0; i < 5; ++i) sim.connect(ip("10.0.0.9", 80));
  while (sim.poll({1'000'500}) > 0) {}
  CHECK_EQ(sim.count(Kind::connected), 2);
  sim.engine->setAcceptBudget(listener, unlimitedAccepts);
  sim.run();
  CHECK_EQ(sim.count(Kind::connected), 5);
  CHECK_EQ(sim.count(Kind::accepted), 5);
}

TEST("an accept budget counts, and what waits comes with the next one") {
  Sim sim;
  const ListenerId listener = sim.listen(ip("10.0.0.9", 80));
  sim.engine->setAcceptBudget(listener, 2);
  for (int i = 0; i < 3; ++i) sim.connect(ip("10.0.0.9", 80));
  sim.run();
  CHECK_EQ(sim.count(Kind::accepted), 2);
  sim.engine->setAcceptBudget(listener, 1);
  sim.run();
  CHECK_EQ(sim.count(Kind::accepted), 3);
}

TEST("closing a listener resets what waits in its backlog") {
  Sim sim;
  const ListenerId listener = sim.listen(ip("10.0.0.9", 80));
  sim.engine->setAcceptBudget(listener, 0);
  const Slot client = sim.connect(ip("10.0.0.9", 80));
  sim.await(Kind::connected);
  sim.poll({1'000'100});
  sim.engine->closeListener(listener);
  sim.engine->receive(client, true);
  CHECK_EQ(sim.await(Kind::receiveFailed).error.code, ErrorCode::connectionReset);
  CHECK_EQ(sim.count(Kind::accepted), 0);
}

TEST("without descriptors connect fails at once, and accept until one is closed") {
  Sim sim(with({{"descriptorLimit", 3}}));
  const ListenerId listener = sim.listen(ip("10.0.0.9", 80));
  const Slot first = sim.connect(ip("10.0.0.9", 80));
  sim.connect(ip("10.0.0.9", 80));
  CHECK_EQ(sim.engine->connect(to(ip("10.0.0.9", 80))).error().code, ErrorCode::descriptorLimit);
  CHECK_EQ(sim.engine->listen(at(ip("10.0.0.9", 81))).error().code, ErrorCode::descriptorLimit);
  CHECK_EQ(sim.await(Kind::acceptFailed).error.code, ErrorCode::descriptorLimit);
  sim.run();
  CHECK_EQ(sim.count(Kind::acceptFailed), 1);  // once, and then silence
  sim.engine->close(first, CloseMode::normal);
  sim.engine->setAcceptBudget(listener, 1);
  CHECK_EQ(sim.await(Kind::accepted).listener, listener);
}

TEST("a failed accept leaves the connection in the backlog") {
  Sim sim(with({{"acceptFailProbability", 0.5}, {"seed", 3}}));
  const ListenerId listener = sim.listen(ip("10.0.0.9", 80));
  for (int i = 0; i < 20; ++i) sim.connect(ip("10.0.0.9", 80));
  for (int tries = 0; tries < 1000 && sim.count(Kind::accepted) < 20; ++tries) {
    sim.run();
    sim.engine->setAcceptBudget(listener, unlimitedAccepts);
  }
  CHECK_EQ(sim.count(Kind::accepted), 20);
  CHECK(sim.count(Kind::acceptFailed) > 3);
}

TEST("descriptors cannot be adopted") {
  Sim sim;
  CHECK_EQ(sim.engine->adopt(-1).error().code, ErrorCode::notSupported);
}

// ── data ──

TEST("pieces are never larger than asked for, and all bytes come") {
  Sim sim(with({{"segmentMinBytes", 1}, {"segmentMaxBytes", 7}, {"jitterMs", 3}}));
  sim.pair();
  std::string text(1000, ' ');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  sim.send(sim.client, text);
  sim.run();
  CHECK_EQ(sim.received, text);
  for (const Completion& completion : sim.seen)
    if (completion.kind == Kind::received) CHECK(completion.length <= 7);
}

TEST("a reader that stops stalls its writer, and lets it go on later") {
  Sim sim(with({{"sendBufferBytes", 1000}, {"receiveWindowBytes", 2000}}));
  sim.pair();
  sim.engine->receive(sim.server, false);
  const std::string text(10'000, 'x');
  size_t taken = 0;
  for (SendResult result; !result.waiting; taken += result.taken) {
    result = sim.send(sim.client, std::string_view(text).substr(taken));
    REQUIRE(!result.error);
  }
  sim.run();
  CHECK_EQ(sim.count(Kind::sent), 0);
  CHECK_EQ(taken, 3000);
  sim.engine->receive(sim.server, true);
  CHECK_EQ(sim.await(Kind::sent).length, 0);
  sim.run();
  CHECK_EQ(sim.received.size(), taken);
}

TEST("a short send takes a part and is not waiting") {
  Sim sim(with({{"shortSendProbability", 1}}));
  sim.pair();
  const SendResult result = sim.send(sim.client, std::string(1000, 'x'));
  CHECK(result.taken > 0 && result.taken < 1000);
  CHECK(!result.waiting);
}

TEST("a deferred send fetches its bytes later") {
  Sim sim(with({{"deferredSendProbability", 1}}));
  sim.pair();
  std::string text = "early";
  const SendResult result = sim.send(sim.client, text);
  CHECK(result.waiting && result.taken == 0);
  std::memcpy(text.data(), "later", 5);
  CHECK_EQ(sim.await(Kind::sent).length, 5);
  sim.run();
  CHECK_EQ(sim.received, "later");
}

TEST("a writer may be woken although there is no room") {
  Sim sim(with({{"spuriousSentProbability", 1}, {"sendBufferBytes", 10}, {"receiveWindowBytes", 10}}));
  sim.pair();
  sim.engine->receive(sim.server, false);
  const std::string text(100, 'x');
  size_t taken = 0;
  for (SendResult result; !result.waiting; taken += result.taken) result = sim.send(sim.client, text);
  CHECK_EQ(taken, 20);
  CHECK_EQ(sim.await(Kind::sent).length, 0);
  const SendResult again = sim.send(sim.client, text);
  CHECK(again.taken == 0 && again.waiting);
}

TEST("options of a socket are taken, and its buffers follow them") {
  Sim sim;
  ListenSpec spec = at(ip("10.0.0.9", 80));
  spec.options = {{SocketOption::receiveBufferBytes, 2000, {}}};
  auto listener = sim.engine->listen(spec);
  REQUIRE(listener);
  sim.engine->setAcceptBudget(*listener, 1);
  const Slot client = sim.connect(ip("10.0.0.9", 80));
  sim.await(Kind::accepted);
  CHECK(sim.engine->setOption(client, {SocketOption::noDelay, 1, {}}));
  CHECK(sim.engine->setOption(client, {SocketOption::sendBufferBytes, 1000, {}}));
  CHECK_EQ(sim.send(client, std::string(5000, 'x')).taken, 1000);
  CHECK_EQ(sim.send(client, std::string(5000, 'x')).taken, 1000);
  const SendResult last = sim.send(client, std::string(5000, 'x'));
  CHECK(last.taken == 1000 && last.waiting);  // the window and the buffer are full
}

TEST("tcpInfo tells the round trip and the bytes") {
  Sim sim(with({{"latencyMinMs", 3}}));
  sim.pair();
  sim.send(sim.client, "hello");
  sim.await(Kind::received);
  auto info = sim.engine->tcpInfo(sim.server);
  REQUIRE(info);
  CHECK_EQ(info->rttUs, 6000);
  CHECK_EQ(info->bytesReceived, 5);
  CHECK_EQ(info->state, 1);
}

// ── ends and failures ──

TEST("half-closed: the end comes after the data, and the other way stays open") {
  Sim sim;
  sim.pair();
  sim.engine->receive(sim.client, true);
  sim.send(sim.client, "question");
  CHECK(sim.engine->shutdownSend(sim.client));
  CHECK_EQ(sim.await(Kind::ended).socket, sim.server);
  CHECK_EQ(sim.send(sim.client, "x").error.code, ErrorCode::brokenPipe);
  sim.send(sim.server, " answer");
  CHECK_EQ(sim.await(Kind::received).socket, sim.client);
  CHECK_EQ(sim.received, "question answer");
}

TEST("data that came before a reset is received before the reset is told, once") {
  Sim sim;
  sim.pair();
  sim.engine->receive(sim.server, false);
  sim.send(sim.client, "last words");
  sim.engine->close(sim.client, CloseMode::reset);
  sim.poll({1'000'100});
  sim.poll({1'000'200});
  sim.engine->receive(sim.server, true);
  CHECK_EQ(sim.await(Kind::received).length, 10);
  CHECK_EQ(sim.await(Kind::receiveFailed).error.code, ErrorCode::connectionReset);
  CHECK_EQ(sim.send(sim.server, "x").error.code, ErrorCode::brokenPipe);
  sim.run();
  CHECK_EQ(sim.count(Kind::receiveFailed), 1);
  CHECK_EQ(sim.count(Kind::ended), 0);
}

TEST("a reset after an end that was not told yet is no clean end") {
  Sim sim;
  sim.pair();
  sim.engine->receive(sim.server, false);
  sim.engine->close(sim.client, CloseMode::normal);
  sim.poll({1'000'100});
  sim.poll({1'000'200});
  sim.send(sim.server, "to nobody");  // answered by a reset
  sim.poll({1'000'300});
  sim.engine->receive(sim.server, true);
  CHECK_EQ(sim.await(Kind::receiveFailed).error.code, ErrorCode::connectionReset);
  CHECK_EQ(sim.count(Kind::ended), 0);
}

TEST("closing with unread data resets, closing without sends the rest and ends") {
  Sim sim;
  sim.pair();
  sim.engine->receive(sim.client, true);
  sim.engine->receive(sim.server, false);
  sim.send(sim.client, "unread");
  sim.poll({1'000'100});
  sim.engine->close(sim.server, CloseMode::normal);
  CHECK_EQ(sim.await(Kind::receiveFailed).socket, sim.client);

  Sim clean(with({{"sendBufferBytes", 100'000}, {"receiveWindowBytes", 10}}));
  clean.pair();
  clean.send(clean.client, std::string(50'000, 'x'));
  clean.engine->close(clean.client, CloseMode::normal);
  CHECK_EQ(clean.await(Kind::ended).socket, clean.server);
  CHECK_EQ(clean.received.size(), 50'000);
}

TEST("a writer that waits hears of a reset") {
  Sim sim(with({{"sendBufferBytes", 10}, {"receiveWindowBytes", 10}}));
  sim.pair();
  sim.engine->receive(sim.server, false);
  while (!sim.send(sim.client, "0123456789").waiting) {}
  sim.engine->close(sim.server, CloseMode::reset);
  CHECK_EQ(sim.await(Kind::sendFailed).error.code, ErrorCode::connectionReset);
}

TEST("a connection that is cut fails at both ends after so many bytes") {
  Sim sim(with({{"resetProbability", 1},
                {"resetAfterMinBytes", 100},
                {"resetAfterMaxBytes", 100},
                {"segmentMaxBytes", 10}}));
  sim.pair();
  sim.engine->receive(sim.client, true);
  sim.send(sim.client, std::string(500, 'x'));
  sim.run();
  CHECK_EQ(sim.received.size(), 100);
  CHECK_EQ(sim.count(Kind::receiveFailed), 2);
}

TEST("after close only closed comes, and the slot goes to the next") {
  Sim sim;
  sim.pair();
  sim.send(sim.client, "on its way");
  sim.engine->close(sim.server, CloseMode::normal);
  const size_t before = sim.seen.size();
  sim.poll(Deadline::now());
  REQUIRE(sim.seen.size() == before + 1);
  CHECK_EQ(sim.seen.back().kind, Kind::closed);
  const uint32_t generation = sim.engine->generation(sim.server);
  sim.engine->release(sim.server);
  sim.run();
  CHECK_EQ(sim.count(Kind::received), 0);
  CHECK_EQ(sim.connect(ip("10.0.0.9", 1)), sim.server);
  CHECK_EQ(sim.engine->generation(sim.server), generation + 1);
}

// ── options ──

TEST("options have bounds, and ranges an order") {
  SimOptions options;
  CHECK(setSimOption(options, "seed", 42));
  CHECK_EQ(options.seed, 42);
  CHECK(setSimOption(options, "latencyMinMs", 0.25));
  CHECK_EQ(options.latencyMinMs, 0.25);
  CHECK(!setSimOption(options, "sead", 42));
  CHECK(!setSimOption(options, "resetProbability", 1.5));
  CHECK(!setSimOption(options, "resetProbability", std::nan("")));
  CHECK(!setSimOption(options, "segmentMaxBytes", 0));
  CHECK(!setSimOption(options, "segmentMaxBytes", 1.5));
  CHECK(checkSimOptions(options));
  const SimOptions backwards = with({{"stallMinMs", 10}, {"stallMaxMs", 5}});
  CHECK_EQ(makeSimEngine({}, &backwards).error().code, ErrorCode::invalidArgument);
}

}  // namespace
}  // namespace sluice

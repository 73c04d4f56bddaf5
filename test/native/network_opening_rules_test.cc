// Rules on connections that open: at the socket, at the session, at the first content; and what they leave behind.
#include "net/opening_rules.h"
#include "net/opening_steps.h"
#include "rules/rule_spec.h"
#include "support/net_world.h"
#include "support/test.h"
#include "support/tls_pair.h"
#include "support/world.h"

using namespace sluice;
using namespace sluice::test;

namespace {

using InForce = std::shared_ptr<RuleListInForce>;

InForce inForce(const std::vector<RuleSpec>& rules, uint32_t inspectDelayMs = 0) {
  return std::make_shared<RuleListInForce>(RuleList::create(rules, inspectDelayMs));
}

/// As listen() puts them: rules at the socket, then `more`, then those of the session and its content.
ConnectionConfig with(const InForce& list, std::unique_ptr<OpeningStepKind> more = nullptr) {
  auto plan = std::make_shared<OpeningPlan>();
  plan->steps.push_back(opening_steps::rules(RuleStage::socket, list));
  if (more) plan->steps.push_back(std::move(more));
  plan->sessionSteps.push_back(opening_steps::rules(RuleStage::session, list));
  plan->sessionSteps.push_back(opening_steps::rules(RuleStage::content, list));
  ConnectionConfig config;
  config.opening = std::move(plan);
  return config;
}

RuleSpec rule(RuleStage stage, RuleActionKind action, ConditionSpec when = {}, uint32_t number = 0) {
  RuleSpec spec;
  spec.stage = stage;
  spec.action = action;
  spec.when = std::move(when);
  spec.number = number;
  return spec;
}

std::shared_ptr<StickTable> table() {
  TableConfig config;
  config.size = 100;
  for (const TableData data : {TableData::connCount, TableData::connCurrent, TableData::sessCount,
                               TableData::bytesInCount, TableData::bytesOutCount, TableData::glitchCount}) {
    config.layout.store(data, 1, 1000);
  }
  return StickTable::create(config);
}

RuleSpec track(RuleStage stage, const std::shared_ptr<StickTable>& in) {
  RuleSpec spec = rule(stage, RuleActionKind::track);
  spec.counter.table = in;
  return spec;
}

ConditionSpec counter(TableData data, Comparison comparison, uint64_t number) {
  ConditionSpec condition;
  condition.kind = ConditionKind::counter;
  condition.counter.column = {data, 0};
  condition.comparison = comparison;
  condition.number = number;
  return condition;
}

ConditionSpec from(std::string_view network) {
  CidrSet::Entry entry;
  CHECK_EQ(parseNetwork(network, entry.network), NetworkTextError::none);
  ConditionSpec condition;
  condition.kind = ConditionKind::network;
  condition.networks = std::make_shared<SharedCidrSet>(
      std::make_shared<const CidrSet>(std::vector{entry}, std::vector<std::string>{""}));
  return condition;
}

ConditionSpec starts(std::string text) {
  ConditionSpec condition;
  condition.kind = ConditionKind::contentStarts;
  condition.texts = {std::move(text)};
  return condition;
}

uint64_t valueOf(StickTable& in, std::string_view host, TableData data, TimeMs now) {
  TableKey key;
  CHECK(in.config().key.ofText(host, key));
  return in.read(key, {data, 0}, now).value_or(0);
}

Conn connectTo(NetWorld& world, const SocketAddress& address) {
  const Conn client = world.connect(address);
  world.until([&] { return world.of(client).has(EventType::connected); });
  return client;
}

OpeningFailure lastFailure(NetWorld& world) {
  OpeningReport report;
  if (world.openingFailures.empty()) return OpeningFailure::none;
  CHECK(OpeningFailures::shared().take(world.openingFailures.back() & OpeningFailures::maxNumber, report));
  CHECK_EQ(report.step, "rules");
  return report.failure;
}

const std::string line = "PROXY TCP4 192.0.2.1 198.51.100.5 56324 443\r\n";

std::shared_ptr<const TlsConfig> serverTls() {
  TlsOptions options;
  options.keys.push_back({testServer().certificate, testServer().key, ""});
  TlsConfig config;
  config.context = *TlsContext::create(TlsRole::server, options);
  return std::make_shared<const TlsConfig>(std::move(config));
}

std::shared_ptr<const TlsConfig> clientTls(const std::string& name) {
  TlsOptions options;
  options.ca.push_back(testAuthority().certificate);
  TlsConfig config;
  config.context = *TlsContext::create(TlsRole::client, options);
  config.peer.serverName = config.peer.verifyName = name;
  return std::make_shared<const TlsConfig>(std::move(config));
}

Conn secureTo(NetWorld& world, const SocketAddress& address, const std::string& name) {
  const Conn client = connectTo(world, address);
  CHECK(world.network().startTls(client.slot, *world.network().find(client.slot, client.tag), clientTls(name)));
  CHECK(world.until([&] { return world.of(client).has(EventType::secured); }));
  return client;
}

}  // namespace

TEST("rules of the session know what TLS found out, and those of the content what it decrypts") {
  NetWorld world("sim");
  ConditionSpec named;
  named.kind = ConditionKind::serverName;
  named.texts = {"*.example.com"};
  ConnectionConfig config = with(inForce({rule(RuleStage::session, RuleActionKind::reject, named),
                                          rule(RuleStage::content, RuleActionKind::reject, starts("BAD")),
                                          rule(RuleStage::content, RuleActionKind::accept, starts("GOOD"))},
                                         5000));
  config.tls = serverTls();
  const SocketAddress address = world.listen(1, config);
  const Conn unwanted = secureTo(world, address, "a.example.com");
  CHECK(world.until([&] { return world.of(unwanted).has(EventType::closed); }));
  CHECK_EQ(lastFailure(world), OpeningFailure::ruleReject);

  const Conn bad = secureTo(world, address, "localhost");
  world.writeNow(bad, "BAD");
  CHECK(world.until([&] { return world.of(bad).has(EventType::closed); }));
  CHECK(world.opened.empty());

  const Conn good = secureTo(world, address, "localhost");
  world.writeNow(good, "GO");
  world.pass(50);
  CHECK(world.opened.empty());
  world.writeNow(good, "OD and more");
  CHECK(world.until(
      [&] { return world.opened.size() == 1 && world.of(world.opened[0]).received == "GOOD and more"; }));
  world.writeNow(world.opened[0], "answer");
  CHECK(world.until([&] { return world.of(good).received == "answer"; }));
  const std::string much = pattern(200'000);
  world.writeNow(good, much);
  CHECK(world.until([&] { return world.of(world.opened[0]).received.size() == 13 + much.size(); }));
}

TEST("a rule at the socket rejects with RST by the real address, before anything is read") {
  NetWorld world("sim");
  const SocketAddress address =
      world.listen(1, with(inForce({rule(RuleStage::socket, RuleActionKind::reject, from("127.0.0.0/8"))}),
                           opening_steps::acceptProxy({})));
  const Conn client = world.connect(address);
  world.writeNow(client, line);
  CHECK(world.until([&] { return world.of(client).has(EventType::closed); }));
  CHECK_EQ(world.of(client).closeCode, ErrorCode::connectionReset);
  CHECK_EQ(lastFailure(world), OpeningFailure::ruleReject);
  CHECK_EQ((*world.network().listener(1)->openings)[static_cast<size_t>(OpeningFailure::ruleReject)], 1u);
}

TEST("rules that ask for our own address get it") {
  NetWorld world("sim");
  ConditionSpec own = from("127.0.0.1");
  own.fact = RuleFact::local;
  const SocketAddress address =
      world.listen(1, with(inForce({rule(RuleStage::socket, RuleActionKind::reject, own)})));
  const Conn client = connectTo(world, address);
  CHECK(world.until([&] { return world.of(client).has(EventType::closed); }));
  CHECK_EQ(lastFailure(world), OpeningFailure::ruleReject);
}

TEST("a rule at the session goes by the claimed address") {
  NetWorld world("sim");
  const SocketAddress address =
      world.listen(1, with(inForce({rule(RuleStage::session, RuleActionKind::reject, from("192.0.2.0/24"))}),
                           opening_steps::acceptProxy({})));
  const Conn bad = connectTo(world, address);
  world.writeNow(bad, line);
  CHECK(world.until([&] { return world.of(bad).has(EventType::closed); }));
  const Conn good = connectTo(world, address);
  world.writeNow(good, "PROXY TCP4 203.0.113.9 198.51.100.5 56324 443\r\nhello");
  CHECK(world.until([&] { return world.opened.size() == 1 && world.of(world.opened[0]).received == "hello"; }));
}

TEST("a drop without a word leaves the peer believing") {
  NetWorld world("sim");
  const SocketAddress address =
      world.listen(1, with(inForce({rule(RuleStage::socket, RuleActionKind::silentDrop)})));
  const Conn client = connectTo(world, address);
  CHECK(world.until([&] { return !world.openingFailures.empty(); }));
  world.pass(60'000);
  CHECK_EQ(lastFailure(world), OpeningFailure::ruleSilentDrop);
  CHECK(!world.of(client).has(EventType::end));
  CHECK(!world.of(client).has(EventType::closed));
}

TEST("a delay holds the connection for its time, and evaluation goes on behind it") {
  NetWorld world("sim");
  const SocketAddress address =
      world.listen(1, with(inForce({rule(RuleStage::socket, RuleActionKind::delay, {}, 3000),
                                    rule(RuleStage::socket, RuleActionKind::accept)})));
  const TimeMs began = world.nowMs();
  const Conn client = connectTo(world, address);
  world.writeNow(client, "waiting");
  CHECK(world.until([&] { return !world.opened.empty(); }));
  CHECK(world.nowMs() - began >= 3000);
  CHECK(world.nowMs() - began <= 3100);
  CHECK(world.until([&] { return world.of(world.opened[0]).received == "waiting"; }));
}

TEST("a delay longer than the deadline of all steps ends there") {
  NetWorld world("sim");
  const SocketAddress address =
      world.listen(1, with(inForce({rule(RuleStage::socket, RuleActionKind::delay, {}, 60'000)})));
  connectTo(world, address);
  CHECK(world.until([&] { return !world.openingFailures.empty(); }, 11'000));
  CHECK_EQ(lastFailure(world), OpeningFailure::ruleTimeout);
}

TEST("a PROXY header is read from those of whom a rule says so, and from nobody else") {
  for (const bool expected : {true, false}) {
    NetWorld world("sim");
    const char* network = expected ? "127.0.0.1" : "10.0.0.0/8";
    const SocketAddress address =
        world.listen(1, with(inForce({rule(RuleStage::socket, RuleActionKind::expectProxy, from(network))}),
                             opening_steps::acceptProxy({.sources = {nullptr, true}, .limits = {}})));
    const Conn client = connectTo(world, address);
    world.writeNow(client, line + "x");
    CHECK(world.until([&] { return !world.opened.empty(); }));
    CHECK(world.until([&] { return world.of(world.opened[0]).received == (expected ? "x" : line + "x"); }));
  }
}

TEST("content is looked at until a rule decides, and all of it is the session's") {
  NetWorld world("sim");
  const auto rules = inForce({rule(RuleStage::content, RuleActionKind::accept, starts("GET /")),
                              rule(RuleStage::content, RuleActionKind::reject)},
                             500);
  const SocketAddress address = world.listen(1, with(rules));
  const Conn good = connectTo(world, address);
  for (const char* piece : {"G", "ET", " /index"}) {
    world.writeNow(good, piece);
    world.pass(20);
  }
  REQUIRE(world.opened.size() == 1);
  CHECK_EQ(world.of(world.opened[0]).received, "GET /index");
  const Conn bad = connectTo(world, address);
  world.writeNow(bad, "GEX");
  CHECK(world.until([&] { return world.of(bad).has(EventType::closed); }));
}

TEST("when the time to inspect is over, or the peer has ended, what is undecided counts as no") {
  NetWorld world("sim");
  const auto rules = inForce({rule(RuleStage::content, RuleActionKind::reject, starts("BAD"))}, 500);
  const SocketAddress address = world.listen(1, with(rules));
  const TimeMs began = world.nowMs();
  const Conn slow = connectTo(world, address);
  world.writeNow(slow, "BA");
  CHECK(world.until([&] { return world.opened.size() == 1; }));
  CHECK(world.nowMs() - began >= 500);
  CHECK(world.nowMs() - began < 600);
  const Conn ended = connectTo(world, address);
  world.write(ended, "B");
  world.op(OpType::end, ended);
  world.apply();
  CHECK(world.until([&] { return world.opened.size() == 2; }));
  CHECK(world.until([&] { return world.of(world.opened[1]).has(EventType::end); }));
  CHECK_EQ(world.of(world.opened[1]).received, "B");
}

TEST("ten at once are admitted and the eleventh is not, until one of them has gone") {
  NetWorld world("sim");
  const auto counts = table();
  const auto rules =
      inForce({track(RuleStage::socket, counts), rule(RuleStage::socket, RuleActionKind::reject,
                                                      counter(TableData::connCurrent, Comparison::greater, 10))});
  const SocketAddress address = world.listen(1, with(rules));
  std::vector<Conn> clients;
  for (int i = 0; i < 12; ++i) clients.push_back(connectTo(world, address));
  world.pass(100);
  CHECK_EQ(world.opened.size(), 10u);
  CHECK_EQ(world.openingFailures.size(), 2u);
  CHECK_EQ(valueOf(*counts, "127.0.0.1", TableData::connCurrent, world.nowMs()), 10u);
  CHECK_EQ(valueOf(*counts, "127.0.0.1", TableData::connCount, world.nowMs()), 12u);
  CHECK_EQ(valueOf(*counts, "127.0.0.1", TableData::sessCount, world.nowMs()), 10u);
  world.now(OpType::destroy, world.opened[0]);
  connectTo(world, address);
  world.pass(100);
  CHECK_EQ(world.opened.size(), 11u);
  for (const Conn conn : world.opened) world.now(OpType::destroy, conn);
  world.pass(100);
  CHECK_EQ(valueOf(*counts, "127.0.0.1", TableData::connCurrent, world.nowMs()), 0u);
}

TEST("bytes are counted while the connection lives, and the last of them at its end") {
  NetWorld world("sim");
  const auto counts = table();
  const SocketAddress address = world.listen(1, with(inForce({track(RuleStage::socket, counts)})));
  const Conn client = connectTo(world, address);
  REQUIRE(world.until([&] { return world.opened.size() == 1; }));
  const Conn server = world.opened[0];
  world.writeNow(client, "12345");
  world.writeNow(server, "1234567");
  world.pass(10'000);
  CHECK_EQ(valueOf(*counts, "127.0.0.1", TableData::bytesInCount, world.nowMs()), 5u);
  CHECK_EQ(valueOf(*counts, "127.0.0.1", TableData::bytesOutCount, world.nowMs()), 7u);
  world.writeNow(client, "678");
  world.pass(5);
  world.now(OpType::destroy, server);
  CHECK(world.until([&] { return world.of(server).has(EventType::closed); }));
  CHECK_EQ(valueOf(*counts, "127.0.0.1", TableData::bytesInCount, world.nowMs()), 8u);
}

TEST("a failed handshake is a glitch of whom rules have tracked") {
  NetWorld world("sim");
  const auto counts = table();
  const SocketAddress address =
      world.listen(1, with(inForce({track(RuleStage::socket, counts)}), opening_steps::acceptProxy({})));
  const Conn client = connectTo(world, address);
  world.writeNow(client, "GET /");
  CHECK(world.until([&] { return !world.openingFailures.empty(); }));
  CHECK_EQ(valueOf(*counts, "127.0.0.1", TableData::glitchCount, world.nowMs()), 1u);
  world.pass(100);
  CHECK_EQ(valueOf(*counts, "127.0.0.1", TableData::connCurrent, world.nowMs()), 0u);
}

TEST("another list in force counts for those who are asked from then on") {
  NetWorld world("sim");
  const auto rules = inForce({rule(RuleStage::socket, RuleActionKind::reject)});
  const SocketAddress address = world.listen(1, with(rules));
  const Conn first = connectTo(world, address);
  CHECK(world.until([&] { return world.of(first).has(EventType::closed); }));
  rules->set(RuleList::create({}, 0));
  connectTo(world, address);
  CHECK(world.until([&] { return world.opened.size() == 1; }));
}

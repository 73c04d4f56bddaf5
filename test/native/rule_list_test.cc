#include "rules/rule_list.h"

#include <algorithm>
#include <random>
#include <thread>

#include "rules/rule_conditions.h"
#include "rules/rule_spec.h"
#include "support/tables.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr TimeMs start = 100'000;
using Marks = std::unique_ptr<ConnectionMarks>;

/// A connection as the rules see it, and what they have left on it.
struct Peer {
  explicit Peer(std::string_view address = "10.0.0.1") : peer(*SocketAddress::ip(address, 40'000)) {
    facts.peer = &peer;
    facts.local = &local;
    facts.nowMs = start;
  }
  Peer(const Peer&) = delete;
  RuleVerdict ask(const std::shared_ptr<const RuleList>& list, RuleStage stage = RuleStage::socket) {
    return list->evaluate(stage, facts, marks);
  }
  void claims(std::string_view source, std::string_view destination) {
    claimed = *SocketAddress::ip(source, 1234);
    claimedTo = *SocketAddress::ip(destination, 443);
    facts.claimedSource = &claimed;
    facts.claimedDestination = &claimedTo;
    facts.proxyVersion = 2;
  }
  void says(std::string_view content, bool complete = false) {
    facts.content = {reinterpret_cast<const uint8_t*>(content.data()), content.size()};
    facts.contentComplete = complete;
  }

  SocketAddress peer, local = *SocketAddress::ip("192.0.2.1", 8443), claimed, claimedTo;
  RuleFacts facts;
  Marks marks;
};

std::shared_ptr<const SharedCidrSet> networks(const std::vector<std::string>& texts) {
  std::vector<CidrSet::Entry> entries;
  for (const std::string& text : texts) {
    IpNetwork network;
    CHECK_EQ(parseNetwork(text, network), NetworkTextError::none);
    entries.push_back({network, static_cast<uint32_t>(entries.size())});
  }
  return std::make_shared<SharedCidrSet>(std::make_shared<CidrSet>(std::move(entries), texts));
}

ConditionSpec from(std::vector<std::string> texts, RuleFact fact = RuleFact::source) {
  return {.kind = ConditionKind::network, .networks = networks(texts), .fact = fact};
}
ConditionSpec textual(ConditionKind kind, std::vector<std::string> texts) { return {.kind = kind, .texts = texts}; }
ConditionSpec starts(std::string text) { return textual(ConditionKind::contentStarts, {text}); }
ConditionSpec contains(std::string text) { return textual(ConditionKind::contentContains, {text}); }
ConditionSpec longAs(uint64_t bytes) { return {.kind = ConditionKind::contentLength, .number = bytes}; }
ConditionSpec all(std::vector<ConditionSpec> parts) { return {.kind = ConditionKind::all, .parts = parts}; }
ConditionSpec any(std::vector<ConditionSpec> parts) { return {.kind = ConditionKind::any, .parts = parts}; }
ConditionSpec none(std::vector<ConditionSpec> parts) { return {.kind = ConditionKind::none, .parts = parts}; }
ConditionSpec counts(TableColumn column, Comparison comparison, uint64_t number, int place = 0) {
  return {.kind = ConditionKind::counter,
          .number = number,
          .comparison = comparison,
          .counter = {.column = column, .place = place}};
}

RuleSpec rule(RuleActionKind action, ConditionSpec when = {}, RuleStage stage = RuleStage::socket) {
  return {.stage = stage, .when = when, .action = action};
}
RuleSpec track(const std::shared_ptr<StickTable>& table, int place = 0, FactSpec key = {}) {
  RuleSpec spec = rule(RuleActionKind::track);
  spec.counter = {.place = place, .table = table, .key = key};
  return spec;
}
RuleSpec staged(RuleSpec spec, RuleStage stage) {
  spec.stage = stage;
  return spec;
}

std::shared_ptr<const RuleList> list(std::vector<RuleSpec> rules) { return RuleList::create(rules, 0); }

std::shared_ptr<StickTable> addressTable(uint32_t size = 100) {
  TableConfig config = everything(size);
  config.key.type = TableKeyType::ip;
  return StickTable::create(config);
}

/// Whether a condition holds at the session stage.
bool holds(const ConditionSpec& condition, Peer& peer) {
  const RuleVerdict verdict =
      peer.ask(list({rule(RuleActionKind::reject, condition, RuleStage::session)}), RuleStage::session);
  return verdict.action == RuleAction::reject;
}

}  // namespace

TEST("without rules everybody is accepted, and nothing is left on the connection") {
  Peer peer;
  const RuleVerdict verdict = peer.ask(list({}));
  CHECK_EQ(verdict.action, RuleAction::accept);
  CHECK_EQ(verdict.rule, -1);
  CHECK(!verdict.expectProxy);
  CHECK(peer.marks == nullptr);
}

TEST("the first rule that ends it decides, and only those carried out are counted (HP-55)") {
  const auto rules = list({
      rule(RuleActionKind::accept, from({"10.1.0.0/16"})),
      rule(RuleActionKind::reject, from({"10.0.0.0/8"})),
      rule(RuleActionKind::silentDrop, from({"192.168.0.0/16"})),
      rule(RuleActionKind::reject, from({"192.168.0.0/16"})),
  });
  const auto verdictOf = [&rules](std::string_view address) { return Peer(address).ask(rules); };
  CHECK_EQ(verdictOf("10.1.2.3").action, RuleAction::accept);
  CHECK_EQ(verdictOf("10.1.2.3").rule, 0);
  CHECK_EQ(verdictOf("10.2.2.3").action, RuleAction::reject);
  CHECK_EQ(verdictOf("10.2.2.3").rule, 1);
  CHECK_EQ(verdictOf("192.168.0.1").action, RuleAction::silentDrop);
  CHECK_EQ(verdictOf("172.16.0.1").action, RuleAction::accept);
  CHECK_EQ(verdictOf("172.16.0.1").rule, -1);
  CHECK_EQ(verdictOf("2001:db8::1").rule, -1);
  CHECK(rules->hits() == std::vector<uint64_t>({2, 2, 1, 0}));
}

TEST("the stages are asked apart, and what a list needs is known before") {
  const auto rules = list({rule(RuleActionKind::reject, {}, RuleStage::session),
                           rule(RuleActionKind::silentDrop, {}, RuleStage::content)});
  Peer peer;
  CHECK_EQ(peer.ask(rules, RuleStage::socket).action, RuleAction::accept);
  CHECK_EQ(peer.ask(rules, RuleStage::session).action, RuleAction::reject);
  CHECK_EQ(peer.ask(rules, RuleStage::content).action, RuleAction::silentDrop);
  CHECK(!rules->needs().stage[0] && rules->needs().stage[1] && rules->needs().stage[2]);
  CHECK(!rules->needs().commonName && !rules->needs().fingerprint && !rules->needs().tlvs);
  const auto asking = list({rule(RuleActionKind::accept, all({none({textual(ConditionKind::commonName, {"x"})})})),
                            track(addressTable(), 0, {.fact = RuleFact::fingerprint}),
                            rule(RuleActionKind::accept, {.kind = ConditionKind::tlv, .number = 1})});
  CHECK(asking->needs().commonName && asking->needs().fingerprint && asking->needs().tlvs);
}

TEST("reject if conn_cur is above 10 admits exactly 10 when the connection was tracked before (HP-59)") {
  const auto table = addressTable();
  const auto rules =
      list({track(table), rule(RuleActionKind::reject, counts(connCurrent, Comparison::greater, 10))});
  std::vector<Marks> open;
  for (int i = 1; i <= 12; ++i) {
    Peer peer;
    CHECK_EQ(peer.ask(rules).action, i <= 10 ? RuleAction::accept : RuleAction::reject);
    // A rejected one is closed.
    if (i <= 10) open.push_back(std::move(peer.marks));
  }
  TableKey stored;
  CHECK(table->config().key.ofText("10.0.0.1", stored));
  CHECK_EQ(table->read(stored, connCurrent, start).value(), 10u);
  // Reject behind track still counts.
  CHECK_EQ(table->read(stored, connCount, start).value(), 12u);
  open.pop_back();
  CHECK_EQ(Peer().ask(rules).action, RuleAction::accept);
  open.clear();
  CHECK_EQ(table->read(stored, connCurrent, start).value(), 0u);
}

TEST("three keys are tracked at most, a place once, and over all stages") {
  const auto a = addressTable(), b = addressTable(), c = addressTable();
  const auto rules = list({track(a, 0), track(b, 0), track(b, 1), staged(track(c, 2), RuleStage::session),
                           staged(track(a, 2), RuleStage::session)});
  Peer peer;
  (void)peer.ask(rules);
  (void)peer.ask(rules, RuleStage::session);
  REQUIRE(peer.marks);
  CHECK(peer.marks->tracked(0).table() == a);
  CHECK(peer.marks->tracked(1).table() == b);
  CHECK(peer.marks->tracked(2).table() == c);
  CHECK_EQ(a->stats(start).tracked, 1u);
  CHECK_EQ(b->stats(start).tracked, 1u);
}

TEST("a table that is full leaves the connection untracked, and its counters at 0") {
  const auto table = addressTable(1);
  const auto rules = list({track(table), rule(RuleActionKind::accept, counts(connCurrent, Comparison::equal, 0)),
                           rule(RuleActionKind::reject)});
  Peer first("10.0.0.1"), second("10.0.0.2");
  CHECK_EQ(first.ask(rules).action, RuleAction::reject);
  CHECK_EQ(second.ask(rules).action, RuleAction::accept);
}

TEST("bytes, sessions and glitches count in all entries, sessions once, and in those tracked later, too") {
  const auto a = addressTable(), b = addressTable();
  const auto rules = list({track(a, 0), staged(track(b, 1), RuleStage::content)});
  Peer peer;
  (void)peer.ask(rules);
  REQUIRE(peer.marks);
  CHECK(peer.marks->countsBytes());
  peer.marks->addBytes(100, 50, start);
  peer.marks->countSession(start);
  peer.marks->countSession(start);
  (void)peer.ask(rules, RuleStage::content);
  peer.marks->addBytes(1, 2, start);
  peer.marks->countGlitches(3, start);
  const auto& inA = peer.marks->tracked(0);
  const auto& inB = peer.marks->tracked(1);
  CHECK_EQ(inA.read(bytesIn, start), 101u);
  CHECK_EQ(inA.read(bytesOut, start), 52u);
  CHECK_EQ(inA.read(bytesInRate, start), 101u);
  CHECK_EQ(inA.read(bytesOutRate, start), 52u);
  CHECK_EQ(inB.read(bytesIn, start), 1u);
  CHECK_EQ(inA.read(sessCount, start), 1u);
  CHECK_EQ(inB.read(sessCount, start), 1u);
  CHECK_EQ(inB.read(sessRate, start), 1u);
  CHECK_EQ(inA.read(glitchCount, start), 3u);
  CHECK_EQ(inB.read(glitchRate, start), 3u);
}

TEST("a table without byte counters asks for no bytes") {
  TableConfig config;
  config.size = 10;
  config.layout.store(TableData::connCount, 1, 0);
  Peer peer;
  (void)peer.ask(list({track(StickTable::create(config))}));
  REQUIRE(peer.marks);
  CHECK(!peer.marks->countsBytes());
}

TEST("the source is whom a PROXY header names, the peer is the socket's; at the socket stage they are one (D12)") {
  Peer peer("10.0.0.1");
  CHECK(holds(from({"10.0.0.0/8"}), peer));
  peer.claims("203.0.113.9", "198.51.100.1");
  CHECK(!holds(from({"10.0.0.0/8"}), peer));
  CHECK(holds(from({"203.0.113.0/24"}), peer));
  CHECK(holds(from({"10.0.0.0/8"}, RuleFact::peer), peer));
  CHECK(holds(from({"198.51.100.1"}, RuleFact::destination), peer));
  CHECK(holds(from({"192.0.2.1"}, RuleFact::local), peer));
  const auto port = [](RuleFact fact, uint64_t low, uint64_t high) {
    return ConditionSpec{.kind = ConditionKind::port, .fact = fact, .number = low, .upTo = high};
  };
  CHECK(holds(port(RuleFact::local, 8443, 8443), peer));
  CHECK(holds(port(RuleFact::destination, 443, 443), peer));
  CHECK(holds(port(RuleFact::source, 1000, 1234), peer));
  CHECK(!holds(port(RuleFact::source, 1, 1233), peer));
  CHECK(holds({.kind = ConditionKind::proxied}, peer));
  Peer plain;
  CHECK(!holds({.kind = ConditionKind::proxied}, plain));
}

TEST("a Unix peer lies in no network and has no port") {
  Peer peer;
  peer.peer = *SocketAddress::unixPath("/run/x");
  CHECK(!holds(from({"0.0.0.0/0", "::/0"}), peer));
  CHECK(!holds({.kind = ConditionKind::port, .fact = RuleFact::source, .number = 0, .upTo = 65'535}, peer));
  CHECK(holds(none({from({"0.0.0.0/0", "::/0"})}), peer));
}

TEST("networks may be told apart by their values, and a set that is exchanged counts from then on") {
  const auto shared = std::const_pointer_cast<SharedCidrSet>(networks({"10.0.0.0/8", "10.1.0.0/16"}));
  ConditionSpec condition{.kind = ConditionKind::network, .networks = shared, .texts = {"10.1.0.0/16"}};
  const auto rules = list({rule(RuleActionKind::reject, condition)});
  CHECK_EQ(Peer("10.1.0.1").ask(rules).action, RuleAction::reject);
  CHECK_EQ(Peer("10.2.0.1").ask(rules).action, RuleAction::accept);
  shared->replace(std::make_shared<CidrSet>());
  CHECK_EQ(Peer("10.1.0.1").ask(rules).action, RuleAction::accept);
}

TEST("TLVs are found by type and value, those about TLS within theirs, and broken ones end the search") {
  Peer peer;
  const std::vector<uint8_t> tlvs = {0x01, 0, 2,     'h', '2', 0x05, 0, 0,                                  //
                                     0x20, 0, 5 + 7, 1,   0,   0,    0, 0, 0x22, 0, 4, 'j', 'a', 'n', 'e',  //
                                     0xe0, 0, 9,     'c'};
  peer.facts.tlvs = tlvs;
  const auto tlv = [](uint8_t type, std::vector<std::string> texts = {}) {
    return ConditionSpec{.kind = ConditionKind::tlv, .texts = texts, .number = type};
  };
  CHECK(holds(tlv(0x01), peer));
  CHECK(holds(tlv(0x01, {"http/1.1", "h2"}), peer));
  CHECK(!holds(tlv(0x01, {"h"}), peer));
  CHECK(holds(tlv(0x05), peer));
  CHECK(holds(tlv(0x05, {""}), peer));
  CHECK(holds(tlv(0x22, {"jane"}), peer));
  CHECK(!holds(tlv(0x21), peer));
  CHECK(!holds(tlv(0xe0), peer));
  for (size_t cut = 0; cut <= tlvs.size(); ++cut) {
    const std::vector<uint8_t> part(tlvs.begin(), tlvs.begin() + static_cast<ptrdiff_t>(cut));
    peer.facts.tlvs = part;
    CHECK_EQ(holds(tlv(0x01, {"h2"}), peer), cut >= 5);
    CHECK_EQ(holds(tlv(0x22), peer), cut >= 23);
  }
}

TEST("server names match whole, by one label more, or by any, without regard to case") {
  const auto matches = [](const char* pattern, std::string_view name) {
    Peer peer;
    peer.facts.serverName = name;
    return holds(textual(ConditionKind::serverName, {"other.example", pattern}), peer);
  };
  CHECK(matches("example.org", "example.org"));
  CHECK(matches("Example.org", "EXAMPLE.ORG"));
  CHECK(matches("example.org", "example.org."));
  CHECK(!matches("example.org", "www.example.org"));
  CHECK(!matches("example.org", ""));
  CHECK(matches("*.example.org", "www.example.org"));
  CHECK(!matches("*.example.org", "example.org"));
  CHECK(!matches("*.example.org", ".example.org"));
  // Trap 27.
  CHECK(!matches("*.example.org", "a.b.example.org"));
  CHECK(matches(".example.org", "a.b.example.org"));
  CHECK(matches(".example.org", "www.example.org"));
  CHECK(!matches(".example.org", "example.org"));
  CHECK(!matches(".example.org", ".example.org"));
  CHECK(!matches(".example.org", "badexample.org"));
}

TEST("what TLS found out can be asked") {
  Peer peer;
  const std::string fingerprint(32, '\x7f');
  const auto is = [](ConditionKind kind, std::vector<std::string> texts = {}) { return textual(kind, texts); };
  CHECK(!holds(is(ConditionKind::tls), peer));
  CHECK(!holds(is(ConditionKind::fingerprint, {fingerprint}), peer));
  peer.facts.tls = true;
  peer.facts.alpn = "h2";
  CHECK(holds(is(ConditionKind::tls), peer));
  CHECK(holds(is(ConditionKind::alpn, {"http/1.1", "h2"}), peer));
  CHECK(!holds(is(ConditionKind::alpn, {"http/1.1"}), peer));
  CHECK(!holds(is(ConditionKind::certificatePresented), peer));
  // Who shows nothing has no name, not an empty one, and is not verified.
  peer.facts.certificate.verified = true;
  CHECK(!holds(is(ConditionKind::certificateVerified), peer));
  CHECK(!holds(is(ConditionKind::commonName, {""}), peer));
  peer.facts.certificate = {true, false, "jane", {reinterpret_cast<const uint8_t*>(fingerprint.data()), 32}};
  CHECK(holds(is(ConditionKind::certificatePresented), peer));
  CHECK(!holds(is(ConditionKind::certificateVerified), peer));
  CHECK(holds(is(ConditionKind::commonName, {"joe", "jane"}), peer));
  CHECK(holds(is(ConditionKind::fingerprint, {fingerprint}), peer));
  peer.facts.certificate.verified = true;
  CHECK(holds(is(ConditionKind::certificateVerified), peer));
}

TEST("counters compare in all six ways, of a place, or of a key that is not tracked") {
  const auto table = addressTable();
  TableKey stored;
  CHECK(table->config().key.ofText("10.0.0.1", stored));
  CHECK(table->set(stored, std::vector<StickTable::Change>{{gpc0, 5}}, start));
  Peer peer;
  using enum Comparison;
  const std::pair<Comparison, std::vector<uint64_t>> rows[] = {
      {less, {6}},        {lessOrEqual, {5, 6}},    {equal, {5}},
      {notEqual, {4, 6}}, {greaterOrEqual, {4, 5}}, {greater, {4}}};
  for (const auto& [comparison, with] : rows) {
    for (uint64_t number = 4; number <= 6; ++number) {
      ConditionSpec condition = counts(gpc0, comparison, number);
      condition.counter.table = table;
      const bool expected = std::find(with.begin(), with.end(), number) != with.end();
      CHECK_EQ(holds(condition, peer), expected);
    }
  }
  CHECK_EQ(table->stats(start).tracked, 0u);
  // Whoever is not there counts as 0.
  ConditionSpec absent = counts(gpc0, equal, 0);
  absent.counter.table = table;
  Peer other("10.0.0.2");
  CHECK(holds(absent, other));
  CHECK(holds(counts(gpc0, equal, 0), other));
}

TEST("rules count in what is tracked, set its tags, and count in others' entries that are there") {
  const auto table = addressTable(), other = addressTable();
  RuleSpec count = rule(RuleActionKind::count);
  count.counter = {.column = gpc1, .place = 0};
  count.number = 3;
  RuleSpec assign = rule(RuleActionKind::assign);
  assign.counter = {.column = gpt0, .place = 0};
  assign.number = 8;
  RuleSpec elsewhere = rule(RuleActionKind::count);
  elsewhere.counter = {.column = gpc0, .table = other, .key = {.fact = RuleFact::constant, .text = "10.9.9.9"}};
  elsewhere.number = 1;
  const auto rules = list({count, track(table), count, assign, elsewhere});
  Peer peer;
  (void)peer.ask(rules);
  REQUIRE(peer.marks);
  CHECK_EQ(peer.marks->tracked(0).read(gpc1, start), 3u);
  CHECK_EQ(peer.marks->tracked(0).read(gpt0, start), 8u);
  CHECK_EQ(other->stats(start).entries, 0u);
  TableKey stored;
  CHECK(other->config().key.ofText("10.9.9.9", stored));
  (void)other->track(stored, start);
  (void)peer.ask(rules);
  CHECK_EQ(other->read(stored, gpc0, start).value(), 1u);
}

TEST("tags and variables stay with the connection, and later rules can ask for them") {
  RuleSpec tag = rule(RuleActionKind::tag, from({"10.0.0.0/8"}));
  tag.text = "inside";
  RuleSpec name = rule(RuleActionKind::set, {}, RuleStage::session);
  name.text = "name";
  name.value = {.fact = RuleFact::serverName};
  RuleSpec port = rule(RuleActionKind::set, {}, RuleStage::session);
  port.text = "port";
  port.value = {.fact = RuleFact::localPort};
  const auto rules =
      list({tag, tag, name, port,
            rule(RuleActionKind::silentDrop,
                 all({textual(ConditionKind::tag, {"x", "inside"}),
                      {.kind = ConditionKind::variable, .text = "name", .texts = {"a", "b.example"}}}),
                 RuleStage::session)});
  Peer peer;
  peer.facts.serverName = "b.example";
  (void)peer.ask(rules);
  CHECK_EQ(peer.ask(rules, RuleStage::session).action, RuleAction::silentDrop);
  CHECK(peer.marks->tags() == std::vector<std::string>({"inside"}));
  CHECK_EQ(*peer.marks->variable("name"), "b.example");
  CHECK_EQ(*peer.marks->variable("port"), "8443");
  CHECK(peer.marks->variable("other") == nullptr);
  Peer outside("172.16.0.1");
  CHECK_EQ(outside.ask(rules, RuleStage::session).action, RuleAction::accept);
}

TEST("keys come from every fact, and a connection without that fact is not tracked") {
  TableConfig config = everything(100);
  const auto strings = StickTable::create(config);
  const auto keyOf = [&strings](FactSpec fact, Peer& peer) {
    peer.marks = nullptr;
    (void)peer.ask(list({staged(track(strings, 0, fact), RuleStage::session)}), RuleStage::session);
    return std::string(peer.marks && peer.marks->tracked(0) ? peer.marks->tracked(0).key() : "nothing");
  };
  Peer peer("10.0.0.1");
  CHECK_EQ(keyOf({.fact = RuleFact::serverName}, peer), "nothing");
  CHECK_EQ(keyOf({.fact = RuleFact::tlv, .number = 5}, peer), "nothing");
  CHECK_EQ(keyOf({.fact = RuleFact::variable, .text = "v"}, peer), "nothing");
  peer.claims("203.0.113.9", "198.51.100.1");
  peer.facts.serverName = "WWW.Example.org";
  peer.facts.alpn = "h2";
  const std::string fingerprint(32, '\xab');
  peer.facts.certificate = {true, true, "jane", {reinterpret_cast<const uint8_t*>(fingerprint.data()), 32}};
  const std::vector<uint8_t> tlvs = {5, 0, 2, 'i', 'd'};
  peer.facts.tlvs = tlvs;
  CHECK_EQ(keyOf({.fact = RuleFact::source}, peer), "203.0.113.9");
  CHECK_EQ(keyOf({.fact = RuleFact::peer}, peer), "10.0.0.1");
  CHECK_EQ(keyOf({.fact = RuleFact::destination}, peer), "198.51.100.1");
  CHECK_EQ(keyOf({.fact = RuleFact::local}, peer), "192.0.2.1");
  CHECK_EQ(keyOf({.fact = RuleFact::localPort}, peer), "8443");
  CHECK_EQ(keyOf({.fact = RuleFact::serverName}, peer), "www.example.org");
  CHECK_EQ(keyOf({.fact = RuleFact::alpn}, peer), "h2");
  CHECK_EQ(keyOf({.fact = RuleFact::commonName}, peer), "jane");
  CHECK_EQ(keyOf({.fact = RuleFact::fingerprint}, peer), "abababababababababababababababab");
  CHECK_EQ(keyOf({.fact = RuleFact::tlv, .number = 5}, peer), "id");
  CHECK_EQ(keyOf({.fact = RuleFact::constant, .text = "all"}, peer), "all");
}

TEST("a PROXY header is asked for by rule, whatever the list comes to (HP-55)") {
  const auto rules = list({rule(RuleActionKind::expectProxy, from({"10.0.0.0/8"})), rule(RuleActionKind::accept)});
  CHECK(Peer("10.0.0.1").ask(rules).expectProxy);
  CHECK_EQ(Peer("10.0.0.1").ask(rules).rule, 1);
  CHECK(!Peer("172.16.0.1").ask(rules).expectProxy);
}

TEST("a delay holds once, and evaluation goes on behind it with all that came before") {
  RuleSpec delay = rule(RuleActionKind::delay, from({"10.0.0.0/8"}));
  delay.number = 1500;
  const auto table = addressTable();
  const auto rules = list({rule(RuleActionKind::expectProxy), track(table), delay, rule(RuleActionKind::reject)});
  Peer peer;
  const RuleVerdict first = peer.ask(rules);
  CHECK_EQ(first.action, RuleAction::delay);
  CHECK_EQ(first.delayMs, 1500u);
  CHECK_EQ(first.rule, 2);
  const RuleVerdict second = peer.ask(rules);
  CHECK_EQ(second.action, RuleAction::reject);
  CHECK(second.expectProxy);
  CHECK_EQ(table->stats(start).tracked, 1u);
  CHECK(rules->hits() == std::vector<uint64_t>({1, 1, 1, 1}));
  // Another list, loaded meanwhile, begins at its start.
  Peer other;
  (void)other.ask(rules);
  CHECK_EQ(other.ask(list({rule(RuleActionKind::silentDrop)})).action, RuleAction::silentDrop);
}

TEST("rules say whom a connection comes from and goes to, for keys, conditions and texts behind them (HP-55)") {
  const auto table = addressTable();
  RuleSpec masks = rule(RuleActionKind::setSource);
  masks.value = {.fact = RuleFact::peer};
  masks.ipv4Bits = 24;
  masks.ipv6Bits = 48;
  masks.number = RuleSpec::noPort;
  RuleSpec goes = rule(RuleActionKind::setDestination);
  goes.value = {.fact = RuleFact::constant, .text = "2001:db8::7"};
  goes.number = 443;
  RuleSpec text = rule(RuleActionKind::set);
  text.text = "from";
  const auto rules = list({masks, track(table), goes, text, rule(RuleActionKind::reject, from({"10.1.2.0/32"}))});
  CHECK(rules->needs().local);
  Peer peer("10.1.2.3");
  peer.claims("198.51.100.1", "198.51.100.2");
  CHECK(peer.ask(rules).action == RuleAction::reject);
  CHECK_EQ(peer.marks->source->host(), "10.1.2.0");
  CHECK_EQ(peer.marks->source->port(), 1234);  // whom the header names had that one
  CHECK_EQ(peer.marks->destination->host(), "2001:db8::7");
  CHECK_EQ(peer.marks->destination->port(), 443);
  CHECK_EQ(*peer.marks->variable("from"), "10.1.2.0");
  TableKey key;
  CHECK(table->config().key.ofAddress(*SocketAddress::ip("10.1.2.0", 0), key));
  CHECK_EQ(table->read(key, {TableData::connCount}, start).value_or(0), 1u);
  Peer six("2001:db8:1:2::3");
  CHECK(six.ask(rules).action == RuleAction::accept);
  CHECK_EQ(six.marks->source->host(), "2001:db8:1::");
  // What is no address leaves it as it was.
  masks.value = {.fact = RuleFact::constant, .text = "nobody"};
  Peer other;
  CHECK(other.ask(list({masks})).action == RuleAction::accept);
  CHECK(other.marks == nullptr);
}

TEST("what rules have to say waits for whoever tells it") {
  RuleSpec log = rule(RuleActionKind::log);
  log.text = "who";
  log.value = {.fact = RuleFact::localPort};
  log.says = true;
  RuleSpec mute = rule(RuleActionKind::log);
  mute.text = "mute";
  Peer peer;
  CHECK(peer.ask(list({log, rule(RuleActionKind::log, from({"192.0.2.9"})), mute})).action == RuleAction::accept);
  REQUIRE(peer.marks->log.size() == 2);
  CHECK_EQ(peer.marks->log[0].value, "8443");
  CHECK_EQ(peer.marks->log[0].source.host(), "10.0.0.1");
  CHECK_EQ(peer.marks->log[1].text, "mute");
  CHECK_EQ(peer.marks->log[1].rule, 2u);
  CHECK_EQ(peer.marks->log[1].value, "");
}

TEST("silent drops may ask for a reset that dies on its way; socket options are left for whoever sets them") {
  RuleSpec drop = rule(RuleActionKind::silentDrop);
  drop.number = 3;
  RuleSpec tos = rule(RuleActionKind::typeOfService);
  tos.number = 0x10;
  RuleSpec mark = rule(RuleActionKind::mark);
  mark.number = 42;
  Peer peer;
  CHECK_EQ(peer.ask(list({tos, mark, drop})).resetTtl, 3);
  CHECK_EQ(peer.marks->typeOfService.value(), 0x10u);
  CHECK_EQ(peer.marks->mark.value(), 42u);
}

TEST(
    "content is undecided while more may decide it, and an undecided condition is false when no more comes "
    "(HP-56)") {
  const auto askOf = [](const ConditionSpec& condition, std::string_view content, bool complete = false) {
    Peer peer;
    peer.says(content, complete);
    return peer.ask(list({rule(RuleActionKind::reject, condition, RuleStage::content)}), RuleStage::content).action;
  };
  using enum RuleAction;
  CHECK_EQ(askOf(starts("GET "), ""), undecided);
  CHECK_EQ(askOf(starts("GET "), "GE"), undecided);
  CHECK_EQ(askOf(starts("GET "), "GE", true), accept);
  CHECK_EQ(askOf(starts("GET "), "GX"), accept);
  CHECK_EQ(askOf(starts("GET "), "GET / HTTP"), reject);
  CHECK_EQ(askOf(textual(ConditionKind::contentStarts, {"GET ", "PUT "}), "P"), undecided);
  CHECK_EQ(askOf(textual(ConditionKind::contentStarts, {"GET ", "PUT "}), "X"), accept);
  CHECK_EQ(askOf(contains("evil"), "some"), undecided);
  CHECK_EQ(askOf(contains("evil"), "some", true), accept);
  CHECK_EQ(askOf(contains("evil"), "some evil"), reject);
  CHECK_EQ(askOf(longAs(5), "1234"), undecided);
  CHECK_EQ(askOf(longAs(5), "1234", true), accept);
  CHECK_EQ(askOf(longAs(5), "12345"), reject);
  CHECK_EQ(askOf(longAs(0), ""), reject);
  // What is decided without the undecided part is decided.
  CHECK_EQ(askOf(all({starts("GET "), from({"172.16.0.0/12"})}), "G"), accept);
  CHECK_EQ(askOf(any({starts("GET "), from({"10.0.0.0/8"})}), "G"), reject);
  CHECK_EQ(askOf(any({starts("GET "), longAs(3)}), "X"), undecided);
  CHECK_EQ(askOf(none({starts("GET ")}), "G"), undecided);
  CHECK_EQ(askOf(none({starts("GET ")}), "G", true), reject);
  CHECK_EQ(askOf(none({starts("GET ")}), "X"), reject);
  CHECK_EQ(askOf(none({starts("GET "), from({"10.0.0.0/8"})}), "G"), accept);
  CHECK_EQ(askOf(all({}), ""), reject);
  CHECK_EQ(askOf(any({}), ""), accept);
}

TEST("rules before an undecided one are carried out once, however often more comes") {
  const auto table = addressTable();
  const auto rules = list({staged(track(table), RuleStage::content),
                           rule(RuleActionKind::reject, starts("EHLO evil"), RuleStage::content),
                           rule(RuleActionKind::silentDrop, contains("x"), RuleStage::content)});
  Peer peer;
  const std::string_view text = "EHLO evix";
  for (size_t i = 0; i < text.size(); ++i) {
    peer.says(text.substr(0, i));
    CHECK_EQ(peer.ask(rules, RuleStage::content).action, RuleAction::undecided);
  }
  peer.says(text);
  CHECK_EQ(peer.ask(rules, RuleStage::content).action, RuleAction::silentDrop);
  CHECK_EQ(table->stats(start).tracked, 1u);
  CHECK(rules->hits() == std::vector<uint64_t>({1, 0, 1}));
}

TEST("conditions nest to any value that and, or and not have, also with undecided parts") {
  std::mt19937_64 random(21);
  // A random tree over four leaves, and what it comes to by the tables of three-valued logic.
  struct Tree {
    std::mt19937_64& random;
    std::vector<Truth> leaves;
    ConditionSpec make(int depth, Truth& truth) {
      if (depth == 0 || random() % 4 == 0) {
        const size_t leaf = random() % leaves.size();
        truth = leaves[leaf];
        if (truth == Truth::undecided) return longAs(1000);
        return truth == Truth::yes ? from({"10.0.0.0/8"}) : from({"172.16.0.0/12"});
      }
      std::vector<ConditionSpec> parts;
      bool yes = false, no = false, open = false;
      for (uint64_t i = random() % 4; i > 0; --i) {
        Truth part;
        parts.push_back(make(depth - 1, part));
        (part == Truth::yes ? yes : part == Truth::no ? no : open) = true;
      }
      switch (random() % 3) {
        case 0: truth = no ? Truth::no : open ? Truth::undecided : Truth::yes; return all(parts);
        case 1: truth = yes ? Truth::yes : open ? Truth::undecided : Truth::no; return any(parts);
        default: truth = yes ? Truth::no : open ? Truth::undecided : Truth::yes; return none(parts);
      }
    }
  };
  for (int i = 0; i < 3000; ++i) {
    Tree tree{random, {Truth::yes, Truth::no, Truth::undecided}};
    Truth truth;
    const ConditionSpec condition = tree.make(4, truth);
    Peer peer("10.0.0.1");
    peer.says("short");
    const auto action =
        peer.ask(list({rule(RuleActionKind::reject, condition, RuleStage::content)}), RuleStage::content).action;
    CHECK_EQ(action, truth == Truth::yes  ? RuleAction::reject
                     : truth == Truth::no ? RuleAction::accept
                                          : RuleAction::undecided);
  }
}

TEST("threads share a list and its tables, and every hit is counted") {
  const auto table = addressTable(5000);
  const auto rules = list({track(table), rule(RuleActionKind::reject, from({"10.0.0.0/9"}))});
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&rules, thread] {
      for (int i = 0; i < 5000; ++i) {
        Peer peer("10." + std::to_string(i % 2 * 128) + '.' + std::to_string(thread) + '.' +
                  std::to_string(i % 200));
        (void)peer.ask(rules);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(rules->hits() == std::vector<uint64_t>({20'000, 10'000}));
  CHECK_EQ(table->stats(start).referenced, 0u);
  CHECK_EQ(table->stats(start).tracked, 20'000u);
}

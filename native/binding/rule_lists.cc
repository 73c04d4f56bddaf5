#include "binding/rule_lists.h"

#include "base/clock.h"
#include "binding/opening_values.h"
#include "binding/shared_by_number.h"
#include "binding/stick_tables.h"
#include "binding/values.h"
#include "rules/rule_spec.h"

namespace sluice::rule_lists {

namespace {

using Info = const Napi::CallbackInfo&;

// Of the same orders as the enums of rules/rule_spec.h.
constexpr std::string_view stages[] = {"socket", "session", "content"};
constexpr std::string_view facts[] = {"source", "destination", "peer",        "local", "localPort", "serverName",
                                      "alpn",   "commonName",  "fingerprint", "tlv",   "variable",  "constant"};
constexpr std::string_view conditions[] = {"all",
                                           "any",
                                           "none",
                                           "network",
                                           "port",
                                           "proxied",
                                           "tlv",
                                           "tls",
                                           "serverName",
                                           "alpn",
                                           "certificatePresented",
                                           "certificateVerified",
                                           "commonName",
                                           "fingerprint",
                                           "counter",
                                           "contentStarts",
                                           "contentContains",
                                           "contentLength",
                                           "tag",
                                           "variable"};
constexpr std::string_view comparisonNames[] = {"less",     "lessOrEqual",    "equal",
                                                "notEqual", "greaterOrEqual", "greater"};
constexpr std::string_view actions[] = {"accept",        "reject", "silentDrop", "delay",          "expectProxy",
                                        "track",         "tag",    "set",        "count",          "assign",
                                        "typeOfService", "mark",   "setSource",  "setDestination", "log"};
static_assert(std::size(stages) == ruleStages && std::size(facts) == ruleFacts);
static_assert(std::size(conditions) == conditionKinds && std::size(comparisonNames) == comparisons);
static_assert(std::size(actions) == ruleActionKinds);

template <class Enum, size_t count>
Enum named(const std::string_view (&names)[count], const Napi::Object& object, const char* key) {
  const std::string name = values::text(object, key);
  for (size_t i = 0; i < count; i++)
    if (name == names[i]) return static_cast<Enum>(i);
  return Enum{};
}

FactSpec readFact(const Napi::Value& value) {
  if (!value.IsObject()) return {};
  const auto object = value.As<Napi::Object>();
  return {named<RuleFact>(facts, object, "fact"), static_cast<uint8_t>(values::number(object, "number")),
          values::text(object, "text")};
}

// { data, index, place } or { data, index, table, key }
CounterSpec readCounter(const Napi::Value& value) {
  if (!value.IsObject()) return {};
  const auto object = value.As<Napi::Object>();
  CounterSpec counter;
  counter.column = stick_tables::readColumn(object);
  counter.place =
      static_cast<int>(std::min(values::number(object, "place"), uint32_t{ConnectionMarks::maxTracked - 1}));
  counter.table = handleOf<StickTable>(object.Get("table"));
  counter.key = readFact(object.Get("key"));
  return counter;
}

std::vector<std::string> readTexts(const Napi::Value& value) {
  std::vector<std::string> texts;
  if (!value.IsArray()) return texts;
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) texts.push_back(stick_tables::readBytes(list.Get(i)));
  return texts;
}

ConditionSpec readCondition(const Napi::Value& value) {
  ConditionSpec condition;
  if (!value.IsObject()) return condition;
  const auto object = value.As<Napi::Object>();
  condition.kind = named<ConditionKind>(conditions, object, "kind");
  condition.networks = handleOf<SharedCidrSet>(object.Get("networks"));
  if (!condition.networks) condition.networks = std::make_shared<SharedCidrSet>(std::make_shared<const CidrSet>());
  condition.fact = named<RuleFact>(facts, object, "fact");
  condition.text = values::text(object, "text");
  condition.texts = readTexts(object.Get("texts"));
  condition.number = static_cast<uint64_t>(values::real(object, "number"));
  condition.upTo = static_cast<uint64_t>(values::real(object, "upTo"));
  condition.comparison = named<Comparison>(comparisonNames, object, "comparison");
  condition.counter = readCounter(object.Get("counter"));
  const Napi::Value parts = object.Get("parts");
  if (!parts.IsArray()) return condition;
  const auto list = parts.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) condition.parts.push_back(readCondition(list.Get(i)));
  return condition;
}

// ([rule], inspectDelayMs)
std::shared_ptr<const RuleList> readRules(Info info, size_t first) {
  std::vector<RuleSpec> rules;
  const auto list = info[first].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::HandleScope scope(info.Env());
    const Napi::Value item = list.Get(i);
    if (!item.IsObject()) break;
    const auto object = item.As<Napi::Object>();
    RuleSpec rule;
    rule.stage = named<RuleStage>(stages, object, "stage");
    rule.when = readCondition(object.Get("when"));
    rule.action = named<RuleActionKind>(actions, object, "action");
    rule.number = values::number(object, "number");
    rule.text = values::text(object, "text");
    rule.value = readFact(object.Get("value"));
    rule.counter = readCounter(object.Get("counter"));
    rule.ipv4Bits = static_cast<uint8_t>(std::min(values::number(object, "ipv4Bits"), 32u));
    rule.ipv6Bits = static_cast<uint8_t>(std::min(values::number(object, "ipv6Bits"), 128u));
    rule.says = values::flag(object, "says");
    rules.push_back(std::move(rule));
  }
  return RuleList::create(rules, info[first + 1].As<Napi::Number>().Uint32Value());
}

Napi::Value create(Info info) {
  return newHandle(info.Env(), std::make_shared<RuleListInForce>(readRules(info, 0)));
}

// (list, [rule], inspectDelayMs)
Napi::Value replace(Info info) {
  if (const auto list = handleOf<RuleListInForce>(info[0])) list->set(readRules(info, 1));
  return info.Env().Undefined();
}

// (list): how often each rule has been carried out.
Napi::Value hits(Info info) {
  auto counts = Napi::Array::New(info.Env());
  const auto list = handleOf<RuleListInForce>(info[0]);
  if (!list) return counts;
  for (const uint64_t count : list->get()->hits()) counts.Set(counts.Length(), static_cast<double>(count));
  return counts;
}

// Addresses, texts and bytes of a connection that there need not be, and the memory that facts look at.
struct Rehearsal {
  SocketAddress peer, local, source, destination;
  std::string serverName, alpn, commonName, fingerprint, tlvs, content;
  RuleFacts facts;
};

SocketAddress readAddress(const Napi::Object& object, const char* host, const char* port) {
  const auto address =
      SocketAddress::ip(values::text(object, host), static_cast<uint16_t>(values::number(object, port)));
  return address ? *address : SocketAddress();
}

std::span<const uint8_t> bytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void readFacts(const Napi::Object& object, Rehearsal& all) {
  RuleFacts& facts = all.facts;
  all.peer = readAddress(object, "peer", "peerPort");
  all.local = readAddress(object, "local", "localPort");
  facts.peer = &all.peer;
  facts.local = &all.local;
  facts.proxyVersion = static_cast<uint8_t>(values::number(object, "proxyVersion"));
  if (values::has(object, "source")) {
    all.source = readAddress(object, "source", "sourcePort");
    all.destination = readAddress(object, "destination", "destinationPort");
    facts.claimedSource = &all.source;
    facts.claimedDestination = &all.destination;
  }
  all.tlvs = stick_tables::readBytes(object.Get("tlvs"));
  facts.tlvs = bytesOf(all.tlvs);
  facts.tls = values::flag(object, "tls");
  all.serverName = values::text(object, "serverName");
  all.alpn = values::text(object, "alpn");
  facts.serverName = all.serverName;
  facts.alpn = all.alpn;
  all.commonName = values::text(object, "commonName");
  all.fingerprint = stick_tables::readBytes(object.Get("fingerprint"));
  facts.certificate = {values::flag(object, "presented"), values::flag(object, "verified"), all.commonName,
                       bytesOf(all.fingerprint)};
  all.content = stick_tables::readBytes(object.Get("content"));
  facts.content = bytesOf(all.content);
  facts.contentComplete = values::flag(object, "contentComplete");
  const Napi::Value now = object.Get("nowMs");
  facts.nowMs = now.IsNumber() ? static_cast<TimeMs>(now.As<Napi::Number>().Int64Value()) : monotonicMs();
}

// At the socket stage nobody knows more than the socket's addresses.
RuleFacts ofSocket(const RuleFacts& facts) {
  return {.peer = facts.peer, .local = facts.local, .nowMs = facts.nowMs};
}

Napi::Object verdictOf(Napi::Env env, RuleStage stage, const RuleVerdict& verdict, double delayMs,
                       const ConnectionMarks* marks) {
  static constexpr const char* outcomes[] = {"accept", "reject", "silentDrop", "delay", "undecided"};
  static const ConnectionMarks none;
  if (!marks) marks = &none;
  auto result = Napi::Object::New(env);
  result.Set("marks", values::ruleMarks(env, values::ShownMarks(*marks)));
  auto log = Napi::Array::New(env);
  for (const ConnectionMarks::LogEntry& entry : marks->log) log.Set(log.Length(), values::ruleLogEntry(env, entry));
  result.Set("log", log);
  result.Set("action", outcomes[static_cast<size_t>(verdict.action)]);
  result.Set("stage", std::string(stages[static_cast<size_t>(stage)]));
  result.Set("rule", verdict.rule);
  result.Set("delayMs", delayMs);
  return result;
}

// (list, facts): what becomes of such a connection, which is over with this call.
Napi::Value rehearse(Info info) {
  const auto list = handleOf<RuleListInForce>(info[0]);
  if (!list || !info[1].IsObject()) return info.Env().Undefined();
  Rehearsal all;
  readFacts(info[1].As<Napi::Object>(), all);
  const auto rules = list->get();
  std::unique_ptr<ConnectionMarks> marks;
  RuleVerdict verdict;
  RuleStage stage = RuleStage::socket;
  double delayMs = 0;
  bool expectProxy = false;
  for (const RuleStage next : {RuleStage::socket, RuleStage::session, RuleStage::content}) {
    stage = next;
    do {
      verdict = rules->evaluate(stage, stage == RuleStage::socket ? ofSocket(all.facts) : all.facts, marks);
      delayMs += verdict.delayMs;
    } while (verdict.action == RuleAction::delay);
    expectProxy = expectProxy || verdict.expectProxy;
    if (verdict.action != RuleAction::accept) break;
  }
  Napi::Object result = verdictOf(info.Env(), stage, verdict, delayMs, marks.get());
  result.Set("expectProxy", expectProxy);
  return result;
}

}  // namespace

std::shared_ptr<const RuleListInForce> readList(const Napi::Value& value) {
  return handleOf<RuleListInForce>(value);
}

Napi::Object binding(Napi::Env env) {
  auto exports = Napi::Object::New(env);
  const auto add = [&](const char* name, auto function) { exports.Set(name, Napi::Function::New(env, function)); };
  add("create", create);
  add("replace", replace);
  add("hits", hits);
  add("rehearse", rehearse);
  add("share", SharedByNumber<RuleListInForce>::share);
  add("fromShared", SharedByNumber<RuleListInForce>::find);
  return exports;
}

}  // namespace sluice::rule_lists

#include "rules/rule_list.h"

#include <algorithm>
#include <atomic>

#include "rules/network.h"
#include "rules/rule_conditions.h"
#include "rules/rule_spec.h"

namespace sluice {

namespace {

std::atomic<uint64_t> listsMade = 0;

bool asksFor(const ConditionSpec& condition, RuleFact fact, ConditionKind kind) {
  if (condition.kind == kind) return true;
  if (condition.kind == ConditionKind::counter && condition.counter.key.fact == fact) return true;
  for (const ConditionSpec& part : condition.parts)
    if (asksFor(part, fact, kind)) return true;
  return false;
}

// The socket's own address, by itself or where no header names another.
bool isLocal(RuleFact fact) {
  return fact == RuleFact::local || fact == RuleFact::localPort || fact == RuleFact::destination;
}

bool asksForLocal(const ConditionSpec& condition) {
  const bool compares = condition.kind == ConditionKind::network || condition.kind == ConditionKind::port;
  if (compares && isLocal(condition.fact)) return true;
  if (condition.kind == ConditionKind::counter && isLocal(condition.counter.key.fact)) return true;
  return std::ranges::any_of(condition.parts, asksForLocal);
}

bool asksFor(const RuleSpec& rule, RuleFact fact, ConditionKind kind) {
  return asksFor(rule.when, fact, kind) || rule.value.fact == fact || rule.counter.key.fact == fact;
}

ConnectionMarks& made(std::unique_ptr<ConnectionMarks>& marks) {
  if (!marks) marks = std::make_unique<ConnectionMarks>();
  return *marks;
}

}  // namespace

struct RuleList::Program {
  struct Rule {
    RuleActionKind action;
    uint32_t condition, index, number;
    std::string text;
    FactSpec value;
    CounterSpec counter;
    uint8_t ipv4Bits, ipv6Bits;
    bool says;
  };
  uint64_t id = ++listsMade;
  RuleConditions conditions;
  std::vector<Rule> stages[ruleStages];
  std::vector<std::atomic<uint64_t>> hits;

  explicit Program(size_t rules) : hits(rules) {}
  static void setAddress(const Rule& rule, const RuleFacts& facts, std::unique_ptr<ConnectionMarks>& marks);
  void carryOut(RuleStage stage, const Rule& rule, const RuleFacts& facts,
                std::unique_ptr<ConnectionMarks>& marks) const;
};

// What names no address changes nothing.
void RuleList::Program::setAddress(const Rule& rule, const RuleFacts& facts,
                                   std::unique_ptr<ConnectionMarks>& marks) {
  const bool ofSource = rule.action == RuleActionKind::setSource;
  const SocketAddress* before = addressOf(ofSource ? RuleFact::source : RuleFact::destination, facts, marks.get());
  const SocketAddress* given = addressOf(rule.value.fact, facts, marks.get());
  const auto bits = given ? IpBits::of(*given) : parseIp(textOf(rule.value, facts, marks.get()));
  if (!bits) return;
  const uint16_t port = rule.number != RuleSpec::noPort ? static_cast<uint16_t>(rule.number)
                        : before != nullptr             ? before->port()
                                                        : uint16_t{0};
  const auto address = SocketAddress::ip(bits->prefix(bits->isIpv4 ? rule.ipv4Bits : rule.ipv6Bits).text(), port);
  if (!address) return;
  (ofSource ? made(marks).source : made(marks).destination) = *address;
}

// An action that does not end the evaluation.
void RuleList::Program::carryOut(RuleStage stage, const Rule& rule, const RuleFacts& facts,
                                 std::unique_ptr<ConnectionMarks>& marks) const {
  const CounterSpec& counter = rule.counter;
  switch (rule.action) {
    case RuleActionKind::track: {
      TableKey key;
      if (marks && marks->tracked(counter.place)) return;
      if (!keyOf(counter.key, facts, marks.get(), counter.table->config().key, key)) return;
      made(marks).track(counter.place, counter.table->track(key, facts.nowMs), facts.nowMs);
      return;
    }
    case RuleActionKind::count:
      if (!counter.table) {
        if (marks) marks->tracked(counter.place).add(counter.column, rule.number, facts.nowMs);
      } else if (TableKey key; keyOf(counter.key, facts, marks.get(), counter.table->config().key, key)) {
        (void)counter.table->add(key, counter.column, rule.number, facts.nowMs);
      }
      return;
    case RuleActionKind::assign:
      if (marks) marks->tracked(counter.place).set(counter.column, rule.number, facts.nowMs);
      return;
    case RuleActionKind::tag: made(marks).tag(rule.text); return;
    case RuleActionKind::set: made(marks).set(rule.text, textOf(rule.value, facts, marks.get())); return;
    case RuleActionKind::typeOfService: made(marks).typeOfService = rule.number; return;
    case RuleActionKind::mark: made(marks).mark = rule.number; return;
    case RuleActionKind::setSource:
    case RuleActionKind::setDestination: return setAddress(rule, facts, marks);
    case RuleActionKind::log: {
      const SocketAddress* source = addressOf(RuleFact::source, facts, marks.get());
      ConnectionMarks::LogEntry entry{.stage = stage, .rule = rule.index, .text = rule.text};
      if (rule.says) entry.value = textOf(rule.value, facts, marks.get());
      if (source != nullptr) entry.source = *source;
      made(marks).log.push_back(std::move(entry));
      return;
    }
    default: return;
  }
}

std::shared_ptr<const RuleList> RuleList::create(const std::vector<RuleSpec>& rules, uint32_t inspectDelayMs) {
  auto program = std::make_unique<Program>(rules.size());
  RuleNeeds needs;
  for (const RuleSpec& rule : rules) {
    const auto index = static_cast<uint32_t>(&rule - rules.data());
    program->stages[static_cast<size_t>(rule.stage)].push_back(
        {rule.action, program->conditions.add(rule.when), index, rule.number, rule.text, rule.value, rule.counter,
         rule.ipv4Bits, rule.ipv6Bits, rule.says});
    needs.stage[static_cast<size_t>(rule.stage)] = true;
    needs.commonName |= asksFor(rule, RuleFact::commonName, ConditionKind::commonName);
    needs.fingerprint |= asksFor(rule, RuleFact::fingerprint, ConditionKind::fingerprint);
    needs.tlvs |= asksFor(rule, RuleFact::tlv, ConditionKind::tlv);
    needs.local |= asksForLocal(rule.when) || isLocal(rule.value.fact) || isLocal(rule.counter.key.fact) ||
                   rule.action == RuleActionKind::setDestination;
  }
  std::shared_ptr<RuleList> list(new RuleList(std::move(program)));
  list->needs_ = needs;
  list->inspectDelayMs_ = inspectDelayMs;
  return list;
}

RuleList::RuleList(std::unique_ptr<Program> program) : program_(std::move(program)) {}
RuleList::~RuleList() = default;

RuleVerdict RuleList::evaluate(RuleStage stage, const RuleFacts& facts,
                               std::unique_ptr<ConnectionMarks>& marks) const {
  const auto& rules = program_->stages[static_cast<size_t>(stage)];
  RuleVerdict verdict;
  size_t next = 0;
  if (marks && marks->resumption(stage).listId == program_->id) {
    next = marks->resumption(stage).rule;
    verdict.expectProxy = marks->resumption(stage).expectProxy;
  }
  const auto ends = [&](RuleAction action, const Program::Rule* rule) {
    verdict.action = action;
    if (rule) verdict.rule = static_cast<int32_t>(rule->index);
    if (marks) marks->resumption(stage) = {};
    return verdict;
  };
  const auto goesOnAt = [&](RuleAction action, size_t at) {
    ends(action, &rules[next]);
    // Whoever begins anew at the first rule needs no note of that.
    if (at > 0) made(marks).resumption(stage) = {program_->id, static_cast<uint32_t>(at), verdict.expectProxy};
    return verdict;
  };

  for (; next < rules.size(); ++next) {
    const auto& rule = rules[next];
    const Truth truth = program_->conditions.evaluate(rule.condition, facts, marks.get());
    if (truth == Truth::undecided) return goesOnAt(RuleAction::undecided, next);
    if (truth == Truth::no) continue;
    program_->hits[rule.index].fetch_add(1, std::memory_order_relaxed);
    switch (rule.action) {
      case RuleActionKind::accept: return ends(RuleAction::accept, &rule);
      case RuleActionKind::reject: return ends(RuleAction::reject, &rule);
      case RuleActionKind::silentDrop:
        verdict.resetTtl = static_cast<uint8_t>(rule.number);
        return ends(RuleAction::silentDrop, &rule);
      case RuleActionKind::delay: verdict.delayMs = rule.number; return goesOnAt(RuleAction::delay, next + 1);
      case RuleActionKind::expectProxy: verdict.expectProxy = true; break;
      default: program_->carryOut(stage, rule, facts, marks);
    }
  }
  return ends(RuleAction::accept, nullptr);
}

std::vector<uint64_t> RuleList::hits() const {
  std::vector<uint64_t> hits;
  for (const auto& count : program_->hits) hits.push_back(count.load(std::memory_order_relaxed));
  return hits;
}

}  // namespace sluice

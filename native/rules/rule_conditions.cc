#include "rules/rule_conditions.h"

#include <algorithm>

namespace sluice {

namespace {

Truth truthOf(bool value) { return value ? Truth::yes : Truth::no; }

bool oneOf(const std::vector<std::string>& texts, std::string_view text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

bool compare(uint64_t value, Comparison comparison, uint64_t with) {
  switch (comparison) {
    case Comparison::less: return value < with;
    case Comparison::lessOrEqual: return value <= with;
    case Comparison::equal: return value == with;
    case Comparison::notEqual: return value != with;
    case Comparison::greaterOrEqual: return value >= with;
    case Comparison::greater: return value > with;
  }
  return false;
}

}  // namespace

uint64_t readCounter(const CounterSpec& counter, const RuleFacts& facts, const ConnectionMarks* marks) {
  if (!counter.table) return marks ? marks->tracked(counter.place).read(counter.column, facts.nowMs) : 0;
  TableKey key;
  if (!keyOf(counter.key, facts, marks, counter.table->config().key, key)) return 0;
  return counter.table->read(key, counter.column, facts.nowMs).value_or(0);
}

uint32_t RuleConditions::add(const ConditionSpec& spec) {
  const auto index = static_cast<uint32_t>(nodes_.size());
  Node node{.kind = spec.kind,
            .fact = spec.fact,
            .comparison = spec.comparison,
            .number = spec.number,
            .upTo = spec.upTo};
  switch (spec.kind) {
    case ConditionKind::network:
      node.operand = static_cast<uint32_t>(networks_.size());
      networks_.push_back({spec.networks, spec.texts});
      break;
    case ConditionKind::serverName:
      node.operand = static_cast<uint32_t>(patterns_.size());
      patterns_.emplace_back(spec.texts);
      break;
    case ConditionKind::counter:
      node.operand = static_cast<uint32_t>(counters_.size());
      counters_.push_back(spec.counter);
      break;
    default: node.operand = static_cast<uint32_t>(texts_.size()); texts_.push_back({spec.text, spec.texts});
  }
  nodes_.push_back(node);
  for (const ConditionSpec& part : spec.parts) add(part);
  nodes_[index].end = static_cast<uint32_t>(nodes_.size());
  return index;
}

Truth RuleConditions::evaluate(uint32_t index, const RuleFacts& facts, const ConnectionMarks* marks) const {
  const Node& node = nodes_[index];
  switch (node.kind) {
    case ConditionKind::all:
    case ConditionKind::any:
    case ConditionKind::none: break;
    case ConditionKind::contentStarts:
    case ConditionKind::contentContains:
    case ConditionKind::contentLength: return testContent(node, facts);
    default: return truthOf(test(node, facts, marks));
  }
  // What one part decides holds whatever becomes of the undecided ones.
  const Truth decisive = node.kind == ConditionKind::all ? Truth::no : Truth::yes;
  const bool decided = node.kind == ConditionKind::any;
  bool undecided = false;
  for (uint32_t part = index + 1; part < node.end; part = nodes_[part].end) {
    const Truth truth = evaluate(part, facts, marks);
    if (truth == decisive) return truthOf(decided);
    undecided = undecided || truth == Truth::undecided;
  }
  return undecided ? Truth::undecided : truthOf(!decided);
}

bool RuleConditions::test(const Node& node, const RuleFacts& facts, const ConnectionMarks* marks) const {
  switch (node.kind) {
    case ConditionKind::network: {
      const SocketAddress* address = addressOf(node.fact, facts, marks);
      if (!address) return false;
      const auto& [shared, values] = networks_[node.operand];
      const auto set = shared->get();
      const CidrSet::Entry* entry = set->find(*address);
      return entry && (values.empty() || oneOf(values, set->value(*entry)));
    }
    case ConditionKind::port: {
      const SocketAddress* address = addressOf(node.fact, facts, marks);
      return address && IpBits::of(*address) && address->port() >= node.number && address->port() <= node.upTo;
    }
    case ConditionKind::proxied: return facts.proxyVersion != 0;
    case ConditionKind::tlv: {
      const auto value = findTlv(facts.tlvs, static_cast<uint8_t>(node.number));
      const auto& any = texts_[node.operand].any;
      return value && (any.empty() || oneOf(any, *value));
    }
    case ConditionKind::tls: return facts.tls;
    case ConditionKind::serverName: return patterns_[node.operand].match(facts.serverName);
    case ConditionKind::alpn: return oneOf(texts_[node.operand].any, facts.alpn);
    case ConditionKind::certificatePresented: return facts.certificate.presented;
    case ConditionKind::certificateVerified: return facts.certificate.presented && facts.certificate.verified;
    case ConditionKind::commonName:
      return facts.certificate.presented && oneOf(texts_[node.operand].any, facts.certificate.commonName);
    case ConditionKind::fingerprint: {
      const auto bytes = facts.certificate.fingerprint;
      return oneOf(texts_[node.operand].any, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
    case ConditionKind::counter:
      return compare(readCounter(counters_[node.operand], facts, marks), node.comparison, node.number);
    case ConditionKind::tag: {
      const auto& any = texts_[node.operand].any;
      return marks &&
             std::any_of(any.begin(), any.end(), [marks](const auto& name) { return marks->hasTag(name); });
    }
    case ConditionKind::variable: {
      const auto& [name, any] = texts_[node.operand];
      const std::string* value = marks ? marks->variable(name) : nullptr;
      return value && (any.empty() || oneOf(any, *value));
    }
    default: return false;
  }
}

Truth RuleConditions::testContent(const Node& node, const RuleFacts& facts) const {
  const std::string_view content(reinterpret_cast<const char*>(facts.content.data()), facts.content.size());
  const Truth open = facts.contentComplete ? Truth::no : Truth::undecided;
  if (node.kind == ConditionKind::contentLength) return content.size() >= node.number ? Truth::yes : open;
  bool possible = node.kind == ConditionKind::contentContains;
  for (const std::string& text : texts_[node.operand].any) {
    if (node.kind == ConditionKind::contentContains) {
      if (content.find(text) != std::string_view::npos) return Truth::yes;
    } else if (content.starts_with(text)) {
      return Truth::yes;
    } else {
      possible = possible || std::string_view(text).starts_with(content);
    }
  }
  return possible ? open : Truth::no;
}

}  // namespace sluice

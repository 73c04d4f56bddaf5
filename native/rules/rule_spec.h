#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rules/cidr_set.h"
#include "rules/rule_facts.h"
#include "rules/stick_table.h"

namespace sluice {

/// Something known of a connection, as the key to track by, or as a variable's value.
enum class RuleFact : uint8_t {
  source,  // RuleFacts::source(); the same with destination
  destination,
  peer,
  local,
  localPort,
  serverName,
  alpn,
  commonName,
  fingerprint,
  tlv,       // value of the first TLV of type `number`
  variable,  // of the name `text`
  constant,  // `text`
};
constexpr uint8_t ruleFacts = 12;

struct FactSpec {
  RuleFact fact = RuleFact::source;
  uint8_t number = 0;
  std::string text{};
};

enum class ConditionKind : uint8_t {
  all,   // of parts; of none: always
  any,   // of parts; of none: never
  none,  // of parts: not any
  network,  // the address `fact` lies in `networks`, and the longest of them has one of the values `texts`, if there are
  port,     // the port of the address `fact` is from `number` to `upTo`
  proxied,  // there was a PROXY header
  tlv,      // it has a TLV of type `number`, whose value is one of `texts`, if there are any
  tls,
  serverName,  // matches one of the patterns `texts`: a name, "*.example.org" (one label more), ".example.org" (any more)
  alpn,        // one of `texts`
  certificatePresented,
  certificateVerified,
  commonName,       // one of `texts`
  fingerprint,      // one of `texts`, 32 bytes each
  counter,          // `counter` `comparison` `number`
  contentStarts,    // with one of `texts`
  contentContains,  // one of `texts`
  contentLength,    // at least `number` bytes
  tag,              // one of `texts` has been given
  variable,         // `text` has been set, and is one of `texts`, if there are any
};
constexpr uint8_t conditionKinds = 20;

enum class Comparison : uint8_t { less, lessOrEqual, equal, notEqual, greaterOrEqual, greater };
constexpr uint8_t comparisons = 6;

/// A column of an entry: that tracked in `place`, or with a table, that of a key, which is not tracked by this. What is
/// not there counts as 0.
struct CounterSpec {
  TableColumn column{};
  int place = 0;
  std::shared_ptr<StickTable> table{};
  FactSpec key{};
};

struct ConditionSpec {
  ConditionKind kind = ConditionKind::all;
  std::vector<ConditionSpec> parts{};
  std::shared_ptr<const SharedCidrSet> networks{};
  RuleFact fact = RuleFact::source;
  std::string text{};
  std::vector<std::string> texts{};
  uint64_t number = 0, upTo = 0;
  Comparison comparison = Comparison::greater;
  CounterSpec counter{};
};

enum class RuleActionKind : uint8_t {
  accept,
  reject,
  silentDrop,  // `number`: TTL of the RST, or 0
  delay,       // `number` ms
  expectProxy,
  track,          // `key` in `counter.table`, in `counter.place`
  tag,            // `text`
  set,            // variable `text` to `value`
  count,          // `number` more in `counter`
  assign,         // `number` to the tag (gpt) `counter`
  typeOfService,  // `number`
  mark,           // `number`
  setSource,  // the address `value`, its leading bits alone, with port `number`, or with noPort the one it has had
  setDestination,
  log,  // `text`, and `value` if `says`
};
constexpr uint8_t ruleActionKinds = 15;

/// One rule, checked.
struct RuleSpec {
  RuleStage stage = RuleStage::socket;
  ConditionSpec when{};
  RuleActionKind action = RuleActionKind::accept;
  uint32_t number = 0;
  std::string text{};
  FactSpec value{};
  CounterSpec counter{};
  uint8_t ipv4Bits = 32, ipv6Bits = 128;
  bool says = false;

  static constexpr uint32_t noPort = UINT32_MAX;
};

}  // namespace sluice

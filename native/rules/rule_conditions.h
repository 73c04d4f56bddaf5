#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rules/connection_marks.h"
#include "rules/rule_spec.h"
#include "rules/rule_values.h"

namespace sluice {

/// What a condition comes to; undecided where content that may still come would decide it (HP-56).
enum class Truth : uint8_t { no, yes, undecided };

/// The conditions of a list of rules: a row of small nodes, parts behind what they are parts of, and what they compare
/// with beside it.
class RuleConditions {
 public:
  /// Adds a condition. The number to evaluate it by.
  uint32_t add(const ConditionSpec& spec);
  Truth evaluate(uint32_t node, const RuleFacts& facts, const ConnectionMarks* marks) const;

 private:
  struct Node {
    ConditionKind kind;
    RuleFact fact = RuleFact::source;
    Comparison comparison = Comparison::greater;
    uint32_t end = 0;      // behind the last of its parts
    uint32_t operand = 0;  // index of what the kind compares with
    uint64_t number = 0, upTo = 0;
  };
  struct Networks {
    std::shared_ptr<const SharedCidrSet> set;
    std::vector<std::string> values;
  };
  struct Texts {
    std::string text;
    std::vector<std::string> any;
  };

  bool test(const Node& node, const RuleFacts& facts, const ConnectionMarks* marks) const;
  Truth testContent(const Node& node, const RuleFacts& facts) const;

  std::vector<Node> nodes_;
  std::vector<Networks> networks_;
  std::vector<Texts> texts_;
  std::vector<NamePatterns> patterns_;
  std::vector<CounterSpec> counters_;
};

/// The value that a counter has for a connection (CounterSpec).
uint64_t readCounter(const CounterSpec& counter, const RuleFacts& facts, const ConnectionMarks* marks);

}  // namespace sluice

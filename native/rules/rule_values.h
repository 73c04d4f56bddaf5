#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rules/connection_marks.h"
#include "rules/rule_spec.h"

namespace sluice {

/// The value of the first TLV of a type, of 0x21 to 0x2f within the SSL one. Nothing where there is none.
std::optional<std::string_view> findTlv(std::span<const uint8_t> tlvs, uint8_t type);

/// The key that a fact makes in a table; false where the connection has none.
bool keyOf(const FactSpec& fact, const RuleFacts& facts, const ConnectionMarks* marks, const TableKeyShape& shape,
           TableKey& key);
/// A fact as text; "" where the connection has none.
std::string textOf(const FactSpec& fact, const RuleFacts& facts, const ConnectionMarks* marks);
/// The address a fact names; null for none.
const SocketAddress* addressOf(RuleFact fact, const RuleFacts& facts, const ConnectionMarks* marks);

/// Patterns for server names; see ConditionKind::serverName. Case does not count.
class NamePatterns {
 public:
  explicit NamePatterns(const std::vector<std::string>& patterns);
  bool match(std::string_view name) const;

 private:
  std::vector<std::string> exact_;     // sorted
  std::vector<std::string> oneLabel_;  // ".example.org", sorted
  std::vector<std::string> suffixes_;  // ".example.org"
};

}  // namespace sluice

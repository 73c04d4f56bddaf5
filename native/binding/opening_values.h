#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/opening.h"

namespace sluice::values {

/// The steps of a listener or connect(), as NativeOpening of src/native/binding.ts has them; they are checked and complete
/// (src/handshake/). Null when there are none.
std::shared_ptr<const OpeningPlan> openingPlan(const Napi::Value& value);

/// By reason, what came of connections that did not get to their session.
Napi::Object openingCounts(Napi::Env env, const OpeningCounts& counts);

/// What of a connection's marks JavaScript is shown, apart from the connection.
struct ShownMarks {
  ShownMarks() = default;
  explicit ShownMarks(const ConnectionMarks& marks)
      : tags(marks.tags()), variables(marks.variables()), source(marks.source), destination(marks.destination) {}

  std::vector<std::string> tags{};
  std::vector<std::pair<std::string, std::string>> variables{};
  std::optional<SocketAddress> source{}, destination{};
};
/// What rules have left on a connection: RuleMarks.
Napi::Object ruleMarks(Napi::Env env, const ShownMarks& marks);
/// What a rule has said: NativeRuleLogEntry.
Napi::Object ruleLogEntry(Napi::Env env, const ConnectionMarks::LogEntry& entry);

/// The functions of NativeOpenings in src/native/binding.ts.
Napi::Object openingBinding(Napi::Env env);

}  // namespace sluice::values

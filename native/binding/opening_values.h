#pragma once

#include <napi.h>

#include <memory>
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

/// What rules have left on a connection.
Napi::Object ruleMarks(Napi::Env env, const std::vector<std::string>& tags,
                       const std::vector<std::pair<std::string, std::string>>& variables);

/// The functions of NativeOpenings in src/native/binding.ts.
Napi::Object openingBinding(Napi::Env env);

}  // namespace sluice::values

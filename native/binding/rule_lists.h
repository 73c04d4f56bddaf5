#pragma once

#include <napi.h>

#include <memory>

#include "net/opening_rules.h"

namespace sluice::rule_lists {

/// What src/native/binding.ts declares about lists of rules: opaque handles of a RuleListInForce.
Napi::Object binding(Napi::Env env);

/// The list of a handle, or null.
std::shared_ptr<const RuleListInForce> readList(const Napi::Value& value);

}  // namespace sluice::rule_lists

#pragma once

#include <napi.h>

#include "net/connection_limit.h"

namespace sluice::rate_limits {

/// Adds what src/native/binding.ts declares about rate limits: groups and keyed groups are opaque handles, and every
/// function takes one first. `nowMs` is left out where the system's clock counts.
void exportTo(Napi::Env env, Napi::Object& exports);

/// { readRate?, readBurst?, writeRate?, writeBurst?, tickMs }, checked in TypeScript.
RateLimit readLimit(const Napi::Object& object);
/// The same of a property, which may be absent: null.
std::shared_ptr<const RateLimit> readOwnLimit(const Napi::Value& value);
/// The group of a handle, or null.
std::shared_ptr<RateGroup> readGroup(const Napi::Value& value);
/// rateLimit, rateGroup, rateGroups and rateGroupFollows of a connection's options.
RateBinding readBinding(const Napi::Object& object);
/// A direction as JavaScript names it: 0 to read, 1 to write.
Direction readDirection(const Napi::Value& value);
Napi::Object standing(Napi::Env env, const RateStanding& standing);

}  // namespace sluice::rate_limits

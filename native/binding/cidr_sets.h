#pragma once

#include <napi.h>

namespace sluice::cidr_sets {

/// What src/native/binding.ts declares about sets of networks: opaque handles of a SharedCidrSet, which every function but
/// create takes first.
Napi::Object binding(Napi::Env env);

}  // namespace sluice::cidr_sets

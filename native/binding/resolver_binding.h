#pragma once

#include <napi.h>

namespace sluice {

/// resolve(host, family, callback): asks the process's resolver threads; callback(failure, addresses) runs later, unless
/// the returned function was called before. A query keeps the event loop alive.
Napi::Value resolveHost(const Napi::CallbackInfo& info);

}  // namespace sluice

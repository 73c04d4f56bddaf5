#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "net/accept_gate.h"

namespace sluice {

/// createGate(maxConnections, maxConnectionsPerSecond, sharers): a gate that listeners on several loops can share.
Napi::Value createGate(const Napi::CallbackInfo& info);
/// The gates in a JavaScript array of what createGate() returned.
std::vector<std::shared_ptr<AcceptGate>> readGates(const Napi::Value& value);

}  // namespace sluice

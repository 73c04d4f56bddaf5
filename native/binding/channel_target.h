#pragma once

#include <napi.h>

#include "net/network.h"

namespace sluice {

/// A connection as JavaScript names it.
struct Target {
  Slot slot;
  uint32_t tag;
  explicit Target(const Napi::CallbackInfo& info, size_t at = 0)
      : slot(info[at].As<Napi::Number>().Uint32Value()),
        tag(static_cast<uint32_t>(info[at + 1].As<Napi::Number>().Int32Value())) {}

  /// Only while the engine has the socket.
  Connection* in(Network& network) const {
    Connection* connection = network.find(slot, tag);
    return connection != nullptr && (connection->live() || connection->state == ConnectionState::connecting)
               ? connection
               : nullptr;
  }
};

/// What is answered where there is nobody to ask.
inline const Error channelClosed{ErrorCode::closed, 0, ""};

}  // namespace sluice

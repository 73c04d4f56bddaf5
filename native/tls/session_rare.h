#pragma once

#include <deque>
#include <string>
#include <vector>

#include "base/rate_meter.h"
#include "tls/session.h"

namespace sluice {

struct TlsSession::Rare {
  std::vector<TlsError> errors;  // oldest first
  std::string serverName, sessionKey, alpnWire, pskIdentity;
  bool nameKnown = false;  // a client's hello has been seen
  uint32_t entry = 0;      // of the server's table of names
  int verifyCode = 0, verifyDepth = 0;
  RateMeter keyUpdates{1000}, renegotiations{60'000}, emptyRecords{1000};
};

}  // namespace sluice

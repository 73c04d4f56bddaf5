#pragma once

#include <cstdint>
#include <string>

#include "net/failure_table.h"
#include "tls/tls_error.h"

namespace sluice {

/// A failed handshake or session, with what only text can say.
struct TlsFailureReport {
  TlsError error;
  std::string remoteAddress;
  uint16_t remotePort = 0;
};

using TlsFailures = FailureTable<TlsFailureReport>;

}  // namespace sluice

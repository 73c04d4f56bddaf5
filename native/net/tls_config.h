#pragma once

#include <cstdint>
#include <memory>

#include "tls/context.h"
#include "tls/options.h"

namespace sluice {

/// What a listener's connections, one connect() or one startTls() need to know of TLS.
struct TlsConfig {
  std::shared_ptr<TlsContext> context;
  TlsPeerOptions peer;
  uint32_t handshakeTimeoutMs = 10000;
  uint32_t maxHandshakes = 0;
  uint32_t maxHandshakesWaiting = 0;
  uint32_t maxHandshakesPerSecond = 0;
  bool allowTruncation = false;
  bool discardPlaintext = false;  // startTls: drop, instead of refusing, plaintext that came before
};

}  // namespace sluice

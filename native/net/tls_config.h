#pragma once

#include <cstdint>
#include <memory>

#include "tls/context.h"
#include "tls/options.h"

namespace sluice {

/// How connections are secured: a policy, and what bounds their handshakes.
struct TlsConfig {
  std::shared_ptr<TlsContext> context;
  TlsPeerOptions peer;
  /// From the first byte to the last; bytes that trickle in do not extend it (HP-85). 0: no bound.
  uint32_t handshakeTimeoutMs = 10'000;
  /// Handshakes of one listener and loop that are under way at once; the others wait, untouched. 0: no limit.
  uint32_t maxHandshakes = 0;
  /// How many may wait; more are closed. 0: no limit.
  uint32_t maxHandshakesWaiting = 0;
  /// Handshakes that begin; counted before any work for TLS is done. 0: no limit.
  uint32_t maxHandshakesPerSecond = 0;
  /// An end without close_notify is an end, not an error (LE-85).
  bool allowTruncation = false;
  /// startTls: plaintext that came before is dropped; otherwise it is refused.
  bool discardPlaintext = false;
};

}  // namespace sluice

#pragma once

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "base/rate_meter.h"
#include "base/timer_wheel.h"
#include "engine/engine.h"
#include "net/accept_gate.h"
#include "net/connection_limit.h"
#include "net/opening.h"
#include "net/tls_config.h"

namespace sluice {

/// What a new connection starts with.
struct ConnectionConfig {
  uint32_t readTimeoutMs = 0, writeTimeoutMs = 0, halfClosedTimeoutMs = 0;  // 0: none
  uint32_t lowWaterBytes = 0;
  bool startPaused = false;  // nobody reads yet
  std::shared_ptr<const TlsConfig> tls;
  std::shared_ptr<const OpeningPlan> opening;  // null: no steps
  RateBinding rate;

  bool hasTimeouts() const { return (readTimeoutMs | writeTimeoutMs | halfClosedTimeoutMs) != 0; }
};

/// One listener on one loop.
///
///   accepting ─ gates grant nothing ─▶ waiting ─ a place is free, or it is time ─▶ accepting
///   accepting ─ EMFILE and the like ─▶ backingOff ─ 100 ms … 1 s later ─▶ accepting
struct Listener {
  enum class State : uint8_t { accepting, waiting, backingOff };

  ListenerId id = noListener;
  uint32_t key = 0;  // JavaScript's name for it, on every loop the same
  State state = State::accepting;
  bool retired = false;  // closed; the last that the kernel has accepted may still come
  ConnectionConfig connections;
  std::vector<std::shared_ptr<AcceptGate>> gates;
  uint32_t granted = 0;   // places reserved and not yet used
  uint32_t occupied = 0;  // places held by its open connections
  uint32_t backOffMs = 0;
  uint64_t accepted = 0, failures = 0;
  Timer timer;
  // Handshakes: how many are under way, and who waits for a place (slot and tag).
  uint32_t handshakes = 0;
  uint64_t handshakesDone = 0, handshakesFailed = 0;
  std::deque<std::pair<Slot, uint32_t>> waiting;
  RateMeter handshakeRate;
  Timer handshakeTimer;
  std::unique_ptr<OpeningCounts> openings;  // by what came of those that did not get to their session

  void countOpening(OpeningFailure how) {
    if (!openings) openings = std::make_unique<OpeningCounts>();
    (*openings)[static_cast<size_t>(how)]++;
  }
};

}  // namespace sluice

#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "base/rate_meter.h"

namespace sluice {

/// Somebody who waits for a gate.
class GateWaiter {
 public:
  virtual ~GateWaiter() = default;
  /// A place has become free. Any thread, with the gate locked: remember it and return.
  virtual void gateOpened() = 0;
};

/// A limit that is enforced before accept: how many connections at once, and how many new ones per second. Shared by
/// all loops of a runtime; what it does not grant stays in the kernel's backlog (HP-71, HP-72).
class AcceptGate {
 public:
  /// 0 means no limit. `sharers`: loops that ask, so that none takes everything.
  AcceptGate(uint32_t maxConnections, uint32_t maxConnectionsPerSecond, uint32_t sharers)
      : maxConnections_(maxConnections), maxPerSecond_(maxConnectionsPerSecond), sharers_(sharers) {}

  struct Grant {
    uint32_t count = 0;
    TimeMs retryInMs = 0;  // count 0: ask again then; 0: gateOpened() will tell
  };
  /// Asks for up to `want` places. Each granted place is given back by release(), used or not.
  Grant reserve(TimeMs now, uint32_t want, GateWaiter* waiter);
  /// One granted place has become a connection.
  void accepted(TimeMs now);
  /// Gives places back and tells whoever waits.
  void release(uint32_t count);
  void forget(GateWaiter* waiter);

 private:
  std::mutex mutex_;
  const uint32_t maxConnections_, maxPerSecond_, sharers_;
  uint32_t held_ = 0;
  RateMeter meter_;
  std::vector<GateWaiter*> waiters_;
};

}  // namespace sluice

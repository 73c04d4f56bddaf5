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
  /// Somebody waits while places are granted and unused: give unused ones back. Called like gateOpened().
  virtual void gateWanted() = 0;
};

/// A limit that is enforced before accept: how many connections at once, and how many new ones per second. Shared by
/// all listeners and loops of a runtime; what it does not grant stays in the kernel's backlog (HP-71, HP-72).
///
/// Grants are made in advance, since an engine accepts by itself. So a listener to which nobody comes may hold the last
/// places while clients of another wait: whoever is refused then has the unused ones called back, at most every
/// recallMs, and those who gave back stand behind those who wait.
class AcceptGate {
 public:
  static constexpr uint32_t recallMs = 100;

  /// 0 means no limit. `sharers`: loops that ask, at least, so that none takes everything.
  AcceptGate(uint32_t maxConnections, uint32_t maxConnectionsPerSecond, uint32_t sharers)
      : maxConnections_(maxConnections), maxPerSecond_(maxConnectionsPerSecond), sharers_(sharers) {}

  struct Grant {
    uint32_t count = 0;
    TimeMs retryInMs = 0;  // count 0: ask again then; 0: gateOpened() will tell
  };
  /// A listener that asks, and whom to tell.
  struct Member {
    GateWaiter* waiter;
    uint32_t listenerKey;
    bool operator==(const Member&) const = default;
  };
  /// Before a listener asks for the first time, and when it will ask no more.
  void join(Member member);
  void leave(Member member);
  /// Asks for up to `want` places. Each is given back: unused by giveBack(), else by release(). `yielding`: only what
  /// others do not wait for.
  Grant reserve(TimeMs now, uint32_t want, Member member, bool yielding);
  /// One granted place has become a connection.
  void accepted(TimeMs now);
  /// Gives unused places back and tells whoever waits.
  void giveBack(uint32_t count);
  /// The connection of one place is gone; tells whoever waits.
  void release();

 private:
  uint32_t left(TimeMs now);
  void free(uint32_t count);

  std::mutex mutex_;
  const uint32_t maxConnections_, maxPerSecond_, sharers_;
  uint32_t held_ = 0, unused_ = 0;  // granted; those of them that are no connection yet
  TimeMs nextRecallMs_ = 0;
  RateMeter meter_;
  std::vector<Member> members_, waiting_;
};

}  // namespace sluice

#pragma once

#include <cstdint>
#include <limits>

namespace sluice {

/// A point in time: milliseconds of an engine's own monotonic clock (virtual in the simulated engine).
using TimeMs = uint64_t;

/// When a wait must end at the latest. `Deadline::now()` polls, `Deadline::never()` waits for an event.
struct Deadline {
  TimeMs atMs;

  static constexpr Deadline now() { return {0}; }
  static constexpr Deadline never() { return {std::numeric_limits<TimeMs>::max()}; }
  constexpr bool isNow() const { return atMs == 0; }
  constexpr bool isNever() const { return atMs == std::numeric_limits<TimeMs>::max(); }
};

/// The system's monotonic clock.
TimeMs monotonicMs();
/// The same clock in nanoseconds, for budgets shorter than a millisecond.
uint64_t monotonicNs();

/// Time left until `deadline` as poll(2) and epoll_wait(2) want it: milliseconds, 0 to poll, -1 for ever.
int timeoutMs(Deadline deadline, TimeMs now);

}  // namespace sluice

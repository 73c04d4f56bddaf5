#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace sluice {

/// Events per period over a sliding window, as HP-60…65 have it: those of the period under way, and those of the one
/// before weighted by what is left of it. 16 bytes, so that each entry of a table has one per rate; the period is the
/// owner's. All zero is a counter that has never counted. Counts are of 32 bits and wrap.
///
/// Times come from one monotonic clock; one that lies before the period's start, as threads' readings may by a
/// millisecond, counts as its start.
class FrequencyCounter {
 public:
  /// So that no product of a count and a period overflows.
  static constexpr uint32_t maxPeriodMs = 1u << 30;

  /// HP-60.
  void add(uint32_t events, TimeMs now, uint32_t periodMs) {
    if (elapsed(now) < periodMs) {
      current_ += events;
      return;
    }
    previous_ = current_;
    current_ = events;
    startMs_ += periodMs;
    if (now - startMs_ >= periodMs) {
      previous_ = 0;
      startMs_ = now;
    }
  }

  /// Counts what happened `ageMs` ago, somewhere else, in the period it belongs to.
  void addLate(uint32_t events, TimeMs ageMs, TimeMs now, uint32_t periodMs) {
    add(0, now, periodMs);
    const TimeMs into = elapsed(now);
    if (ageMs <= into) {
      current_ += events;
    } else if (ageMs - into <= periodMs) {
      previous_ += events;
    }
  }

  /// Takes back events that were counted, the latest first, as far as there are any.
  void takeBack(uint32_t events) {
    const uint32_t ofCurrent = std::min(events, current_);
    current_ -= ofCurrent;
    previous_ -= std::min(events - ofCurrent, previous_);
  }

  /// HP-61: events in the window that ends now, times the period; `pending` more are about to happen.
  uint64_t total(TimeMs now, uint32_t periodMs, uint32_t pending = 0) const {
    const auto [previous, current, remainMs] = window(now, periodMs);
    return previous * remainMs + (current + pending) * periodMs;
  }
  uint64_t rate(TimeMs now, uint32_t periodMs, uint32_t pending = 0) const {
    return total(now, periodMs, pending) / periodMs;
  }
  /// HP-62, for people to look at: a single event does not flap between 1 and 0. Not for limits.
  uint64_t shown(TimeMs now, uint32_t periodMs) const {
    const auto [previous, current, remainMs] = window(now, periodMs);
    if (current == 0 && previous <= 1) return previous;
    return (previous * remainMs + current * periodMs) / periodMs;
  }
  /// HP-63: how many more fit under `limit` per period.
  uint32_t remaining(uint32_t limit, TimeMs now, uint32_t periodMs, uint32_t pending = 0) const {
    return limit - static_cast<uint32_t>(std::min<uint64_t>(limit, rate(now, periodMs, pending)));
  }
  /// HP-64: how long to wait before the next one; 0 when it fits now.
  TimeMs nextDelayMs(uint32_t limit, TimeMs now, uint32_t periodMs, uint32_t pending = 0) const {
    const uint64_t used = total(now, periodMs, pending), allowed = static_cast<uint64_t>(limit) * periodMs;
    return used < allowed ? 0 : std::max<TimeMs>(1, (used - allowed) / std::max(1u, limit));
  }
  /// HP-65: events of this period beyond what a steady pace of `limit` per period allows by now; 0 when it is over.
  uint32_t overshoot(uint32_t limit, TimeMs now, uint32_t periodMs) const {
    const TimeMs into = elapsed(now);
    if (current_ == 0 || into > periodMs) return 0;
    return current_ - static_cast<uint32_t>(std::min<uint64_t>(current_, into * limit / periodMs));
  }

  /// Its parts, for storing it elsewhere.
  uint32_t current() const { return current_; }
  uint32_t previous() const { return previous_; }
  TimeMs ageMs(TimeMs now) const { return elapsed(now); }
  static FrequencyCounter of(uint32_t current, uint32_t previous, TimeMs ageMs, TimeMs now) {
    FrequencyCounter counter;
    counter.current_ = current;
    counter.previous_ = previous;
    counter.startMs_ = now - std::min(now, ageMs);
    return counter;
  }

 private:
  struct Window {
    uint64_t previous, current, remainMs;
  };
  Window window(TimeMs now, uint32_t periodMs) const {
    const TimeMs into = elapsed(now);
    if (into < periodMs) return {previous_, current_, periodMs - into};
    if (into < 2 * static_cast<TimeMs>(periodMs)) return {current_, 0, 2 * static_cast<TimeMs>(periodMs) - into};
    return {0, 0, 0};
  }
  TimeMs elapsed(TimeMs now) const { return now - std::min(now, startMs_); }

  TimeMs startMs_ = 0;
  uint32_t current_ = 0, previous_ = 0;
};

}  // namespace sluice

#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace sluice {

/// Events per period over a sliding window of two periods, the older one weighted by what is left of it
/// (HP-60…65). It never lets twice the rate through at the edge of a period.
class RateMeter {
 public:
  explicit RateMeter(uint32_t periodMs = 1000) : periodMs_(periodMs) {}

  void add(TimeMs now, uint64_t count = 1) {
    rotate(now);
    current_ += count;
  }
  /// Events in the window that ends now, times the period.
  uint64_t total(TimeMs now) {
    rotate(now);
    return previous_ * (startMs_ + periodMs_ - now) + current_ * periodMs_;
  }
  uint64_t rate(TimeMs now) { return total(now) / periodMs_; }
  /// The rate for people to look at: a single event does not flap between 1 and 0 (HP-62).
  uint64_t shown(TimeMs now) {
    rotate(now);
    return current_ == 0 && previous_ <= 1 ? previous_ : rate(now);
  }
  /// How many more events fit under `limit` per period.
  uint32_t remaining(TimeMs now, uint32_t limit) {
    const uint64_t used = rate(now);
    return used >= limit ? 0 : static_cast<uint32_t>(limit - used);
  }
  /// How long to wait before asking again; 0 when one more fits now. As HP-64 has it, and where this period's own events
  /// fill the limit, its end: nothing fits before.
  TimeMs delayMs(TimeMs now, uint32_t limit) {
    const uint64_t used = total(now), allowed = static_cast<uint64_t>(limit) * periodMs_;
    if (used < allowed) return 0;
    const TimeMs delay = std::max<TimeMs>(1, (used - allowed) / std::max(1u, limit));
    return current_ >= limit ? std::max(delay, startMs_ + periodMs_ - now) : delay;
  }
  /// Events of the current period beyond what a steady pace of `limit` per period allows by now; 0 when the period is
  /// over (HP-65).
  uint64_t overshoot(TimeMs now, uint64_t limit) const {
    if (current_ == 0 || now < startMs_ || now - startMs_ > periodMs_) return 0;
    const uint64_t due = (now - startMs_) * limit / periodMs_;
    return current_ - std::min(current_, due);
  }

 private:
  void rotate(TimeMs now) {
    if (now < startMs_ + periodMs_) return;
    if (now < startMs_ + 2 * static_cast<TimeMs>(periodMs_)) {
      previous_ = current_;
      startMs_ += periodMs_;
    } else {
      previous_ = 0;
      startMs_ = now;
    }
    current_ = 0;
  }

  uint32_t periodMs_;
  uint64_t current_ = 0, previous_ = 0;
  TimeMs startMs_ = 0;
};

}  // namespace sluice

#pragma once

#include <array>
#include <cstdint>

#include "base/clock.h"

namespace sluice {

/// A place in a ring of timers. Rings make leaving one possible without knowing which.
struct TimerLink {
  TimerLink* next = nullptr;
  TimerLink* prev = nullptr;

  void makeEmptyRing() { next = prev = this; }
  bool isEmptyRing() const { return next == this; }
  void appendTo(TimerLink& ring);
  void unlink();
};

/// One deadline, a member of whatever it bounds. Stays where it is in memory; a timer that is destroyed while armed
/// is cancelled.
struct Timer : private TimerLink {
  TimeMs atMs = 0;   // what arm() was given last
  uint64_t tag = 0;  // the owner's, to find its way back from the timer

  Timer() = default;
  explicit Timer(uint64_t tag) : tag(tag) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() {
    if (armed()) unlink();
  }

  /// From arm() until cancel(), or until ExpiredTimers::pop() hands it out.
  bool armed() const { return next != nullptr; }

 private:
  friend class TimerWheel;
  friend class ExpiredTimers;
};
static_assert(sizeof(Timer) <= 32);

/// The timers that advance() found due. While it is walked any timer may be armed, cancelled or destroyed, those
/// still in here as well: they then no longer come out. What is left at destruction is cancelled.
class ExpiredTimers {
 public:
  ExpiredTimers() { ring_.makeEmptyRing(); }
  ExpiredTimers(const ExpiredTimers&) = delete;
  ExpiredTimers& operator=(const ExpiredTimers&) = delete;
  ~ExpiredTimers() {
    while (pop() != nullptr) {}
  }

  /// The next one, no longer armed, or null.
  Timer* pop();
  bool empty() const { return ring_.isEmptyRing(); }

 private:
  friend class TimerWheel;
  TimerLink ring_;
};

/// Any number of deadlines on one clock, millisecond by millisecond. A timer never expires early, and it expires in the
/// first advance() that reaches its time; those of one advance() come in no promised order, but the same one each run.
///
/// Eleven levels of 64 slots span all of TimeMs. A slot of level n is 64^n ms wide. A timer lies on the level of the
/// highest digit, base 64, in which its time differs from now, in the slot of that digit:
///
///   level 0   the rest of the current 64 ms, one slot per ms
///   level 1   the rest of the current 4096 ms, 64 ms per slot
///   …         when time enters a slot, its timers move down to where they can be told apart
///
/// arm() and cancel() take constant time; advance() takes constant time, however far it goes, plus the timers it meets,
/// each at most once per level.
class TimerWheel {
 public:
  explicit TimerWheel(TimeMs now);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  /// Cancels what is still armed.
  ~TimerWheel();

  /// Where the last advance() has been.
  TimeMs nowMs() const { return now_; }
  /// Lets `timer` expire at `atMs`, instead of whatever it was armed for. A time that has passed expires in the next
  /// advance().
  void arm(Timer& timer, TimeMs atMs);
  /// No effect on a timer that is not armed.
  void cancel(Timer& timer) {
    if (timer.armed()) timer.unlink();
  }

  /// How long one may sleep: no timer expires before this time. Exact when the next one expires within the current
  /// 64 ms, or shares its slot with few; otherwise perhaps too early, by less than the width of its slot. Deadline::never().atMs without timers.
  TimeMs nextMs();
  /// Moves time on and adds the timers that are due to `expired`. A time before nowMs() counts as nowMs().
  void advance(TimeMs now, ExpiredTimers& expired);

 private:
  static constexpr int digitBits = 6;
  static constexpr int slotsPerLevel = 1 << digitBits;
  static constexpr int levelCount = (64 + digitBits - 1) / digitBits;

  struct Level {
    uint64_t occupied = 0;  // every slot with timers; a slot emptied by cancel() keeps its bit until somebody looks
    std::array<TimerLink, slotsPerLevel> slots;
  };

  static int digit(TimeMs time, int level) {
    return static_cast<int>(time >> (level * digitBits)) & (slotsPerLevel - 1);
  }
  void place(Timer& timer);
  static TimeMs earliestOfFew(const TimerLink& slot);
  void drain(TimerLink& slot, ExpiredTimers& expired);

  TimeMs now_;
  TimerLink due_;  // armed for a time that had passed
  // On every level only slots after now's own digit are occupied: the others lie in the past or on lower levels.
  std::array<Level, levelCount> levels_;
};

}  // namespace sluice

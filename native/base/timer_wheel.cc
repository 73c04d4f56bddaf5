#include "base/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace sluice {

void TimerLink::appendTo(TimerLink& ring) {
  prev = ring.prev;
  next = &ring;
  prev->next = this;
  ring.prev = this;
}

void TimerLink::unlink() {
  prev->next = next;
  next->prev = prev;
  next = prev = nullptr;
}

Timer* ExpiredTimers::pop() {
  if (empty()) return nullptr;
  Timer* timer = static_cast<Timer*>(ring_.next);
  timer->unlink();
  return timer;
}

TimerWheel::TimerWheel(TimeMs now) : now_(now) {
  due_.makeEmptyRing();
  for (Level& level : levels_)
    for (TimerLink& slot : level.slots) slot.makeEmptyRing();
}

TimerWheel::~TimerWheel() {
  while (!due_.isEmptyRing()) due_.next->unlink();
  for (Level& level : levels_)
    for (TimerLink& slot : level.slots)
      while (!slot.isEmptyRing()) slot.next->unlink();
}

void TimerWheel::arm(Timer& timer, TimeMs atMs) {
  cancel(timer);
  timer.atMs = atMs;
  place(timer);
}

void TimerWheel::place(Timer& timer) {
  if (timer.atMs <= now_) return timer.appendTo(due_);
  const int highestBit = 63 - std::countl_zero(timer.atMs ^ now_);
  const int levelIndex = highestBit / digitBits;
  const int slot = digit(timer.atMs, levelIndex);
  Level& level = levels_[levelIndex];
  level.occupied |= uint64_t{1} << slot;
  timer.appendTo(level.slots[slot]);
}

// Few enough to look at each: waking up only to see that it is too early costs more.
TimeMs TimerWheel::earliestOfFew(const TimerLink& slot) {
  constexpr int few = 8;
  TimeMs earliest = Deadline::never().atMs;
  int count = 0;
  for (const TimerLink* link = slot.next; link != &slot; link = link->next) {
    if (++count > few) return 0;
    earliest = std::min(earliest, static_cast<const Timer*>(link)->atMs);
  }
  return earliest;
}

TimeMs TimerWheel::nextMs() {
  if (!due_.isEmptyRing()) return now_;
  for (int index = 0; index < levelCount; ++index) {
    Level& level = levels_[index];
    while (level.occupied != 0) {
      const int slot = std::countr_zero(level.occupied);
      if (level.slots[slot].isEmptyRing()) {
        level.occupied &= level.occupied - 1;
        continue;
      }
      const TimeMs exact = index == 0 ? 0 : earliestOfFew(level.slots[slot]);
      if (exact != 0) return exact;
      const int shift = index * digitBits;
      return ((now_ >> shift) + static_cast<TimeMs>(slot - digit(now_, index))) << shift;
    }
  }
  return Deadline::never().atMs;
}

void TimerWheel::advance(TimeMs now, ExpiredTimers& expired) {
  drain(due_, expired);
  const TimeMs before = now_;
  now_ = std::max(now_, now);
  for (int index = 0; index < levelCount; ++index) {
    Level& level = levels_[index];
    const int shift = index * digitBits;
    // Where time has left the span of this level, all of its slots lie in the past and the next level has moved too.
    const bool sameSpan = before >> shift >> digitBits == now_ >> shift >> digitBits;
    uint64_t passed = level.occupied;
    if (sameSpan) passed &= ~uint64_t{0} >> (slotsPerLevel - 1 - digit(now_, index));
    level.occupied &= ~passed;
    for (; passed != 0; passed &= passed - 1) drain(level.slots[std::countr_zero(passed)], expired);
    if (sameSpan) return;
  }
}

// Only the slot that time is now within has timers that are not due yet; they go to lower levels, never back here.
void TimerWheel::drain(TimerLink& slot, ExpiredTimers& expired) {
  while (!slot.isEmptyRing()) {
    Timer& timer = *static_cast<Timer*>(slot.next);
    timer.unlink();
    if (timer.atMs <= now_) timer.appendTo(expired.ring_);
    else place(timer);
  }
}

}  // namespace sluice

#include "rules/frequency_counter.h"

#include <map>
#include <random>

#include "support/test.h"

using namespace sluice;

namespace {

constexpr TimeMs start = 50'000;
constexpr uint32_t second = 1000;

/// Ten events in the last period, four in this one, which began at `start + 1000`.
FrequencyCounter tenAndFour() {
  FrequencyCounter counter;
  counter.add(10, start, second);
  counter.add(4, start + 1000, second);
  return counter;
}

/// The same told another way: every period's events are kept, by number.
class Model {
 public:
  explicit Model(uint32_t periodMs) : periodMs_(periodMs) {}
  void add(uint64_t events, TimeMs now) {
    const uint64_t period = periodOf(now);
    if (events_.empty() || period >= last_ + 2) {
      events_.clear();
      base_ = now;
      last_ = 0;
      events_[0] = events;
      return;
    }
    last_ = period;
    events_[period] += events;
  }
  uint64_t total(TimeMs now, uint64_t pending) const {
    if (events_.empty()) return pending * periodMs_;
    const uint64_t period = periodOf(now);
    // Past the second period after the last event nothing is remembered, wherever periods would go on.
    const TimeMs into = now - base_ - period * periodMs_;
    return eventsOf(period - 1) * (periodMs_ - into) + (eventsOf(period) + pending) * periodMs_;
  }

 private:
  uint64_t periodOf(TimeMs now) const { return (now - base_) / periodMs_; }
  uint64_t eventsOf(uint64_t period) const {
    const auto found = events_.find(period);
    return found == events_.end() ? 0 : found->second;
  }

  uint64_t periodMs_;
  TimeMs base_ = 0;
  uint64_t last_ = 0;
  std::map<uint64_t, uint64_t> events_;
};

}  // namespace

TEST("the example of HP-61: ten in the last period, four in this one, 250 ms in, make 11500/1000 = 11") {
  const FrequencyCounter counter = tenAndFour();
  CHECK_EQ(counter.total(start + 1250, second), 11'500u);
  CHECK_EQ(counter.rate(start + 1250, second), 11u);
}

TEST("the example of HP-64: at ten per second a total of 11500 waits 150 ms") {
  const FrequencyCounter counter = tenAndFour();
  CHECK_EQ(counter.nextDelayMs(10, start + 1250, second), 150u);
  CHECK_EQ(counter.nextDelayMs(12, start + 1250, second), 0u);
  // At least a millisecond, and a limit of 0 divides by 1.
  CHECK_EQ(counter.nextDelayMs(11, start + 1250, second), 45u);
  CHECK_EQ(counter.nextDelayMs(11'500, start + 1250, second), 0u);
  CHECK_EQ(counter.nextDelayMs(0, start + 1250, second), 11'500u);
  CHECK_EQ(FrequencyCounter().nextDelayMs(0, start, second), 1u);
}

TEST("what is about to happen counts as this period's") {
  const FrequencyCounter counter = tenAndFour();
  CHECK_EQ(counter.total(start + 1250, second, 3), 14'500u);
  CHECK_EQ(counter.rate(start + 1250, second, 3), 14u);
  CHECK_EQ(FrequencyCounter().total(start, second, 2), 2000u);
}

TEST("events rotate as HP-60 says: within the period, one later, and more than one later") {
  FrequencyCounter counter;
  counter.add(1, start, second);
  counter.add(2, start + 999, second);
  CHECK_EQ(counter.current(), 3u);
  counter.add(4, start + 1000, second);
  CHECK_EQ(counter.current(), 4u);
  CHECK_EQ(counter.previous(), 3u);
  CHECK_EQ(counter.ageMs(start + 1000), 0u);
  counter.add(8, start + 2999, second);
  CHECK_EQ(counter.current(), 8u);
  CHECK_EQ(counter.previous(), 4u);
  CHECK_EQ(counter.ageMs(start + 2999), 999u);
  counter.add(16, start + 4000, second);
  CHECK_EQ(counter.current(), 16u);
  CHECK_EQ(counter.previous(), 0u);
  CHECK_EQ(counter.ageMs(start + 4000), 0u);
}

TEST("trap 45: the edge of a period lets through no second burst") {
  FrequencyCounter counter;
  counter.add(10, start, second);
  CHECK_EQ(counter.remaining(10, start + 999, second), 0u);
  CHECK_EQ(counter.remaining(10, start + 1000, second), 0u);
  CHECK_EQ(counter.remaining(10, start + 1100, second), 1u);
  CHECK_EQ(counter.remaining(10, start + 2000, second), 10u);
}

TEST("remaining is the limit less the rate, and never negative (HP-63)") {
  const FrequencyCounter counter = tenAndFour();
  CHECK_EQ(counter.remaining(20, start + 1250, second), 9u);
  CHECK_EQ(counter.remaining(11, start + 1250, second), 0u);
  CHECK_EQ(counter.remaining(3, start + 1250, second), 0u);
}

TEST("a single event is shown as one until it is forgotten, and does not flap (HP-62)") {
  FrequencyCounter counter;
  counter.add(1, start, second);
  CHECK_EQ(counter.shown(start + 1100, second), 1u);
  CHECK_EQ(counter.rate(start + 1100, second), 0u);
  CHECK_EQ(counter.shown(start + 2000, second), 0u);
  counter.add(1, start + 1100, second);
  CHECK_EQ(counter.shown(start + 1200, second), 1u);
}

TEST("overshoot is what lies beyond a steady pace, and 0 once the period is over (HP-65)") {
  FrequencyCounter counter;
  CHECK_EQ(counter.overshoot(10, start, second), 0u);
  counter.add(10, start, second);
  CHECK_EQ(counter.overshoot(10, start, second), 10u);
  CHECK_EQ(counter.overshoot(10, start + 250, second), 8u);
  CHECK_EQ(counter.overshoot(10, start + 500, second), 5u);
  CHECK_EQ(counter.overshoot(10, start + 1000, second), 0u);
  CHECK_EQ(counter.overshoot(1, start + 1001, second), 0u);
  CHECK_EQ(counter.overshoot(20, start + 900, second), 0u);
}

TEST("counts wrap at 32 bits") {
  FrequencyCounter counter;
  counter.add(UINT32_MAX, start, second);
  counter.add(3, start, second);
  CHECK_EQ(counter.rate(start, second), 2u);
}

TEST("the largest counts and the longest period do not overflow") {
  constexpr uint32_t longest = FrequencyCounter::maxPeriodMs;
  constexpr TimeMs start = 5 * static_cast<TimeMs>(longest);
  FrequencyCounter counter;
  counter.add(UINT32_MAX, start, longest);
  counter.add(UINT32_MAX, start + longest, longest);
  CHECK_EQ(counter.rate(start + longest, longest), 2 * static_cast<uint64_t>(UINT32_MAX));
  CHECK_EQ(counter.rate(start + longest, longest, UINT32_MAX), 3 * static_cast<uint64_t>(UINT32_MAX));
}

TEST("a time before the period's start counts as its start") {
  FrequencyCounter counter = tenAndFour();
  CHECK_EQ(counter.total(start + 990, second), counter.total(start + 1000, second));
  counter.add(1, start + 990, second);
  CHECK_EQ(counter.current(), 5u);
}

TEST("it counts as its model does, over random events, gaps, and periods") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 400; ++round) {
    const auto periodMs = static_cast<uint32_t>(1 + random() % (round % 2 ? 10 : 5000));
    FrequencyCounter counter;
    Model model(periodMs);
    TimeMs now = start + random() % 10'000;
    for (int step = 0; step < 200; ++step) {
      now += random() % 3 ? random() % periodMs : random() % (3 * static_cast<TimeMs>(periodMs));
      const auto pending = static_cast<uint32_t>(random() % 3);
      CHECK_EQ(counter.total(now, periodMs, pending), model.total(now, pending));
      if (random() % 4 == 0) continue;
      const auto events = static_cast<uint32_t>(random() % 1000);
      counter.add(events, now, periodMs);
      model.add(events, now);
      CHECK_EQ(counter.total(now, periodMs), model.total(now, 0));
    }
  }
}

TEST("what happened elsewhere goes into the period it belongs to, or nowhere") {
  FrequencyCounter counter = tenAndFour();
  counter.addLate(1, 250, start + 1250, second);
  CHECK_EQ(counter.current(), 5u);
  counter.addLate(1, 251, start + 1250, second);
  counter.addLate(1, 1250, start + 1250, second);
  CHECK_EQ(counter.previous(), 12u);
  counter.addLate(1, 1251, start + 1250, second);
  CHECK_EQ(counter.current(), 5u);
  CHECK_EQ(counter.previous(), 12u);
}

TEST("taking back takes the latest first, and not more than there is") {
  FrequencyCounter counter = tenAndFour();
  counter.takeBack(6);
  CHECK_EQ(counter.current(), 0u);
  CHECK_EQ(counter.previous(), 8u);
  counter.takeBack(100);
  CHECK_EQ(counter.previous(), 0u);
}

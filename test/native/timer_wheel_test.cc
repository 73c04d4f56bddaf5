#include "base/timer_wheel.h"

#include <map>
#include <memory>
#include <random>
#include <vector>

#include "support/test.h"

using namespace sluice;

namespace {

constexpr TimeMs dayMs = 24 * 3600 * 1000;

/// The tags that advance() lets out.
std::vector<uint64_t> advance(TimerWheel& wheel, TimeMs now) {
  ExpiredTimers expired;
  wheel.advance(now, expired);
  std::vector<uint64_t> tags;
  while (Timer* timer = expired.pop()) tags.push_back(timer->tag);
  return tags;
}

}  // namespace

TEST("a timer expires at its time and not a millisecond before, however far away") {
  for (TimeMs start : {TimeMs{0}, TimeMs{63}, TimeMs{4095}, TimeMs{123'456'789}, 400 * dayMs})
    for (TimeMs wait : {TimeMs{1}, TimeMs{2}, TimeMs{63}, TimeMs{64}, TimeMs{65}, TimeMs{4096}, TimeMs{30'000},
                        dayMs, 40 * dayMs, TimeMs{1} << 40}) {
      TimerWheel wheel(start);
      Timer timer(7);
      wheel.arm(timer, start + wait);
      CHECK(advance(wheel, start + wait - 1).empty());
      CHECK(timer.armed());
      CHECK_EQ(advance(wheel, start + wait).size(), size_t{1});
      CHECK(!timer.armed());
    }
}

TEST("a timer for a time that has passed expires in the next advance, even to the same time") {
  TimerWheel wheel(1000);
  Timer now, past;
  wheel.arm(now, 1000);
  wheel.arm(past, 10);
  CHECK_EQ(wheel.nextMs(), TimeMs{1000});
  CHECK_EQ(advance(wheel, 1000).size(), size_t{2});
  CHECK(advance(wheel, 1000).empty());
}

TEST("a cancelled timer never expires, and cancelling twice does nothing") {
  TimerWheel wheel(0);
  Timer cancelled(1), kept(2);
  wheel.arm(cancelled, 5);
  wheel.arm(kept, 5);
  wheel.cancel(cancelled);
  wheel.cancel(cancelled);
  CHECK(!cancelled.armed());
  const std::vector<uint64_t> tags = advance(wheel, 10);
  CHECK_EQ(tags.size(), size_t{1});
  CHECK_EQ(tags.at(0), uint64_t{2});
}

TEST("arming again replaces the time") {
  TimerWheel wheel(0);
  Timer timer;
  wheel.arm(timer, 5);
  wheel.arm(timer, 5000);
  CHECK(advance(wheel, 4999).empty());
  CHECK_EQ(advance(wheel, 5000).size(), size_t{1});
}

TEST("a timer that is destroyed while armed is gone") {
  TimerWheel wheel(0);
  {
    Timer timer;
    wheel.arm(timer, 5);
  }
  CHECK_EQ(wheel.nextMs(), Deadline::never().atMs);
  CHECK(advance(wheel, 10).empty());
}

TEST("a wheel that is destroyed cancels its timers") {
  Timer near, far, due;
  {
    TimerWheel wheel(100);
    wheel.arm(near, 101);
    wheel.arm(far, 100 * dayMs);
    wheel.arm(due, 1);
  }
  CHECK(!near.armed());
  CHECK(!far.armed());
  CHECK(!due.armed());
}

TEST("a clock that steps back leaves time where it is") {
  TimerWheel wheel(1000);
  Timer timer;
  wheel.arm(timer, 1001);
  CHECK(advance(wheel, 10).empty());
  CHECK_EQ(wheel.nowMs(), TimeMs{1000});
  CHECK_EQ(advance(wheel, 1001).size(), size_t{1});
}

TEST("nextMs is exact within the current 64 ms, and never later than the next timer") {
  TimerWheel wheel(128);
  Timer timer;
  CHECK_EQ(wheel.nextMs(), Deadline::never().atMs);
  for (TimeMs at = 129; at < 192; ++at) {
    wheel.arm(timer, at);
    CHECK_EQ(wheel.nextMs(), at);
  }
  for (TimeMs at : {TimeMs{192}, TimeMs{250}, TimeMs{5000}, dayMs}) {
    wheel.arm(timer, at);
    CHECK(wheel.nextMs() <= at);
    CHECK(wheel.nextMs() > wheel.nowMs());
  }
}

TEST("whoever sleeps until nextMs wakes only a few times for a far timer") {
  TimerWheel wheel(12'345);
  Timer timer;
  wheel.arm(timer, 12'345 + 40 * dayMs);
  int wakes = 0;
  for (size_t count = 0; count == 0; ++wakes) count = advance(wheel, wheel.nextMs()).size();
  CHECK(wakes <= 11);
  CHECK_EQ(wheel.nowMs(), 12'345 + 40 * dayMs);
}

TEST("while expired timers are walked, any timer may be armed, cancelled or destroyed") {
  TimerWheel wheel(0);
  Timer walked(1), cancelled(2), postponed(3), later(4);
  auto destroyed = std::make_unique<Timer>(5);
  for (Timer* timer : {&walked, &cancelled, &postponed, destroyed.get()}) wheel.arm(*timer, 5);
  wheel.arm(later, 9);
  ExpiredTimers expired;
  wheel.advance(5, expired);
  CHECK(expired.pop() == &walked);
  CHECK(!walked.armed());
  wheel.arm(walked, 5);  // due at once, but not in this walk
  wheel.cancel(cancelled);
  wheel.arm(postponed, 7);
  wheel.cancel(later);
  destroyed.reset();
  CHECK(expired.empty());
  CHECK(expired.pop() == nullptr);
  CHECK_EQ(advance(wheel, 6).size(), size_t{1});
  CHECK_EQ(advance(wheel, 100).at(0), uint64_t{3});
}

TEST("expired timers that nobody took are cancelled") {
  TimerWheel wheel(0);
  Timer timer;
  wheel.arm(timer, 5);
  {
    ExpiredTimers expired;
    wheel.advance(5, expired);
    CHECK(timer.armed());
  }
  CHECK(!timer.armed());
}

// Goal: whatever is done in whatever order, the wheel agrees with a sorted map. Method: random waits of all magnitudes,
// random cancels and re-arms, and random steps of time, from 1 ms to weeks.
TEST("random use agrees with a sorted map") {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    std::mt19937_64 random(seed);
    const auto magnitude = [&](int bits) { return random() >> (64 - 1 - random() % bits); };
    TimerWheel wheel(magnitude(50));
    std::vector<std::unique_ptr<Timer>> timers;
    for (uint64_t tag = 0; tag < 200; ++tag) timers.push_back(std::make_unique<Timer>(tag));
    std::multimap<TimeMs, uint64_t> model;
    const auto forget = [&](uint64_t tag) {
      for (auto entry = model.begin(); entry != model.end(); ++entry)
        if (entry->second == tag) return void(model.erase(entry));
    };
    for (int step = 0; step < 3000; ++step) {
      Timer& timer = *timers[random() % timers.size()];
      switch (random() % 8) {
        default:
          forget(timer.tag);
          wheel.arm(timer, wheel.nowMs() + magnitude(34));
          model.emplace(timer.atMs, timer.tag);
          break;
        case 0:
          forget(timer.tag);
          wheel.cancel(timer);
          break;
        case 1:
          forget(timer.tag);
          timers[timer.tag] = std::make_unique<Timer>(timer.tag);
          break;
        case 2:
        case 3: {
          const TimeMs now = random() % 2 == 0 && !model.empty() ? wheel.nextMs() : wheel.nowMs() + magnitude(32);
          ExpiredTimers expired;
          wheel.advance(now, expired);
          while (Timer* due = expired.pop()) {
            CHECK(due->atMs <= now);
            CHECK_EQ(model.count(due->atMs) > 0, true);
            forget(due->tag);
          }
          CHECK(model.empty() || model.begin()->first > now);
          break;
        }
      }
      const TimeMs next = wheel.nextMs();
      if (model.empty()) CHECK_EQ(next, Deadline::never().atMs);
      else CHECK(next <= std::max(model.begin()->first, wheel.nowMs()));
      if (!model.empty() && model.begin()->first > wheel.nowMs()) CHECK(next > wheel.nowMs());
    }
    for (const auto& timer : timers) {
      bool inModel = false;
      for (const auto& [at, tag] : model) inModel |= tag == timer->tag && at == timer->atMs;
      CHECK_EQ(timer->armed(), inModel);
    }
  }
}

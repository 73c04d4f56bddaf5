#include "base/rate_meter.h"

#include "support/test.h"

using namespace sluice;

namespace {
constexpr TimeMs start = 50'000;

/// A meter whose current period begins at `start`.
RateMeter meterAt(TimeMs begin, uint32_t count) {
  RateMeter meter;
  meter.add(begin, count);
  return meter;
}
}  // namespace

TEST("the example of HP-61: ten in the last period, four in this one, 250 ms in, make eleven") {
  RateMeter meter = meterAt(start, 10);
  meter.add(start + 1000, 4);
  CHECK_EQ(meter.total(start + 1250), 11'500u);
  CHECK_EQ(meter.rate(start + 1250), 11u);
}

TEST("the example of HP-64: at ten per second a total of 11500 waits 150 ms") {
  RateMeter meter = meterAt(start, 10);
  meter.add(start + 1000, 4);
  CHECK_EQ(meter.delayMs(start + 1250, 10), 150u);
  CHECK_EQ(meter.delayMs(start + 1250, 12), 0u);
}

TEST("what is remaining is the limit less the rate, and never negative") {
  RateMeter meter = meterAt(start, 7);
  CHECK_EQ(meter.remaining(start, 10), 3u);
  CHECK_EQ(meter.remaining(start, 5), 0u);
}

TEST("after a period without events the last one still counts, after two it does not") {
  RateMeter meter = meterAt(start, 10);
  CHECK_EQ(meter.rate(start + 1500), 5u);
  CHECK_EQ(meter.rate(start + 2000), 0u);
  CHECK_EQ(meter.rate(start + 100'000), 0u);
}

TEST("the edge of a period lets through no second burst") {
  RateMeter meter = meterAt(start, 10);
  CHECK_EQ(meter.remaining(start + 999, 10), 0u);
  CHECK_EQ(meter.remaining(start + 1000, 10), 0u);
  CHECK_EQ(meter.remaining(start + 1100, 10), 1u);
}

TEST("a limit that this period's own events fill asks to wait for its end, not again every millisecond") {
  RateMeter meter = meterAt(start, 10);
  CHECK_EQ(meter.delayMs(start, 10), 1000u);
  CHECK_EQ(meter.delayMs(start + 400, 10), 600u);
  CHECK_EQ(meter.delayMs(start + 1000, 10), 1u);
}

TEST("whoever waits as told finds room, at every limit") {
  for (const uint32_t limit : {1u, 3u, 10u, 1000u}) {
    RateMeter meter = meterAt(start, limit);
    TimeMs now = start;
    while (meter.remaining(now, limit) == 0 && now <= start + 5000) {
      const TimeMs delay = meter.delayMs(now, limit);
      CHECK(delay > 0);
      now += delay;
    }
    CHECK(meter.remaining(now, limit) > 0);
    CHECK(now <= start + 2000);
  }
}

TEST("other periods count likewise") {
  RateMeter meter(100);
  meter.add(start, 10);
  CHECK_EQ(meter.rate(start + 150), 5u);
}

TEST("overshoot is what lies beyond a steady pace, and 0 once the period is over (HP-65)") {
  RateMeter meter = meterAt(start, 10);
  CHECK_EQ(meter.overshoot(start, 10), 10u);
  CHECK_EQ(meter.overshoot(start + 500, 10), 5u);
  CHECK_EQ(meter.overshoot(start + 1000, 10), 0u);
  CHECK_EQ(meter.overshoot(start + 1001, 1), 0u);
  CHECK_EQ(RateMeter().overshoot(start, 10), 0u);
}

TEST("a single event is shown as one until it is forgotten, and does not flap (HP-62)") {
  RateMeter meter = meterAt(start, 1);
  CHECK_EQ(meter.shown(start + 1100), 1u);
  CHECK_EQ(meter.rate(start + 1100), 0u);
  CHECK_EQ(meter.shown(start + 2000), 0u);
}

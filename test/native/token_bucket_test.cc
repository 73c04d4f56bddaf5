// One connection's token buckets: LE-01 … LE-10, against the table of the specification and against exact numbers.
#include "limit/token_bucket.h"

#include <random>

#include "support/test.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr Direction reading = Direction::read, writing = Direction::write;

std::shared_ptr<const RateLimit> limitOf(int64_t rate, int64_t burst, uint32_t tickMs = 1000) {
  return std::make_shared<const RateLimit>(RateLimit{{rate, burst}, {rate, burst}, tickMs});
}

int64_t levelAt(TokenBuckets& buckets, TimeMs now) {
  buckets.refill(now);
  return buckets.level(reading);
}

using Wide = __int128;

// What LE-06 says, in numbers that cannot overflow, tick by tick being the same as all at once.
struct Model {
  Wide level;
  Wide rate, burst;
  void tick(Wide count) {
    if (level >= burst) return;
    level = std::min(burst, level + rate * count);
  }
};

}  // namespace

TEST("rates, bursts and ticks out of range are refused (LE-02)") {
  const auto valid = [](int64_t rate, int64_t burst, uint32_t tickMs) {
    return RateLimit{{rate, burst}, {}, tickMs}.valid() && RateLimit{{}, {rate, burst}, tickMs}.valid();
  };
  CHECK(valid(1, 1, 1));
  CHECK(valid(1000, 1000, 1000));
  CHECK(valid(rateLimitMax, rateLimitMax, RateLimit::maxTickMs));
  CHECK(!valid(0, 1, 1000));
  CHECK(!valid(-1, 1, 1000));
  CHECK(!valid(2, 1, 1000));
  CHECK(!valid(1, 1, 0));
  CHECK(!valid(1, 1, RateLimit::maxTickMs + 1));
}

TEST("the table of the specification: 300 bytes a tick, a burst of 1000, a debt of 16084 (LE-06, LE-08)") {
  TokenBuckets buckets(limitOf(300, 1000), 1'000'000);
  CHECK_EQ(buckets.level(reading), 300);
  buckets.spend(reading, 16384);
  CHECK_EQ(buckets.level(reading), -16084);
  CHECK_EQ(buckets.positiveAtMs(reading), 1'054'000u);
  CHECK_EQ(levelAt(buckets, 1'001'000), -15784);
  CHECK_EQ(levelAt(buckets, 1'010'000), -13084);
  CHECK_EQ(levelAt(buckets, 1'053'999), -184);
  CHECK_EQ(levelAt(buckets, 1'054'000), 116);
  CHECK_EQ(levelAt(buckets, 1'055'000), 416);
  CHECK_EQ(levelAt(buckets, 1'056'000), 716);
  buckets.spend(reading, 200);
  CHECK_EQ(buckets.level(reading), 516);
  CHECK_EQ(levelAt(buckets, 1'060'000), 1000);
  CHECK_EQ(buckets.level(writing), 1000);  // the other direction has its own
}

TEST("a bucket starts with one tick's worth, neither empty nor full (LE-05)") {
  const TokenBuckets buckets(limitOf(300, 1000), 77);
  CHECK_EQ(buckets.level(reading), 300);
  CHECK_EQ(buckets.level(writing), 300);
}

TEST("one limit on two connections gives each a bucket of its own (LE-01)") {
  const auto limit = limitOf(300, 1000);
  TokenBuckets one(limit, 0), other(limit, 0);
  one.spend(writing, 250);
  CHECK_EQ(one.level(writing), 50);
  CHECK_EQ(other.level(writing), 300);
}

TEST("ticks are aligned to the clock: the first refill comes after any part of a tick (LE-04)") {
  TokenBuckets buckets(limitOf(10, 100), 5'999);
  CHECK_EQ(levelAt(buckets, 5'999), 10);
  CHECK_EQ(levelAt(buckets, 6'000), 20);
  CHECK_EQ(levelAt(buckets, 6'999), 20);
  CHECK_EQ(levelAt(buckets, 7'000), 30);
}

TEST("tick numbers wrap around at 2^32, and a clock that goes back adds nothing (LE-06)") {
  TokenBuckets wrapping(limitOf(1, 1000, 1), 0xFFFFFFFEull);
  CHECK_EQ(levelAt(wrapping, 0x1'0000'0001ull), 4);
  TokenBuckets backwards(limitOf(1, 1000, 1), 50'000);
  CHECK_EQ(levelAt(backwards, 40'000), 1);
  CHECK_EQ(levelAt(backwards, 50'000), 1);
  CHECK_EQ(levelAt(backwards, 50'003), 4);
  CHECK_EQ(token_level::refilled(0, {1, 1000}, 0x80000000u), 0);
  CHECK_EQ(token_level::refilled(0, {1, rateLimitMax}, 0x7fffffffu), 0x7fffffff);
}

TEST("credit above the burst neither grows nor is cut (LE-07)") {
  TokenBuckets buckets(limitOf(300, 1000), 0);
  buckets.spend(writing, -10'000);
  CHECK_EQ(buckets.level(writing), 10'300);
  buckets.refill(5'000);
  CHECK_EQ(buckets.level(writing), 10'300);
  buckets.spend(writing, 9'800);
  buckets.refill(6'000);
  CHECK_EQ(buckets.level(writing), 800);
}

TEST("another limit cuts the level to its burst and adds nothing, however often it changes (LE-10)") {
  TokenBuckets buckets(limitOf(300, 1000), 0);
  const auto small = limitOf(10, 50), large = limitOf(100'000, 1'000'000);
  buckets.spend(reading, 280);
  for (int i = 0; i < 1000; ++i) {
    buckets.replace(large, 500);
    buckets.replace(small, 500);
  }
  CHECK_EQ(buckets.level(reading), 20);
  CHECK_EQ(buckets.level(writing), 50);
  // Ticks until the change count under the limit that was in force.
  buckets.replace(large, 3'000);
  CHECK_EQ(buckets.level(reading), 50);
  CHECK_EQ(levelAt(buckets, 3'999), 50);
  CHECK_EQ(levelAt(buckets, 4'000), 100'050);
}

TEST("another length of tick goes on from the same level") {
  TokenBuckets buckets(limitOf(100, 1000, 1000), 0);
  buckets.replace(limitOf(10, 1000, 10), 905);
  CHECK_EQ(buckets.level(reading), 100);
  CHECK_EQ(levelAt(buckets, 909), 100);
  CHECK_EQ(levelAt(buckets, 910), 110);
  CHECK_EQ(levelAt(buckets, 1000), 200);
}

TEST("a direction without a limit is open at once, whatever it owed") {
  TokenBuckets buckets(limitOf(100, 1000), 0);
  buckets.spend(reading, 1'000'000);
  RateLimit half = *buckets.limit();
  half.read = {};
  buckets.replace(std::make_shared<const RateLimit>(half), 10);
  CHECK_EQ(buckets.level(reading), rateLimitMax);
  CHECK_EQ(buckets.level(writing), 100);
}

TEST("levels stop at the ends of the range instead of wrapping around") {
  TokenBuckets buckets(limitOf(1, rateLimitMax), 0);
  buckets.spend(reading, rateLimitMax);
  buckets.spend(reading, rateLimitMax);
  CHECK_EQ(buckets.level(reading), INT64_MIN);
  buckets.refill(1'000);
  CHECK_EQ(buckets.level(reading), INT64_MIN + 1);
  buckets.spend(writing, -rateLimitMax);
  buckets.spend(writing, -rateLimitMax);
  CHECK_EQ(buckets.level(writing), rateLimitMax);
  CHECK_EQ(token_level::refilled(INT64_MIN, {rateLimitMax, rateLimitMax}, 2), rateLimitMax - 1);
}

TEST("random operations agree with exact numbers, to the byte and the millisecond") {
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    setContext("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto pick = [&random](int64_t from, int64_t to) {
      return from + static_cast<int64_t>(random() % static_cast<uint64_t>(to - from + 1));
    };
    const auto pickLimit = [&] {
      // All magnitudes, so that the extremes meet.
      const int64_t rate = pick(1, int64_t{1} << pick(0, 62));
      const int64_t burst = std::max(rate, rate + static_cast<int64_t>(random() >> pick(2, 63)));
      return limitOf(rate, burst < 0 ? rateLimitMax : burst, static_cast<uint32_t>(pick(1, 5'000)));
    };
    auto limit = pickLimit();
    TimeMs now = static_cast<TimeMs>(pick(0, 1'000'000'000));
    TokenBuckets buckets(limit, now);
    Model model{limit->read.rate, limit->read.rate, limit->read.burst};
    TimeMs tickAt = now / limit->tickMs;
    const auto settle = [&] {
      const TimeMs tick = now / limit->tickMs;
      model.tick(static_cast<Wide>(tick - tickAt));
      tickAt = tick;
    };
    for (int step = 0; step < 300; ++step) {
      switch (pick(0, 4)) {
        case 0: now += static_cast<TimeMs>(pick(0, 20'000)); break;
        case 1: {
          const int64_t bytes = pick(0, limit->read.burst >> 1);
          settle();
          buckets.refill(now);
          buckets.spend(reading, bytes);
          model.level = std::max<Wide>(INT64_MIN, model.level - bytes);
          break;
        }
        case 2: {
          const int64_t bytes = pick(0, 100'000);
          settle();
          buckets.refill(now);
          buckets.spend(reading, -bytes);
          model.level = std::min<Wide>(rateLimitMax, model.level + bytes);
          break;
        }
        case 3:
          if (pick(0, 9) != 0) break;
          settle();
          limit = pickLimit();
          buckets.replace(limit, now);
          model = {std::min<Wide>(model.level, limit->read.burst), limit->read.rate, limit->read.burst};
          tickAt = now / limit->tickMs;
          break;
        default: {
          settle();
          buckets.refill(now);
          CHECK(static_cast<Wide>(buckets.level(reading)) == model.level);
          // When it says that it is positive again, it is, and not a tick before.
          const TimeMs at = buckets.positiveAtMs(reading);
          if (buckets.level(reading) > 0 || at - now > 1'000'000'000'000ull) break;
          Model later = model;
          later.tick(static_cast<Wide>(at / limit->tickMs - tickAt));
          CHECK(later.level > 0);
          CHECK_EQ(at % limit->tickMs, 0u);
          later = model;
          later.tick(static_cast<Wide>(at / limit->tickMs - tickAt - 1));
          CHECK(later.level <= 0);
        }
      }
    }
  }
  setContext("");
}

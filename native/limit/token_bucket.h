#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "limit/rate_limit.h"

namespace sluice {

/// Arithmetic of levels, in bytes: signed, because what has moved already may be more than there was (LE-08).
namespace token_level {

/// `level` after so many ticks (LE-06). More than half of all tick numbers at once is a clock that went back, and adds
/// nothing. A level above the burst, which only credit brings about, stays as it is (LE-07).
int64_t refilled(int64_t level, const RateLimit::Flow& flow, uint32_t ticks);
/// How many ticks fill `level` to `wanted`, which is at most the burst; 0 when it is there.
uint64_t ticksUntil(int64_t level, const RateLimit::Flow& flow, int64_t wanted);
/// level - bytes, at the ends of the range as far as it goes. Negative bytes are credit.
constexpr int64_t spent(int64_t level, int64_t bytes) {
  int64_t result = 0;
  if (!__builtin_sub_overflow(level, bytes, &result)) return result;
  return bytes > 0 ? std::numeric_limits<int64_t>::min() : rateLimitMax;
}

}  // namespace token_level

/// Ticks on a clock: aligned to its origin, not to when somebody began to look (LE-04).
class TickClock {
 public:
  TickClock(uint32_t tickMs, TimeMs now) { restart(tickMs, now); }

  void restart(uint32_t tickMs, TimeMs now) {
    tickMs_ = tickMs;
    startMs_ = now - now % tickMs;
    tick_ = static_cast<uint32_t>(now / tickMs);
  }
  /// Moves on, and says how many ticks have passed: modulo 2^32, as LE-06 takes it.
  uint32_t advance(TimeMs now) {
    if (now < nextMs() && now >= startMs_) return 0;
    const uint32_t passed = static_cast<uint32_t>(now / tickMs_) - tick_;
    if (passed == 0 || passed > INT32_MAX) return 0;
    startMs_ = now - now % tickMs_;
    tick_ += passed;
    return passed;
  }
  uint32_t tick() const { return tick_; }
  /// When the next tick begins.
  TimeMs nextMs() const { return startMs_ + tickMs_; }
  /// When the tick begins that is so many after this one.
  TimeMs afterMs(uint64_t ticks) const {
    if (ticks > (Deadline::never().atMs - startMs_) / tickMs_) return Deadline::never().atMs;
    return startMs_ + ticks * tickMs_;
  }

 private:
  uint32_t tickMs_ = 1;
  uint32_t tick_ = 0;
  TimeMs startMs_ = 0;
};

/// One connection's own buckets, one per direction.
class TokenBuckets {
 public:
  /// They hold one tick's worth: I/O may begin at once (LE-05). `limit` is valid.
  TokenBuckets(std::shared_ptr<const RateLimit> limit, TimeMs now);

  /// To be called before levels are looked at.
  void refill(TimeMs now) {
    if (const uint32_t ticks = clock_.advance(now)) refillBy(ticks);
  }
  /// May be negative: what has moved without being allowed.
  int64_t level(Direction direction) const { return levels_[index(direction)]; }
  /// Bytes have moved, or are to count as if they had; negative ones are credit (LE-30).
  void spend(Direction direction, int64_t bytes) {
    int64_t& level = levels_[index(direction)];
    level = token_level::spent(level, bytes);
  }
  /// Goes on under another limit. Levels above the new burst are cut, and nothing is added for it (LE-10).
  void replace(std::shared_ptr<const RateLimit> limit, TimeMs now);
  /// When the level will be above 0, if nothing moves before.
  TimeMs positiveAtMs(Direction direction) const;

  const std::shared_ptr<const RateLimit>& limit() const { return limit_; }
  uint32_t tick() const { return clock_.tick(); }

 private:
  static constexpr int index(Direction direction) { return static_cast<int>(direction); }
  void refillBy(uint32_t ticks);

  std::shared_ptr<const RateLimit> limit_;
  TickClock clock_;
  int64_t levels_[2];
};

}  // namespace sluice

#include "limit/token_bucket.h"

#include "base/assert.h"

namespace sluice {

namespace token_level {

namespace {

// What lies between two levels always fits into the unsigned type, however far they are apart.
constexpr uint64_t distance(int64_t from, int64_t to) {
  return static_cast<uint64_t>(to) - static_cast<uint64_t>(from);
}

}  // namespace

int64_t refilled(int64_t level, const RateLimit::Flow& flow, uint32_t ticks) {
  if (ticks == 0 || ticks > INT32_MAX || level >= flow.burst) return level;
  const auto rate = static_cast<uint64_t>(flow.rate);
  if (distance(level, flow.burst) / ticks < rate) return flow.burst;
  return static_cast<int64_t>(static_cast<uint64_t>(level) + ticks * rate);
}

uint64_t ticksUntil(int64_t level, const RateLimit::Flow& flow, int64_t wanted) {
  if (level >= wanted) return 0;
  const uint64_t missing = distance(level, wanted);
  const auto rate = static_cast<uint64_t>(flow.rate);
  return missing / rate + (missing % rate != 0 ? 1 : 0);
}

}  // namespace token_level

TokenBuckets::TokenBuckets(std::shared_ptr<const RateLimit> limit, TimeMs now)
    : limit_(std::move(limit)), clock_(limit_->tickMs, now), levels_{limit_->read.rate, limit_->write.rate} {
  SLUICE_ASSERT(limit_->valid());
}

void TokenBuckets::refillBy(uint32_t ticks) {
  for (const Direction direction : directions) {
    int64_t& level = levels_[index(direction)];
    level = token_level::refilled(level, limit_->of(direction), ticks);
  }
}

// The ticks until now are counted under the old limit, so that no change of limits makes them worth more.
void TokenBuckets::replace(std::shared_ptr<const RateLimit> limit, TimeMs now) {
  SLUICE_ASSERT(limit->valid());
  refill(now);
  if (limit->tickMs != limit_->tickMs) clock_.restart(limit->tickMs, now);
  limit_ = std::move(limit);
  for (const Direction direction : directions) {
    int64_t& level = levels_[index(direction)];
    // A limit that is gone holds nothing back, not even until the next tick (LE-11).
    level = limit_->of(direction).unlimited() ? rateLimitMax : std::min(level, limit_->of(direction).burst);
  }
}

TimeMs TokenBuckets::positiveAtMs(Direction direction) const {
  return clock_.afterMs(token_level::ticksUntil(level(direction), limit_->of(direction), 1));
}

}  // namespace sluice

#pragma once

#include <cstdint>
#include <limits>

namespace sluice {

enum class Direction : uint8_t { read, write };
inline constexpr Direction directions[] = {Direction::read, Direction::write};

/// The largest rate, burst and level. As a rate it stands for no limit.
inline constexpr int64_t rateLimitMax = std::numeric_limits<int64_t>::max();

/// What a token bucket is filled with, in both directions: bytes per tick, not per second (LE-01). A direction that is
/// left alone has no limit. Shared by any number of buckets, and never changed.
struct RateLimit {
  struct Flow {
    int64_t rate = rateLimitMax;   // bytes that each tick adds
    int64_t burst = rateLimitMax;  // no tick fills a bucket further
    bool unlimited() const { return rate == rateLimitMax; }
  };
  // The longest tick is INT_MAX / 1000 s and what is less than a second (LE-02).
  static constexpr uint32_t maxTickMs = 2'147'483'999;

  Flow read{}, write{};
  uint32_t tickMs = 1000;

  const Flow& of(Direction direction) const { return direction == Direction::read ? read : write; }
  Flow& of(Direction direction) { return direction == Direction::read ? read : write; }

  /// Whether buckets may be made of it (LE-02). Who reads options refuses others, and says what is wrong with them.
  bool valid() const {
    const auto fits = [](const Flow& flow) { return flow.rate >= 1 && flow.rate <= flow.burst; };
    return fits(read) && fits(write) && tickMs >= 1 && tickMs <= maxTickMs;
  }
};

}  // namespace sluice

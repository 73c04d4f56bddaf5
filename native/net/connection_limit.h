#pragma once

#include <memory>
#include <optional>

#include "base/timer_wheel.h"
#include "engine/engine.h"
#include "limit/rate_group_map.h"
#include "limit/rate_member.h"
#include "limit/token_bucket.h"

namespace sluice {

/// What one read or write may move at most, so that others have their turn before the next (LE-20). 0: no bound.
struct OperationBounds {
  uint32_t readBytes = 0, writeBytes = 0;

  bool any() const { return readBytes != 0 || writeBytes != 0; }
  uint32_t of(Direction direction) const {
    const uint32_t bytes = direction == Direction::read ? readBytes : writeBytes;
    return bytes == 0 ? UINT32_MAX : bytes;
  }
};

/// What limits the rate of a connection, or of each one that a listener accepts. Nothing is a limit, too.
struct RateBinding {
  std::shared_ptr<const RateLimit> own;
  std::shared_ptr<RateGroup> group;
  std::shared_ptr<RateGroupMap> groups;  // the group is the one of its remote address
  bool groupFollows = false;             // JavaScript will name the group; nothing is read before
  OperationBounds bounds;

  bool any() const { return own || group || groups || groupFollows || bounds.any(); }
};

/// Reasons why a limited connection does not send; its reasons not to read are among its pauses.
enum SendHold : uint8_t { heldByOwn = 1, heldByGroup = 2 };

/// The buckets of one connection, allocated only where there are any.
struct ConnectionLimit {
  std::optional<TokenBuckets> own;
  std::unique_ptr<RateMember> member;  // of a group; leaves it when destroyed
  OperationBounds bounds;
  Timer timer;              // when the own buckets are to be looked at
  uint8_t sendHolds = 0;    // a set of SendHold
  bool sendsLater = false;  // in the list of those who go on in the next turn
  uint32_t awaited = 0;     // directions in which the group's grant is waited for, as bits
  uint64_t reserved = 0;    // counted already, of a send that completes later
};

/// How a connection stands with its limits, per direction.
struct RateStanding {
  struct Flow {
    int64_t level = rateLimitMax;    // of its own bucket; without one the maximum (LE-29)
    int64_t allowed = rateLimitMax;  // what may move now, by its own bucket and its group (LE-21)
    bool heldByOwn = false, heldByGroup = false;
  };
  Flow read, write;
};

/// One loop's wait for a group: one timer, however many of its members wait (LE-09).
struct GroupWait : Timer {
  explicit GroupWait(std::shared_ptr<RateGroup> waitedFor) : group(std::move(waitedFor)) {}
  const std::shared_ptr<RateGroup> group;
  uint32_t waiting = 0;
};

}  // namespace sluice

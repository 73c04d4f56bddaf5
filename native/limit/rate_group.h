#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/rate_meter.h"
#include "limit/rate_lane.h"
#include "limit/token_bucket.h"

namespace sluice {

class RateGroup;
class RateMember;

/// A member of a group: a connection, or another group. What both have in common is their place in the parent.
class RateNode {
 public:
  RateNode(const RateNode&) = delete;
  RateNode& operator=(const RateNode&) = delete;
  virtual ~RateNode() = default;

 protected:
  explicit RateNode(std::shared_ptr<RateGroup> parent) : parent_(std::move(parent)) {
    for (RateLane& lane : lanes_) lane.node = this;
  }
  RateLane& lane(Direction direction) { return lanes_[static_cast<int>(direction)]; }
  /// The parent has granted something. Under the lock, as the next one.
  virtual void granted(Direction direction) = 0;
  /// It does not wait any more, and what it knew about when to ask is out of date.
  virtual void askAnew(Direction direction) = 0;

  const std::shared_ptr<RateGroup> parent_;  // null: nobody limits it

 private:
  friend class RateGroup;
  friend class RateMember;
  RateLane lanes_[2];
};

/// What happened to a group so far, and how it stands. Levels and totals in bytes.
struct RateGroupStats {
  struct Flow {
    int64_t level = 0;
    uint64_t total = 0;           // moved by members, since the start or the last reset
    uint64_t bytesPerSecond = 0;  // over the last second or two (HP-61)
    uint32_t waiting = 0;         // members that wait for a grant
    bool scarce = false;          // what members may move is granted one by one
  };
  Flow read, write;
  uint32_t members = 0;  // connections and groups directly in it
  uint32_t tick = 0;
  uint64_t refills = 0;
  int64_t minShare = 0;  // the one in force
};

/// A bucket that several connections draw from, and groups of them: process > listener > group > connection. Members
/// may belong to different loops and threads.
///
/// While there is enough for all, a member takes what it needs, and its cost is one atomic addition per group above it.
/// When somebody finds nothing, the group becomes *scarce*: from then on members wait in a queue, and what there is goes
/// to those who had least so far, first come, first served among equals, in parts of at least minShare. So parts are
/// equal over time (D7), whatever the order of events, and whoever moved more than its part waits until the others have
/// caught up, by a few parts at the most. Only those count who are active (LE-24): a part that somebody cannot use goes to
/// the others at once where that is known, else with the next tick. Who was quiet, or is new, begins one small part
/// behind where the others are: a small reply does not wait behind bulk, and nobody saves up. A few ticks in a row that
/// end with something left end the scarcity.
///
/// A group of a scarce parent waits in its queue as a connection does, and deals on what it is granted.
///
/// Threads: any, for everything. Members and groups may go in any order: each holds those above it.
class RateGroup final : public RateNode, public std::enable_shared_from_this<RateGroup> {
 public:
  /// `limit` is valid. `parent` may be null.
  static std::shared_ptr<RateGroup> create(const RateLimit& limit, int64_t minShare,
                                           std::shared_ptr<RateGroup> parent, TimeMs now);
  ~RateGroup() override;

  /// Replaces the limit and the least share. Levels above the new burst are cut, nothing is added for it (LE-28).
  void configure(const RateLimit& limit, int64_t minShare, TimeMs now);
  /// Goes on by another clock, where `now` is the time: one that differs from the system's.
  void restartClock(TimeMs now);
  /// Bytes that moved elsewhere count here as well; negative ones are credit (LE-30).
  void debit(Direction direction, int64_t bytes, TimeMs now);
  /// Lets all members go: they are bound neither by it nor by its parents any more, and not counted (D3).
  void dissolve();
  bool dissolved() const { return dissolved_.load(std::memory_order_relaxed); }

  RateLimit limit() const;
  RateGroupStats stats(TimeMs now);
  void resetTotals();
  const std::shared_ptr<RateGroup>& parent() const { return parent_; }
  /// The latest time that anybody told it: virtual clocks have no other.
  TimeMs lastMs() const { return lastMs_.load(std::memory_order_relaxed); }

  /// When the current tick ends.
  TimeMs nextTickMs() const { return nextMs_.load(std::memory_order_relaxed); }
  /// Deals out what there is. To be called at the time that RateMember::request() named, and again when it says so.
  /// Never: nobody waits.
  TimeMs serve(TimeMs now);

 private:
  friend class RateMember;

  // One lock for a whole tree of groups: it is needed once per group and tick, and while something is scarce.
  struct Tree {
    std::mutex mutex;
    RateMember* asking = nullptr;  // it learns of its grant by the answer
  };
  struct Flow {
    // level = limit - moved: so one counter gives both the level and the total.
    std::atomic<int64_t> filled{0};  // all that was ever filled in; changed under the lock
    std::atomic<int64_t> moved{0};   // by members
    std::atomic<int64_t> share{0};   // of one member in this tick, while nothing is scarce
    std::atomic<bool> scarce{false};
    std::atomic<uint32_t> active{0};  // members that moved something in this tick
    // Under the lock:
    RateQueue waiting;
    int64_t least = 0;                // nobody counts as having had less, but for one part of minShare
    int64_t common = 0;               // what those who always want more have had, or soon will
    int64_t mostLead = rateLimitMax;  // how far anybody may be ahead of that
    uint32_t dealtTick = 0;
    int64_t granted = 0;  // in this tick, and not used yet
    int64_t resetAt = 0;  // `moved` at the last reset of the totals
    int64_t metered = 0;  // `moved` when the meter looked
    uint32_t activeBefore = 0;
    uint32_t calm = 0;      // refills in a row that found nobody waiting, and something left
    uint32_t scarcity = 0;  // how many have ended
    RateMeter meter;

    int64_t level() const {
      return token_level::spent(filled.load(std::memory_order_relaxed), moved.load(std::memory_order_relaxed));
    }
  };

  RateGroup(const RateLimit& limit, int64_t minShare, std::shared_ptr<RateGroup> parent, TimeMs now);

  Flow& flow(Direction direction) { return flows_[static_cast<int>(direction)]; }
  const Flow& flow(Direction direction) const { return flows_[static_cast<int>(direction)]; }
  void granted(Direction direction) override;
  void askAnew(Direction direction) override { recall(direction); }

  // All under the lock.
  bool bounded() const;
  void advance(TimeMs now);
  void fill(Direction direction, int64_t level);
  void shareOut(Direction direction);
  int64_t usable(Direction direction);
  int64_t grantOf(const RateLane& lane) const { return lane.grantTick == tick() ? lane.grant : 0; }
  // From where on it deals (LE-26).
  int64_t threshold() const { return minShare_ > 0 ? minShare_ : 1; }
  void wait(RateLane& lane, Direction direction, int64_t promised = 0, int64_t beyond = 0);
  void withdraw(RateLane& lane, Direction direction);
  void takeBack(RateLane& lane, Direction direction, int64_t bytes);
  void charge(RateLane& lane, Direction direction, int64_t bytes);
  void expire(RateLane& lane);
  void boundLeads(Direction direction, uint32_t sharers);
  void endScarcity(Direction direction);
  void askParent(Direction direction);
  void handBack(Direction direction);
  void recall(Direction direction);
  void deal(Direction direction);
  void dealFromRoot(Direction direction);
  TimeMs readyAtMs(Direction direction);
  void joined();
  void left(RateNode& node);
  void advanceAll(TimeMs now);

  uint32_t tick() const { return tick_.load(std::memory_order_relaxed); }

  const std::shared_ptr<Tree> tree_;
  RateLimit limit_;             // under the lock
  int64_t configuredMinShare_;  // what it is made of anew with each limit (LE-25)
  int64_t minShare_ = 0;
  TickClock clock_;
  uint64_t refills_ = 0;
  uint32_t members_ = 0;
  Flow flows_[2];
  std::atomic<uint32_t> tick_{0};
  std::atomic<TimeMs> nextMs_{0};  // when the next refill is due
  std::atomic<TimeMs> lastMs_{0};
  std::atomic<bool> dissolved_{false};
};

}  // namespace sluice

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "limit/rate_limit.h"

namespace sluice {

class RateNode;

/// Where a member of a group stands, in one direction. The group's lock guards all of it but `servedTick`.
struct RateLane {
  RateNode* node = nullptr;  // whose lane it is
  int64_t grant = 0;         // what it may still move in `grantTick`, as a part of what the group has
  int64_t wanted = 0;        // the most that it can use
  int64_t had = 0;           // bytes so far; comparable with the other lanes that are active
  uint64_t turn = 0;         // while waiting: those who had as much go by this
  size_t place = notWaiting;
  uint32_t grantTick = 0;
  uint32_t scarcity = 0;                // the one that `had` belongs to
  std::atomic<uint32_t> servedTick{0};  // the last tick in which it moved anything

  static constexpr size_t notWaiting = SIZE_MAX;
  bool waiting() const { return place != notWaiting; }
};

/// Those who wait, the one who had least first. A heap, so that one in the middle can leave.
class RateQueue {
 public:
  bool empty() const { return lanes_.empty(); }
  uint32_t size() const { return static_cast<uint32_t>(lanes_.size()); }
  RateLane& first() const { return *lanes_.front(); }
  /// What those who wait had, together.
  __int128 hadTogether() const { return hadTogether_; }

  void add(RateLane& lane);
  void remove(RateLane& lane);
  /// Lets nobody count as having had more.
  void bound(int64_t most);

 private:
  static bool before(const RateLane& a, const RateLane& b) {
    return a.had != b.had ? a.had < b.had : a.turn < b.turn;
  }
  void put(RateLane& lane, size_t place);
  void rise(RateLane& lane, size_t place);
  void sink(RateLane& lane, size_t place);

  std::vector<RateLane*> lanes_;
  __int128 hadTogether_ = 0;
  uint64_t turns_ = 0;
};

}  // namespace sluice

#include "net/accept_gate.h"

#include <algorithm>

namespace sluice {

void AcceptGate::join(Member member) {
  std::lock_guard lock(mutex_);
  members_.push_back(member);
}

void AcceptGate::leave(Member member) {
  std::lock_guard lock(mutex_);
  members_.erase(std::find(members_.begin(), members_.end(), member));
  std::erase(waiting_, member);
}

// What can be granted now. Unused grants count against the rate, too: they may all be used within the same moment.
uint32_t AcceptGate::left(TimeMs now) {
  uint32_t places = UINT32_MAX;
  if (maxConnections_ != 0) places = maxConnections_ - std::min(maxConnections_, held_);
  if (maxPerSecond_ != 0) {
    const uint32_t remaining = meter_.remaining(now, maxPerSecond_);
    places = std::min(places, remaining - std::min(remaining, unused_));
  }
  return places;
}

AcceptGate::Grant AcceptGate::reserve(TimeMs now, uint32_t want, Member member, bool yielding) {
  std::lock_guard lock(mutex_);
  const uint32_t places = left(now);
  if (places > (yielding ? waiting_.size() : 0)) {
    std::erase(waiting_, member);
    const auto sharers = std::max<uint32_t>(sharers_, static_cast<uint32_t>(members_.size()));
    const uint32_t count = std::min(want, std::max(1u, sharers > 1 ? places / (2 * sharers) : places));
    held_ += count;
    unused_ += count;
    return {count, 0};
  }
  if (std::find(waiting_.begin(), waiting_.end(), member) == waiting_.end()) waiting_.push_back(member);
  const TimeMs delayMs = maxPerSecond_ == 0 ? 0 : meter_.delayMs(now, maxPerSecond_);
  if (unused_ == 0) return {0, delayMs};
  if (!yielding && now >= nextRecallMs_) {
    nextRecallMs_ = now + recallMs;
    for (const Member& holder : members_) holder.waiter->gateWanted();
  }
  return {0, std::max<TimeMs>(delayMs, recallMs)};
}

void AcceptGate::accepted(TimeMs now) {
  std::lock_guard lock(mutex_);
  unused_--;
  if (maxPerSecond_ != 0) meter_.add(now);
}

void AcceptGate::giveBack(uint32_t count) {
  std::lock_guard lock(mutex_);
  unused_ -= count;
  free(count);
}

void AcceptGate::release() {
  std::lock_guard lock(mutex_);
  free(1);
}

void AcceptGate::free(uint32_t count) {
  held_ -= count;
  for (const Member& next : waiting_) next.waiter->gateOpened();
}

}  // namespace sluice

#include "net/accept_gate.h"

#include <algorithm>

namespace sluice {

AcceptGate::Grant AcceptGate::reserve(TimeMs now, uint32_t want, GateWaiter* waiter) {
  std::lock_guard lock(mutex_);
  uint32_t count = want;
  if (maxConnections_ != 0) {
    const uint32_t left = maxConnections_ > held_ ? maxConnections_ - held_ : 0;
    if (left == 0) {
      if (std::find(waiters_.begin(), waiters_.end(), waiter) == waiters_.end()) waiters_.push_back(waiter);
      return {0, 0};
    }
    count = std::min(count, std::max(1u, sharers_ > 1 ? left / (2 * sharers_) : left));
  }
  if (maxPerSecond_ != 0) {
    const uint32_t left = meter_.remaining(now, maxPerSecond_);
    if (left == 0) return {0, std::max<TimeMs>(1, meter_.delayMs(now, maxPerSecond_))};
    count = std::min(count, std::max(1u, left / sharers_));
  }
  held_ += count;
  return {count, 0};
}

void AcceptGate::accepted(TimeMs now) {
  if (maxPerSecond_ == 0) return;
  std::lock_guard lock(mutex_);
  meter_.add(now);
}

void AcceptGate::release(uint32_t count) {
  std::lock_guard lock(mutex_);
  held_ -= count;
  for (GateWaiter* waiter : waiters_) waiter->gateOpened();
  waiters_.clear();
}

void AcceptGate::forget(GateWaiter* waiter) {
  std::lock_guard lock(mutex_);
  waiters_.erase(std::remove(waiters_.begin(), waiters_.end(), waiter), waiters_.end());
}

}  // namespace sluice

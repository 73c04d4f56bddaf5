#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice {

/// Decides whether a loop that has nothing to do waits awake for what comes next, and for how long. To fall asleep and to be
/// woken takes longer than a peer on the same machine takes to answer; but waiting awake for what does not come costs a
/// processor. So it is tried after several short sleeps in a row, and more and more rarely where nothing came.
///
/// Times are nanoseconds of any clock that does not go back.
class BusyWait {
 public:
  explicit BusyWait(uint64_t limitNs) : limitNs_(limitNs) {}

  bool enabled() const { return limitNs_ > 0; }

  /// The loop goes to sleep. `lonely`: it had so little to do that what comes next may be an answer to it.
  void sleeps(uint64_t nowNs, bool lonely) { sleptAtNs_ = lonely ? nowNs : 0; }
  /// Something has come.
  void wakes(uint64_t nowNs) {
    if (sleptAtNs_ == 0) return;
    const bool isShort = nowNs - sleptAtNs_ < limitNs_ + wakingNs;
    if (isShort && shortSleeps_ < mostShortSleeps) shortSleeps_++;
    if (!isShort && shortSleeps_ > 0) shortSleeps_--;
    if (pause_ > 0) pause_--;
    sleptAtNs_ = 0;
  }

  /// Until when to wait awake, if there is nothing left to do at `nowNs`; 0: not at all.
  uint64_t waitUntil(uint64_t nowNs) const {
    if (shortSleeps_ < fewShortSleeps || pause_ > 0) return 0;
    return nowNs + limitNs_ + (hasFound_ ? 0 : wakingNs);
  }
  /// Something came while it waited awake, or nothing did.
  void waited(bool found) {
    hasFound_ = found;
    if (found) {
      nextPause_ = std::max(nextPause_ / 2, leastPause);
    } else {
      pause_ = nextPause_;
      nextPause_ = std::min(nextPause_ * 4, mostPause);
    }
  }

 private:
  // What it may take to be woken: a part of our own sleeps, and the peer may be asleep when we begin to stay awake.
  static constexpr uint64_t wakingNs = 100'000;
  // Short sleeps count up, others down.
  static constexpr uint32_t fewShortSleeps = 4;
  static constexpr uint32_t mostShortSleeps = 8;
  // Sleeps after a wait for nothing.
  static constexpr uint32_t leastPause = 1;
  static constexpr uint32_t mostPause = 1024;

  const uint64_t limitNs_;
  uint64_t sleptAtNs_ = 0;
  uint32_t shortSleeps_ = 0;
  uint32_t pause_ = 0;
  uint32_t nextPause_ = leastPause;
  bool hasFound_ = false;
};

}  // namespace sluice

#pragma once

#include <cstdint>

#include "base/clock.h"

namespace sluice {

/// Counts events in fixed periods of time, to tell when there are too many.
class FloodMeter {
 public:
  /// Counts one; false when it is more than `limit` in this period. `limit` 0: never.
  bool count(TimeMs now, TimeMs periodMs, uint32_t limit) {
    if (now - beganMs_ >= periodMs) {
      beganMs_ = now;
      count_ = 0;
    }
    count_ += 1;
    return limit == 0 || count_ <= limit;
  }

 private:
  TimeMs beganMs_ = 0;
  uint32_t count_ = 0;
};

}  // namespace sluice

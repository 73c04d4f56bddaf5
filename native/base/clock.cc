#include "base/clock.h"

#include <time.h>

#include <algorithm>
#include <climits>

namespace sluice {

uint64_t monotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

TimeMs monotonicMs() { return monotonicNs() / 1'000'000u; }

int timeoutMs(Deadline deadline, TimeMs now) {
  if (deadline.isNow()) return 0;
  if (deadline.isNever()) return -1;
  if (deadline.atMs <= now) return 0;
  return static_cast<int>(std::min<TimeMs>(deadline.atMs - now, INT_MAX));
}

}  // namespace sluice

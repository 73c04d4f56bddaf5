#pragma once

#include <cstdint>

namespace sluice {

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same numbers from the same seed on every platform.
class SimRandom {
 public:
  SimRandom() = default;
  explicit SimRandom(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t mixed = (state_ += 0x9e3779b97f4a7c15u);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
  }

  /// Even over low…high, both included; `high` when the range is empty. The bias of the modulo is below 2^-30 for the
  /// ranges used here.
  uint64_t between(uint64_t low, uint64_t high) {
    const uint64_t drawn =
        next();  // drawn in any case, so that narrowing one range does not shift the draws after it
    return low >= high ? high : low + drawn % (high - low + 1);
  }

  bool chance(double probability) { return static_cast<double>(next() >> 11) * 0x1p-53 < probability; }

  /// A generator of its own, so that what one connection draws does not depend on how often another one did.
  SimRandom fork() { return SimRandom(next()); }

 private:
  uint64_t state_ = 0;
};

}  // namespace sluice

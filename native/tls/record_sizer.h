#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace sluice {

/// How large the next record may be (HP-91). Small ones first, each within a TCP segment, so that a receiver can use
/// the first bytes without waiting for the rest; full size once much has been sent; small again after idling.
class RecordSizer {
 public:
  static constexpr size_t smallBytes = 1400;
  static constexpr size_t fullBytes = 16384;
  static constexpr uint32_t rampBytes = 64 * 1024;
  static constexpr TimeMs idleMs = 1000;

  explicit RecordSizer(bool enabled) : left_(enabled ? rampBytes : 0), enabled_(enabled) {}

  /// Plaintext bytes for a record that is made now.
  size_t next(TimeMs now) {
    if (enabled_ && now - lastMs_ >= idleMs) left_ = rampBytes;
    lastMs_ = now;
    return left_ > 0 ? smallBytes : fullBytes;
  }
  void made(size_t bytes) { left_ = bytes >= left_ ? 0 : left_ - static_cast<uint32_t>(bytes); }

 private:
  TimeMs lastMs_ = 0;
  uint32_t left_;
  bool enabled_;
};

}  // namespace sluice

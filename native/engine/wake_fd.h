#pragma once

#include <atomic>
#include <utility>

#include "base/result.h"

namespace sluice {

/// A descriptor that one thread can make readable for another: eventfd on Linux, a pipe elsewhere.
class WakeFd {
 public:
  /// Errors: descriptorLimit, memoryLimit.
  static Result<WakeFd> make();
  WakeFd(WakeFd&& other) noexcept
      : readEnd_(std::exchange(other.readEnd_, -1)), writeEnd_(std::exchange(other.writeEnd_, -1)) {}
  WakeFd& operator=(WakeFd&&) = delete;
  ~WakeFd();

  /// Readable from signal() until clear().
  int fd() const { return readEnd_; }
  /// Any thread; never blocks. Until the next clear() only the first call costs a system call.
  void signal() noexcept;
  /// What was written before a signal() that this clears is visible afterwards.
  void clear() noexcept;

 private:
  WakeFd(int readEnd, int writeEnd) : readEnd_(readEnd), writeEnd_(writeEnd) {}

  int readEnd_;   // owned
  int writeEnd_;  // owned; the same descriptor for eventfd
  std::atomic<bool> signalled_ = false;
};

}  // namespace sluice

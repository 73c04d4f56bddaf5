#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <utility>

namespace sluice {

/// The last failures of a kind, until JavaScript asks for the one whose number an event carries. Bounded, so that a storm of
/// failures that nobody looks at costs no memory; what has been overwritten is told without its details. Any thread.
template <class Report>
class FailureTable {
 public:
  static FailureTable& shared() {
    static auto* failures = new FailureTable;
    return *failures;
  }

  static constexpr int32_t maxNumber = 0xffffff;

  /// Returns its number, 1 to maxNumber.
  int32_t put(Report report) {
    std::lock_guard lock(mutex_);
    next_ = next_ == maxNumber ? 1 : next_ + 1;
    Entry& entry = entries_[static_cast<size_t>(next_) % entries_.size()];
    entry.number = next_;
    entry.report = std::move(report);
    return next_;
  }

  /// False if it is not there any more.
  bool take(int32_t number, Report& report) {
    std::lock_guard lock(mutex_);
    Entry& entry = entries_[static_cast<size_t>(number) % entries_.size()];
    if (entry.number != number) return false;
    report = std::move(entry.report);
    entry.number = 0;
    return true;
  }

 private:
  struct Entry {
    int32_t number = 0;
    Report report;
  };
  std::mutex mutex_;
  std::array<Entry, 4096> entries_;
  int32_t next_ = 0;
};

}  // namespace sluice

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/assert.h"

namespace sluice {

/// Something the simulated network has to do later to one connection.
struct SimEvent {
  enum class Kind : uint8_t {
    requestArrives,  // a connect reaches the address it was sent to
    connectGivesUp,  // the client has waited long enough
    segmentArrives,  // the oldest segment on the wire reaches `side`
    windowOpens,     // the writer `side` hears that `bytes` were read
    spuriousRoom,    // `side` is told of room that is not there
  };
  Kind kind;
  uint8_t side = 0;
  uint32_t connection = 0;
  uint32_t generation = 0;
  uint32_t bytes = 0;
};

/// The virtual clock, in microseconds, and what is planned on it. Events of the same instant run in the order in
/// which they were planned.
class SimSchedule {
 public:
  static constexpr uint64_t secondUs = 1'000'000;
  static constexpr uint64_t startUs = 1'000'000'000;  // 1 000 000 ms

  /// To the nearest microsecond.
  static uint64_t toUs(double ms) { return static_cast<uint64_t>(ms * 1000 + 0.5); }

  uint64_t nowUs() const { return nowUs_; }
  void advanceTo(uint64_t atUs) { nowUs_ = std::max(nowUs_, atUs); }

  void add(uint64_t atUs, SimEvent event) {
    heap_.push_back({std::max(atUs, nowUs_), planned_++, event});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  bool empty() const { return heap_.empty(); }
  uint64_t nextUs() const { return heap_.front().atUs; }
  const SimEvent& next() const { return heap_.front().event; }

  SimEvent take() {
    SLUICE_ASSERT(!heap_.empty());
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const SimEvent event = heap_.back().event;
    heap_.pop_back();
    return event;
  }

 private:
  struct Entry {
    uint64_t atUs;
    uint64_t order;
    SimEvent event;
  };
  static bool later(const Entry& a, const Entry& b) {
    return a.atUs != b.atUs ? a.atUs > b.atUs : a.order > b.order;
  }

  std::vector<Entry> heap_;
  uint64_t nowUs_ = startUs;
  uint64_t planned_ = 0;
};

}  // namespace sluice

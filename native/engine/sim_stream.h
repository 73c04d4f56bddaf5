#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "base/assert.h"

namespace sluice {

/// What travels in one piece.
struct SimSegment {
  enum class Kind : uint8_t {
    data,
    open,    // SYN-ACK to the client, then ACK to the server
    refuse,  // RST instead of SYN-ACK
    fin,
    reset,
  };
  Kind kind;
  uint32_t bytes = 0;
};

/// One direction of a simulated connection. A byte stays in one queue from send to receive and only its place changes:
///
///   read ◀── [ arrived │ on the wire │ unsent ] ◀── append
///                 arrive() ▲      depart() ▲
class SimStream {
 public:
  size_t arrived() const { return arrived_; }
  size_t onWire() const { return onWire_; }
  size_t unsent() const { return bytes_.size() - head_ - arrived_ - onWire_; }
  uint64_t arrivedInAll() const { return arrivedInAll_; }

  void append(const void* bytes, size_t size) {
    const auto* from = static_cast<const uint8_t*>(bytes);
    bytes_.insert(bytes_.end(), from, from + size);
  }
  void depart(size_t size) {
    SLUICE_ASSERT(size <= unsent());
    onWire_ += size;
  }
  void arrive(size_t size) {
    SLUICE_ASSERT(size <= onWire_);
    onWire_ -= size;
    arrived_ += size;
    arrivedInAll_ += size;
  }
  void read(uint8_t* into, size_t size) {
    SLUICE_ASSERT(size <= arrived_);
    std::memcpy(into, bytes_.data() + head_, size);
    skip(size);
  }
  /// Drops what has arrived: its reader is gone.
  void dropArrived() { skip(arrived_); }
  /// Drops what has not left: its writer is gone, or nobody wants it.
  void dropUnsent() { bytes_.resize(bytes_.size() - unsent()); }

  std::deque<SimSegment> wire;  // what is on its way, the next to arrive first
  uint64_t latencyUs = 0;
  uint64_t lineFreeUs = 0;  // when the last departed byte has left, with bytesPerSecond
  uint64_t lastArrivalUs = 0;
  uint64_t windowUsed = 0;  // departed, and not yet reported read
  uint64_t unreported = 0;  // read, and not yet reported to the writer
  bool finWanted = false;   // the writer will send no more
  bool finSent = false;
  bool finArrived = false;
  bool cut = false;           // nothing departs any more: a reset is on its way, in either direction
  bool resetArrived = false;  // the reader sees a failure after the data that arrived

 private:
  void skip(size_t size) {
    head_ += size;
    arrived_ -= size;
    if (head_ == bytes_.size()) {
      bytes_.clear();
      head_ = 0;
    } else if (head_ >= bytes_.size() / 2 && head_ >= 4096) {
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(head_));
      head_ = 0;
    }
  }

  std::vector<uint8_t> bytes_;  // from head_ on
  size_t head_ = 0;
  size_t arrived_ = 0;
  size_t onWire_ = 0;
  uint64_t arrivedInAll_ = 0;
};

}  // namespace sluice

#pragma once

#include <cstdint>
#include <vector>

#include "loop/records.h"

namespace sluice {

/// One batch of events on its way to JavaScript: the records, and the part of the slab that their bytes lie in.
/// Inline there is one frame; with an I/O thread there are several, so that one is filled while another is handled.
struct Frame {
  EventRecord* records = nullptr;
  uint32_t firstRecord = 0;  // index of records[0] in the shared array
  uint32_t capacity = 0;
  uint32_t count = 0;
  uint32_t spaceBegin = 0, spaceEnd = 0;  // offsets in the slab
  uint32_t position = 0;                  // where the next received bytes go
  uint32_t plainBegin = 0, plainEnd = 0;  // likewise, for what layers make of received bytes
  uint32_t plainPosition = 0;
  std::vector<uint32_t> lent;  // offsets to give back to the engine when the frame is done

  uint32_t room() const { return capacity - count; }
  void reset() {
    count = 0;
    position = spaceBegin;
    plainPosition = plainBegin;
  }
};

}  // namespace sluice

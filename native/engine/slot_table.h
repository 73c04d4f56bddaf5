#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/assert.h"
#include "engine/engine.h"

namespace sluice {

/// Sockets by slot: stable addresses, reuse of the lowest cost, a generation per reuse.
/// Grows by blocks, so that pointers the kernel holds stay valid and an idle table is small.
template <class Entry>
class SlotTable {
 public:
  /// noSlot when the table is full (maxSlots).
  Slot allocate() {
    if (!free_.empty()) {
      const Slot slot = free_.back();
      free_.pop_back();
      cell(slot).used = true;
      return slot;
    }
    if (size_ == maxSlots) return noSlot;
    if (size_ % blockSize == 0) blocks_.push_back(std::make_unique<Cell[]>(blockSize));
    cell(size_).used = true;
    return size_++;
  }

  void release(Slot slot) {
    Cell& released = cell(slot);
    SLUICE_ASSERT(released.used);
    released.entry = Entry{};
    released.generation = (released.generation + 1) & 0xffffff;
    released.used = false;
    free_.push_back(slot);
  }

  bool contains(Slot slot) const { return slot < size_ && cell(slot).used; }
  bool contains(Slot slot, uint32_t generation) const {
    return contains(slot) && cell(slot).generation == generation;
  }
  uint32_t generation(Slot slot) const { return cell(slot).generation; }
  Entry& operator[](Slot slot) { return cell(slot).entry; }
  const Entry& operator[](Slot slot) const { return cell(slot).entry; }
  /// Slots ever given out; use contains() while iterating.
  uint32_t size() const { return size_; }
  uint32_t used() const { return size_ - static_cast<uint32_t>(free_.size()); }

 private:
  struct Cell {
    Entry entry{};
    uint32_t generation = 0;
    bool used = false;
  };
  static constexpr uint32_t blockSize = 256;

  Cell& cell(Slot slot) { return blocks_[slot / blockSize][slot % blockSize]; }
  const Cell& cell(Slot slot) const { return blocks_[slot / blockSize][slot % blockSize]; }

  std::vector<std::unique_ptr<Cell[]>> blocks_;
  std::vector<Slot> free_;
  uint32_t size_ = 0;
};

}  // namespace sluice

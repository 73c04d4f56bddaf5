#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace sluice {

/// Memory for ciphertext that has to stay until an engine has sent it: blocks for a full record each, used again and again.
/// malloc() would give back to the system what lies on top of the heap, and take it again, page by page, for the next.
class WireBlocks {
 public:
  static constexpr size_t blockBytes = 17 * 1024;

  /// A block, by number.
  uint32_t take() {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(blocks_.size()));
      blocks_.emplace_back();
    }
    const uint32_t block = free_.back();
    free_.pop_back();
    if (!blocks_[block]) {
      blocks_[block].reset(new uint8_t[blockBytes]);
      filled_++;
    }
    return block;
  }
  uint8_t* at(uint32_t block) { return blocks_[block].get(); }
  void giveBack(uint32_t block) {
    if (filled_ > keptBlocks) {
      blocks_[block].reset();
      filled_--;
    }
    free_.push_back(block);
  }

 private:
  // Half a megabyte, as the slab has. Whoever sends more at a time pays for it.
  static constexpr size_t keptBlocks = 32;

  std::vector<std::unique_ptr<uint8_t[]>> blocks_;
  std::vector<uint32_t> free_;
  size_t filled_ = 0;
};

}  // namespace sluice

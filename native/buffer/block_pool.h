#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace sluice {

/// Large blocks of memory that are used again: what the system gives anew costs a page fault per page, which takes several
/// times as long as to copy as much. What a block holds is left over from its last use.
///
/// Threads: any.
class BlockPool {
 public:
  /// Keeps at most so many bytes that nobody uses; the oldest go first.
  explicit BlockPool(size_t mostFreeBytes) : mostFreeBytes_(mostFreeBytes) {}
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  /// Null when the system has no more.
  uint8_t* take(size_t sizeBytes);
  /// `sizeBytes` as it was asked for.
  void giveBack(uint8_t* block, size_t sizeBytes);

  size_t freeBytes() const;
  /// What is really set aside for so many bytes: at most an eighth more, or a page.
  static size_t roundedSize(size_t sizeBytes);

 private:
  struct Block {
    uint8_t* memory;
    size_t sizeBytes;
  };

  const size_t mostFreeBytes_;
  mutable std::mutex mutex_;
  std::vector<Block> free_;  // the oldest first
  size_t freeBytes_ = 0;
};

}  // namespace sluice

#include "buffer/block_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

namespace sluice {

namespace {
constexpr size_t pageBytes = 4096;
}

BlockPool::~BlockPool() {
  for (const Block& block : free_) ::munmap(block.memory, block.sizeBytes);
}

size_t BlockPool::roundedSize(size_t sizeBytes) {
  // Few different sizes, so that blocks fit again.
  const size_t step = std::max(pageBytes, std::bit_ceil(sizeBytes) / 16);
  return (sizeBytes + step - 1) / step * step;
}

uint8_t* BlockPool::take(size_t sizeBytes) {
  const size_t rounded = roundedSize(sizeBytes);
  {
    const std::scoped_lock lock(mutex_);
    // The newest, which the processor's cache may still have.
    for (size_t i = free_.size(); i-- > 0;) {
      if (free_[i].sizeBytes != rounded) continue;
      uint8_t* memory = free_[i].memory;
      free_.erase(free_.begin() + static_cast<ptrdiff_t>(i));
      freeBytes_ -= rounded;
      return memory;
    }
  }
  void* memory = ::mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<uint8_t*>(memory);
}

void BlockPool::giveBack(uint8_t* block, size_t sizeBytes) {
  const size_t rounded = roundedSize(sizeBytes);
  std::vector<Block> dropped;
  {
    const std::scoped_lock lock(mutex_);
    free_.push_back({block, rounded});
    freeBytes_ += rounded;
    size_t count = 0;
    while (freeBytes_ > mostFreeBytes_) freeBytes_ -= free_[count++].sizeBytes;
    dropped.assign(free_.begin(), free_.begin() + static_cast<ptrdiff_t>(count));
    free_.erase(free_.begin(), free_.begin() + static_cast<ptrdiff_t>(count));
  }
  for (const Block& gone : dropped) ::munmap(gone.memory, gone.sizeBytes);
}

size_t BlockPool::freeBytes() const {
  const std::scoped_lock lock(mutex_);
  return freeBytes_;
}

}  // namespace sluice

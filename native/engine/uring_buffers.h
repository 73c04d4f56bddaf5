#pragma once

#ifdef __linux__

#include <cstdint>
#include <span>
#include <vector>

#include "engine/uring_ring.h"

namespace sluice {

/// The slab, cut into equal buffers that the kernel fills in the order it was given them.
///
///   with the kernel ─ used up ─▶ lent ─ last reference given back ─▶ with the kernel
///
/// A buffer may be lent in pieces while the kernel goes on filling its rest (incremental). One buffer in sixteen is
/// never given to the kernel: bytes that had to be set aside come back into the slab through these.
class UringBuffers {
 public:
  struct Piece {
    uint32_t offset;
    uint32_t length;
  };

  /// Registers a ring of buffers over `slab`, which must outlive it. Errors: invalidArgument for less than 4 KiB;
  /// memoryLimit; notSupported.
  static Result<UringBuffers> make(UringRing& ring, std::span<uint8_t> slab, bool incremental);
  static constexpr uint16_t group = 0;
  static constexpr uint32_t largestBuffer = 64 * 1024;
  static constexpr uint32_t fewestBuffers = 16;

  uint8_t* at(uint32_t offset) const { return slab_.data() + offset; }
  uint32_t bufferBytes() const { return bufferBytes_; }

  /// What a completion with a buffer has filled; holds one reference. Every such completion must be taken, in order.
  Piece take(const uring::CompletionEntry& completion);
  /// A completion without data that names a buffer: the kernel has given up its place in the ring.
  void takeEmpty(const uring::CompletionEntry& completion);
  /// An own buffer with one reference, or false when all are lent.
  bool borrow(uint32_t* offset);

  void addReference(uint32_t offset) { ++buffers_[indexOf(offset)].references; }
  void giveBack(uint32_t offset);
  /// One more reference for a send that may wait. False when three quarters of the buffers are held so: slow
  /// readers cannot starve receiving.
  bool keep(uint32_t offset);
  bool sameBuffer(uint32_t one, uint32_t other) const { return indexOf(one) == indexOf(other); }

  /// Buffers that the kernel can still fill.
  uint32_t available() const { return available_; }
  /// borrow() would succeed.
  bool canBorrow() const { return !own_.empty(); }

 private:
  struct Buffer {
    uint32_t references = 0;
    uint32_t used = 0;
    bool withKernel = false;
    bool kept = false;
  };

  UringBuffers() = default;
  uint32_t indexOf(uint32_t offset) const { return offset >> bufferShift_; }
  void release(uint32_t index);
  void provide(uint32_t index);

  std::span<uint8_t> slab_;
  MappedMemory ringMemory_;
  uring::ProvidedBuffer* entries_ = nullptr;
  uint32_t mask_ = 0;
  uint16_t tail_ = 0;
  uint32_t bufferBytes_ = 0;
  uint32_t bufferShift_ = 0;
  uint32_t provided_ = 0;  // buffers [0, provided_) are the kernel's, the rest our own
  uint32_t available_ = 0;
  uint32_t keptCount_ = 0;
  bool incremental_ = false;
  std::vector<Buffer> buffers_;
  std::vector<uint32_t> own_;  // indexes
};

}  // namespace sluice

#endif

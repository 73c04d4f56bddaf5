#include "engine/uring_buffers.h"

#ifdef __linux__

#include <algorithm>
#include <bit>

namespace sluice {

Result<UringBuffers> UringBuffers::make(UringRing& ring, std::span<uint8_t> slab, bool incremental) {
  if (slab.size() < 4096) return Error{ErrorCode::invalidArgument, 0, "io_uring_register"};
  UringBuffers made;
  made.slab_ = slab;
  made.incremental_ = incremental;
  made.bufferBytes_ =
      std::min<uint32_t>(largestBuffer, static_cast<uint32_t>(std::bit_floor(slab.size() / fewestBuffers)));
  made.bufferShift_ = static_cast<uint32_t>(std::countr_zero(made.bufferBytes_));
  const auto count = static_cast<uint32_t>(std::min<size_t>(slab.size() / made.bufferBytes_, 1u << 15));
  made.provided_ = count - count / fewestBuffers;
  made.buffers_.resize(count);
  const uint32_t ringEntries = std::bit_ceil(made.provided_);
  made.mask_ = ringEntries - 1;
  auto memory = MappedMemory::map(-1, 0, ringEntries * sizeof(uring::ProvidedBuffer));
  if (!memory) return memory.error();
  made.ringMemory_ = std::move(*memory);
  made.entries_ = reinterpret_cast<uring::ProvidedBuffer*>(made.ringMemory_.data());

  uring::BufferRegistration registration{};
  registration.ringAddress = reinterpret_cast<uint64_t>(made.entries_);
  registration.entries = ringEntries;
  registration.group = group;
  registration.flags = incremental ? uring::registration::incremental : 0;
  const int registered = ring.registerWith(uring::registration::bufferRing, &registration, 1);
  if (registered < 0) return systemError(-registered, "io_uring_register");
  for (uint32_t i = 0; i < made.provided_; ++i) made.provide(i);
  for (uint32_t i = made.provided_; i < count; ++i) made.own_.push_back(i);
  return made;
}

UringBuffers::Piece UringBuffers::take(const uring::CompletionEntry& completion) {
  const uint32_t index = completion.flags >> uring::completionFlag::bufferShift;
  SLUICE_ASSERT(index < provided_ && buffers_[index].withKernel);
  Buffer& buffer = buffers_[index];
  const Piece piece{index * bufferBytes_ + buffer.used, static_cast<uint32_t>(completion.result)};
  ++buffer.references;
  buffer.used += piece.length;
  SLUICE_ASSERT(buffer.used <= bufferBytes_);
  if (!(completion.flags & uring::completionFlag::bufferContinues)) {
    buffer.withKernel = false;
    --available_;
  }
  return piece;
}

void UringBuffers::takeEmpty(const uring::CompletionEntry& completion) {
  // An incremental buffer goes on where it was, whatever the flags say: kernels before 7.0 forget bufferContinues when
  // they received nothing.
  if (incremental_) return;
  const uint32_t index = completion.flags >> uring::completionFlag::bufferShift;
  SLUICE_ASSERT(index < provided_ && buffers_[index].withKernel);
  buffers_[index].withKernel = false;
  --available_;
  release(index);
}

bool UringBuffers::borrow(uint32_t* offset) {
  if (own_.empty()) return false;
  const uint32_t index = own_.back();
  own_.pop_back();
  ++buffers_[index].references;
  *offset = index * bufferBytes_;
  return true;
}

bool UringBuffers::keep(uint32_t offset) {
  const uint32_t index = indexOf(offset);
  if (index >= provided_) return false;
  Buffer& buffer = buffers_[index];
  SLUICE_ASSERT(buffer.references > 0);
  if (!buffer.kept) {
    if (keptCount_ * 4 >= provided_ * 3) return false;
    buffer.kept = true;
    ++keptCount_;
  }
  ++buffer.references;
  return true;
}

void UringBuffers::giveBack(uint32_t offset) {
  const uint32_t index = indexOf(offset);
  SLUICE_ASSERT(index < buffers_.size() && buffers_[index].references > 0);
  if (--buffers_[index].references == 0) release(index);
}

void UringBuffers::release(uint32_t index) {
  Buffer& buffer = buffers_[index];
  if (buffer.kept) {
    buffer.kept = false;
    --keptCount_;
  }
  if (buffer.withKernel) return;
  buffer.used = 0;
  if (index < provided_) {
    provide(index);
  } else {
    own_.push_back(index);
  }
}

void UringBuffers::provide(uint32_t index) {
  uring::ProvidedBuffer& entry = entries_[tail_ & mask_];
  entry.address = reinterpret_cast<uint64_t>(slab_.data() + size_t{index} * bufferBytes_);
  entry.length = bufferBytes_;
  entry.id = static_cast<uint16_t>(index);
  buffers_[index].withKernel = true;
  ++available_;
  __atomic_store_n(&entries_[0].reserved, ++tail_, __ATOMIC_RELEASE);
}

}  // namespace sluice

#endif

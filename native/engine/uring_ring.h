#pragma once

#ifdef __linux__

#include <cstddef>
#include <cstdint>
#include <thread>

#include "base/result.h"
#include "engine/uring_abi.h"

namespace sluice {

/// One mapping of memory, unmapped with it.
class MappedMemory {
 public:
  MappedMemory() = default;
  MappedMemory(void* at, size_t length) : at_(static_cast<uint8_t*>(at)), length_(length) {}
  MappedMemory(MappedMemory&& other) noexcept;
  MappedMemory& operator=(MappedMemory&& other) noexcept;
  ~MappedMemory();
  /// Maps shared pages of `fd` at `offset`, or zeroed private ones with fd -1. A child process does not inherit them.
  static Result<MappedMemory> map(int fd, uint64_t offset, size_t length);
  uint8_t* data() const { return at_; }

 private:
  uint8_t* at_ = nullptr;
  size_t length_ = 0;
};

/// The two queues shared with the kernel, and the three system calls. It knows nothing of sockets.
///
/// Threads  The ring is made disabled and belongs to the thread that calls enable(): only that one may enter it.
/// Flags    SINGLE_ISSUER and DEFER_TASKRUN: completions are made only inside enter(), never in between.
class UringRing {
 public:
  /// `entries` for submissions, `completions` for completions; the kernel rounds up to powers of two.
  /// Errors: whatever io_uring_setup or mmap say.
  static Result<UringRing> make(uint32_t entries, uint32_t completions);
  UringRing(UringRing&& other) noexcept;
  UringRing& operator=(UringRing&&) = delete;
  ~UringRing();

  int fd() const { return fd_; }
  /// uring::feature bits of the running kernel.
  uint32_t features() const { return features_; }
  /// Returns 0 or more, or -errno.
  int registerWith(uint32_t what, const void* argument, uint32_t count);
  /// Makes the calling thread the owner. Returns 0 or -errno.
  int enable();

  /// A zeroed entry to fill, handed over by the next enter(); null when all are taken.
  uring::SubmissionEntry* next();
  /// Entries filled and not yet taken by the kernel.
  uint32_t queued() const { return tail_ - head(); }

  /// Hands over what is queued, lets the kernel make completions, and waits for `waitFor` of them, at most `timeout`
  /// (null: for ever). Returns 0 or more, or -errno: ETIME, EINTR, EBUSY and EAGAIN are no failures of the ring.
  int enter(uint32_t waitFor, const uring::Timespec* timeout);
  /// Only hands over what is queued.
  int submit();

  /// The oldest completion, or null.
  const uring::CompletionEntry* peek() const {
    const uint32_t at = *completionHead_;
    if (at == __atomic_load_n(completionTail_, __ATOMIC_ACQUIRE)) return nullptr;
    return &completions_[at & completionMask_];
  }
  /// Frees the place of the one that peek() gave.
  void advance() { __atomic_store_n(completionHead_, *completionHead_ + 1, __ATOMIC_RELEASE); }
  /// The kernel would make completions in the next enter().
  bool kernelWaits() const {
    constexpr uint32_t reasons = uring::submissionFlag::taskrun | uring::submissionFlag::completionsOverflowed;
    return (__atomic_load_n(submissionFlags_, __ATOMIC_ACQUIRE) & reasons) != 0;
  }
  /// While quiet, nothing is written to the registered eventfd. What came meanwhile is seen by peek() and kernelWaits(),
  /// to be asked before the descriptor is relied on again.
  void setQuiet(bool quiet) {
    __atomic_store_n(completionFlags_, quiet ? uring::completionRingFlag::eventfdDisabled : 0, __ATOMIC_SEQ_CST);
  }

 private:
  UringRing() = default;
  uint32_t head() const { return __atomic_load_n(submissionHead_, __ATOMIC_ACQUIRE); }
  int call(uint32_t waitFor, uint32_t flags, const uring::Timespec* timeout);

  int fd_ = -1;       // owned
  int enterFd_ = -1;  // the ring's number for enter(): fd_, or its index among the thread's registered rings
  uint32_t enterFlags_ = 0;
  uint32_t features_ = 0;
  std::thread::id owner_{};
  uint32_t tail_ = 0;
  MappedMemory rings_;
  MappedMemory entries_;
  // Into rings_ and entries_.
  uint32_t* submissionHead_ = nullptr;
  uint32_t* submissionTail_ = nullptr;
  uint32_t* submissionFlags_ = nullptr;
  uint32_t* completionHead_ = nullptr;
  uint32_t* completionTail_ = nullptr;
  uint32_t* completionFlags_ = nullptr;
  uring::SubmissionEntry* submissions_ = nullptr;
  uring::CompletionEntry* completions_ = nullptr;
  uint32_t submissionMask_ = 0;
  uint32_t completionMask_ = 0;
};

}  // namespace sluice

#endif

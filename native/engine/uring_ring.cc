#include "engine/uring_ring.h"

#ifdef __linux__

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/sys.h"

namespace sluice {

namespace {

int setupRing(uint32_t entries, uring::Parameters* parameters) {
  return static_cast<int>(
      sys::once("io_uring_setup", [=] { return ::syscall(uring::setupCall, entries, parameters); }));
}

template <class T>
T* at(const MappedMemory& memory, uint32_t offset) {
  return reinterpret_cast<T*>(memory.data() + offset);
}

}  // namespace

MappedMemory::MappedMemory(MappedMemory&& other) noexcept
    : at_(std::exchange(other.at_, nullptr)), length_(other.length_) {}

MappedMemory& MappedMemory::operator=(MappedMemory&& other) noexcept {
  std::swap(at_, other.at_);
  std::swap(length_, other.length_);
  return *this;
}

MappedMemory::~MappedMemory() {
  if (at_) ::munmap(at_, length_);
}

Result<MappedMemory> MappedMemory::map(int fd, uint64_t offset, size_t length) {
  const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  if (sys::fault("mmap")) return systemError(errno, "mmap");
  void* mapped =
      ::mmap(nullptr, length, PROT_READ | PROT_WRITE, flags | MAP_POPULATE, fd, static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) return systemError(errno, "mmap");
  ::madvise(mapped, length, MADV_DONTFORK);
  return MappedMemory(mapped, length);
}

Result<UringRing> UringRing::make(uint32_t entries, uint32_t completions) {
  // Never SQPOLL: its kernel thread would keep the credentials of the moment after a setuid() (CVE-2024-22017).
  uring::Parameters parameters{};
  parameters.flags = uring::setup::singleIssuer | uring::setup::deferTaskrun | uring::setup::taskrunFlag |
                     uring::setup::startDisabled | uring::setup::submitAll | uring::setup::completionSize |
                     uring::setup::clamp;
  parameters.completionEntries = completions;
  UringRing ring;
  ring.fd_ = setupRing(entries, &parameters);
  if (ring.fd_ < 0) return systemError(errno, "io_uring_setup");
  ring.enterFd_ = ring.fd_;
  ring.features_ = parameters.features;

  const size_t submissionEnd = parameters.submission.array + parameters.submissionEntries * sizeof(uint32_t);
  const size_t completionEnd =
      parameters.completion.entriesAt + parameters.completionEntries * sizeof(uring::CompletionEntry);
  auto rings = MappedMemory::map(ring.fd_, uring::map::submissionRing, std::max(submissionEnd, completionEnd));
  if (!rings) return rings.error();
  auto slots = MappedMemory::map(ring.fd_, uring::map::submissionEntries,
                                 parameters.submissionEntries * sizeof(uring::SubmissionEntry));
  if (!slots) return slots.error();
  ring.rings_ = std::move(*rings);
  ring.entries_ = std::move(*slots);

  ring.submissionHead_ = at<uint32_t>(ring.rings_, parameters.submission.head);
  ring.submissionTail_ = at<uint32_t>(ring.rings_, parameters.submission.tail);
  ring.submissionFlags_ = at<uint32_t>(ring.rings_, parameters.submission.flags);
  ring.completionHead_ = at<uint32_t>(ring.rings_, parameters.completion.head);
  ring.completionTail_ = at<uint32_t>(ring.rings_, parameters.completion.tail);
  ring.completionFlags_ = at<uint32_t>(ring.rings_, parameters.completion.flags);
  ring.completions_ = at<uring::CompletionEntry>(ring.rings_, parameters.completion.entriesAt);
  ring.submissions_ = at<uring::SubmissionEntry>(ring.entries_, 0);
  ring.submissionMask_ = parameters.submissionEntries - 1;
  ring.completionMask_ = parameters.completionEntries - 1;
  // The kernel finds entries through an array of their numbers. Filled once, it never changes.
  uint32_t* array = at<uint32_t>(ring.rings_, parameters.submission.array);
  for (uint32_t i = 0; i < parameters.submissionEntries; ++i) array[i] = i;
  return ring;
}

UringRing::UringRing(UringRing&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      enterFd_(other.enterFd_),
      enterFlags_(other.enterFlags_),
      features_(other.features_),
      owner_(other.owner_),
      tail_(other.tail_),
      rings_(std::move(other.rings_)),
      entries_(std::move(other.entries_)),
      submissionHead_(other.submissionHead_),
      submissionTail_(other.submissionTail_),
      submissionFlags_(other.submissionFlags_),
      completionHead_(other.completionHead_),
      completionTail_(other.completionTail_),
      completionFlags_(other.completionFlags_),
      submissions_(other.submissions_),
      completions_(other.completions_),
      submissionMask_(other.submissionMask_),
      completionMask_(other.completionMask_) {}

UringRing::~UringRing() {
  if (fd_ < 0) return;
  // The registration is the owner's and keeps the ring alive; another thread would hit one of its own.
  if (enterFlags_ != 0 && owner_ == std::this_thread::get_id()) {
    uring::RingFdUpdate update{static_cast<uint32_t>(enterFd_), 0, 0};
    registerWith(uring::registration::forgetRingFds, &update, 1);
  }
  sys::close(fd_);
}

int UringRing::registerWith(uint32_t what, const void* argument, uint32_t count) {
  const long result = sys::retried(
      "io_uring_register", [=, this] { return ::syscall(uring::registerCall, fd_, what, argument, count); });
  return result < 0 ? -errno : static_cast<int>(result);
}

int UringRing::enable() {
  if (const int enabled = registerWith(uring::registration::enableRing, nullptr, 0); enabled < 0) return enabled;
  owner_ = std::this_thread::get_id();
  // Saves the kernel looking the descriptor up in every call. Limited per thread, so it may fail; then without.
  uring::RingFdUpdate update{UINT32_MAX, 0, static_cast<uint64_t>(fd_)};
  if (registerWith(uring::registration::ringFds, &update, 1) == 1) {
    enterFd_ = static_cast<int>(update.offset);
    enterFlags_ = uring::enter::registeredRing;
  }
  return 0;
}

uring::SubmissionEntry* UringRing::next() {
  if (queued() > submissionMask_) return nullptr;
  uring::SubmissionEntry* entry = &submissions_[tail_++ & submissionMask_];
  std::memset(entry, 0, sizeof *entry);
  return entry;
}

int UringRing::enter(uint32_t waitFor, const uring::Timespec* timeout) {
  return call(waitFor, uring::enter::getEvents, timeout);
}

int UringRing::submit() { return call(0, 0, nullptr); }

int UringRing::call(uint32_t waitFor, uint32_t flags, const uring::Timespec* timeout) {
  __atomic_store_n(submissionTail_, tail_, __ATOMIC_RELEASE);
  flags |= enterFlags_;
  uring::WaitArgument argument{};
  argument.timespec = reinterpret_cast<uint64_t>(timeout);
  if (timeout) flags |= uring::enter::waitArgument;
  const void* extra = timeout ? &argument : nullptr;
  const size_t extraSize = timeout ? sizeof argument : 0;
  const uint32_t count = queued();
  const long result = sys::once("io_uring_enter", [=, this] {
    return ::syscall(uring::enterCall, enterFd_, count, waitFor, flags, extra, extraSize);
  });
  return result < 0 ? -errno : static_cast<int>(result);
}

}  // namespace sluice

#endif

#pragma once

#ifdef __linux__

#include <sys/syscall.h>

#include <cstdint>

/// The part of Linux's io_uring interface that the engine uses: layouts and numbers, which never change. An own copy,
/// so that the engine builds with headers of any age; what the running kernel can do is probed, never assumed.
namespace sluice::uring {

// The same on all architectures that sluice is built for.
inline constexpr long setupCall = 425;
inline constexpr long enterCall = 426;
inline constexpr long registerCall = 427;
#ifdef __NR_io_uring_setup
static_assert(__NR_io_uring_setup == setupCall && __NR_io_uring_register == registerCall);
#endif

/// What the kernel is asked to do.
struct SubmissionEntry {
  uint8_t opcode;
  uint8_t flags;
  uint16_t ioprio;  // per opcode: accept and receive flags
  int32_t fd;
  uint64_t offset;  // or a second address
  uint64_t address;
  uint32_t length;
  uint32_t operationFlags;  // message, accept, poll or cancel flags
  uint64_t userData;
  uint16_t bufferGroup;
  uint16_t personality;
  uint32_t optionLength;  // multishot receive: ends after so many bytes (Linux 6.17)
  uint64_t padding[2];
};
static_assert(sizeof(SubmissionEntry) == 64);

/// What became of it.
struct CompletionEntry {
  uint64_t userData;
  int32_t result;  // or a negative errno
  uint32_t flags;
};
static_assert(sizeof(CompletionEntry) == 16);

struct SubmissionOffsets {
  uint32_t head, tail, mask, entries, flags, dropped, array, reserved;
  uint64_t userAddress;
};
struct CompletionOffsets {
  uint32_t head, tail, mask, entries, overflow, entriesAt, flags, reserved;
  uint64_t userAddress;
};
struct Parameters {
  uint32_t submissionEntries, completionEntries, flags, threadCpu, threadIdle, features, workQueueFd, reserved[3];
  SubmissionOffsets submission;
  CompletionOffsets completion;
};
static_assert(sizeof(Parameters) == 120);

struct Timespec {
  int64_t seconds;
  int64_t nanoseconds;
};
struct WaitArgument {
  uint64_t signalMask;
  uint32_t signalMaskSize;
  uint32_t minWaitUs;
  uint64_t timespec;
};

/// One provided buffer; the ring of them has its tail where the first entry's `reserved` is.
struct ProvidedBuffer {
  uint64_t address;
  uint32_t length;
  uint16_t id;
  uint16_t reserved;
};
static_assert(sizeof(ProvidedBuffer) == 16);
struct BufferRegistration {
  uint64_t ringAddress;
  uint32_t entries;
  uint16_t group;
  uint16_t flags;
  uint32_t minimumLeft;
  uint32_t reserved[5];
};
static_assert(sizeof(BufferRegistration) == 40);

struct RingFdUpdate {
  uint32_t offset, reserved;
  uint64_t fd;
};

inline constexpr uint32_t opcodeSupported = 1u << 0;
struct OpcodeProbe {
  uint8_t lastOpcode, count;
  uint16_t reserved;
  uint32_t reserved2[3];
  struct Entry {
    uint8_t opcode, reserved;
    uint16_t flags;
    uint32_t reserved2;
  } entries[256];
};

namespace opcode {
inline constexpr uint8_t noOperation = 0, pollAdd = 6, sendMessage = 9, accept = 13, cancel = 14, connect = 16,
                         send = 26, receive = 27;
}

namespace setup {
inline constexpr uint32_t completionSize = 1u << 3, clamp = 1u << 4, startDisabled = 1u << 6, submitAll = 1u << 7,
                          cooperativeTaskrun = 1u << 8, taskrunFlag = 1u << 9, singleIssuer = 1u << 12,
                          deferTaskrun = 1u << 13;
}

namespace feature {
inline constexpr uint32_t singleMap = 1u << 0, noDrop = 1u << 1, submitStable = 1u << 2, fastPoll = 1u << 5,
                          waitArgument = 1u << 8, skipCompletion = 1u << 11;
}

namespace map {
inline constexpr uint64_t submissionRing = 0, submissionEntries = 0x10000000;
}

namespace enter {
inline constexpr uint32_t getEvents = 1u << 0, waitArgument = 1u << 3, registeredRing = 1u << 4;
}

namespace submissionFlag {
inline constexpr uint32_t completionsOverflowed = 1u << 1, taskrun = 1u << 2;
}

namespace completionRingFlag {
inline constexpr uint32_t eventfdDisabled = 1u << 0;
}

namespace entryFlag {
inline constexpr uint8_t selectBuffer = 1u << 5, skipCompletion = 1u << 6;
}

namespace completionFlag {
inline constexpr uint32_t buffer = 1u << 0, more = 1u << 1, bufferContinues = 1u << 4, bufferShift = 16;
}

namespace operation {
inline constexpr uint16_t receiveMultishot = 1u << 1, acceptMultishot = 1u << 0;  // ioprio
inline constexpr uint32_t pollMultishot = 1u << 0;                                // length
inline constexpr uint32_t cancelAll = 1u << 0, cancelAny = 1u << 2;               // operationFlags
}  // namespace operation

namespace registration {
inline constexpr uint32_t eventfd = 4, probe = 8, enableRing = 12, ringFds = 20, forgetRingFds = 21,
                          bufferRing = 22;
inline constexpr uint16_t incremental = 2;  // BufferRegistration::flags, Linux 6.12
}  // namespace registration

}  // namespace sluice::uring

#endif

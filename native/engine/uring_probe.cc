#include "engine/uring_engine.h"

#ifdef __linux__

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstring>
#include <memory>

#include "engine/sys.h"
#include "engine/uring_probe.h"

namespace sluice {

namespace {

UringProbe missing(std::string reason, int osError, const char* syscall) {
  UringProbe probe;
  probe.reason = std::move(reason);
  probe.error = {ErrorCode::engineUnavailable, osError, syscall};
  return probe;
}

std::string errnoText(int error) { return std::string(std::strerror(error)) + ", errno " + std::to_string(error); }

/// The value of kernel.io_uring_disabled, or -1 where the kernel has no such switch (before 6.6).
int disabledSwitch() {
  const int fd = ::open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  char digit = 0;
  const ssize_t got = sys::read(fd, &digit, 1);
  sys::close(fd);
  return got == 1 && digit >= '0' && digit <= '9' ? digit - '0' : -1;
}

std::string setupReason(int error, const char* syscall) {
  const int disabled = disabledSwitch();
  switch (error) {
    case EPERM:
      if (disabled > 0) return "kernel.io_uring_disabled is " + std::to_string(disabled);
      return std::string("a security policy, such as a container's seccomp profile, denies ") + syscall +
             " (EPERM)";
    case ENOSYS:
      if (disabled >= 0) return std::string("a seccomp profile hides ") + syscall + " (ENOSYS)";
      return "the kernel has no io_uring, or a seccomp profile hides it (ENOSYS)";
    case EINVAL: return "the kernel lacks IORING_SETUP_DEFER_TASKRUN (Linux 6.1)";
    case ENOMEM: {
      rlimit limit{};
      ::getrlimit(RLIMIT_MEMLOCK, &limit);
      if (limit.rlim_cur == RLIM_INFINITY) return "not enough memory (ENOMEM)";
      return "not enough lockable memory: RLIMIT_MEMLOCK is " + std::to_string(limit.rlim_cur / 1024) +
             " KiB (ENOMEM)";
    }
    default: return std::string(syscall) + " failed: " + errnoText(error);
  }
}

// Some sandboxes answer a forbidden system call with SIGSYS, which would end the process.
volatile sig_atomic_t trapped = 0;
void onTrap(int) { trapped = 1; }

bool setupIsTrapped() {
  struct sigaction ours{};
  struct sigaction before{};
  ours.sa_handler = onTrap;
  trapped = 0;
  if (::sigaction(SIGSYS, &ours, &before) < 0) return false;
  (void)!::syscall(uring::setupCall, 0, nullptr);
  ::sigaction(SIGSYS, &before, nullptr);
  return trapped != 0;
}

struct Requirement {
  uint32_t value;
  const char* name;
};

constexpr Requirement features[] = {
    {uring::feature::noDrop, "IORING_FEAT_NODROP"},
    {uring::feature::submitStable, "IORING_FEAT_SUBMIT_STABLE"},
    {uring::feature::fastPoll, "IORING_FEAT_FAST_POLL"},
    {uring::feature::waitArgument, "IORING_FEAT_EXT_ARG"},
    {uring::feature::skipCompletion, "IORING_FEAT_CQE_SKIP"},
};

constexpr Requirement opcodes[] = {
    {uring::opcode::noOperation, "IORING_OP_NOP"},     {uring::opcode::pollAdd, "IORING_OP_POLL_ADD"},
    {uring::opcode::sendMessage, "IORING_OP_SENDMSG"}, {uring::opcode::accept, "IORING_OP_ACCEPT"},
    {uring::opcode::cancel, "IORING_OP_ASYNC_CANCEL"}, {uring::opcode::connect, "IORING_OP_CONNECT"},
    {uring::opcode::send, "IORING_OP_SEND"},           {uring::opcode::receive, "IORING_OP_RECV"},
};

/// The name of what the kernel does not have, or null.
const char* missingPart(UringRing& ring, int* error) {
  for (const Requirement& feature : features) {
    if (!(ring.features() & feature.value)) return feature.name;
  }
  uring::OpcodeProbe known{};
  const int probed = ring.registerWith(uring::registration::probe, &known, 256);
  if (probed < 0) {
    *error = -probed;
    return "IORING_REGISTER_PROBE";
  }
  for (const Requirement& opcode : opcodes) {
    const auto& entry = known.entries[opcode.value];
    if (opcode.value > known.lastOpcode || !(entry.flags & uring::opcodeSupported)) return opcode.name;
  }
  return nullptr;
}

constexpr uring::Timespec patience{1, 0};

/// Submits what is queued and waits for one completion. Its result, or a negative errno.
Result<uring::CompletionEntry> finishOne(UringRing& ring) {
  int entered = ring.enter(1, &patience);
  while (entered == -EINTR) entered = ring.enter(1, &patience);
  const uring::CompletionEntry* completion = ring.peek();
  if (!completion) return systemError(entered < 0 ? -entered : ETIME, "io_uring_enter");
  const uring::CompletionEntry finished = *completion;
  ring.advance();
  return finished;
}

/// Two connected sockets, closed with it.
struct SocketPair {
  int ends[2] = {-1, -1};
  SocketPair() { (void)!::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends); }
  ~SocketPair() {
    for (const int end : ends) {
      if (end >= 0) sys::close(end);
    }
  }
};

/// Receives eight bytes by a multishot into a provided buffer. 0, or the errno that came instead.
int tryReceive(UringRing& ring, UringBuffers& buffers, bool limited) {
  SocketPair pair;
  if (pair.ends[1] < 0 || sys::write(pair.ends[0], "received", 8) != 8) return errno;
  uring::SubmissionEntry* entry = ring.next();
  if (!entry) return EBUSY;
  entry->opcode = uring::opcode::receive;
  entry->fd = pair.ends[1];
  entry->flags = uring::entryFlag::selectBuffer;
  entry->ioprio = uring::operation::receiveMultishot;
  entry->bufferGroup = UringBuffers::group;
  if (limited) entry->length = entry->optionLength = 8;
  auto completion = finishOne(ring);
  if (!completion) return completion.error().osError;
  if (completion->result < 0) return -completion->result;
  if (completion->result != 8 || !(completion->flags & uring::completionFlag::buffer)) return EPROTO;
  const UringBuffers::Piece piece = buffers.take(*completion);
  const bool same = std::memcmp(buffers.at(piece.offset), "received", 8) == 0;
  buffers.giveBack(piece.offset);
  return same ? 0 : EPROTO;
}

UringProbe probeReceiving(UringRing& ring) {
  constexpr size_t slabBytes = 64 * 1024;
  const auto slab = std::make_unique<uint8_t[]>(slabBytes);
  UringProbe probe;
  auto buffers = UringBuffers::make(ring, {slab.get(), slabBytes}, true);
  probe.extras.incremental = static_cast<bool>(buffers);
  if (!buffers) buffers = UringBuffers::make(ring, {slab.get(), slabBytes}, false);
  if (!buffers) {
    const int error = buffers.error().osError;
    if (error == ENOMEM) return missing(setupReason(error, "io_uring_register"), error, "io_uring_register");
    return missing("the kernel lacks IORING_REGISTER_PBUF_RING: " + errnoText(error), error, "io_uring_register");
  }
  probe.extras.receiveLimit = tryReceive(ring, *buffers, true) == 0;
  if (!probe.extras.receiveLimit) {
    const int error = tryReceive(ring, *buffers, false);
    if (error != 0) return missing("multishot receive does not work: " + errnoText(error), error, "io_uring_enter");
  }
  // Until shortly before the limit came, completions of one buffer's pieces could overtake each other.
  probe.extras.incremental = probe.extras.incremental && probe.extras.receiveLimit;
  probe.available = true;
  return probe;
}

}  // namespace

UringProbe probeUringKernel() {
  if (setupIsTrapped())
    return missing("a seccomp filter answers io_uring_setup with SIGSYS", ENOSYS, "io_uring_setup");
  auto ring = UringRing::make(8, 32);
  if (!ring)
    return missing(setupReason(ring.error().osError, ring.error().syscall), ring.error().osError,
                   ring.error().syscall);
  int error = ENOSYS;
  if (const char* part = missingPart(*ring, &error)) {
    return missing(std::string("the kernel lacks ") + part, error, "io_uring_register");
  }
  if (const int enabled = ring->enable(); enabled < 0) {
    return missing(setupReason(-enabled, "io_uring_register"), -enabled, "io_uring_register");
  }
  ring->next()->opcode = uring::opcode::noOperation;
  auto nothing = finishOne(*ring);
  if (!nothing || nothing->result < 0) {
    const int failure = nothing ? -nothing->result : nothing.error().osError;
    return missing(setupReason(failure, "io_uring_enter"), failure, "io_uring_enter");
  }
  return probeReceiving(*ring);
}

EngineInfo probeUring() {
  EngineInfo info;
  info.name = "io_uring";
  UringProbe probe = probeUringKernel();
  info.available = probe.available;
  info.reason = std::move(probe.reason);
  info.features = UringEngine::featuresWith(probe.extras);
  return info;
}

Result<std::unique_ptr<Engine>> makeUringEngine(const EngineOptions& options) {
  return makeUringEngine(options, {.incremental = true, .receiveLimit = true});
}

Result<std::unique_ptr<Engine>> makeUringEngine(const EngineOptions& options, UringExtras allowed) {
  const UringProbe probe = probeUringKernel();
  if (!probe.available) return probe.error;
  const UringExtras extras{.incremental = probe.extras.incremental && allowed.incremental,
                           .receiveLimit = probe.extras.receiveLimit && allowed.receiveLimit};
  auto ring = UringRing::make(UringEngine::submissionEntries, UringEngine::completionEntries);
  if (!ring) return ring.error();
  auto buffers = UringBuffers::make(*ring, options.slab, extras.incremental);
  if (!buffers) return buffers.error();
  auto wake = WakeFd::make();
  if (!wake) return wake.error();
  const int eventFd = sys::eventfd();
  if (eventFd < 0) return systemError(errno, "eventfd");
  if (const int registered = ring->registerWith(uring::registration::eventfd, &eventFd, 1); registered < 0) {
    sys::close(eventFd);
    return systemError(-registered, "io_uring_register");
  }
  return std::unique_ptr<Engine>(std::make_unique<UringEngine>(std::move(*ring), std::move(*buffers), eventFd,
                                                               std::move(*wake), options, extras));
}

}  // namespace sluice

#else

namespace sluice {

EngineInfo probeUring() {
  EngineInfo info;
  info.name = "io_uring";
  info.reason = "io_uring exists only on Linux";
  return info;
}

Result<std::unique_ptr<Engine>> makeUringEngine(const EngineOptions&) {
  return Error{ErrorCode::notSupported, 0, "io_uring exists only on Linux"};
}

Result<std::unique_ptr<Engine>> makeUringEngine(const EngineOptions& options, UringExtras) {
  return makeUringEngine(options);
}

}  // namespace sluice

#endif

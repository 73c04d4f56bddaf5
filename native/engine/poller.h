#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace sluice {

enum class Interest : uint8_t { none = 0, read = 1, write = 2, both = 3 };
constexpr Interest operator|(Interest a, Interest b) {
  return static_cast<Interest>(static_cast<int>(a) | static_cast<int>(b));
}
constexpr Interest operator&(Interest a, Interest b) {
  return static_cast<Interest>(static_cast<int>(a) & static_cast<int>(b));
}
constexpr bool has(Interest set, Interest part) { return (set & part) != Interest::none; }

/// One registration, so that a report can be matched to its socket: kind, slot and generation. Never used twice.
struct Token {
  uint64_t value;
};
struct Ready {
  Token token;
  Interest ready;
};

/// Tells one thread which of its file descriptors are ready.
///
/// Readiness  Level-triggered: while an fd is ready and its interest set, every wait() reports it. A report is a
///            hint: the next read or write may still say "would block", and it alone says why a connection failed.
///            Errors and hangups arrive as whatever interest is set.
/// Silence    Interest::none reports nothing, not even a hangup: a paused connection costs no wake-ups.
/// Batching   change() takes effect at the next wait() or publish(), in the same system call where the kernel allows.
/// Ownership  Fds are borrowed. Call remove() before close().
/// Fairness   What does not fit into `out` comes first, or soon, in the next wait(): nobody starves.
/// Threads    One thread owns the poller and makes every call except wake() and waitReady().
class Poller {
 public:
  virtual ~Poller() = default;
  /// "epoll", "kqueue" or "poll".
  virtual std::string_view name() const = 0;

  /// Starts to watch `fd`. Requires: non-blocking, and not yet watched here.
  /// Errors: descriptorLimit and memoryLimit; notPollable, e.g. for a regular file.
  virtual Result<void> add(int fd, Token token, Interest interest) = 0;
  /// Replaces the interest of a watched fd. No system call when nothing changes.
  virtual void change(int fd, Token token, Interest before, Interest after) = 0;
  /// Stops watching. No later wait() reports the token; a batch already handed out still may, and the engine
  /// skips it because the token no longer resolves.
  virtual void remove(int fd, Interest before) = 0;
  /// Waits for readiness, wake() or `deadline`, fills `out` and returns the count. Zero is normal: deadline, wake
  /// or signal. Errors: only those after which the poller is unusable.
  virtual Result<size_t> wait(std::span<Ready> out, Deadline deadline) = 0;
  /// Makes the current or next wait() return early. Any thread; never blocks; calls coalesce.
  virtual void wake() noexcept = 0;

  /// A descriptor that is readable while wait() would report something; -1 if the kernel has none (poll).
  virtual int pollFd() const { return -1; }
  /// Makes the interests of now those that pollFd() and waitReady() look at; a waitReady() under way goes on with
  /// them. Call it before sleeping on either.
  virtual void publish() {}
  /// Only without a pollFd: blocks another thread until one of the published interests is ready, or until wake(). May
  /// return for nothing. Call it again only after the owner's next wait() and publish(): what nobody has taken yet is
  /// still ready, and would make it return at once. At most one thread at a time.
  virtual void waitReady() {}
  /// System calls that changed the set, for counters.
  uint64_t interestChanges() const { return interestChanges_; }

 protected:
  uint64_t interestChanges_ = 0;
};

/// For pollers whose kernel interface takes any descriptor: refuses files and folders, which are always ready.
/// Errors: notPollable; invalidArgument for a descriptor that is not open.
Result<void> requirePollable(int fd);

Result<std::unique_ptr<Poller>> makeEpollPoller();
Result<std::unique_ptr<Poller>> makeKqueuePoller();
Result<std::unique_ptr<Poller>> makePollPoller();

}  // namespace sluice

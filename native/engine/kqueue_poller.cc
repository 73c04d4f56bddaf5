#include "engine/poller.h"

#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__DragonFly__) || defined(__NetBSD__) || \
    defined(SLUICE_KQUEUE_SHIM)

#include <sys/event.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "engine/sys.h"

namespace sluice {

namespace {

constexpr uintptr_t wakeIdent = 0;  // a number space of EVFILT_USER's own
constexpr timespec atOnce{};

struct Filter {
  Interest interest;
  int16_t number;
};
constexpr Filter filters[] = {{Interest::read, EVFILT_READ}, {Interest::write, EVFILT_WRITE}};

Interest interestOf(int filter) { return filter == EVFILT_READ ? Interest::read : Interest::write; }

/// Interests are filters: one of EVFILT_READ, one of EVFILT_WRITE per descriptor. Nothing is asked of the kernel before
/// the next wait() or publish(), and then only for what differs from what it has. So a descriptor that is removed and
/// closed in one turn, or paused and resumed, costs no system call of its own.
class KqueuePoller final : public Poller {
 public:
  explicit KqueuePoller(int queue) : queue_(queue) {}
  ~KqueuePoller() override { sys::close(queue_); }

  std::string_view name() const override { return "kqueue"; }

  Result<void> add(int fd, Token token, Interest interest) override {
    if (auto pollable = requirePollable(fd); !pollable) return pollable;
    const size_t number = static_cast<size_t>(fd);
    if (number >= watches_.size()) watches_.resize(number + 1);
    Watch& watch = watches_[number];
    if (watch.token.value != token.value) watch.renewed = true;
    watch.token = token;
    want(fd, interest);
    return {};
  }

  void change(int fd, Token, Interest before, Interest after) override {
    if (before != after) want(fd, after);
  }

  void remove(int fd, Interest before) override {
    if (before != Interest::none) want(fd, Interest::none);  // else perhaps never added
  }

  Result<size_t> wait(std::span<Ready> out, Deadline deadline) override {
    collectChanges();
    size_t count = takeRefused(out);
    // kevent() needs room for an error per change; a storm of changes goes first, on its own.
    if (changes_.size() > out.size() - count) {
      if (auto applied = applyChanges(); !applied) return applied.error();
    }
    timespec left{};
    const timespec* timeout = count > 0 ? &atOnce : timeLeft(deadline, left);
    for (;;) {
      const int found = kevent(out.size() - count, timeout);
      if (found < 0) {
        if (errno == EINTR) return count;
        return systemError(errno, "kevent");
      }
      bool woken = false;
      bool onlyErrors = found > 0;
      for (const struct kevent& event : std::span(events_.data(), static_cast<size_t>(found))) {
        if (event.flags & EV_ERROR) {
          noteRefused(event);
          continue;
        }
        onlyErrors = false;
        if (event.filter == EVFILT_USER) {
          woken = true;
        } else {
          // EV_EOF may stand beside unread data. It is no more than readiness: whoever reads meets the data first.
          out[count++] = {Token{reinterpret_cast<uintptr_t>(event.udata)}, interestOf(event.filter)};
        }
      }
      // The flag goes down after the kernel's: a wake() that finds it up is answered by this very return.
      if (woken) woken_.exchange(false);
      // With errors to tell, kevent() has not looked for events.
      if (!onlyErrors) return count;
      count += takeRefused(out.subspan(count));
      if (count > 0) return count;
      timeout = timeLeft(deadline, left);
    }
  }

  void wake() noexcept override {
    if (woken_.exchange(true)) return;
    struct kevent trigger;
    EV_SET(&trigger, wakeIdent, EVFILT_USER, 0, NOTE_TRIGGER, 0, nullptr);
    (void)::kevent(queue_, &trigger, 1, nullptr, 0, &atOnce);
  }

  int pollFd() const override { return queue_; }

  void publish() override {
    collectChanges();
    // A failure of the queue as a whole is for the next wait() to meet.
    if (!changes_.empty()) (void)!applyChanges();
    if (!refused_.empty()) wake();
  }

  Result<void> watchWake() {
    struct kevent added;
    EV_SET(&added, wakeIdent, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, nullptr);
    if (sys::retried("kevent", [&] { return ::kevent(queue_, &added, 1, nullptr, 0, &atOnce); }) < 0) {
      return systemError(errno, "kevent");
    }
    return {};
  }

 private:
  struct Watch {
    Token token{0};
    Interest wanted = Interest::none;
    Interest installed = Interest::none;  // what the kernel has; less if the descriptor was closed after remove()
    bool renewed = false;                 // a new token: `installed` may be of its predecessor
    bool listed = false;                  // in changed_
  };

  void want(int fd, Interest interest) {
    Watch& watch = watches_[static_cast<size_t>(fd)];
    watch.wanted = interest;
    if (!refused_.empty()) {
      std::erase_if(refused_, [&](Ready ready) {
        return ready.token.value == watch.token.value && !has(interest, ready.ready);
      });
    }
    if (watch.listed) return;
    watch.listed = true;
    changed_.push_back(fd);
  }

  /// Turns what is wanted into changes for the kernel.
  void collectChanges() {
    for (const int fd : changed_) {
      Watch& watch = watches_[static_cast<size_t>(fd)];
      for (const Filter& filter : filters) {
        const bool wanted = has(watch.wanted, filter.interest);
        const bool installed = has(watch.installed, filter.interest);
        if (wanted ? installed && !watch.renewed : !installed) continue;
        struct kevent& change = changes_.emplace_back();
        EV_SET(&change, static_cast<uintptr_t>(fd), filter.number, wanted ? EV_ADD : EV_DELETE, 0, 0,
               reinterpret_cast<void*>(watch.token.value));
      }
      watch.installed = watch.wanted;
      watch.renewed = watch.listed = false;
    }
    changed_.clear();
  }

  /// One call with all changes, or none, and room for `room` events.
  int kevent(size_t room, const timespec* timeout) {
    events_.resize(std::max(events_.size(), room));
    if (!changes_.empty()) ++interestChanges_;
    const int changes = static_cast<int>(changes_.size());
    int found = -1;
    if (!sys::fault("kevent")) {
      found = ::kevent(queue_, changes_.data(), changes, events_.data(), static_cast<int>(room), timeout);
    } else if (errno == EINTR) {
      // A signal ends the wait, not the work on the changes before it: kevent(2).
      (void)::kevent(queue_, changes_.data(), changes, nullptr, 0, &atOnce);
      errno = EINTR;
    }
    changes_.clear();
    return found;
  }

  /// Applies the changes without looking for events.
  Result<void> applyChanges() {
    for (struct kevent& change : changes_) change.flags |= EV_RECEIPT;
    const int receipts = kevent(changes_.size(), &atOnce);
    if (receipts < 0) return systemError(errno, "kevent");
    for (const struct kevent& receipt : std::span(events_.data(), static_cast<size_t>(receipts))) {
      if (receipt.data != 0) noteRefused(receipt);
    }
    return {};
  }

  // A filter that could not be removed went with its descriptor. One that could not be added, for lack of memory or
  // because the descriptor was closed too early, is reported as ready and asked for again: so its owner tries, meets
  // the reason if there is one, and misses nothing if there is none.
  void noteRefused(const struct kevent& event) {
    const int fd = static_cast<int>(event.ident);
    Watch& watch = watches_[static_cast<size_t>(fd)];
    const Interest interest = interestOf(event.filter);
    if (!has(watch.wanted, interest)) return;
    watch.installed = watch.installed & (interest == Interest::read ? Interest::write : Interest::read);
    want(fd, watch.wanted);
    refused_.push_back({watch.token, interest});
  }

  size_t takeRefused(std::span<Ready> out) {
    const size_t count = std::min(out.size(), refused_.size());
    std::copy_n(refused_.begin(), count, out.begin());
    refused_.erase(refused_.begin(), refused_.begin() + static_cast<ptrdiff_t>(count));
    return count;
  }

  static const timespec* timeLeft(Deadline deadline, timespec& left) {
    const bool timed = !deadline.isNow() && !deadline.isNever();
    const int timeout = timeoutMs(deadline, timed ? monotonicMs() : 0);
    left = {timeout / 1000, timeout % 1000 * 1'000'000};
    return timeout < 0 ? nullptr : &left;
  }

  int queue_;                           // owned
  std::vector<Watch> watches_;          // by descriptor
  std::vector<int> changed_;            // descriptors whose `wanted` may differ from `installed`
  std::vector<struct kevent> changes_;  // for the next call
  std::vector<struct kevent> events_;   // of the last call
  std::vector<Ready> refused_;          // for the next wait()
  std::atomic<bool> woken_ = false;
};

static_assert(sizeof(void*) == sizeof(Token), "udata holds a token");

}  // namespace

Result<std::unique_ptr<Poller>> makeKqueuePoller() {
  const int queue = sys::once("kqueue", [] { return ::kqueue(); });
  if (queue < 0) return systemError(errno, "kqueue");
  auto poller = std::make_unique<KqueuePoller>(queue);
  if (sys::fcntl(queue, F_SETFD, FD_CLOEXEC) < 0) return systemError(errno, "fcntl");
  if (auto watched = poller->watchWake(); !watched) return watched.error();
  return std::unique_ptr<Poller>(std::move(poller));
}

}  // namespace sluice

#else

#include <cerrno>

namespace sluice {

// kqueue exists only on macOS and BSD.
Result<std::unique_ptr<Poller>> makeKqueuePoller() { return Error{ErrorCode::notSupported, ENOSYS, "kqueue"}; }

}  // namespace sluice

#endif

#include <sys/epoll.h>
#include <sys/event.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

// A kqueue is an epoll descriptor. What epoll does not know, filters with flags and user data, stands in a table here.

namespace {

constexpr uint64_t userMark = UINT64_MAX;

/// Always readable. A queue watches it while one of its EVFILT_USER events is triggered, so that a triggered queue is
/// readable, and a closed one leaves no descriptor behind.
int alwaysReadable() {
  static const int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd;
}

struct Knote {
  void* udata = nullptr;
  bool enabled = true;
  bool oneShot = false;
  bool triggered = false;  // EVFILT_USER
};

struct Watched {
  std::optional<Knote> read, write;
  uint32_t inEpoll = 0;     // the events that epoll looks for
  uint32_t serial = 0;      // of the entry in epoll, so that a former one of the same number is told apart
  bool writeFirst = false;  // where there is room for one only, they take turns
};

class Queue {
 public:
  explicit Queue(int epoll) : epoll_(epoll) {}

  /// Returns 0 or an errno.
  int apply(const struct kevent& change) {
    std::lock_guard lock(mutex_);
    if (change.filter == EVFILT_USER) return applyUser(change);
    if (change.filter != EVFILT_READ && change.filter != EVFILT_WRITE) return EINVAL;
    if (change.flags & EV_CLEAR) return EINVAL;
    const int fd = static_cast<int>(change.ident);
    Watched& watched = watched_[fd];
    std::optional<Knote>& knote = change.filter == EVFILT_READ ? watched.read : watched.write;
    int error = update(knote, change);
    if (error == 0) error = arm(fd, watched);
    if (error != 0 && change.flags & EV_ADD) knote.reset();
    if (!watched.read && !watched.write) watched_.erase(fd);
    return error;
  }

  /// Turns epoll's events into at most `room` of kqueue's and returns how many.
  int collect(const epoll_event* found, int count, struct kevent* out, int room) {
    std::lock_guard lock(mutex_);
    served_.clear();
    unserved_.clear();
    int filled = 0;
    for (int i = 0; i < count; ++i) {
      const uint64_t mark = found[i].data.u64;
      filled += mark == userMark ? collectUser(out + filled, room - filled)
                                 : collectFd(mark, found[i].events, out + filled, room - filled);
    }
    // Whoever found no room comes first the next time.
    for (const auto* fds : {&unserved_, &served_})
      for (const int fd : *fds) rearm(fd);
    return filled;
  }

 private:
  static int update(std::optional<Knote>& knote, const struct kevent& change) {
    if (!knote && !(change.flags & EV_ADD)) return ENOENT;
    if (change.flags & EV_DELETE) {
      knote.reset();
      return 0;
    }
    if (change.flags & EV_ADD) {
      const bool triggered = knote && knote->triggered;
      knote = Knote{.udata = change.udata, .oneShot = (change.flags & EV_ONESHOT) != 0, .triggered = triggered};
    }
    if (change.flags & EV_ENABLE) knote->enabled = true;
    if (change.flags & EV_DISABLE) knote->enabled = false;
    return 0;
  }

  // epoll reports hangups whatever is asked for, so a descriptor without an enabled filter must not be in it. And it goes
  // on to report a closed descriptor that lives in a duplicate, which nobody can take out any more: EPOLLONESHOT makes
  // that a single report, and the others are armed again after each.
  int arm(int fd, Watched& watched) {
    const bool reads = watched.read && watched.read->enabled;
    const bool writes = watched.write && watched.write->enabled;
    const uint32_t events = (reads ? EPOLLIN | EPOLLRDHUP : 0u) | (writes ? EPOLLOUT : 0u);
    const uint32_t before = std::exchange(watched.inEpoll, events);
    const auto mark = [&] { return static_cast<uint64_t>(watched.serial) << 32 | static_cast<uint32_t>(fd); };
    epoll_event event{.events = events | EPOLLONESHOT, .data = {.u64 = mark()}};
    if (events == 0) return before == 0 || epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr) == 0 ? 0 : errno;
    // A descriptor that was closed and is a new one now has left epoll without our knowing, as it leaves a kqueue.
    if (before != 0 && epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) == 0) return 0;
    watched.serial = ++lastSerial_;
    event.data.u64 = mark();
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0) return 0;
    watched.inEpoll = 0;
    return errno;
  }

  void rearm(int fd) {
    const auto entry = watched_.find(fd);
    arm(fd, entry->second);
    if (!entry->second.read && !entry->second.write) watched_.erase(entry);  // EV_ONESHOT
  }

  int applyUser(const struct kevent& change) {
    std::optional<Knote>& knote = user_[change.ident];
    const int error = update(knote, change);
    if (knote && change.fflags & NOTE_TRIGGER) knote->triggered = true;
    if (!knote) user_.erase(change.ident);
    armUser();
    return error;
  }

  void armUser() {
    const bool triggered = std::any_of(user_.begin(), user_.end(), [](const auto& user) {
      return user.second->triggered && user.second->enabled;
    });
    epoll_event event{.events = EPOLLIN, .data = {.u64 = userMark}};
    epoll_ctl(epoll_, triggered ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, alwaysReadable(), &event);
  }

  int collectUser(struct kevent* out, int room) {
    int filled = 0;
    for (auto& [ident, knote] : user_) {
      if (filled == room || !knote->triggered || !knote->enabled) continue;
      knote->triggered = false;
      EV_SET(&out[filled++], ident, EVFILT_USER, EV_CLEAR, 0, 0, knote->udata);
    }
    armUser();
    return filled;
  }

  int collectFd(uint64_t mark, uint32_t events, struct kevent* out, int room) {
    const int fd = static_cast<int>(mark);
    const auto entry = watched_.find(fd);
    if (entry == watched_.end() || entry->second.serial != mark >> 32) return 0;
    Watched& watched = entry->second;
    const bool hangup = events & (EPOLLHUP | EPOLLERR);
    const int before = room;
    const auto collectOne = [&](std::optional<Knote>& knote, int16_t filter, bool ready, bool end) {
      if (room == 0 || !ready || !knote || !knote->enabled) return;
      EV_SET(out, static_cast<uintptr_t>(fd), filter, static_cast<uint16_t>(end ? EV_EOF : 0), 0, bytesToRead(fd),
             knote->udata);
      if (knote->oneShot) knote.reset();
      ++out;
      --room;
    };
    const bool ended = hangup || events & EPOLLRDHUP;
    if (!watched.writeFirst) collectOne(watched.read, EVFILT_READ, ended || events & EPOLLIN, ended);
    collectOne(watched.write, EVFILT_WRITE, hangup || events & EPOLLOUT, hangup);
    if (watched.writeFirst) collectOne(watched.read, EVFILT_READ, ended || events & EPOLLIN, ended);
    watched.writeFirst = !watched.writeFirst;
    (before > 0 ? served_ : unserved_).push_back(fd);
    return before - room;
  }

  static intptr_t bytesToRead(int fd) {
    int bytes = 0;
    return ioctl(fd, FIONREAD, &bytes) == 0 ? bytes : 1;  // a listener has connections instead
  }

  int epoll_;  // borrowed: the program closes it
  std::mutex mutex_;
  uint32_t lastSerial_ = 0;
  std::vector<int> served_, unserved_;  // by the collect() under way
  std::map<int, Watched> watched_;
  std::map<uintptr_t, std::optional<Knote>> user_;
};

// Made at first use, which may be before main(), and never destroyed: threads may be in kevent() while the process
// exits. A closed queue stays until its number is given out again.
struct Queues {
  std::mutex mutex;
  std::map<int, std::shared_ptr<Queue>> byNumber;
};
Queues& queues() {
  static auto* all = new Queues;
  return *all;
}

std::shared_ptr<Queue> findQueue(int queue) {
  std::lock_guard lock(queues().mutex);
  const auto entry = queues().byNumber.find(queue);
  return entry == queues().byNumber.end() ? nullptr : entry->second;
}

timespec now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time;
}

timespec normalized(time_t seconds, long nanoseconds) {
  if (nanoseconds >= 1'000'000'000) return {seconds + 1, nanoseconds - 1'000'000'000};
  if (nanoseconds < 0) return {seconds - 1, nanoseconds + 1'000'000'000};
  return {seconds, nanoseconds};
}

}  // namespace

int kqueue() {
  const int epoll = epoll_create1(0);
  if (epoll < 0) return -1;
  std::lock_guard lock(queues().mutex);
  queues().byNumber[epoll] = std::make_shared<Queue>(epoll);
  return epoll;
}

int kevent(int number, const struct kevent* changes, int changeCount, struct kevent* events, int eventCount,
           const struct timespec* timeout) {
  const std::shared_ptr<Queue> queue = findQueue(number);
  if (!queue) {
    errno = EBADF;
    return -1;
  }
  int told = 0;
  for (int i = 0; i < changeCount; ++i) {
    const int error = queue->apply(changes[i]);
    if (error == 0 && !(changes[i].flags & EV_RECEIPT)) continue;
    if (told == eventCount) {
      errno = error;
      if (error != 0) return -1;
      continue;
    }
    events[told] = changes[i];
    events[told].flags |= EV_ERROR;
    events[told++].data = error;
  }
  if (told > 0 || eventCount == 0) return told;

  timespec left = timeout ? *timeout : timespec{};
  const timespec start = now();
  for (;;) {
    std::array<epoll_event, 256> found;
    const int room = std::min(eventCount, static_cast<int>(found.size()));
    const int count = epoll_pwait2(number, found.data(), room, timeout ? &left : nullptr, nullptr);
    if (count <= 0) return count;
    const int filled = queue->collect(found.data(), count, events, eventCount);
    if (filled > 0) return filled;
    // What epoll found was for filters that are gone by now.
    if (timeout) {
      const timespec passed = normalized(now().tv_sec - start.tv_sec, now().tv_nsec - start.tv_nsec);
      left = normalized(timeout->tv_sec - passed.tv_sec, timeout->tv_nsec - passed.tv_nsec);
      if (left.tv_sec < 0) left = {};
    }
  }
}

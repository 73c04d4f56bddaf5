#include "engine/poller.h"

#ifdef __linux__

#include <algorithm>
#include <array>

#include "engine/sys.h"
#include "engine/wake_fd.h"

namespace sluice {

namespace {

// Socket tokens carry a kind in their top byte and never look like this.
constexpr uint64_t wakeToken = UINT64_MAX;

uint32_t epollEvents(Interest interest) {
  return (has(interest, Interest::read) ? EPOLLIN : 0u) | (has(interest, Interest::write) ? EPOLLOUT : 0u);
}

// Hangups and errors concern both directions; whoever reads or writes next learns which it was.
Interest interestOf(uint32_t events) {
  if (events & (EPOLLERR | EPOLLHUP)) return Interest::both;
  return (events & EPOLLIN ? Interest::read : Interest::none) |
         (events & EPOLLOUT ? Interest::write : Interest::none);
}

class EpollPoller final : public Poller {
 public:
  EpollPoller(int epoll, WakeFd wake) : epoll_(epoll), wake_(std::move(wake)) {}
  ~EpollPoller() override { sys::close(epoll_); }

  std::string_view name() const override { return "epoll"; }

  Result<void> add(int fd, Token token, Interest interest) override {
    // epoll reports hangups for any registered descriptor, so no interest means not registered.
    if (interest == Interest::none) return {};
    if (control(EPOLL_CTL_ADD, fd, token, interest) == 0) return {};
    // Still registered: a former descriptor of this number lives on in a duplicate (LE-125).
    if (errno == EEXIST && control(EPOLL_CTL_MOD, fd, token, interest) == 0) return {};
    if (errno == EPERM) return Error{ErrorCode::notPollable, EPERM, "epoll_ctl"};
    if (errno == ENOSPC) return Error{ErrorCode::descriptorLimit, ENOSPC, "epoll_ctl"};
    return systemError(errno, "epoll_ctl");
  }

  void change(int fd, Token token, Interest before, Interest after) override {
    if (before == after) return;
    if (after == Interest::none) return remove(fd, before);
    // What the kernel has may differ from what we believe: a descriptor closed elsewhere takes its registration
    // along, a duplicated one leaves it behind (LE-125). The second call puts either right.
    const int operation = before == Interest::none ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    const int opposite = before == Interest::none ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (control(operation, fd, token, after) < 0 && control(opposite, fd, token, after) < 0) {
      control(operation, fd, token, after);
    }
  }

  void remove(int fd, Interest before) override {
    if (before == Interest::none) return;
    // ENOENT, EBADF: gone already, which is what we want.
    control(EPOLL_CTL_DEL, fd, Token{0}, Interest::none);
  }

  Result<size_t> wait(std::span<Ready> out, Deadline deadline) override {
    const bool timed = !deadline.isNow() && !deadline.isNever();
    const int timeout = timeoutMs(deadline, timed ? monotonicMs() : 0);
    const int room = static_cast<int>(std::min(out.size(), events_.size()));
    const int found = sys::epollWait(epoll_, events_.data(), room, timeout);
    if (found < 0) {
      if (errno == EINTR) return size_t{0};
      return systemError(errno, "epoll_wait");
    }
    size_t count = 0;
    for (int i = 0; i < found; ++i) {
      if (events_[i].data.u64 == wakeToken) {
        wake_.clear();
      } else {
        out[count++] = {Token{events_[i].data.u64}, interestOf(events_[i].events)};
      }
    }
    return count;
  }

  void wake() noexcept override { wake_.signal(); }

  int pollFd() const override { return epoll_; }

  Result<void> watchWake() {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = wakeToken}};
    if (sys::epollCtl(epoll_, EPOLL_CTL_ADD, wake_.fd(), &event) < 0) return systemError(errno, "epoll_ctl");
    return {};
  }

 private:
  int control(int operation, int fd, Token token, Interest interest) {
    epoll_event event{.events = epollEvents(interest), .data = {.u64 = token.value}};
    ++interestChanges_;
    return sys::epollCtl(epoll_, operation, fd, &event);
  }

  int epoll_;  // owned
  WakeFd wake_;
  std::array<epoll_event, 512> events_;
};

}  // namespace

Result<std::unique_ptr<Poller>> makeEpollPoller() {
  auto wake = WakeFd::make();
  if (!wake) return wake.error();
  const int epoll = sys::epollCreate();
  if (epoll < 0) return systemError(errno, "epoll_create1");
  auto poller = std::make_unique<EpollPoller>(epoll, std::move(*wake));
  if (auto watched = poller->watchWake(); !watched) return watched.error();
  return std::unique_ptr<Poller>(std::move(poller));
}

}  // namespace sluice

#else

#include <cerrno>

namespace sluice {

Result<std::unique_ptr<Poller>> makeEpollPoller() {
  return Error{ErrorCode::engineUnavailable, ENOSYS, "epoll_create1"};
}

}  // namespace sluice

#endif

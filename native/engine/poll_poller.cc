#include <condition_variable>
#include <mutex>
#include <vector>

#include "engine/poller.h"
#include "engine/sys.h"
#include "engine/wake_fd.h"

namespace sluice {

namespace {

short pollEvents(Interest interest) {
  return static_cast<short>((has(interest, Interest::read) ? POLLIN : 0) |
                            (has(interest, Interest::write) ? POLLOUT : 0));
}

// Hangups and errors concern whoever waits; so does POLLNVAL, a descriptor that was closed too early.
Interest readyOf(const pollfd& entry) {
  const int events = entry.revents & (POLLERR | POLLHUP | POLLNVAL) ? entry.events : entry.revents;
  return (events & POLLIN ? Interest::read : Interest::none) |
         (events & POLLOUT ? Interest::write : Interest::none);
}

/// The copy of the owner's array that the thread in waitReady() polls. Only what changed is copied.
class PublishedFds {
 public:
  explicit PublishedFds(WakeFd changed) : changed_(std::move(changed)) {}

  /// Owner: the entry at `place` is new, different, or gone from the end; the array has `size` entries now.
  void noteChange(size_t place, size_t size) {
    if (allChanged_) return;
    changedPlaces_.push_back(static_cast<uint32_t>(place));
    if (changedPlaces_.size() > size) noteAll();
  }

  /// Owner: a descriptor is about to be closed.
  void noteRemoval() { removed_ = true; }

  /// Owner: hands over what changed since the last call. After a removal it waits until the waiter has left poll(2),
  /// which holds on to the sockets it looks at: they would outlive their close().
  void publish(const std::vector<pollfd>& fds) {
    if (!allChanged_ && changedPlaces_.empty()) return;
    {
      std::unique_lock lock(mutex_);
      if (edits_.size() + changedPlaces_.size() > fds.size()) noteAll();
      if (allChanged_) {
        whole_ = fds;
        edits_.clear();
      }
      for (const uint32_t place : changedPlaces_)
        if (place < fds.size()) edits_.push_back({place, fds[place]});
      size_ = fds.size();
      if (waiting_) {
        changed_.signal();
        if (removed_) left_.wait(lock, [this, before = waits_] { return waits_ != before; });
      }
    }
    allChanged_ = removed_ = false;
    changedPlaces_.clear();
  }

  /// Waiter: blocks until something published is ready.
  void wait() {
    for (;;) {
      takeChanges();
      const int ready = sys::poll(fds_.data(), fds_.size(), -1);
      endWait();
      const bool interrupted = ready > 0 && fds_.back().revents != 0;
      if (interrupted) changed_.clear();
      // Failures included: the owner's own wait() meets them again and reports them.
      if (!interrupted || ready > 1) return;
    }
  }

 private:
  struct Edit {
    uint32_t place;
    pollfd entry;
  };

  void noteAll() {
    allChanged_ = true;
    changedPlaces_.clear();
  }

  void takeChanges() {
    std::lock_guard lock(mutex_);
    if (!fds_.empty()) fds_.pop_back();  // changed_, always the last
    if (!whole_.empty()) fds_.swap(whole_);
    whole_.clear();
    fds_.resize(size_);
    for (const Edit& edit : edits_)
      if (edit.place < size_) fds_[edit.place] = edit.entry;
    edits_.clear();
    fds_.push_back({changed_.fd(), POLLIN, 0});
    waiting_ = true;
  }

  void endWait() {
    std::lock_guard lock(mutex_);
    waiting_ = false;
    waits_++;
    left_.notify_one();
  }

  WakeFd changed_;  // interrupts the waiter when there is something to take

  // Owner only.
  std::vector<uint32_t> changedPlaces_;  // since the last publish(); one may stand there twice
  bool allChanged_ = true;               // instead of a long list, and before the first publish()
  bool removed_ = false;

  // Shared, under the mutex. What the waiter has not taken yet: the whole array unless empty, edits on top, the size.
  std::mutex mutex_;
  std::vector<pollfd> whole_;
  std::vector<Edit> edits_;
  size_t size_ = 0;
  bool waiting_ = false;
  uint64_t waits_ = 0;  // so many calls of poll(2) are over
  std::condition_variable left_;

  // Waiter only.
  std::vector<pollfd> fds_;
};

/// Watched descriptors lie side by side, so that poll(2) sees no holes: the last one fills the place of one that goes.
/// Interest::none means not to be in the array, because poll(2) reports hangups whatever is asked for.
class PollPoller final : public Poller {
 public:
  PollPoller(WakeFd wake, WakeFd changed) : wake_(std::move(wake)), published_(std::move(changed)) {
    fds_.push_back({wake_.fd(), POLLIN, 0});
    tokens_.push_back(Token{0});
    publish();
  }

  std::string_view name() const override { return "poll"; }

  Result<void> add(int fd, Token token, Interest interest) override {
    if (auto pollable = requirePollable(fd); !pollable) return pollable;
    if (interest != Interest::none) insert(fd, token, interest);
    return {};
  }

  void change(int fd, Token token, Interest before, Interest after) override {
    if (before == after) return;
    if (before == Interest::none) return insert(fd, token, after);
    if (after == Interest::none) return erase(fd);
    const uint32_t place = placeOf(fd);
    fds_[place].events = pollEvents(after);
    published_.noteChange(place, fds_.size());
  }

  void remove(int fd, Interest before) override {
    if (before != Interest::none) erase(fd);
    published_.noteRemoval();
  }

  Result<size_t> wait(std::span<Ready> out, Deadline deadline) override {
    const bool timed = !deadline.isNow() && !deadline.isNever();
    int found = sys::poll(fds_.data(), fds_.size(), timeoutMs(deadline, timed ? monotonicMs() : 0));
    if (found < 0) {
      if (errno == EINTR) return size_t{0};
      return systemError(errno, "poll");
    }
    if (found > 0 && fds_[wakePlace].revents != 0) {
      wake_.clear();
      --found;
    }
    // Where the last look ended, so that descriptors at the end get their turn although `out` is short.
    size_t count = 0;
    for (size_t looks = fds_.size(); looks > 0 && found > 0 && count < out.size(); --looks) {
      if (++lookedAt_ >= fds_.size()) lookedAt_ = wakePlace + 1;
      const pollfd& entry = fds_[lookedAt_];
      if (entry.revents == 0) continue;
      out[count++] = {tokens_[lookedAt_], readyOf(entry)};
      --found;
    }
    return count;
  }

  void wake() noexcept override { wake_.signal(); }
  void publish() override { published_.publish(fds_); }
  void waitReady() override { published_.wait(); }

 private:
  static constexpr size_t wakePlace = 0;
  static constexpr uint32_t nowhere = UINT32_MAX;

  void insert(int fd, Token token, Interest interest) {
    const size_t number = static_cast<size_t>(fd);
    if (number >= places_.size()) places_.resize(number + 1, nowhere);
    SLUICE_ASSERT(places_[number] == nowhere);
    places_[number] = static_cast<uint32_t>(fds_.size());
    fds_.push_back({fd, pollEvents(interest), 0});
    tokens_.push_back(token);
    published_.noteChange(fds_.size() - 1, fds_.size());
  }

  void erase(int fd) {
    const uint32_t place = placeOf(fd);
    fds_[place] = fds_.back();
    tokens_[place] = tokens_.back();
    places_[static_cast<size_t>(fds_[place].fd)] = place;
    places_[static_cast<size_t>(fd)] = nowhere;
    fds_.pop_back();
    tokens_.pop_back();
    published_.noteChange(place, fds_.size());
  }

  uint32_t placeOf(int fd) const {
    const size_t number = static_cast<size_t>(fd);
    SLUICE_ASSERT(number < places_.size() && places_[number] != nowhere);
    return places_[number];
  }

  WakeFd wake_;
  std::vector<pollfd> fds_;       // wake_ and the watched ones
  std::vector<Token> tokens_;     // same places as fds_
  std::vector<uint32_t> places_;  // by descriptor; `nowhere` if not in fds_
  size_t lookedAt_ = wakePlace;   // last
  PublishedFds published_;
};

}  // namespace

Result<std::unique_ptr<Poller>> makePollPoller() {
  auto wake = WakeFd::make();
  if (!wake) return wake.error();
  auto changed = WakeFd::make();
  if (!changed) return changed.error();
  return std::unique_ptr<Poller>(std::make_unique<PollPoller>(std::move(*wake), std::move(*changed)));
}

}  // namespace sluice

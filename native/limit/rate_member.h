#pragma once

#include <mutex>
#include <vector>

#include "limit/rate_group.h"

namespace sluice {

/// Where groups leave word of the members of one loop that may go on.
class RateMailbox {
 public:
  struct Note {
    RateMember* member;  // may be gone when the note before has been dealt with
    uint32_t id;
    Direction direction;
  };
  /// `wake` is called from any thread, with a group locked, when there is a first note: it makes the loop's thread
  /// call take() soon.
  RateMailbox(void (*wake)(void*), void* context) : wake_(wake), context_(context) {}

  /// The loop's thread: moves the notes to `notes`, which is empty.
  void take(std::vector<Note>& notes);
  /// Nobody is woken from now on.
  void close();
  bool empty() const { return !filled_.load(std::memory_order_acquire); }

 private:
  friend class RateMember;
  void put(const Note& note);
  void forget(const RateMember* member);

  void (*const wake_)(void*);
  void* const context_;
  std::mutex mutex_;
  std::vector<Note> notes_;
  std::atomic<bool> filled_{false};
  bool closed_ = false;
};

/// One connection's place in a group.
///
/// Threads: its loop's, for all calls.
class RateMember final : public RateNode {
 public:
  /// `id` is the owner's, to find its way back. The mailbox outlives the member.
  RateMember(std::shared_ptr<RateGroup> group, RateMailbox& mailbox, uint32_t id, TimeMs now);
  /// Leaves the group.
  ~RateMember() override;

  /// What may move now, if there is no need to wait; looks, and changes nothing.
  int64_t available(Direction direction, TimeMs now) const;
  struct Answer {
    int64_t bytes = 0;  // what may move now
    TimeMs
        serveAtMs{};  // where that is nothing: when to call RateGroup::serve(). A grant may come earlier, by mail.
  };
  /// Asks for up to `wanted` bytes, and waits in the group's queue where there is nothing.
  Answer request(Direction direction, int64_t wanted, TimeMs now);
  /// What may move, with what it has been granted; asks for nothing.
  int64_t allowance(Direction direction, TimeMs now);
  /// A guess at what request() will give: its part of a tick.
  int64_t usual(Direction direction) const;
  /// Bytes have moved. Negative ones had been counted, and have not.
  void spend(Direction direction, int64_t bytes);
  /// It has no use for what is left of its grant: others may have it.
  void release(Direction direction, TimeMs now);
  /// It does not ask any more.
  void withdraw(Direction direction);

  uint32_t id() const { return id_; }
  const std::shared_ptr<RateGroup>& group() const { return parent_; }

 private:
  friend class RateGroup;
  void granted(Direction direction) override;
  void askAnew(Direction direction) override { granted(direction); }
  int64_t permitted(Direction direction);
  int64_t takenBeyond(Direction direction);
  bool scarce(Direction direction) const;

  RateMailbox& mailbox_;
  const uint32_t id_;
  int64_t movedInTick_[2]{};  // while nothing was scarce; the loop's thread's own
  bool noted_ = false;        // under the mailbox's lock: it may stand in there

  friend class RateMailbox;
};

}  // namespace sluice

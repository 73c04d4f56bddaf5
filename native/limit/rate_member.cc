#include "limit/rate_member.h"

#include <algorithm>

#include "base/assert.h"

namespace sluice {

// ---- the mailbox

void RateMailbox::put(const Note& note) {
  std::lock_guard lock(mutex_);
  notes_.push_back(note);
  note.member->noted_ = true;
  if (!filled_.exchange(true, std::memory_order_acq_rel) && !closed_) wake_(context_);
}

void RateMailbox::take(std::vector<Note>& notes) {
  std::lock_guard lock(mutex_);
  notes.swap(notes_);
  for (const Note& note : notes) note.member->noted_ = false;
  filled_.store(false, std::memory_order_release);
}

void RateMailbox::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

void RateMailbox::forget(const RateMember* member) {
  std::lock_guard lock(mutex_);
  if (!member->noted_) return;
  std::erase_if(notes_, [member](const Note& note) { return note.member == member; });
}

// ---- the member

RateMember::RateMember(std::shared_ptr<RateGroup> group, RateMailbox& mailbox, uint32_t id, TimeMs now)
    : RateNode(std::move(group)), mailbox_(mailbox), id_(id) {
  SLUICE_ASSERT(parent_);
  std::lock_guard lock(parent_->tree_->mutex);
  parent_->advanceAll(now);
  for (const Direction direction : directions) lane(direction).servedTick = parent_->tick() - 2;
  parent_->joined();
}

RateMember::~RateMember() {
  {
    std::lock_guard lock(parent_->tree_->mutex);
    parent_->left(*this);
  }
  mailbox_.forget(this);
}

int64_t RateMember::available(Direction direction, TimeMs now) const {
  int64_t bytes = rateLimitMax;
  for (const RateGroup* group = parent_.get(); group && !group->dissolved(); group = group->parent_.get()) {
    const RateGroup::Flow& flow = group->flow(direction);
    if (now >= group->nextMs_.load(std::memory_order_relaxed)) return 0;
    if (flow.scarce.load(std::memory_order_relaxed)) return 0;
    bytes = std::min({bytes, flow.level(), flow.share.load(std::memory_order_relaxed)});
  }
  return std::max<int64_t>(0, bytes);
}

// Up to the first scarce group: what that one grants was dealt with an eye on those above it.
int64_t RateMember::permitted(Direction direction) {
  int64_t bytes = rateLimitMax, promised = 0;
  RateNode* node = this;
  for (RateGroup* group = parent_.get(); group && !group->dissolved(); group = group->parent_.get()) {
    const RateGroup::Flow& flow = group->flow(direction);
    if (flow.scarce) return std::min(bytes, group->grantOf(node->lane(direction)) - promised);
    bytes = std::min({bytes, flow.level(), flow.share.load(std::memory_order_relaxed)});
    promised = flow.granted;
    node = group;
  }
  return bytes;
}

RateMember::Answer RateMember::request(Direction direction, int64_t wanted, TimeMs now) {
  if (const int64_t bytes = available(direction, now); bytes > 0) return {bytes, 0};
  RateGroup& group = *parent_;
  std::lock_guard lock(group.tree_->mutex);
  group.advanceAll(now);
  if (const int64_t bytes = permitted(direction); bytes > 0) return {bytes, 0};
  RateLane& lane = this->lane(direction);
  lane.wanted = std::max<int64_t>(1, wanted);
  group.wait(lane, direction, 0, takenBeyond(direction));
  group.tree_->asking = this;
  group.dealFromRoot(direction);
  group.tree_->asking = nullptr;
  if (!lane.waiting()) {
    if (const int64_t bytes = permitted(direction); bytes > 0) return {bytes, 0};
    group.wait(lane, direction);
  }
  return {0, group.readyAtMs(direction)};
}

int64_t RateMember::allowance(Direction direction, TimeMs now) {
  std::lock_guard lock(parent_->tree_->mutex);
  parent_->advanceAll(now);
  return std::max<int64_t>(0, permitted(direction));
}

int64_t RateMember::usual(Direction direction) const {
  int64_t bytes = rateLimitMax;
  for (const RateGroup* group = parent_.get(); group && !group->dissolved(); group = group->parent_.get()) {
    bytes = std::min(bytes, group->flow(direction).share.load(std::memory_order_relaxed));
  }
  return bytes;
}

// What it took of this tick beyond its part, before anything was scarce.
int64_t RateMember::takenBeyond(Direction direction) {
  int64_t& moved = movedInTick_[static_cast<int>(direction)];
  const bool current = lane(direction).servedTick.load(std::memory_order_relaxed) == parent_->tick();
  const int64_t beyond = current ? moved - parent_->flow(direction).share.load(std::memory_order_relaxed) : 0;
  moved = 0;
  return std::max<int64_t>(0, beyond);
}

void RateMember::spend(Direction direction, int64_t bytes) {
  bool anyScarce = false, first = false;
  RateNode* node = this;
  for (RateGroup* group = parent_.get(); group && !group->dissolved(); group = group->parent_.get()) {
    RateGroup::Flow& flow = group->flow(direction);
    flow.moved.fetch_add(bytes, std::memory_order_relaxed);
    std::atomic<uint32_t>& served = node->lane(direction).servedTick;
    const uint32_t tick = group->tick();
    if (served.load(std::memory_order_relaxed) != tick &&
        served.exchange(tick, std::memory_order_relaxed) != tick) {
      flow.active.fetch_add(1, std::memory_order_relaxed);
      first |= node == this;
    }
    anyScarce |= flow.scarce.load(std::memory_order_relaxed);
    node = group;
  }
  int64_t& inTick = movedInTick_[static_cast<int>(direction)];
  if (first) inTick = 0;
  if (!parent_->flow(direction).scarce.load(std::memory_order_relaxed)) inTick += bytes;
  if (!anyScarce) return;
  std::lock_guard lock(parent_->tree_->mutex);
  node = this;
  for (RateGroup* group = parent_.get(); group && !group->dissolved(); group = group->parent_.get()) {
    group->charge(node->lane(direction), direction, bytes);
    node = group;
  }
}

bool RateMember::scarce(Direction direction) const {
  for (const RateGroup* group = parent_.get(); group && !group->dissolved(); group = group->parent_.get()) {
    if (group->flow(direction).scarce.load(std::memory_order_relaxed)) return true;
  }
  return false;
}

void RateMember::release(Direction direction, TimeMs now) {
  if (!scarce(direction)) return;
  std::lock_guard lock(parent_->tree_->mutex);
  parent_->advanceAll(now);
  RateLane& lane = this->lane(direction);
  const int64_t unused = parent_->grantOf(lane);
  if (unused > 0) parent_->takeBack(lane, direction, unused);
  parent_->handBack(direction);
  parent_->dealFromRoot(direction);
}

void RateMember::withdraw(Direction direction) {
  std::lock_guard lock(parent_->tree_->mutex);
  parent_->withdraw(lane(direction), direction);
}

void RateMember::granted(Direction direction) {
  if (parent_->tree_->asking != this) mailbox_.put({this, id_, direction});
}

}  // namespace sluice

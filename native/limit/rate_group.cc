#include "limit/rate_group.h"

#include <algorithm>

#include "base/assert.h"
#include "limit/rate_member.h"

namespace sluice {

namespace {

constexpr int64_t sum(int64_t a, int64_t b) {
  int64_t result = 0;
  if (!__builtin_add_overflow(a, b, &result)) return result;
  return b > 0 ? rateLimitMax : std::numeric_limits<int64_t>::min();
}

}  // namespace

std::shared_ptr<RateGroup> RateGroup::create(const RateLimit& limit, int64_t minShare,
                                             std::shared_ptr<RateGroup> parent, TimeMs now) {
  SLUICE_ASSERT(limit.valid() && minShare >= 0);
  if (parent && parent->dissolved()) parent = nullptr;
  std::shared_ptr<RateGroup> group(new RateGroup(limit, minShare, std::move(parent), now));
  if (group->parent_) {
    std::lock_guard lock(group->tree_->mutex);
    group->parent_->joined();
  }
  return group;
}

RateGroup::RateGroup(const RateLimit& limit, int64_t minShare, std::shared_ptr<RateGroup> parent, TimeMs now)
    : RateNode(std::move(parent)),
      tree_(parent_ ? parent_->tree_ : std::make_shared<Tree>()),
      limit_(limit),
      configuredMinShare_(minShare),
      clock_(limit.tickMs, now) {
  minShare_ = std::min({minShare, limit.read.rate, limit.write.rate});
  tick_ = clock_.tick();
  nextMs_ = clock_.nextMs();
  lastMs_ = now;
  for (const Direction direction : directions) {
    flow(direction).filled = limit.of(direction).rate;
    lane(direction).wanted = rateLimitMax;
    if (parent_) lane(direction).servedTick = parent_->tick() - 2;  // it comes new
    shareOut(direction);
  }
}

RateGroup::~RateGroup() {
  if (!parent_) return;
  std::lock_guard lock(tree_->mutex);
  parent_->left(*this);
}

// ---- time

void RateGroup::advance(TimeMs now) {
  if (now > lastMs()) lastMs_.store(now, std::memory_order_relaxed);
  const TimeMs tickEnd = clock_.nextMs();
  const uint32_t ticks = clock_.advance(now);
  if (ticks == 0) return;
  ++refills_;
  tick_.store(clock_.tick(), std::memory_order_relaxed);
  nextMs_.store(clock_.nextMs(), std::memory_order_relaxed);
  for (const Direction direction : directions) {
    Flow& flow = this->flow(direction);
    const int64_t level = flow.level();
    // Something was left, and nobody waits for it; several times in a row, as a loop that was held up looks the same once.
    constexpr uint32_t calmTicks = 4;
    const bool calm = flow.waiting.empty() && token_level::spent(level, flow.granted) >= threshold();
    flow.calm = calm ? flow.calm + 1 : 0;
    if (flow.scarce && flow.calm >= calmTicks) endScarcity(direction);
    fill(direction, token_level::refilled(level, limit_.of(direction), ticks));
    flow.granted = 0;
    // Likewise those who were active are forgotten little by little.
    const uint32_t fewer = flow.activeBefore - std::min(flow.activeBefore, flow.activeBefore / 8 + 1);
    flow.activeBefore = std::max(fewer, flow.active.exchange(0, std::memory_order_relaxed));
    const int64_t moved = flow.moved.load(std::memory_order_relaxed);
    if (moved > flow.metered) flow.meter.add(tickEnd - 1, static_cast<uint64_t>(moved - flow.metered));
    flow.metered = moved;
    shareOut(direction);
  }
}

// With it old debts end, too.
void RateGroup::endScarcity(Direction direction) {
  Flow& flow = this->flow(direction);
  flow.scarce = false;
  ++flow.scarcity;
}

void RateGroup::advanceAll(TimeMs now) {
  for (RateGroup* group = this; group && !group->dissolved(); group = group->parent_.get()) group->advance(now);
}

// Members may move bytes meanwhile, so what is added is the difference.
void RateGroup::fill(Direction direction, int64_t level) {
  Flow& flow = this->flow(direction);
  const int64_t added = token_level::spent(level, flow.level());
  flow.filled.store(sum(flow.filled.load(std::memory_order_relaxed), added), std::memory_order_relaxed);
}

// While nothing is scarce one member takes no more at once than its part, by the number of those who were active
// in the tick before; who comes first would take everything else.
void RateGroup::shareOut(Direction direction) {
  Flow& flow = this->flow(direction);
  const uint32_t count = std::max(1u, flow.activeBefore > 0 ? flow.activeBefore : members_);
  flow.share.store(std::max(threshold(), flow.level() / count), std::memory_order_relaxed);
}

// ---- waiting and dealing

bool RateGroup::bounded() const { return parent_ && !parent_->dissolved(); }

int64_t RateGroup::usable(Direction direction) {
  const Flow& flow = this->flow(direction);
  const int64_t own = token_level::spent(flow.level(), flow.granted);
  if (!bounded()) return own;
  const bool dealt = parent_->flow(direction).scarce;
  const int64_t above =
      dealt ? token_level::spent(parent_->grantOf(lane(direction)), flow.granted) : parent_->usable(direction);
  return std::min(own, above);
}

// A grant of a former tick is void.
void RateGroup::expire(RateLane& lane) {
  if (lane.grantTick == tick()) return;
  lane.had = sum(lane.had, -lane.grant);
  lane.grant = 0;
  lane.grantTick = tick();
}

// `promised`: what it still needs of its grant. `beyond`: what it took while there was no need to ask.
void RateGroup::wait(RateLane& lane, Direction direction, int64_t promised, int64_t beyond) {
  if (lane.waiting()) return;
  Flow& flow = this->flow(direction);
  expire(lane);
  if (lane.grant > promised) takeBack(lane, direction, lane.grant - promised);
  // Who was quiet, or is new, may be one small part behind what all had by now, no more: it comes first, and has saved up
  // nothing. Who was served lately keeps its place.
  const bool quiet = lane.scarcity != flow.scarcity || tick() - lane.servedTick.load(std::memory_order_relaxed) > 1;
  const int64_t behind = (quiet ? std::max(flow.least, flow.common) : flow.least) - threshold();
  lane.had = lane.scarcity == flow.scarcity ? std::max(lane.had, behind) : behind;
  lane.had = std::min(sum(lane.had, beyond), sum(std::max(flow.least, flow.common), flow.mostLead));
  lane.scarcity = flow.scarcity;
  flow.waiting.add(lane);
  flow.scarce = true;
}

void RateGroup::withdraw(RateLane& lane, Direction direction) {
  if (lane.waiting()) flow(direction).waiting.remove(lane);
}

void RateGroup::takeBack(RateLane& lane, Direction direction, int64_t bytes) {
  Flow& flow = this->flow(direction);
  lane.grant -= bytes;
  lane.had = sum(lane.had, -bytes);
  flow.granted = std::max<int64_t>(0, flow.granted - bytes);
}

// Bytes have moved: of the grant, and beyond it. Negative ones have not after all.
void RateGroup::charge(RateLane& lane, Direction direction, int64_t bytes) {
  Flow& flow = this->flow(direction);
  if (!flow.scarce) return;
  const bool waiting = lane.waiting();
  if (waiting) flow.waiting.remove(lane);
  expire(lane);
  const int64_t used = std::min(bytes, lane.grant);
  lane.grant -= used;
  flow.granted = std::max<int64_t>(0, flow.granted - used);
  lane.had = sum(lane.had, bytes - used);
  if (waiting) flow.waiting.add(lane);
}

// Who got much while few were active is not to wait until thousands have had as much: nobody is more than a few parts
// ahead. Looked at anew only when parts have become much smaller.
void RateGroup::boundLeads(Direction direction, uint32_t sharers) {
  constexpr int64_t mostParts = 8;
  Flow& flow = this->flow(direction);
  const int64_t part = std::max(threshold(), limit_.of(direction).rate / sharers);
  const int64_t most = part > rateLimitMax / mostParts ? rateLimitMax : mostParts * part;
  if (most < flow.mostLead / 2) flow.waiting.bound(sum(std::max(flow.least, flow.common), most));
  else if (most <= flow.mostLead) return;
  flow.mostLead = most;
}

void RateGroup::deal(Direction direction) {
  Flow& flow = this->flow(direction);
  int64_t left = flow.waiting.empty() ? 0 : usable(direction);
  if (left >= threshold()) {
    // At the first deal of a tick those who always want more are all here.
    if (flow.dealtTick != tick()) flow.least = std::max(flow.least, flow.waiting.first().had);
    // Those who are active and do not wait now will ask again in this tick: theirs is kept for them. `fair` is what each
    // would have had if all of it was dealt out so that all had the same.
    const uint32_t waiting = flow.waiting.size();
    const uint32_t sharers = std::max({waiting, flow.activeBefore, flow.active.load(std::memory_order_relaxed)});
    const __int128 together =
        flow.waiting.hadTogether() + __int128{sharers - waiting} * std::max(flow.least, flow.common);
    const auto fair = static_cast<int64_t>(std::min<__int128>((left + together) / sharers, rateLimitMax));
    if (flow.dealtTick != tick()) boundLeads(direction, sharers);
    flow.dealtTick = tick();
    const int64_t kept = left / sharers * (sharers - waiting);
    const int64_t crumb = std::max(threshold(), left / sharers);
    for (bool first = true; !flow.waiting.empty() && left > 0; first = false) {
      RateLane& lane = flow.waiting.first();
      // Who had its part already gets more only where nobody is behind, little by little, and not what is kept.
      if (lane.had > fair && !first && left <= kept) break;
      const int64_t part = lane.had > fair ? crumb : std::max(threshold(), fair - lane.had);
      // What would be too little for anybody else goes along.
      const int64_t given = std::min(left - part < threshold() ? left : part, lane.wanted);
      flow.waiting.remove(lane);
      expire(lane);
      lane.grant += given;
      lane.had = sum(lane.had, given);
      flow.common = std::max(flow.common, std::min(fair, lane.had));
      flow.granted += given;
      lane.node->granted(direction);
      left = usable(direction);
    }
  }
  askParent(direction);
}

// Where it is the parent who has nothing to give, the group waits in its queue as any member.
void RateGroup::askParent(Direction direction) {
  Flow& flow = this->flow(direction);
  if (flow.waiting.empty() || !bounded()) return;
  if (token_level::spent(flow.level(), flow.granted) < threshold() || usable(direction) >= threshold()) return;
  parent_->wait(lane(direction), direction, flow.granted);
}

void RateGroup::dealFromRoot(Direction direction) {
  if (dissolved()) return;
  if (bounded()) {
    askParent(direction);
    parent_->dealFromRoot(direction);
  }
  deal(direction);
}

void RateGroup::granted(Direction direction) {
  advance(parent_->lastMs());
  deal(direction);
  handBack(direction);
}

// A grant that nobody below can use goes back up.
void RateGroup::handBack(Direction direction) {
  for (RateGroup* group = this; group->bounded(); group = group->parent_.get()) {
    Flow& flow = group->flow(direction);
    if (!group->parent_->flow(direction).scarce) continue;
    if (!flow.waiting.empty() && token_level::spent(flow.level(), flow.granted) >= group->threshold()) return;
    RateLane& lane = group->lane(direction);
    const int64_t unused = group->parent_->grantOf(lane) - flow.granted;
    if (unused > 0) group->parent_->takeBack(lane, direction, unused);
  }
}

TimeMs RateGroup::readyAtMs(Direction direction) {
  TimeMs at = 0, next = Deadline::never().atMs;
  for (RateGroup* group = this;; group = group->parent_.get()) {
    const Flow& flow = group->flow(direction);
    next = std::min(next, group->clock_.nextMs());
    if (token_level::spent(flow.level(), flow.granted) < group->threshold()) {
      const uint64_t ticks = token_level::ticksUntil(flow.level(), group->limit_.of(direction), group->threshold());
      at = std::max(at, group->clock_.afterMs(std::max<uint64_t>(1, ticks)));
    }
    if (!group->bounded()) break;
  }
  return at != 0 ? at : next;
}

TimeMs RateGroup::serve(TimeMs now) {
  std::lock_guard lock(tree_->mutex);
  TimeMs next = Deadline::never().atMs;
  if (dissolved()) return next;
  advanceAll(now);
  for (const Direction direction : directions) {
    dealFromRoot(direction);
    if (!flow(direction).waiting.empty()) next = std::min(next, readyAtMs(direction));
  }
  return next;
}

// Everybody who waits, also further down, asks anew.
void RateGroup::recall(Direction direction) {
  Flow& flow = this->flow(direction);
  while (!flow.waiting.empty()) {
    RateLane& lane = flow.waiting.first();
    flow.waiting.remove(lane);
    lane.node->askAnew(direction);
  }
}

// ---- members

void RateGroup::joined() {
  ++members_;
  for (const Direction direction : directions) shareOut(direction);
}

void RateGroup::left(RateNode& node) {
  --members_;
  for (const Direction direction : directions) {
    RateLane& lane = node.lane(direction);
    withdraw(lane, direction);
    const int64_t unused = grantOf(lane);
    if (unused > 0) takeBack(lane, direction, unused);
    handBack(direction);
    shareOut(direction);
    dealFromRoot(direction);
  }
}

// ---- from outside

void RateGroup::configure(const RateLimit& limit, int64_t minShare, TimeMs now) {
  SLUICE_ASSERT(limit.valid() && minShare >= 0);
  std::lock_guard lock(tree_->mutex);
  advanceAll(now);
  if (limit.tickMs != limit_.tickMs) {
    clock_.restart(limit.tickMs, now);
    tick_.store(clock_.tick(), std::memory_order_relaxed);
    nextMs_.store(clock_.nextMs(), std::memory_order_relaxed);
  }
  limit_ = limit;
  configuredMinShare_ = minShare;
  minShare_ = std::min({minShare, limit.read.rate, limit.write.rate});
  for (const Direction direction : directions) {
    Flow& flow = this->flow(direction);
    const bool unlimited = limit.of(direction).unlimited();
    fill(direction, unlimited ? rateLimitMax : std::min(flow.level(), limit.of(direction).burst));
    flow.granted = 0;
    shareOut(direction);
    recall(direction);
  }
}

void RateGroup::restartClock(TimeMs now) {
  std::lock_guard lock(tree_->mutex);
  clock_.restart(limit_.tickMs, now);
  tick_.store(clock_.tick(), std::memory_order_relaxed);
  nextMs_.store(clock_.nextMs(), std::memory_order_relaxed);
  lastMs_.store(now, std::memory_order_relaxed);
}

void RateGroup::debit(Direction direction, int64_t bytes, TimeMs now) {
  std::lock_guard lock(tree_->mutex);
  advanceAll(now);
  fill(direction, token_level::spent(flow(direction).level(), bytes));
  if (bytes < 0) dealFromRoot(direction);
}

void RateGroup::dissolve() {
  std::lock_guard lock(tree_->mutex);
  if (dissolved_.exchange(true)) return;
  for (const Direction direction : directions) {
    if (parent_) parent_->withdraw(lane(direction), direction);
    recall(direction);
  }
}

RateLimit RateGroup::limit() const {
  std::lock_guard lock(tree_->mutex);
  return limit_;
}

RateGroupStats RateGroup::stats(TimeMs now) {
  std::lock_guard lock(tree_->mutex);
  advance(now);
  RateGroupStats stats;
  for (const Direction direction : directions) {
    Flow& flow = this->flow(direction);
    auto& told = direction == Direction::read ? stats.read : stats.write;
    const int64_t moved = flow.moved.load(std::memory_order_relaxed);
    told.level = flow.level();
    told.total = static_cast<uint64_t>(moved - flow.resetAt);
    RateMeter meter = flow.meter;
    if (moved > flow.metered) meter.add(now, static_cast<uint64_t>(moved - flow.metered));
    told.bytesPerSecond = meter.shown(now);
    told.waiting = flow.waiting.size();
    told.scarce = flow.scarce;
  }
  stats.members = members_;
  stats.tick = tick();
  stats.refills = refills_;
  stats.minShare = minShare_;
  return stats;
}

void RateGroup::resetTotals() {
  std::lock_guard lock(tree_->mutex);
  for (Flow& flow : flows_) flow.resetAt = flow.moved.load(std::memory_order_relaxed);
}

}  // namespace sluice

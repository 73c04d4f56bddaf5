#include "limit/rate_group_map.h"

#include <vector>

namespace sluice {

std::shared_ptr<RateGroup> RateGroupMap::group(const std::string& key, TimeMs now) {
  std::lock_guard lock(mutex_);
  const auto found = byKey_.find(key);
  const auto group =
      found != byKey_.end() ? found->second->group : RateGroup::create(limit_, minShare_, parent_, now);
  if (found == byKey_.end()) byKey_[key] = entries_.insert(entries_.end(), {key, group});
  sweep(sweptPerCall, now);
  return group;
}

void RateGroupMap::configure(const RateLimit& limit, int64_t minShare, TimeMs now) {
  std::lock_guard lock(mutex_);
  limit_ = limit;
  minShare_ = minShare;
  for (Entry& entry : entries_) entry.group->configure(limit, minShare, now);
}

size_t RateGroupMap::size(TimeMs now) {
  std::lock_guard lock(mutex_);
  sweep(entries_.size(), now);
  return entries_.size();
}

void RateGroupMap::sweep(size_t count, TimeMs now) {
  for (; count > 0 && !entries_.empty(); --count) {
    if (spent(entries_.front(), now)) {
      byKey_.erase(entries_.front().key);
      entries_.pop_front();
    } else {
      entries_.splice(entries_.end(), entries_, entries_.begin());
    }
  }
}

// Nobody else holds it, and a new one would be no fuller.
bool RateGroupMap::spent(const Entry& entry, TimeMs now) const {
  if (entry.group.use_count() > 1) return false;
  const RateGroupStats stats = entry.group->stats(now);
  return stats.read.level >= limit_.read.rate && stats.write.level >= limit_.write.rate;
}

}  // namespace sluice

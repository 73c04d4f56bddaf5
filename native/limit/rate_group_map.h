#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "limit/rate_group.h"

namespace sluice {

/// A group per key, e.g. per remote address: made when somebody joins under a new key, each with a limit of its own,
/// which its active members share equally (HP-111).
///
/// A group that nobody uses is kept until its buckets are as full as those of a new one, so that nobody gains by coming
/// back; then the next few calls of group() drop it. So idle keys cost memory for as long as their debts last.
///
/// Threads: any.
class RateGroupMap {
 public:
  /// `limit` is valid; `parent` may be null.
  RateGroupMap(const RateLimit& limit, int64_t minShare, std::shared_ptr<RateGroup> parent)
      : limit_(limit), minShare_(minShare), parent_(std::move(parent)) {}

  std::shared_ptr<RateGroup> group(const std::string& key, TimeMs now);
  /// Replaces the limit of all groups, those to come and those there are.
  void configure(const RateLimit& limit, int64_t minShare, TimeMs now);
  /// Groups kept; drops those first that need not be.
  size_t size(TimeMs now);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<RateGroup> group;
  };
  using Entries = std::list<Entry>;
  static constexpr int sweptPerCall = 4;

  void sweep(size_t count, TimeMs now);
  bool spent(const Entry& entry, TimeMs now) const;

  std::mutex mutex_;
  RateLimit limit_;
  int64_t minShare_;
  const std::shared_ptr<RateGroup> parent_;
  Entries entries_;  // the front is looked at next
  std::unordered_map<std::string, Entries::iterator> byKey_;
};

}  // namespace sluice

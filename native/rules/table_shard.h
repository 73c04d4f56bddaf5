#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "rules/stick_table.h"
#include "rules/table_entry.h"

namespace sluice {

/// A part of a table's keys: their entries by hash, and by age. Whoever calls holds `mutex`.
class TableShard {
 public:
  /// `bits`: how many leading bits of the hash chose this shard.
  TableShard(const TableConfig& config, int bits);
  ~TableShard();
  TableShard(const TableShard&) = delete;
  TableShard& operator=(const TableShard&) = delete;

  mutable std::mutex mutex;
  /// The latest time that anybody has told.
  TimeMs latestMs = 0;

  /// The entry of a key, unless it has expired and nobody is counted in it.
  TableEntry* find(std::string_view key, uint32_t hash, TimeMs now) const;
  /// Makes an entry that find() does not know, in place of one that has expired.
  TableEntry& insert(std::string_view key, uint32_t hash, TimeMs touchedMs);
  /// Tracked at that time. It may be in the past, if it happened elsewhere: nothing follows if it was tracked later here.
  void touch(TableEntry& entry, TimeMs then);
  /// An entry lost one that held it. Whether it was forgotten.
  bool release(TableEntry& entry, TimeMs now);
  void erase(TableEntry& entry);
  /// Forgets an entry at somebody's wish. Where connections are counted in it, only what it has counted: false.
  bool remove(TableEntry& entry);

  bool expired(const TableEntry& entry, TimeMs now) const {
    return config_.expireMs != 0 && now >= entry.touchedMs && now - entry.touchedMs >= config_.expireMs;
  }
  /// Forgets up to `most` expired entries; how many it were.
  uint32_t expire(uint32_t most, TimeMs now);
  /// When the oldest entry that may go was tracked; nothing when there is none.
  std::optional<TimeMs> oldest();
  /// Forgets up to `most` entries that were tracked no later than `until`, the oldest first; how many it were.
  uint32_t purge(uint32_t most, TimeMs until);

  /// A column's value (TrackedEntry::read).
  uint64_t read(const TableEntry& entry, TableColumn column, TimeMs now) const;
  void add(TableEntry& entry, TableColumn column, uint64_t amount, TimeMs now);
  void set(TableEntry& entry, TableColumn column, uint64_t value, TimeMs now);
  /// Adds what has happened elsewhere `ageMs` ago, as TableChanges tells it.
  void addLate(TableEntry& entry, TableColumn column, int64_t change, TimeMs ageMs, TimeMs now);

  /// What others are to be told; see StickTable::takeChanges().
  bool exchanging = false;
  /// Notes that something has changed, if somebody wants to know.
  void note(TableEntry& entry);
  void noteRemoval(std::string_view key);
  /// Of what has been noted nobody is to be told.
  void dropChanges();
  std::deque<std::unique_ptr<TableChanges>> changes;

  uint32_t size() const { return size_; }
  uint32_t referenced() const { return referenced_; }
  uint64_t expiredCount() const { return expiredCount_; }
  void refer(TableEntry& entry) { referenced_ += entry.references++ == 0; }

  /// Calls `visit` for the entries of whole buckets, by rising hash from `first` on, until it has answered false. The hash
  /// to go on from; nothing at the end.
  template <class Visit>
  std::optional<uint32_t> walk(uint32_t first, Visit visit) const {
    for (size_t bucket = bucketOf(first); bucket < buckets_.size();) {
      bool more = true;
      for (TableEntry* entry = buckets_[bucket]; entry; entry = entry->next) more = visit(*entry) && more;
      ++bucket;
      if (!more) return bucket < buckets_.size() ? std::optional(firstOf(bucket)) : std::nullopt;
    }
    return std::nullopt;
  }

 private:
  struct Older {
    bool operator()(const TableEntry* a, const TableEntry* b) const { return a->olderThan(*b); }
  };

  size_t bucketOf(uint32_t hash) const {
    return static_cast<size_t>((static_cast<uint64_t>(hash) << shardBits_ & 0xffffffffu) >> (32 - bucketBits_));
  }
  uint32_t firstOf(size_t bucket) const {
    return static_cast<uint32_t>(static_cast<uint64_t>(bucket) << (32 - bucketBits_ - shardBits_));
  }
  void grow();
  void link(TableEntry& entry);
  void unlink(TableEntry& entry);
  void append(TableEntry& entry);
  TableEntry* oldestEntry();
  TableChanges& remember(std::string_view key);

  const TableConfig& config_;
  const int shardBits_;
  int bucketBits_ = 4;
  std::vector<TableEntry*> buckets_;
  TableEntry *oldest_ = nullptr, *newest_ = nullptr;  // of the list
  std::set<TableEntry*, Older> unlisted_;
  uint64_t turn_ = 0;
  uint32_t size_ = 0, referenced_ = 0;
  uint64_t expiredCount_ = 0;
};

struct StickTable::Held {
  std::unique_lock<std::mutex> lock{};
  TableShard* shard = nullptr;
  TableEntry* entry = nullptr;
  bool isNew = false;
};

}  // namespace sluice

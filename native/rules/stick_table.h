#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "rules/table_key.h"
#include "rules/table_layout.h"

namespace sluice {

class StickTable;
class TableShard;
struct TableEntry;

struct TableConfig {
  TableKeyShape key;
  TableLayout layout;
  uint32_t size = 0;      // entries at most; at least 1
  uint64_t expireMs = 0;  // since an entry was last tracked; 0: never
  bool noPurge = false;   // when full, do not track new keys instead of forgetting old ones
};

/// A hold on an entry: one connection that is counted in it. While there is one the entry is not purged. Empty when made
/// by default, when moved from, and where the table was full.
///
/// Threads: one at a time.
class TrackedEntry {
 public:
  TrackedEntry() = default;
  TrackedEntry(TrackedEntry&& other) noexcept : table_(std::move(other.table_)), entry_(other.entry_) {
    other.entry_ = nullptr;
  }
  TrackedEntry& operator=(TrackedEntry&& other) noexcept {
    std::swap(table_, other.table_);
    std::swap(entry_, other.entry_);
    return *this;
  }
  /// conn_cur falls; the entry stays, until it expires or is purged.
  ~TrackedEntry();

  explicit operator bool() const { return entry_ != nullptr; }
  const std::shared_ptr<StickTable>& table() const { return table_; }
  /// The key as stored.
  std::string_view key() const;

  /// A rate as HP-61 has it, else the count. 0 for what the table does not hold.
  uint64_t read(TableColumn column, TimeMs now) const;
  /// Counts `amount`, in all of these columns that the table holds, under one lock.
  void add(std::span<const std::pair<TableColumn, uint64_t>> amounts, TimeMs now);
  void add(TableColumn column, uint64_t amount, TimeMs now) {
    const std::pair<TableColumn, uint64_t> one[] = {{column, amount}};
    add(one, now);
  }
  /// Sets a tag (gpt).
  void set(TableColumn column, uint32_t value, TimeMs now);

 private:
  friend class StickTable;
  TrackedEntry(std::shared_ptr<StickTable> table, TableEntry* entry) : table_(std::move(table)), entry_(entry) {}

  std::shared_ptr<StickTable> table_;
  TableEntry* entry_ = nullptr;
};

struct TableStats {
  uint32_t entries = 0;
  uint32_t referenced = 0;  // by connections now
  uint64_t tracked = 0;     // times something was
  uint64_t untracked = 0;   // times nothing could be: full, and all is in use or must not be purged
  uint64_t purged = 0;      // entries that made room for others
  uint64_t expired = 0;
};

/// Counters by key, e.g. by client address: HAProxy's stick tables (HP-57, HP-58).
///
/// An entry begins when its key is first tracked, and ends `expireMs` after it was last tracked; reading does not refresh
/// it. Where the table is full the oldest entries that no connection is counted in are purged, 1/256 of them at a time, or
/// with noPurge the new key is not tracked.
///
/// Threads: any. Keys are spread over shards with a mutex each; small tables have one. Time is the callers' one monotonic
/// clock.
class StickTable : public std::enable_shared_from_this<StickTable> {
 public:
  static std::shared_ptr<StickTable> create(const TableConfig& config);
  ~StickTable();
  StickTable(const StickTable&) = delete;
  StickTable& operator=(const StickTable&) = delete;

  const TableConfig& config() const { return config_; }

  /// Counts a connection in the entry of `key`, which is made where there is none: conn_cnt, conn_cur, conn_rate. Empty
  /// when it is full.
  TrackedEntry track(const TableKey& key, TimeMs now);

  /// The value of a column; nothing where there is no such entry.
  std::optional<uint64_t> read(const TableKey& key, TableColumn column, TimeMs now) const;
  /// Counts in an entry that exists; whether there is one.
  bool add(const TableKey& key, TableColumn column, uint64_t amount, TimeMs now);

  struct Change {
    TableColumn column;
    uint64_t value = 0;  // of a rate: events of the period under way, with none before
  };
  /// Sets columns, but for conn_cur, of an entry that is made where there is none; as tracking does, this refreshes it.
  /// False when it is full.
  bool set(const TableKey& key, std::span<const Change> changes, TimeMs now);
  /// Forgets an entry; one that connections are counted in starts from 0 and keeps conn_cur. Whether there was one.
  bool remove(const TableKey& key, TimeMs now);
  /// The same for all. How many there were.
  uint32_t clear(TimeMs now);

  /// What there is of one key.
  struct Row {
    std::string key;               // as stored
    std::vector<uint64_t> values;  // one per column(): counts, and rates as HP-61 has them
    uint32_t references = 0;
    uint64_t idleMs = 0;  // since it was last tracked
    std::optional<uint64_t> expiresInMs;
  };
  /// All columns, in the order of TableData.
  std::vector<TableColumn> columns() const;
  std::optional<Row> row(const TableKey& key, TimeMs now) const;
  /// About `atLeast` rows from `cursor` on, which is 0 for the first and is moved; noMore ends it. Entries that are there
  /// from beginning to end are seen exactly once; those that come or go meanwhile, perhaps.
  static constexpr uint64_t noMore = UINT64_MAX;
  std::vector<Row> rows(uint64_t& cursor, size_t atLeast, TimeMs now) const;

  /// Forgets what has expired, first.
  TableStats stats(TimeMs now);

  // ---- Bytes: snapshots, and what tables of one name on several machines tell each other (rules/table_codec.h).

  /// All entries but conn_cur. `wallMs` is the time of day, by which restore() knows how long it lay about; `note` is
  /// the caller's.
  std::vector<uint8_t> snapshot(TimeMs now, uint64_t wallMs, std::string_view note = {}) const;
  /// Takes over entries of a snapshot that are not there yet, with what both sides hold; what has expired meanwhile is
  /// left out. How many were taken; invalidArgument when it is damaged, notSupported when it is of a later version or
  /// another kind of key. Nothing is changed then.
  Result<uint32_t> restore(std::span<const uint8_t> bytes, TimeMs now, uint64_t wallMs,
                           std::string* note = nullptr);

  /// From now on it remembers what changes, for takeChanges().
  void startExchange();
  /// And no longer.
  void stopExchange();
  /// What has happened here, and not by applyChanges(), since the last call, as increments: at most about `maxBytes`. Empty
  /// when nothing has.
  std::vector<uint8_t> takeChanges(size_t maxBytes);
  /// Adds what happened elsewhere, `ageMs` ago. How many entries it was about; errors as of restore().
  Result<uint32_t> applyChanges(std::span<const uint8_t> bytes, uint64_t ageMs, TimeMs now);

 private:
  friend class TrackedEntry;
  explicit StickTable(const TableConfig& config);
  // The clock may have started with the machine, and entries be older: inside, all times are later.
  static TimeMs fromUser(TimeMs now) { return now + (TimeMs{1} << 42); }
  TableShard& shardOf(uint32_t hash) const;
  bool reserve(TimeMs now);
  void purge(TimeMs now);
  struct Held;
  /// The entry of a key, made where there is none, with its shard locked; null when it is full.
  Held hold(std::string_view key, TimeMs touchedMs, TimeMs now);
  bool removeEntry(std::string_view key, TimeMs now, bool tell);
  uint32_t clearAll(TimeMs now, bool tell);
  void put(TableEntry& entry, TableColumn column, const uint64_t* values, TimeMs now, uint64_t awayMs) const;
  Row rowOf(const TableShard& shard, const TableEntry& entry, const std::vector<TableColumn>& columns,
            TimeMs now) const;

  const TableConfig config_;
  const uint64_t seed_;
  int shardBits_;
  std::vector<std::unique_ptr<TableShard>> shards_;
  std::atomic<uint32_t> count_ = 0;  // entries, those being made included
  std::atomic<bool> exchanging_ = false;
  std::atomic<bool> clearNoted_ = false;  // others are to forget all, before any change that is told next
  std::atomic<uint64_t> tracked_ = 0, untracked_ = 0, purged_ = 0;
};

}  // namespace sluice

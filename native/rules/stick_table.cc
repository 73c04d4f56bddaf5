#include "rules/stick_table.h"

#include <unistd.h>
#if __has_include(<sys/random.h>)
#include <sys/random.h>
#endif

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/assert.h"
#include "rules/table_shard.h"

namespace sluice {

namespace {

constexpr uint32_t smallTable = 1024;
constexpr int manyShardBits = 4;
constexpr uint32_t expiredPerTrack = 8;
constexpr uint32_t expiredPerLock = 256;
constexpr uint32_t purgeDivisor = 256;

// Clients choose their addresses, and must not be able to choose their buckets.
uint64_t randomSeed() {
  uint64_t seed = 0;
  SLUICE_ASSERT(getentropy(&seed, sizeof seed) == 0);
  return seed;
}

uint32_t hashOf(std::string_view key, uint64_t seed) {
  constexpr uint64_t odd = 0x9e3779b97f4a7c15;
  const uint64_t multiplier = (seed ^ odd) | 1;
  uint64_t hash = seed ^ key.size();
  for (; !key.empty(); key.remove_prefix(std::min<size_t>(8, key.size()))) {
    uint64_t word = 0;
    std::memcpy(&word, key.data(), std::min<size_t>(8, key.size()));
    hash = (hash ^ word) * multiplier;
    hash ^= hash >> 32;
  }
  return static_cast<uint32_t>((hash * odd) >> 32);
}

constexpr TableColumn connCount{TableData::connCount, 0}, connRate{TableData::connRate, 0};

}  // namespace

// ---- An entry that a connection is counted in

TrackedEntry::~TrackedEntry() {
  if (entry_ == nullptr) return;
  TableShard& shard = table_->shardOf(entry_->hash);
  std::lock_guard lock(shard.mutex);
  if (shard.release(*entry_, shard.latestMs)) --table_->count_;
}

std::string_view TrackedEntry::key() const { return entry_ ? entry_->key() : std::string_view(); }

uint64_t TrackedEntry::read(TableColumn column, TimeMs now) const {
  if (entry_ == nullptr) return 0;
  now = StickTable::fromUser(now);
  TableShard& shard = table_->shardOf(entry_->hash);
  std::lock_guard lock(shard.mutex);
  return shard.read(*entry_, column, now);
}

void TrackedEntry::add(std::span<const std::pair<TableColumn, uint64_t>> amounts, TimeMs now) {
  if (entry_ == nullptr) return;
  now = StickTable::fromUser(now);
  TableShard& shard = table_->shardOf(entry_->hash);
  std::lock_guard lock(shard.mutex);
  for (const auto& [column, amount] : amounts) shard.add(*entry_, column, amount, now);
}

void TrackedEntry::set(TableColumn column, uint32_t value, TimeMs now) {
  if (entry_ == nullptr) return;
  now = StickTable::fromUser(now);
  TableShard& shard = table_->shardOf(entry_->hash);
  std::lock_guard lock(shard.mutex);
  shard.set(*entry_, column, value, now);
}

// ---- The table

std::shared_ptr<StickTable> StickTable::create(const TableConfig& config) {
  return std::shared_ptr<StickTable>(new StickTable(config));
}

StickTable::StickTable(const TableConfig& config)
    : config_(config), seed_(randomSeed()), shardBits_(config.size < smallTable ? 0 : manyShardBits) {
  SLUICE_ASSERT(config.size > 0);
  for (int i = 0; i < 1 << shardBits_; ++i) shards_.push_back(std::make_unique<TableShard>(config_, shardBits_));
}

StickTable::~StickTable() = default;

TableShard& StickTable::shardOf(uint32_t hash) const {
  return *shards_[static_cast<uint64_t>(hash) << shardBits_ >> 32];
}

// Room for one entry more. No shard is locked here.
bool StickTable::reserve(TimeMs now) {
  if (++count_ <= config_.size) return true;
  purge(now);
  if (count_ <= config_.size) return true;
  --count_;
  return false;
}

// The oldest of all shards go first; without purging, those that have expired.
void StickTable::purge(TimeMs now) {
  uint32_t most = std::max(1u, config_.size / purgeDivisor);
  while (most > 0) {
    constexpr TimeMs none = std::numeric_limits<TimeMs>::max();
    TableShard* oldestShard = nullptr;
    TimeMs oldest = none, second = none;
    for (const auto& shard : shards_) {
      std::lock_guard lock(shard->mutex);
      const TimeMs time = shard->oldest().value_or(none);
      if (time < oldest) {
        second = std::exchange(oldest, time);
        oldestShard = shard.get();
      } else {
        second = std::min(second, time);
      }
    }
    if (oldestShard == nullptr) return;
    std::lock_guard lock(oldestShard->mutex);
    uint32_t count = oldestShard->expire(most, now);
    if (count == 0) {
      if (config_.noPurge) return;
      count = oldestShard->purge(most, second);
      purged_ += count;
    }
    // Others may have been faster, and will have made room.
    if (count == 0) return;
    count_ -= count;
    most -= count;
  }
}

StickTable::Held StickTable::hold(std::string_view key, TimeMs touchedMs, TimeMs now) {
  const uint32_t hash = hashOf(key, seed_);
  TableShard& shard = shardOf(hash);
  for (bool reserved = false;; reserved = true) {
    {
      std::unique_lock lock(shard.mutex);
      shard.latestMs = std::max(shard.latestMs, now);
      count_ -= shard.expire(expiredPerTrack, now);
      if (TableEntry* entry = shard.find(key, hash, now)) {
        shard.touch(*entry, touchedMs);
        if (reserved) --count_;
        return {std::move(lock), &shard, entry, false};
      }
      if (reserved) {
        const uint32_t before = shard.size();
        TableEntry& entry = shard.insert(key, hash, touchedMs);
        count_ -= before + 1 - shard.size();
        return {std::move(lock), &shard, &entry, true};
      }
    }
    if (!reserve(now)) return {};
  }
}

TrackedEntry StickTable::track(const TableKey& key, TimeMs now) {
  now = fromUser(now);
  const Held held = hold(key.view(), now, now);
  if (held.entry == nullptr) {
    ++untracked_;
    return {};
  }
  ++tracked_;
  held.shard->refer(*held.entry);
  held.shard->note(*held.entry);
  held.shard->add(*held.entry, connCount, 1, now);
  held.shard->add(*held.entry, connRate, 1, now);
  return TrackedEntry(shared_from_this(), held.entry);
}

std::optional<uint64_t> StickTable::read(const TableKey& key, TableColumn column, TimeMs now) const {
  now = fromUser(now);
  const uint32_t hash = hashOf(key.view(), seed_);
  TableShard& shard = shardOf(hash);
  std::lock_guard lock(shard.mutex);
  const TableEntry* entry = shard.find(key.view(), hash, now);
  return entry ? std::optional(shard.read(*entry, column, now)) : std::nullopt;
}

bool StickTable::add(const TableKey& key, TableColumn column, uint64_t amount, TimeMs now) {
  now = fromUser(now);
  const uint32_t hash = hashOf(key.view(), seed_);
  TableShard& shard = shardOf(hash);
  std::lock_guard lock(shard.mutex);
  TableEntry* entry = shard.find(key.view(), hash, now);
  if (entry) shard.add(*entry, column, amount, now);
  return entry != nullptr;
}

bool StickTable::set(const TableKey& key, std::span<const Change> changes, TimeMs now) {
  now = fromUser(now);
  const Held held = hold(key.view(), now, now);
  if (held.entry == nullptr) return false;
  held.shard->note(*held.entry);
  for (const auto& [column, value] : changes) held.shard->set(*held.entry, column, value, now);
  return true;
}

bool StickTable::remove(const TableKey& key, TimeMs now) { return removeEntry(key.view(), fromUser(now), true); }

bool StickTable::removeEntry(std::string_view key, TimeMs now, bool tell) {
  const uint32_t hash = hashOf(key, seed_);
  TableShard& shard = shardOf(hash);
  std::lock_guard lock(shard.mutex);
  // Others may count in an entry that is not here.
  TableEntry* entry = shard.find(key, hash, now);
  const bool told = shard.exchanging;
  shard.exchanging = told && tell;
  if (entry == nullptr) {
    shard.noteRemoval(key);
  } else if (shard.remove(*entry)) {
    --count_;
  }
  shard.exchanging = told;
  return entry != nullptr;
}

uint32_t StickTable::clear(TimeMs now) { return clearAll(fromUser(now), true); }

uint32_t StickTable::clearAll(TimeMs now, bool tell) {
  uint32_t cleared = 0;
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    count_ -= shard->expire(shard->size(), now);
    shard->dropChanges();
    const bool told = std::exchange(shard->exchanging, false);
    std::vector<TableEntry*> all;
    all.reserve(shard->size());
    shard->walk(0, [&all](TableEntry& entry) {
      all.push_back(&entry);
      return true;
    });
    for (TableEntry* entry : all) {
      cleared += 1;
      if (shard->remove(*entry)) --count_;
    }
    shard->exchanging = told;
  }
  if (tell && exchanging_) clearNoted_ = true;
  return cleared;
}

// ---- Reading it all

std::vector<TableColumn> StickTable::columns() const {
  std::vector<TableColumn> columns;
  for (size_t i = 0; i < tableDataCount; ++i) {
    const auto data = static_cast<TableData>(i);
    for (uint32_t index = 0; index < config_.layout.count(data); ++index)
      columns.push_back({data, static_cast<uint8_t>(index)});
  }
  return columns;
}

StickTable::Row StickTable::rowOf(const TableShard& shard, const TableEntry& entry,
                                  const std::vector<TableColumn>& columns, TimeMs now) const {
  Row row;
  row.key = entry.key();
  row.values.reserve(columns.size());
  for (const TableColumn column : columns) row.values.push_back(shard.read(entry, column, now));
  row.references = entry.references;
  row.idleMs = now - std::min(now, entry.touchedMs);
  if (config_.expireMs != 0) row.expiresInMs = config_.expireMs - std::min(config_.expireMs, row.idleMs);
  return row;
}

std::optional<StickTable::Row> StickTable::row(const TableKey& key, TimeMs now) const {
  now = fromUser(now);
  const uint32_t hash = hashOf(key.view(), seed_);
  TableShard& shard = shardOf(hash);
  std::lock_guard lock(shard.mutex);
  const TableEntry* entry = shard.find(key.view(), hash, now);
  return entry ? std::optional(rowOf(shard, *entry, columns(), now)) : std::nullopt;
}

// The cursor is the least hash not yet seen: growing shards keep the order of hashes.
std::vector<StickTable::Row> StickTable::rows(uint64_t& cursor, size_t atLeast, TimeMs now) const {
  now = fromUser(now);
  const auto columns = this->columns();
  std::vector<Row> rows;
  while (cursor <= UINT32_MAX && rows.size() < std::max<size_t>(1, atLeast)) {
    const auto first = static_cast<uint32_t>(cursor);
    const uint64_t index = cursor << shardBits_ >> 32;
    const TableShard& shard = *shards_[index];
    std::lock_guard lock(shard.mutex);
    const auto next = shard.walk(first, [&](const TableEntry& entry) {
      if (entry.references > 0 || !shard.expired(entry, now)) rows.push_back(rowOf(shard, entry, columns, now));
      return rows.size() < atLeast;
    });
    cursor = next ? (index << 32 >> shardBits_) + *next : (index + 1) << 32 >> shardBits_;
  }
  if (cursor > UINT32_MAX) cursor = noMore;
  return rows;
}

TableStats StickTable::stats(TimeMs now) {
  now = fromUser(now);
  TableStats stats{0, 0, tracked_, untracked_, purged_, 0};
  for (const auto& shard : shards_) {
    for (uint32_t count = expiredPerLock; count == expiredPerLock;) {
      std::lock_guard lock(shard->mutex);
      shard->latestMs = std::max(shard->latestMs, now);
      count = shard->expire(expiredPerLock, now);
      count_ -= count;
    }
    std::lock_guard lock(shard->mutex);
    stats.entries += shard->size();
    stats.referenced += shard->referenced();
    stats.expired += shard->expiredCount();
  }
  return stats;
}

}  // namespace sluice

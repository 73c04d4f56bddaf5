#include "rules/table_shard.h"

#include <algorithm>

#include "base/assert.h"

namespace sluice {

TableShard::TableShard(const TableConfig& config, int bits)
    : config_(config), shardBits_(bits), buckets_(size_t{1} << bucketBits_) {}

TableShard::~TableShard() {
  for (TableEntry* entry : buckets_) {
    while (entry) {
      SLUICE_ASSERT(entry->references == 0);
      TableEntry::destroy(std::exchange(entry, entry->next));
    }
  }
}

TableEntry* TableShard::find(std::string_view key, uint32_t hash, TimeMs now) const {
  for (TableEntry* entry = buckets_[bucketOf(hash)]; entry; entry = entry->next) {
    if (entry->hash != hash || entry->key() != key) continue;
    return entry->references == 0 && expired(*entry, now) ? nullptr : entry;
  }
  return nullptr;
}

TableEntry& TableShard::insert(std::string_view key, uint32_t hash, TimeMs touchedMs) {
  for (TableEntry* entry = buckets_[bucketOf(hash)]; entry; entry = entry->next) {
    if (entry->hash != hash || entry->key() != key) continue;
    SLUICE_ASSERT(entry->references == 0);
    erase(*entry);
    ++expiredCount_;
    break;
  }
  if (size_ >= buckets_.size()) grow();
  TableEntry* entry = TableEntry::create(key, hash, config_.layout.words());
  TableEntry*& bucket = buckets_[bucketOf(hash)];
  entry->next = std::exchange(bucket, entry);
  ++size_;
  entry->touchedMs = touchedMs;
  entry->turn = ++turn_;
  link(*entry);
  return *entry;
}

void TableShard::touch(TableEntry& entry, TimeMs then) {
  if (then < entry.touchedMs) return;
  unlink(entry);
  entry.touchedMs = then;
  entry.turn = ++turn_;
  link(entry);
}

bool TableShard::release(TableEntry& entry, TimeMs now) {
  if (--entry.references > 0) return false;
  --referenced_;
  if (expired(entry, now)) {
    ++expiredCount_;
    erase(entry);
    return true;
  }
  if (entry.place == TableEntry::Place::aside) {
    unlisted_.insert(&entry);
    entry.place = TableEntry::Place::unlisted;
  }
  return false;
}

void TableShard::erase(TableEntry& entry) {
  unlink(entry);
  TableEntry** link = &buckets_[bucketOf(entry.hash)];
  while (*link != &entry) link = &(*link)->next;
  *link = entry.next;
  if (entry.changes) entry.changes->entry = nullptr;
  TableEntry::destroy(&entry);
  --size_;
}

bool TableShard::remove(TableEntry& entry) {
  if (entry.changes) {
    std::fill(entry.changes->words.begin(), entry.changes->words.end(), 0);
    entry.changes->entry = nullptr;
    entry.changes = nullptr;
  }
  noteRemoval(entry.key());
  if (entry.references == 0) {
    erase(entry);
    return true;
  }
  std::fill_n(entry.data(), entry.words, 0);
  return false;
}

uint32_t TableShard::expire(uint32_t most, TimeMs now) {
  uint32_t count = 0;
  while (count < most) {
    TableEntry* entry = oldestEntry();
    if (entry == nullptr || !expired(*entry, now)) break;
    erase(*entry);
    ++count;
  }
  expiredCount_ += count;
  return count;
}

std::optional<TimeMs> TableShard::oldest() {
  const TableEntry* entry = oldestEntry();
  return entry ? std::optional(entry->touchedMs) : std::nullopt;
}

uint32_t TableShard::purge(uint32_t most, TimeMs until) {
  uint32_t count = 0;
  for (; count < most; ++count) {
    TableEntry* entry = oldestEntry();
    if (entry == nullptr || entry->touchedMs > until) break;
    erase(*entry);
  }
  return count;
}

// Those in use are put aside on the way, so that nobody looks at them twice.
TableEntry* TableShard::oldestEntry() {
  for (;;) {
    TableEntry* entry = oldest_;
    if (!unlisted_.empty() && (entry == nullptr || (*unlisted_.begin())->olderThan(*entry)))
      entry = *unlisted_.begin();
    if (entry == nullptr || entry->references == 0) return entry;
    unlink(*entry);
    entry->place = TableEntry::Place::aside;
  }
}

uint64_t TableShard::read(const TableEntry& entry, TableColumn column, TimeMs now) const {
  if (!config_.layout.has(column)) return 0;
  if (column.data == TableData::connCurrent) return entry.references;
  const uint32_t offset = config_.layout.offset(column);
  if (tableDataKind(column.data) != TableDataKind::rate) return entry.data()[offset];
  return entry.counter(offset).rate(now, config_.layout.periodMs(column.data));
}

void TableShard::add(TableEntry& entry, TableColumn column, uint64_t amount, TimeMs now) {
  if (!config_.layout.has(column) || column.data == TableData::connCurrent) return;
  const uint32_t offset = config_.layout.offset(column);
  uint64_t& word = entry.data()[offset];
  switch (tableDataKind(column.data)) {
    case TableDataKind::number: word = static_cast<uint32_t>(word + amount); break;
    case TableDataKind::bytes: word += amount; break;
    case TableDataKind::tag: word = static_cast<uint32_t>(amount); break;
    case TableDataKind::rate: {
      FrequencyCounter counter = entry.counter(offset);
      counter.add(static_cast<uint32_t>(amount), now, config_.layout.periodMs(column.data));
      entry.setCounter(offset, counter);
    }
  }
  if (!exchanging) return;
  note(entry);
  int64_t& change = entry.changes->words[offset];
  change = tableDataKind(column.data) == TableDataKind::tag ? TableChanges::tagSet | static_cast<int64_t>(word)
                                                            : change + static_cast<int64_t>(amount);
}

void TableShard::set(TableEntry& entry, TableColumn column, uint64_t value, TimeMs now) {
  if (!config_.layout.has(column) || column.data == TableData::connCurrent) return;
  const uint32_t offset = config_.layout.offset(column);
  const uint64_t before = read(entry, column, now);
  if (tableDataKind(column.data) == TableDataKind::rate) {
    entry.setCounter(offset, FrequencyCounter::of(0, 0, 0, now));
  } else {
    entry.data()[offset] = 0;
  }
  add(entry, column, value, now);
  // The others come to the same, together with what they have counted by themselves.
  if (exchanging && tableDataKind(column.data) != TableDataKind::tag)
    entry.changes->words[offset] -= static_cast<int64_t>(before);
}

void TableShard::addLate(TableEntry& entry, TableColumn column, int64_t change, TimeMs ageMs, TimeMs now) {
  if (!config_.layout.has(column) || column.data == TableData::connCurrent || change == 0) return;
  const uint32_t offset = config_.layout.offset(column);
  uint64_t& word = entry.data()[offset];
  // What was lost on the way must not make a small count a huge one.
  const uint64_t less = change < 0 ? uint64_t{0} - static_cast<uint64_t>(change) : 0;
  switch (tableDataKind(column.data)) {
    case TableDataKind::number:
      word = change < 0 ? word - std::min(word, less) : static_cast<uint32_t>(word + static_cast<uint64_t>(change));
      break;
    case TableDataKind::bytes:
      word = change < 0 ? word - std::min(word, less) : word + static_cast<uint64_t>(change);
      break;
    case TableDataKind::tag:
      if (change & TableChanges::tagSet) word = static_cast<uint32_t>(change);
      break;
    case TableDataKind::rate: {
      FrequencyCounter counter = entry.counter(offset);
      if (change < 0) {
        counter.takeBack(static_cast<uint32_t>(std::min<uint64_t>(less, UINT32_MAX)));
      } else {
        counter.addLate(static_cast<uint32_t>(change), ageMs, now, config_.layout.periodMs(column.data));
      }
      entry.setCounter(offset, counter);
    }
  }
}

void TableShard::note(TableEntry& entry) {
  if (exchanging && !entry.changes) entry.changes = &remember(entry.key());
  if (exchanging) entry.changes->entry = &entry;
}

void TableShard::noteRemoval(std::string_view key) {
  if (exchanging) remember(key).removed = true;
}

void TableShard::dropChanges() {
  for (const auto& change : changes)
    if (change->entry) change->entry->changes = nullptr;
  changes.clear();
}

TableChanges& TableShard::remember(std::string_view key) {
  // While nobody can be told the oldest are given up, so that memory stays in proportion to the table.
  if (changes.size() >= 2 * static_cast<size_t>(size_) + 1024) {
    if (TableEntry* entry = changes.front()->entry) entry->changes = nullptr;
    changes.pop_front();
  }
  changes.push_back(std::make_unique<TableChanges>());
  changes.back()->key = key;
  changes.back()->words.resize(config_.layout.words());
  return *changes.back();
}

void TableShard::grow() {
  std::vector<TableEntry*> before = std::move(buckets_);
  ++bucketBits_;
  buckets_.assign(size_t{1} << bucketBits_, nullptr);
  for (TableEntry* entry : before) {
    while (entry) {
      TableEntry* moved = std::exchange(entry, entry->next);
      moved->next = std::exchange(buckets_[bucketOf(moved->hash)], moved);
    }
  }
}

void TableShard::link(TableEntry& entry) {
  if (newest_ == nullptr || newest_->olderThan(entry)) {
    entry.place = TableEntry::Place::listed;
    append(entry);
  } else {
    entry.place = TableEntry::Place::unlisted;
    unlisted_.insert(&entry);
  }
}

void TableShard::append(TableEntry& entry) {
  entry.older = newest_;
  entry.newer = nullptr;
  (newest_ ? newest_->newer : oldest_) = &entry;
  newest_ = &entry;
}

void TableShard::unlink(TableEntry& entry) {
  switch (entry.place) {
    case TableEntry::Place::aside: return;
    case TableEntry::Place::unlisted: unlisted_.erase(&entry); return;
    case TableEntry::Place::listed:
      (entry.older ? entry.older->newer : oldest_) = entry.newer;
      (entry.newer ? entry.newer->older : newest_) = entry.older;
  }
}

}  // namespace sluice

// Tables as bytes: snapshots, and what several machines tell each other.
#include <algorithm>

#include "rules/stick_table.h"
#include "rules/table_codec.h"
#include "rules/table_shard.h"

namespace sluice {

namespace {

// A record of a snapshot that has been read and is to become an entry.
struct Saved {
  std::string key;
  uint64_t idleMs = 0;
  std::vector<uint64_t> values;  // per column of the reader: one, of a rate current, previous and age
};

// What one record of changes says.
struct Told {
  std::string key;
  bool removed = false;
  std::vector<int64_t> changes;  // per column of the reader
};

size_t valuesOf(TableDataKind kind) { return kind == TableDataKind::rate ? 3 : 1; }

}  // namespace

std::vector<uint8_t> StickTable::snapshot(TimeMs now, uint64_t wallMs, std::string_view note) const {
  now = fromUser(now);
  TableWriter records;
  uint64_t count = 0;
  const auto columns = this->columns();
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    shard->walk(0, [&](const TableEntry& entry) {
      if (entry.references == 0 && shard->expired(entry, now)) return true;
      ++count;
      records.text(entry.key());
      records.number(now - std::min(now, entry.touchedMs));
      for (const TableColumn column : columns) {
        if (column.data == TableData::connCurrent) continue;
        const uint32_t offset = config_.layout.offset(column);
        if (tableDataKind(column.data) != TableDataKind::rate) {
          records.number(entry.data()[offset]);
          continue;
        }
        const FrequencyCounter counter = entry.counter(offset);
        records.number(counter.current());
        records.number(counter.previous());
        records.number(counter.ageMs(now));
      }
      return true;
    });
  }
  TableWriter writer(TableBytesKind::snapshot, config_);
  writer.number(wallMs);
  writer.text(note);
  writer.number(count);
  writer.append(records.bytes());
  return writer.finish();
}

Result<uint32_t> StickTable::restore(std::span<const uint8_t> bytes, TimeMs now, uint64_t wallMs,
                                     std::string* note) {
  now = fromUser(now);
  auto reader = TableReader::open(TableBytesKind::snapshot, config_, bytes);
  if (!reader) return reader.error();
  const uint64_t savedMs = reader->number();
  const std::string_view noted = reader->text();
  const uint64_t count = reader->number();
  // A clock that was set back meanwhile says nothing.
  const uint64_t awayMs = wallMs - std::min(wallMs, savedMs);
  std::vector<Saved> all;
  for (uint64_t i = 0; i < count && !reader->failed(); ++i) {
    Saved saved;
    saved.key = reader->text();
    if (!config_.key.accepts(saved.key)) return damagedTable();
    saved.idleMs = reader->number();
    for (const auto& column : reader->columns())
      for (size_t value = 0; value < valuesOf(column.kind); ++value) saved.values.push_back(reader->number());
    if (saved.idleMs > UINT64_MAX - awayMs) return damagedTable();
    saved.idleMs += awayMs;
    if (config_.expireMs == 0 || saved.idleMs < config_.expireMs) all.push_back(std::move(saved));
  }
  if (reader->failed() || !reader->atEnd()) return damagedTable();
  if (note) *note = noted;

  // The newest are kept where there are too many, and those come last that are to be purged last.
  std::stable_sort(all.begin(), all.end(), [](const Saved& a, const Saved& b) { return a.idleMs < b.idleMs; });
  const uint32_t used = count_;
  all.resize(std::min<size_t>(all.size(), config_.size - std::min(config_.size, used)));
  std::reverse(all.begin(), all.end());
  uint32_t taken = 0;
  for (const Saved& saved : all) {
    const Held held = hold(saved.key, now - std::min(now, saved.idleMs), now);
    if (held.entry == nullptr || !held.isNew) continue;
    ++taken;
    const uint64_t* values = saved.values.data();
    for (const auto& column : reader->columns()) {
      if (column.known) put(*held.entry, *column.known, values, now, awayMs);
      values += valuesOf(column.kind);
    }
  }
  return taken;
}

// Values of a snapshot become those of an entry.
void StickTable::put(TableEntry& entry, TableColumn column, const uint64_t* values, TimeMs now,
                     uint64_t awayMs) const {
  const uint32_t offset = config_.layout.offset(column);
  switch (tableDataKind(column.data)) {
    case TableDataKind::bytes: entry.data()[offset] = values[0]; break;
    case TableDataKind::number:
    case TableDataKind::tag: entry.data()[offset] = static_cast<uint32_t>(values[0]); break;
    case TableDataKind::rate: {
      const uint64_t ageMs = values[2] > UINT64_MAX - awayMs ? UINT64_MAX : values[2] + awayMs;
      entry.setCounter(offset, FrequencyCounter::of(static_cast<uint32_t>(values[0]),
                                                    static_cast<uint32_t>(values[1]), ageMs, now));
    }
  }
}

void StickTable::startExchange() {
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    shard->exchanging = true;
  }
  exchanging_ = true;
}

void StickTable::stopExchange() {
  exchanging_ = false;
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    shard->exchanging = false;
    shard->dropChanges();
  }
}

std::vector<uint8_t> StickTable::takeChanges(size_t maxBytes) {
  TableWriter records;
  uint64_t count = 0;
  const auto columns = this->columns();
  if (clearNoted_.exchange(false)) {
    ++count;
    records.byte(1);
    records.text("");
    for (const TableColumn column : columns)
      if (column.data != TableData::connCurrent) records.signedNumber(0);
  }
  for (const auto& shard : shards_) {
    std::lock_guard lock(shard->mutex);
    while (!shard->changes.empty() && (count == 0 || records.size() < maxBytes)) {
      const std::unique_ptr<TableChanges> changes = std::move(shard->changes.front());
      shard->changes.pop_front();
      if (changes->entry) changes->entry->changes = nullptr;
      if (changes->tellsNothing()) continue;
      ++count;
      records.byte(changes->removed ? 1 : 0);
      records.text(changes->key);
      for (const TableColumn column : columns)
        if (column.data != TableData::connCurrent)
          records.signedNumber(changes->words[config_.layout.offset(column)]);
    }
  }
  if (count == 0) return {};
  TableWriter writer(TableBytesKind::changes, config_);
  writer.number(count);
  writer.append(records.bytes());
  return writer.finish();
}

Result<uint32_t> StickTable::applyChanges(std::span<const uint8_t> bytes, uint64_t ageMs, TimeMs now) {
  now = fromUser(now);
  auto reader = TableReader::open(TableBytesKind::changes, config_, bytes);
  if (!reader) return reader.error();
  const uint64_t count = reader->number();
  std::vector<Told> all;
  for (uint64_t i = 0; i < count && !reader->failed(); ++i) {
    Told told;
    const uint8_t flags = reader->byte();
    told.key = reader->text();
    told.removed = flags == 1;
    const bool forAll = told.removed && told.key.empty();
    if (flags > 1 || (!forAll && !config_.key.accepts(told.key))) return damagedTable();
    for (size_t column = 0; column < reader->columns().size(); ++column)
      told.changes.push_back(reader->signedNumber());
    all.push_back(std::move(told));
  }
  if (reader->failed() || !reader->atEnd()) return damagedTable();

  for (const Told& told : all) {
    if (told.key.empty()) {
      clearAll(now, false);
      continue;
    }
    if (told.removed) removeEntry(told.key, now, false);
    // A mere removal makes no entry.
    const bool any =
        std::any_of(told.changes.begin(), told.changes.end(), [](int64_t change) { return change != 0; });
    const bool tooOld = config_.expireMs != 0 && ageMs >= config_.expireMs;
    if ((told.removed && !any) || tooOld) continue;
    const Held held = hold(told.key, now - std::min(now, ageMs), now);
    if (held.entry == nullptr) continue;
    for (size_t i = 0; i < told.changes.size(); ++i)
      if (const auto& column = reader->columns()[i].known)
        held.shard->addLate(*held.entry, *column, told.changes[i], ageMs, now);
  }
  return static_cast<uint32_t>(all.size());
}

}  // namespace sluice

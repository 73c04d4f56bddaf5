#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "base/clock.h"
#include "rules/table_layout.h"

namespace sluice {

struct TableEntry;

/// What has happened to one key since other machines were told last. Of a number and of bytes the increment, which may be
/// negative, of a rate the events, of a tag its value with `tagSet`.
struct TableChanges {
  static constexpr int64_t tagSet = int64_t{1} << 32;

  TableEntry* entry = nullptr;  // the one that adds to it; null when that is gone
  std::string key{};
  bool removed = false;  // before anything else
  std::vector<int64_t> words{};

  /// Not even that the entry was tracked.
  bool tellsNothing() const {
    return !entry && !removed && std::all_of(words.begin(), words.end(), [](int64_t word) { return word == 0; });
  }
};

/// One key of a table. Behind it, in the same piece of memory, stand the words of the layout and the key.
struct TableEntry {
  /// Where it stands in the order by age.
  enum class Place : uint8_t {
    listed,    // in the list of those tracked last, where nearly all are
    unlisted,  // in the sorted set: it has come late
    aside,     // nowhere, since connections are counted in it while it is among the oldest
  };

  TableEntry* next = nullptr;  // of the same bucket
  TableEntry *older = nullptr, *newer = nullptr;
  TableChanges* changes = nullptr;
  TimeMs touchedMs = 0;
  uint64_t turn = 0;  // tells those of the same millisecond apart
  uint32_t hash = 0;
  uint32_t references = 0;
  Place place = Place::listed;
  uint8_t keySize = 0;
  uint16_t words = 0;

  static TableEntry* create(std::string_view key, uint32_t hash, uint32_t words) {
    void* memory = std::calloc(1, sizeof(TableEntry) + words * sizeof(uint64_t) + key.size());
    SLUICE_ASSERT(memory != nullptr);
    auto* entry = new (memory) TableEntry;
    entry->hash = hash;
    entry->keySize = static_cast<uint8_t>(key.size());
    entry->words = static_cast<uint16_t>(words);
    std::memcpy(entry->data() + words, key.data(), key.size());
    return entry;
  }
  static void destroy(TableEntry* entry) { std::free(entry); }

  uint64_t* data() { return reinterpret_cast<uint64_t*>(this + 1); }
  const uint64_t* data() const { return reinterpret_cast<const uint64_t*>(this + 1); }
  std::string_view key() const { return {reinterpret_cast<const char*>(data() + words), keySize}; }
  bool olderThan(const TableEntry& other) const {
    return touchedMs != other.touchedMs ? touchedMs < other.touchedMs : turn < other.turn;
  }

  FrequencyCounter counter(uint32_t offset) const {
    FrequencyCounter counter;
    static_assert(sizeof counter == 2 * sizeof(uint64_t));
    std::memcpy(static_cast<void*>(&counter), data() + offset, sizeof counter);
    return counter;
  }
  void setCounter(uint32_t offset, const FrequencyCounter& counter) {
    std::memcpy(data() + offset, &counter, sizeof counter);
  }
};
static_assert(sizeof(TableEntry) % alignof(uint64_t) == 0);

}  // namespace sluice

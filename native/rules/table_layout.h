#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "rules/frequency_counter.h"

namespace sluice {

/// What an entry of a stick table can count, by HAProxy's names (HP-58). The numbers stand in snapshots and in what
/// machines tell each other: new ones go to the end.
#define SLUICE_TABLE_DATA(X)                                     \
  X(connCount, "conn_cnt", number)   /* times tracked */         \
  X(connCurrent, "conn_cur", number) /* tracked right now */     \
  X(connRate, "conn_rate", rate)                                 \
  X(sessCount, "sess_cnt", number)                               \
  X(sessRate, "sess_rate", rate)                                 \
  X(bytesInCount, "bytes_in_cnt", bytes)                         \
  X(bytesInRate, "bytes_in_rate", rate)                          \
  X(bytesOutCount, "bytes_out_cnt", bytes)                       \
  X(bytesOutRate, "bytes_out_rate", rate)                        \
  X(glitchCount, "glitch_cnt", number)                           \
  X(glitchRate, "glitch_rate", rate)                             \
  X(gpc, "gpc", number) /* general purpose counters, an array */ \
  X(gpcRate, "gpc_rate", rate)                                   \
  X(gpt, "gpt", tag) /* general purpose tags, an array */

enum class TableData : uint8_t {
#define X(name, text, kind) name,
  SLUICE_TABLE_DATA(X)
#undef X
};

enum class TableDataKind : uint8_t {
  number,  // 32 bits, wraps
  bytes,   // 64 bits: traffic passes 4 GiB within minutes
  rate,    // FrequencyCounter
  tag,     // 32 bits, set and not counted
};

constexpr size_t tableDataCount = 14;
constexpr uint32_t maxTableArray = 100;

std::string_view tableDataName(TableData data);
TableDataKind tableDataKind(TableData data);

/// Which counter of an entry: `index` is 0 but for gpc, gpcRate and gpt.
struct TableColumn {
  TableData data = TableData::connCount;
  uint8_t index = 0;
};

/// What the entries of a table hold, and where: an array of 64-bit words, of which a rate takes two.
class TableLayout {
 public:
  /// How many of `data` there are, 0 to maxTableArray, and the period of a rate in milliseconds, 1 to
  /// FrequencyCounter::maxPeriodMs.
  void store(TableData data, uint32_t count, uint32_t periodMs);

  uint32_t count(TableData data) const { return stored_[static_cast<size_t>(data)].count; }
  uint32_t periodMs(TableData data) const { return stored_[static_cast<size_t>(data)].periodMs; }
  bool has(TableColumn column) const { return column.index < count(column.data); }
  /// Where the column begins, which the layout has.
  uint32_t offset(TableColumn column) const {
    return stored_[static_cast<size_t>(column.data)].offset + wordsOf(column.data) * column.index;
  }
  uint32_t words() const { return words_; }

 private:
  struct Stored {
    uint32_t count = 0, periodMs = 0, offset = 0;
  };
  std::array<Stored, tableDataCount> stored_{};
  // conn_cur is how many hold the entry, and needs no place of its own.
  static uint32_t wordsOf(TableData data) {
    if (data == TableData::connCurrent) return 0;
    return tableDataKind(data) == TableDataKind::rate ? 2 : 1;
  }

  uint32_t words_ = 0;
};

}  // namespace sluice

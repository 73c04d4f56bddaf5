#include "rules/table_layout.h"

#include "base/assert.h"

namespace sluice {

namespace {

struct DataRow {
  std::string_view name;
  TableDataKind kind;
};
constexpr DataRow rows[] = {
#define X(name, text, kind) {text, TableDataKind::kind},
    SLUICE_TABLE_DATA(X)
#undef X
};
static_assert(std::size(rows) == tableDataCount);

}  // namespace

std::string_view tableDataName(TableData data) { return rows[static_cast<size_t>(data)].name; }
TableDataKind tableDataKind(TableData data) { return rows[static_cast<size_t>(data)].kind; }

void TableLayout::store(TableData data, uint32_t count, uint32_t periodMs) {
  const bool isRate = tableDataKind(data) == TableDataKind::rate;
  SLUICE_ASSERT(count <= maxTableArray);
  SLUICE_ASSERT(!isRate || count == 0 || (periodMs > 0 && periodMs <= FrequencyCounter::maxPeriodMs));
  stored_[static_cast<size_t>(data)] = {count, isRate ? periodMs : 0, 0};
  words_ = 0;
  for (size_t i = 0; i < tableDataCount; ++i) {
    stored_[i].offset = words_;
    words_ += stored_[i].count * wordsOf(static_cast<TableData>(i));
  }
}

}  // namespace sluice

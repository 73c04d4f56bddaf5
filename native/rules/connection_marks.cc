#include "rules/connection_marks.h"

#include <algorithm>

#include "base/assert.h"

namespace sluice {

namespace {

bool storesBytes(const TableLayout& layout) {
  constexpr TableData all[] = {TableData::bytesInCount, TableData::bytesInRate, TableData::bytesOutCount,
                               TableData::bytesOutRate};
  return std::any_of(std::begin(all), std::end(all), [&layout](TableData data) { return layout.count(data) > 0; });
}

void countSessionIn(TrackedEntry& entry, TimeMs now) {
  const std::pair<TableColumn, uint64_t> amounts[] = {{{TableData::sessCount}, 1}, {{TableData::sessRate}, 1}};
  entry.add(amounts, now);
}

}  // namespace

void ConnectionMarks::addBytes(uint64_t in, uint64_t out, TimeMs now) {
  const std::pair<TableColumn, uint64_t> amounts[] = {
      {{TableData::bytesInCount}, in},
      {{TableData::bytesInRate}, in},
      {{TableData::bytesOutCount}, out},
      {{TableData::bytesOutRate}, out},
  };
  for (TrackedEntry& entry : tracked_) entry.add(amounts, now);
}

void ConnectionMarks::countSession(TimeMs now) {
  if (sessionCounted_) return;
  sessionCounted_ = true;
  for (TrackedEntry& entry : tracked_) countSessionIn(entry, now);
}

void ConnectionMarks::countGlitches(uint32_t count, TimeMs now) {
  const std::pair<TableColumn, uint64_t> amounts[] = {{{TableData::glitchCount}, count},
                                                      {{TableData::glitchRate}, count}};
  for (TrackedEntry& entry : tracked_) entry.add(amounts, now);
}

void ConnectionMarks::track(int place, TrackedEntry entry, TimeMs now) {
  SLUICE_ASSERT(!tracked(place));
  if (!entry) return;
  countsBytes_ = countsBytes_ || storesBytes(entry.table()->config().layout);
  if (sessionCounted_) countSessionIn(entry, now);
  tracked(place) = std::move(entry);
}

void ConnectionMarks::tag(std::string_view name) {
  if (!hasTag(name)) tags_.emplace_back(name);
}

bool ConnectionMarks::hasTag(std::string_view name) const {
  return std::find(tags_.begin(), tags_.end(), name) != tags_.end();
}

void ConnectionMarks::set(std::string_view name, std::string_view value) {
  for (auto& [known, text] : variables_) {
    if (known != name) continue;
    text = value;
    return;
  }
  variables_.emplace_back(name, value);
}

const std::string* ConnectionMarks::variable(std::string_view name) const {
  for (const auto& [known, text] : variables_)
    if (known == name) return &text;
  return nullptr;
}

}  // namespace sluice

#pragma once

#include <string_view>

#include "rules/stick_table.h"
#include "support/test.h"

namespace sluice::test {

inline constexpr TableColumn connCount{TableData::connCount}, connCurrent{TableData::connCurrent},
    connRate{TableData::connRate}, sessCount{TableData::sessCount}, sessRate{TableData::sessRate},
    bytesIn{TableData::bytesInCount}, bytesInRate{TableData::bytesInRate}, bytesOut{TableData::bytesOutCount},
    bytesOutRate{TableData::bytesOutRate}, glitchCount{TableData::glitchCount}, glitchRate{TableData::glitchRate},
    gpc0{TableData::gpc, 0}, gpc1{TableData::gpc, 1}, gpcRate0{TableData::gpcRate, 0}, gpt0{TableData::gpt, 0};

/// A table of strings that holds one of everything, and three of what are arrays; periods are of a second.
inline TableConfig everything(uint32_t size, uint64_t expireMs = 0) {
  TableConfig config;
  config.key.type = TableKeyType::string;
  config.size = size;
  config.expireMs = expireMs;
  for (size_t i = 0; i < tableDataCount; ++i) {
    const auto data = static_cast<TableData>(i);
    const bool isArray = data == TableData::gpc || data == TableData::gpcRate || data == TableData::gpt;
    config.layout.store(data, isArray ? 3 : 1, 1000);
  }
  return config;
}

inline TableKey key(std::string_view text) { return TableKey(text); }

}  // namespace sluice::test

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "rules/stick_table.h"

namespace sluice {

/// Bytes of tables, for files and for other machines. Numbers are of 7 bits per byte, the low ones first (LEB128).
///
///   magic "SLTS" (snapshot) or "SLTC" (changes) · version · key: type, IPv4 bits, IPv6 bits, length
///   kinds of data: how many; each: number of TableData, count, period
///   snapshot: time of day in ms, length and bytes of the caller's note        changes: –
///   records: how many, then each
///   checksum over all before: FNV-1a of 64 bits, 8 bytes, the low ones first
///
///   record of a snapshot: length and bytes of the key · idle ms · a value per column; of a rate: current, previous, age
///   record of changes: 1 if removed before · length and bytes of the key · an increment per column, zigzag
///
/// conn_cur is in neither: it is about connections of this process.
constexpr uint8_t tableFormatVersion = 1;

/// The bytes are not such a table, or not whole.
inline Error damagedTable() { return {ErrorCode::invalidArgument, 0, ""}; }

enum class TableBytesKind : uint8_t { snapshot, changes };

class TableWriter {
 public:
  TableWriter(TableBytesKind kind, const TableConfig& config);

  void byte(uint8_t value) { bytes_.push_back(value); }
  void number(uint64_t value);
  void signedNumber(int64_t value);
  void text(std::string_view bytes);
  size_t size() const { return bytes_.size(); }
  /// Appends another writer's bytes, e.g. records that were counted first.
  void append(const std::vector<uint8_t>& bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  /// Adds the checksum. The last call.
  std::vector<uint8_t> finish();

  /// A writer without a header, for records.
  TableWriter() = default;
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

/// Reads what TableWriter wrote. Whatever is wrong is remembered: the values are 0 then, and failed() tells in the end.
class TableReader {
 public:
  /// Checks the checksum and reads the header. Errors as of StickTable::restore().
  static Result<TableReader> open(TableBytesKind kind, const TableConfig& config, std::span<const uint8_t> bytes);

  uint8_t byte();
  uint64_t number();
  int64_t signedNumber();
  std::string_view text();

  bool failed() const { return failed_; }
  bool atEnd() const { return at_ == bytes_.size(); }
  size_t left() const { return bytes_.size() - at_; }

  /// A column of the writer; `known` where this table has it, too, with the same period.
  struct Column {
    TableDataKind kind;
    std::optional<TableColumn> known;
  };
  const std::vector<Column>& columns() const { return columns_; }

 private:
  explicit TableReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  Result<void> readHeader(const TableConfig& config);

  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  bool failed_ = false;
  std::vector<Column> columns_;
};

}  // namespace sluice

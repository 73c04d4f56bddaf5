#include "rules/table_codec.h"

#include <cstring>

namespace sluice {

namespace {

constexpr size_t magicBytes = 4, checksumBytes = 8;

const char* magicOf(TableBytesKind kind) { return kind == TableBytesKind::snapshot ? "SLTS" : "SLTC"; }

uint64_t checksum(std::span<const uint8_t> bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

Error otherKind() { return {ErrorCode::notSupported, 0, ""}; }

}  // namespace

TableWriter::TableWriter(TableBytesKind kind, const TableConfig& config) {
  const char* magic = magicOf(kind);
  bytes_.insert(bytes_.end(), magic, magic + magicBytes);
  byte(tableFormatVersion);
  byte(static_cast<uint8_t>(config.key.type));
  byte(config.key.ipv4Bits);
  byte(config.key.ipv6Bits);
  byte(config.key.length);
  uint8_t kinds = 0;
  TableWriter list;
  for (size_t i = 0; i < tableDataCount; ++i) {
    const auto data = static_cast<TableData>(i);
    if (config.layout.count(data) == 0 || data == TableData::connCurrent) continue;
    ++kinds;
    list.byte(static_cast<uint8_t>(data));
    list.number(config.layout.count(data));
    list.number(config.layout.periodMs(data));
  }
  byte(kinds);
  append(list.bytes());
}

void TableWriter::number(uint64_t value) {
  for (; value >= 0x80; value >>= 7) byte(static_cast<uint8_t>(value | 0x80));
  byte(static_cast<uint8_t>(value));
}

void TableWriter::signedNumber(int64_t value) {
  number(static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63));
}

void TableWriter::text(std::string_view bytes) {
  number(bytes.size());
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

std::vector<uint8_t> TableWriter::finish() {
  uint64_t sum = checksum(bytes_);
  for (size_t i = 0; i < checksumBytes; ++i, sum >>= 8) byte(static_cast<uint8_t>(sum));
  return std::move(bytes_);
}

Result<TableReader> TableReader::open(TableBytesKind kind, const TableConfig& config,
                                      std::span<const uint8_t> bytes) {
  if (bytes.size() < magicBytes + 1 + checksumBytes) return damagedTable();
  if (std::memcmp(bytes.data(), magicOf(kind), magicBytes) != 0) return damagedTable();
  const auto body = bytes.first(bytes.size() - checksumBytes);
  uint64_t sum = 0;
  for (size_t i = checksumBytes; i-- > 0;) sum = sum << 8 | bytes[body.size() + i];
  if (sum != checksum(body)) return damagedTable();
  if (body[magicBytes] != tableFormatVersion) return otherKind();
  TableReader reader(body.subspan(magicBytes + 1));
  if (const auto read = reader.readHeader(config); !read) return read.error();
  return reader;
}

Result<void> TableReader::readHeader(const TableConfig& config) {
  TableKeyShape key;
  key.type = static_cast<TableKeyType>(byte());
  key.ipv4Bits = byte();
  key.ipv6Bits = byte();
  key.length = byte();
  for (int kinds = byte(); kinds > 0 && !failed_; --kinds) {
    const uint8_t data = byte();
    const uint64_t count = number(), periodMs = number();
    if (data >= tableDataCount || count > maxTableArray) return damagedTable();
    const auto known = static_cast<TableData>(data);
    const bool samePeriod = config.layout.periodMs(known) == periodMs;
    for (uint8_t index = 0; index < count; ++index) {
      const TableColumn column{known, index};
      const bool taken = config.layout.has(column) && samePeriod;
      columns_.push_back({tableDataKind(known), taken ? std::optional(column) : std::nullopt});
    }
  }
  if (failed_) return damagedTable();
  // What decides about the bytes of a key must agree; the rest is left at its default by tables that do not need it.
  if (key != config.key) return otherKind();
  return {};
}

uint8_t TableReader::byte() {
  if (failed_ || at_ == bytes_.size()) {
    failed_ = true;
    return 0;
  }
  return bytes_[at_++];
}

uint64_t TableReader::number() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const uint8_t next = byte();
    value |= static_cast<uint64_t>(next & 0x7f) << shift;
    if ((next & 0x80) == 0) {
      // The tenth byte has room for one bit.
      if (shift == 63 && next > 1) failed_ = true;
      return failed_ ? 0 : value;
    }
  }
  failed_ = true;
  return 0;
}

int64_t TableReader::signedNumber() {
  const uint64_t value = number();
  return static_cast<int64_t>(value >> 1 ^ (uint64_t{0} - (value & 1)));
}

std::string_view TableReader::text() {
  const uint64_t size = number();
  if (failed_ || size > left()) {
    failed_ = true;
    return {};
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + at_), size);
  at_ += size;
  return text;
}

}  // namespace sluice

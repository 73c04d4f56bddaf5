#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/address.h"

namespace sluice {

/// A key in the form in which a table stores it: bytes, equal exactly when the keys are.
class TableKey {
 public:
  static constexpr size_t maxBytes = 255;

  TableKey() = default;
  explicit TableKey(std::string_view bytes) { assign(bytes.data(), bytes.size()); }

  void assign(const void* data, size_t size) {
    size_ = static_cast<uint8_t>(size < maxBytes ? size : maxBytes);
    std::memcpy(bytes_, data, size_);
  }
  std::string_view view() const { return {bytes_, size_}; }
  char* data() { return bytes_; }
  size_t size() const { return size_; }

 private:
  uint8_t size_ = 0;
  char bytes_[maxBytes];
};

enum class TableKeyType : uint8_t {
  ip,       // IPv4 or IPv6; IPv4-mapped is IPv4
  ipv4,     // IPv4 alone
  ipv6,     // IPv6; IPv4 is mapped
  prefix,   // as ip, cut to the leading bits
  integer,  // 32 bits
  string,   // cut to `length` bytes
  binary,   // padded with zeros or cut to `length` bytes
};

/// What the keys of a table are, and how values become keys (HP-57). Each function answers whether the value can be one.
struct TableKeyShape {
  TableKeyType type = TableKeyType::ip;
  uint8_t ipv4Bits = 32, ipv6Bits = 128;  // prefix
  uint8_t length = 32;                    // string, binary

  /// For integer tables there is no key of an address; for string ones it is the text.
  bool ofAddress(const SocketAddress& address, TableKey& key) const;
  /// From what stands in a message or was written by hand: text for string and binary, a number for integer, an address
  /// or, for prefix, also a network's for the rest.
  bool ofText(std::string_view text, TableKey& key) const;
  bool ofBytes(std::span<const uint8_t> bytes, TableKey& key) const;
  bool ofNumber(uint32_t number, TableKey& key) const;
  /// Whether these bytes can be a key in stored form; for what comes from files and other machines.
  bool accepts(std::string_view stored) const;
  /// For people, and back by ofText(): an address, a network, a number; the bytes themselves for string and binary.
  std::string text(std::string_view stored) const;

  bool operator==(const TableKeyShape&) const = default;
};

}  // namespace sluice

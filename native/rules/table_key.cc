#include "rules/table_key.h"

#include <algorithm>
#include <charconv>

#include "rules/network.h"

namespace sluice {

namespace {

void putBigEndian(uint64_t value, int bytes, char* out) {
  for (int i = bytes - 1; i >= 0; --i, value >>= 8) out[i] = static_cast<char>(value);
}

uint64_t getBigEndian(const char* bytes, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

void assignIp(const IpBits& ip, TableKey& key) {
  char bytes[16];
  putBigEndian(ip.high, 8, bytes);
  putBigEndian(ip.low, 8, bytes + 8);
  key.assign(bytes, ip.isIpv4 ? 4 : 16);
}

IpBits ipOf(std::string_view stored) {
  if (stored.size() == 4) return {getBigEndian(stored.data(), 4) << 32, 0, true};
  return {getBigEndian(stored.data(), 8), getBigEndian(stored.data() + 8, 8), false};
}

// An IPv4 address as IPv6 writes it.
IpBits mapped(const IpBits& ip) { return {0, 0xffffull << 32 | ip.high >> 32, false}; }

bool ofIp(const TableKeyShape& shape, const IpBits& ip, TableKey& key) {
  switch (shape.type) {
    case TableKeyType::ip: assignIp(ip, key); return true;
    case TableKeyType::ipv4:
      if (!ip.isIpv4) return false;
      assignIp(ip, key);
      return true;
    case TableKeyType::ipv6: assignIp(ip.isIpv4 ? mapped(ip) : ip, key); return true;
    case TableKeyType::prefix: assignIp(ip.prefix(ip.isIpv4 ? shape.ipv4Bits : shape.ipv6Bits), key); return true;
    case TableKeyType::integer: return false;
    case TableKeyType::string: return shape.ofText(ip.text(), key);
    case TableKeyType::binary: {
      assignIp(ip, key);
      const TableKey bytes = key;
      return shape.ofBytes({reinterpret_cast<const uint8_t*>(bytes.view().data()), bytes.size()}, key);
    }
  }
  return false;
}

bool ofNetworkText(const TableKeyShape& shape, std::string_view text, TableKey& key) {
  IpNetwork network;
  if (parseNetwork(text, network) != NetworkTextError::none) return false;
  const int bits = network.address.isIpv4 ? shape.ipv4Bits : shape.ipv6Bits;
  const bool isAddress = text.find('/') == std::string_view::npos;
  return (isAddress || network.bits == bits) && ofIp(shape, network.address, key);
}

}  // namespace

bool TableKeyShape::ofAddress(const SocketAddress& address, TableKey& key) const {
  if (const auto ip = IpBits::of(address)) return ofIp(*this, *ip, key);
  return type == TableKeyType::string && ofText(address.host(), key);
}

bool TableKeyShape::ofText(std::string_view text, TableKey& key) const {
  switch (type) {
    case TableKeyType::prefix: return ofNetworkText(*this, text, key);
    case TableKeyType::integer: {
      uint32_t number = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      return error == std::errc() && end == text.data() + text.size() && ofNumber(number, key);
    }
    case TableKeyType::string:
      if (text.empty()) return false;
      key.assign(text.data(), std::min<size_t>(text.size(), length));
      return true;
    case TableKeyType::binary: return ofBytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, key);
    default: {
      const auto ip = parseIp(text);
      return ip && ofIp(*this, *ip, key);
    }
  }
}

bool TableKeyShape::ofBytes(std::span<const uint8_t> bytes, TableKey& key) const {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (type == TableKeyType::string) return ofText(text, key);
  if (type != TableKeyType::binary) return false;
  char padded[TableKey::maxBytes] = {};
  std::copy_n(text.begin(), std::min<size_t>(text.size(), length), padded);
  key.assign(padded, length);
  return true;
}

bool TableKeyShape::ofNumber(uint32_t number, TableKey& key) const {
  if (type == TableKeyType::string) return ofText(std::to_string(number), key);
  char bytes[4];
  putBigEndian(number, 4, bytes);
  if (type == TableKeyType::binary) return ofBytes({reinterpret_cast<const uint8_t*>(bytes), 4}, key);
  if (type != TableKeyType::integer) return false;
  key.assign(bytes, 4);
  return true;
}

bool TableKeyShape::accepts(std::string_view stored) const {
  switch (type) {
    case TableKeyType::ipv4:
    case TableKeyType::integer: return stored.size() == 4;
    case TableKeyType::ipv6: return stored.size() == 16;
    case TableKeyType::string: return !stored.empty() && stored.size() <= length;
    case TableKeyType::binary: return stored.size() == length;
    case TableKeyType::ip:
    case TableKeyType::prefix: {
      if (stored.size() != 4 && stored.size() != 16) return false;
      const IpBits ip = ipOf(stored);
      if (!ip.isIpv4 && ip == mapped({ip.low << 32, 0, true})) return false;
      return type == TableKeyType::ip || ip.prefix(ip.isIpv4 ? ipv4Bits : ipv6Bits) == ip;
    }
  }
  return false;
}

std::string TableKeyShape::text(std::string_view stored) const {
  switch (type) {
    case TableKeyType::string:
    case TableKeyType::binary: return std::string(stored);
    case TableKeyType::integer: return std::to_string(getBigEndian(stored.data(), 4));
    case TableKeyType::prefix: {
      const IpBits ip = ipOf(stored);
      return IpNetwork{ip, ip.isIpv4 ? ipv4Bits : ipv6Bits}.text();
    }
    default: return ipOf(stored).text();
  }
}

}  // namespace sluice

#include "rules/network.h"

#include <arpa/inet.h>

#include <cstring>

namespace sluice {

namespace {

constexpr uint64_t mappedPrefix = 0xffffull << 32;

uint64_t readBigEndian(const uint8_t* bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | bytes[i];
  return value;
}

void writeBigEndian(uint64_t value, uint8_t* bytes) {
  for (int i = 7; i >= 0; --i, value >>= 8) bytes[i] = static_cast<uint8_t>(value);
}

// The leading `bits` of 64.
uint64_t mask(int bits) { return bits <= 0 ? 0 : bits >= 64 ? ~0ull : ~0ull << (64 - bits); }

// One to three digits without leading zeros; -1 for anything else.
int parseBits(std::string_view text) {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text[0] == '0')) return -1;
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

}  // namespace

IpBits IpBits::ofIpv4(const in_addr& address) {
  return {static_cast<uint64_t>(ntohl(address.s_addr)) << 32, 0, true};
}

IpBits IpBits::ofIpv6(const in6_addr& address) {
  const uint64_t high = readBigEndian(address.s6_addr), low = readBigEndian(address.s6_addr + 8);
  if (high == 0 && low >> 32 << 32 == mappedPrefix) return {low << 32, 0, true};
  return {high, low, false};
}

std::optional<IpBits> IpBits::of(const SocketAddress& address) {
  if (address.family() == AF_INET) return ofIpv4(reinterpret_cast<const sockaddr_in*>(address.data())->sin_addr);
  if (address.family() == AF_INET6) return ofIpv6(reinterpret_cast<const sockaddr_in6*>(address.data())->sin6_addr);
  return std::nullopt;
}

uint32_t IpBits::chunk(int offset) const {
  const uint64_t from = offset == 0   ? high
                        : offset < 64 ? high << offset | low >> (64 - offset)
                                      : (offset < 128 ? low << (offset - 64) : 0);
  return static_cast<uint32_t>(from >> 58);
}

IpBits IpBits::prefix(int bits) const { return {high & mask(bits), low & mask(bits - 64), isIpv4}; }

std::string IpBits::text() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (isIpv4) {
    const in_addr v4{htonl(static_cast<uint32_t>(high >> 32))};
    inet_ntop(AF_INET, &v4, text, sizeof text);
  } else {
    in6_addr v6;
    writeBigEndian(high, v6.s6_addr);
    writeBigEndian(low, v6.s6_addr + 8);
    inet_ntop(AF_INET6, &v6, text, sizeof text);
  }
  return text;
}

std::string IpNetwork::text() const { return address.text() + '/' + std::to_string(bits); }

std::optional<IpBits> parseIp(std::string_view text) {
  char literal[INET6_ADDRSTRLEN];
  // inet_pton would stop at a NUL and accept whatever follows it.
  if (text.size() >= sizeof literal || text.find('\0') != std::string_view::npos) return std::nullopt;
  std::memcpy(literal, text.data(), text.size());
  literal[text.size()] = '\0';
  in_addr v4;
  if (inet_pton(AF_INET, literal, &v4) == 1) return IpBits::ofIpv4(v4);
  in6_addr v6;
  if (inet_pton(AF_INET6, literal, &v6) == 1) return IpBits::ofIpv6(v6);
  return std::nullopt;
}

NetworkTextError parseNetwork(std::string_view text, IpNetwork& network) {
  const size_t slash = text.find('/');
  const std::string_view literal = text.substr(0, slash);
  const auto address = parseIp(literal);
  if (!address) return NetworkTextError::address;
  int bits = address->width();
  if (slash != std::string_view::npos) {
    bits = parseBits(text.substr(slash + 1));
    // A mapped network counts the 96 bits before its IPv4 address.
    const bool mapped = address->isIpv4 && literal.find(':') != std::string_view::npos;
    if (bits >= 0 && mapped) bits -= 96;
    if (bits < 0 || bits > address->width()) return NetworkTextError::bits;
  }
  network = {address->prefix(bits), static_cast<uint8_t>(bits)};
  return network.address == *address ? NetworkTextError::none : NetworkTextError::hostBits;
}

}  // namespace sluice

#include "handshake/crc32c.h"

#include <array>

namespace sluice {

namespace {

constexpr uint32_t reflectedPolynomial = 0x82f63b78;

constexpr std::array<uint32_t, 256> makeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t rest = byte;
    for (int bit = 0; bit < 8; bit++) rest = (rest >> 1) ^ ((rest & 1) != 0 ? reflectedPolynomial : 0);
    table[byte] = rest;
  }
  return table;
}

constexpr std::array<uint32_t, 256> table = makeTable();

}  // namespace

uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t before) {
  uint32_t rest = ~before;
  for (const uint8_t byte : bytes) rest = (rest >> 8) ^ table[(rest ^ byte) & 0xff];
  return ~rest;
}

}  // namespace sluice

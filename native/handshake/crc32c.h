#pragma once

#include <cstdint>
#include <span>

namespace sluice {

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4): reflected polynomial 0x82F63B78, initial value and final inversion all
/// ones. "123456789" makes 0xE3069283. Goes on from `before`, the checksum of what came earlier.
uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t before = 0);

}  // namespace sluice

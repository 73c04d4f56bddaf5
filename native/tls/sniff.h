#pragma once

#include <cstdint>
#include <span>

namespace sluice {

/// What a client's first bytes look like (SV-02).
enum class TlsSniff : uint8_t {
  needMore,   // fits TLS so far
  tls,        // a ClientHello of SSL 3 or later: 22, 3
  sslV2,      // a ClientHello of SSL 2: nobody should serve it
  plaintext,  // anything else
};

/// Looks without consuming; decides by the first three bytes at most.
inline TlsSniff sniffTls(std::span<const uint8_t> bytes) {
  constexpr uint8_t handshakeRecord = 22, majorVersion = 3, longHeader = 0x80, sslV2Hello = 1;
  if (bytes.empty()) return TlsSniff::needMore;
  if (bytes[0] == handshakeRecord) {
    if (bytes.size() < 2) return TlsSniff::needMore;
    return bytes[1] == majorVersion ? TlsSniff::tls : TlsSniff::plaintext;
  }
  if ((bytes[0] & longHeader) == 0) return TlsSniff::plaintext;
  if (bytes.size() < 3) return TlsSniff::needMore;
  return bytes[2] == sslV2Hello ? TlsSniff::sslV2 : TlsSniff::plaintext;
}

}  // namespace sluice

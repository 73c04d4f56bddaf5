#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/address.h"
#include "base/clock.h"

namespace sluice {

/// When rules are asked (HP-56, D12).
enum class RuleStage : uint8_t {
  socket,   // right after accept, before anything is read: the socket's own addresses, nothing claimed by anybody
  session,  // all handshakes are done: what a PROXY header claims, what TLS found out
  content,  // the first bytes of the application, again for all that comes until there is a verdict
};
constexpr int ruleStages = 3;

/// What the peer showed for itself. Empty members where there is no certificate; fill in what RuleList::needs() asks for.
struct ClientCertificateFacts {
  bool presented = false;
  bool verified = false;  // by the policy's authorities; a resumed session counts by what it was then
  std::string_view commonName{};
  std::span<const uint8_t> fingerprint{};  // 32 bytes: SHA-256 of the DER form
};

/// All that rules can ask of a connection. Everything is lent for the length of one call; null and empty mean "none".
struct RuleFacts {
  const SocketAddress* peer = nullptr;                // of the socket
  const SocketAddress* local = nullptr;               // of the socket
  const SocketAddress* claimedSource = nullptr;       // of a PROXY or NetScaler header with addresses
  const SocketAddress* claimedDestination = nullptr;  // the same
  uint8_t proxyVersion = 0;                           // 1 or 2 where there was a PROXY header
  std::span<const uint8_t> tlvs{};                    // its TLVs as they came: type, length in two bytes, value, …
  bool tls = false;
  std::string_view serverName{}, alpn{};
  ClientCertificateFacts certificate{};
  std::span<const uint8_t> content{};  // what has come so far, from the first byte on
  bool contentComplete = false;  // no more will be waited for: time is up, the buffer is full, the peer has ended
  TimeMs nowMs = 0;

  /// Who it is as far as known: whom the header names, else the peer. At the socket stage nothing is claimed yet.
  const SocketAddress* source() const { return claimedSource ? claimedSource : peer; }
  const SocketAddress* destination() const { return claimedDestination ? claimedDestination : local; }
};

}  // namespace sluice

#include "handshake/proxy_writer.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "handshake/byte_order.h"
#include "handshake/crc32c.h"
#include "handshake/proxy_header.h"

namespace sluice {

namespace {

using Bytes = std::vector<uint8_t>;

std::span<const uint8_t> bytesOf(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void write32(std::span<uint8_t> to, uint32_t value) {
  for (int i = 0; i < 4; i++) to[static_cast<size_t>(i)] = static_cast<uint8_t>(value >> (24 - 8 * i));
}

void appendTlv(Bytes& to, uint8_t type, std::span<const uint8_t> value) {
  to.push_back(type);
  append16(to, value.size());
  append(to, value);
}

void appendTlvIfAny(Bytes& to, uint8_t type, std::string_view value) {
  if (!value.empty()) appendTlv(to, type, bytesOf(value));
}

Bytes sslValue(const ProxySendOptions& options, const ProxyFacts& facts) {
  Bytes value(5, 0);
  if (!facts.ssl) return value;
  const ProxyFacts::Ssl& ssl = *facts.ssl;
  value[0] = ssl.client;
  write32(std::span(value).subspan(1), ssl.verify);
  appendTlvIfAny(value, proxy_tlv::sslVersion, ssl.version);
  if (options.sslCommonName) appendTlvIfAny(value, proxy_tlv::sslCommonName, ssl.commonName);
  if (options.sslCipher) appendTlvIfAny(value, proxy_tlv::sslCipher, ssl.cipher);
  if (options.sslCertificateSignature) {
    appendTlvIfAny(value, proxy_tlv::sslCertificateSignature, ssl.certificateSignature);
  }
  if (options.sslKeyAlgorithm) appendTlvIfAny(value, proxy_tlv::sslKeyAlgorithm, ssl.keyAlgorithm);
  if (options.sslGroup) appendTlvIfAny(value, proxy_tlv::sslGroup, ssl.group);
  if (options.sslSignatureScheme) appendTlvIfAny(value, proxy_tlv::sslSignatureScheme, ssl.signatureScheme);
  if (options.sslCertificate && !ssl.certificate.empty()) {
    appendTlv(value, proxy_tlv::sslCertificate, ssl.certificate);
  }
  return value;
}

bool isIp(const SocketAddress& address) { return address.family() == AF_INET || address.family() == AF_INET6; }

// Literals without the scope that host() has: it means something on our machine only.
std::string_view literal(const SocketAddress& address, std::array<char, INET6_ADDRSTRLEN>& room) {
  inet_ntop(address.family(), hostBytes(address).data(), room.data(), room.size());
  return room.data();
}

Bytes writeLine(const ProxySendOptions& options, const ProxyFacts& facts) {
  std::string line = "PROXY UNKNOWN";
  if (!options.local && isIp(facts.source) && facts.source.family() == facts.destination.family()) {
    std::array<char, INET6_ADDRSTRLEN> room{};
    line = facts.source.family() == AF_INET ? "PROXY TCP4 " : "PROXY TCP6 ";
    line += literal(facts.source, room);
    line += ' ';
    line += literal(facts.destination, room);
    line += ' ' + std::to_string(facts.source.port()) + ' ' + std::to_string(facts.destination.port());
  }
  line += "\r\n";
  return {line.begin(), line.end()};
}

void appendHostV6(Bytes& to, const SocketAddress& address) {
  constexpr std::array<uint8_t, 12> mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address.family() == AF_INET) append(to, mapped);
  append(to, hostBytes(address));
}

// Command, family, room for the length, and the addresses.
void appendAddresses(Bytes& to, const ProxySendOptions& options, const ProxyFacts& facts) {
  if (options.local || !isIp(facts.source) || !isIp(facts.destination)) {
    append(to, std::array<uint8_t, 4>{0x20, 0x00, 0, 0});
    return;
  }
  if (facts.source.family() == AF_INET && facts.destination.family() == AF_INET) {
    append(to, std::array<uint8_t, 4>{0x21, 0x11, 0, 0});
    append(to, hostBytes(facts.source));
    append(to, hostBytes(facts.destination));
  } else {
    append(to, std::array<uint8_t, 4>{0x21, 0x21, 0, 0});
    appendHostV6(to, facts.source);
    appendHostV6(to, facts.destination);
  }
  append16(to, facts.source.port());
  append16(to, facts.destination.port());
}

}  // namespace

Result<std::vector<uint8_t>> writeProxyHeader(const ProxySendOptions& options, const ProxyFacts& facts) {
  constexpr size_t longestTlv = 65'535;
  const Error tooLong{ErrorCode::invalidArgument, EMSGSIZE, "send"};
  if (options.version == 1) return writeLine(options, facts);
  if (options.authority && facts.authority.size() > proxy_tlv::maxAuthorityBytes) return tooLong;
  if (options.uniqueId && facts.uniqueId.size() > proxy_tlv::maxUniqueIdBytes) return tooLong;

  Bytes header;
  header.reserve(256);
  append(header, bytesOf(proxySignatureV2));
  appendAddresses(header, options, facts);
  for (const ProxySendOptions::CustomTlv& tlv : options.custom) {
    if (tlv.value.size() > longestTlv) return tooLong;
    appendTlv(header, tlv.type, bytesOf(tlv.value));
  }
  size_t crcAt = 0;
  if (options.crc32c) {
    appendTlv(header, proxy_tlv::crc32c, std::array<uint8_t, 4>{});
    crcAt = header.size() - 4;
  }
  if (options.alpn) appendTlvIfAny(header, proxy_tlv::alpn, facts.alpn);
  if (options.authority) appendTlvIfAny(header, proxy_tlv::authority, facts.authority);
  if (options.uniqueId) appendTlvIfAny(header, proxy_tlv::uniqueId, facts.uniqueId);
  if (options.wantsSsl()) {
    const Bytes value = sslValue(options, facts);
    if (value.size() > longestTlv) return tooLong;
    appendTlv(header, proxy_tlv::ssl, value);
  }
  if (options.netns) appendTlvIfAny(header, proxy_tlv::netns, facts.netns);

  if (header.size() > maxProxyHeaderBytes) return tooLong;
  const size_t length = header.size() - 16;
  header[14] = static_cast<uint8_t>(length >> 8);
  header[15] = static_cast<uint8_t>(length);
  if (options.crc32c) write32(std::span(header).subspan(crcAt), crc32c(header));
  return header;
}

}  // namespace sluice

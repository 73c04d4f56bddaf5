#include "handshake/proxy_line.h"

#include <algorithm>
#include <array>

#include "handshake/byte_order.h"

namespace sluice {

namespace {

struct Protocol {
  std::string_view name;
  ProxyFamily family;
  size_t maxBytes;  // of the whole line, CR LF included
};

// The longest lines of the protocol's text: with the longest addresses and ports of five digits.
constexpr std::array<Protocol, 3> protocols = {
    {{"TCP4", ProxyFamily::inet, 56}, {"TCP6", ProxyFamily::inet6, 104}, {"UNKNOWN", ProxyFamily::unspec, 107}}};

ProxyParse needsMore() { return {}; }

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isHexDigit(char c) { return isDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// Decimal, without sign or leading zeros.
std::optional<uint32_t> number(std::string_view text, uint32_t highest) {
  if (text.empty() || text.size() > 5 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint32_t value = 0;
  for (const char digit : text) {
    if (!isDigit(digit)) return std::nullopt;
    value = value * 10 + static_cast<uint32_t>(digit - '0');
  }
  if (value > highest) return std::nullopt;
  return value;
}

// The part before the next separator, which goes away with it; the rest when there is none.
std::string_view takeField(std::string_view& rest, char separator) {
  const size_t end = rest.find(separator);
  const std::string_view field = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return field;
}

std::optional<std::array<uint8_t, 4>> hostV4(std::string_view text) {
  std::array<uint8_t, 4> host{};
  if (std::count(text.begin(), text.end(), '.') != 3) return std::nullopt;
  for (uint8_t& byte : host) {
    const auto part = number(takeField(text, '.'), 255);
    if (!part) return std::nullopt;
    byte = static_cast<uint8_t>(*part);
  }
  return host;
}

std::optional<std::array<uint8_t, 16>> hostV6(std::string_view text) {
  constexpr size_t longest = 39;
  std::array<char, longest + 1> terminated{};
  if (text.size() > longest) return std::nullopt;
  for (const char c : text) {
    if (!isHexDigit(c) && c != ':' && c != '.') return std::nullopt;
  }
  // Libraries differ in what they take for an IPv4 address at the end.
  if (text.find('.') != std::string_view::npos) {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || !hostV4(text.substr(colon + 1))) return std::nullopt;
  }
  std::copy(text.begin(), text.end(), terminated.begin());
  std::array<uint8_t, 16> host{};
  if (inet_pton(AF_INET6, terminated.data(), host.data()) != 1) return std::nullopt;
  return host;
}

std::optional<SocketAddress> address(ProxyFamily family, std::string_view host, uint32_t port) {
  const uint16_t shortPort = static_cast<uint16_t>(port);
  if (family == ProxyFamily::inet) {
    const auto bytes = hostV4(host);
    return bytes ? std::optional(addressV4(*bytes, shortPort)) : std::nullopt;
  }
  const auto bytes = hostV6(host);
  return bytes ? std::optional(addressV6(*bytes, shortPort)) : std::nullopt;
}

// "source destination sourcePort destinationPort". Returns what is wrong, or "".
std::string_view readAddresses(ProxyHeader& header, std::string_view fields) {
  if (std::count(fields.begin(), fields.end(), ' ') != 3)
    return "four fields, with one space between them, are due";
  const std::string_view sourceHost = takeField(fields, ' '), destinationHost = takeField(fields, ' ');
  const auto sourcePort = number(takeField(fields, ' '), 65'535), destinationPort = number(fields, 65'535);
  if (!sourcePort) return "the source port is not a number of 0 to 65535 without leading zeros";
  if (!destinationPort) return "the destination port is not a number of 0 to 65535 without leading zeros";
  const auto source = address(header.family, sourceHost, *sourcePort);
  const auto destination = address(header.family, destinationHost, *destinationPort);
  if (!source) return "the source is no address of the family named";
  if (!destination) return "the destination is no address of the family named";
  header.source = *source;
  header.destination = *destination;
  header.transport = ProxyTransport::stream;
  header.hasAddresses = true;
  return "";
}

}  // namespace

ProxyParse parseProxyLine(std::span<const uint8_t> bytes, const ProxyLimits& limits) {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string_view rest = all.substr(proxySignatureV1.size());
  const size_t wordEnd = std::min(rest.find_first_of(" \r\n"), rest.size());
  const std::string_view word = rest.substr(0, wordEnd);
  const auto protocol = std::find_if(protocols.begin(), protocols.end(), [&](const Protocol& one) {
    return wordEnd < rest.size() ? one.name == word : one.name.starts_with(word);
  });
  if (protocol == protocols.end())
    return failedParse<ProxyParse>(OpeningFailure::prxBadProto, "neither TCP4 nor TCP6 nor UNKNOWN");
  if (wordEnd == rest.size()) return needsMore();

  const size_t most = std::min<size_t>(protocol->maxBytes, limits.maxHeaderBytes);
  const size_t end = all.substr(0, most).find_first_of("\r\n");
  if (end == std::string_view::npos || end + 1 == most) {
    return all.size() < most ? needsMore()
                             : failedParse<ProxyParse>(OpeningFailure::prxBadHdr, "the line is too long");
  }
  if (all[end] == '\n')
    return failedParse<ProxyParse>(OpeningFailure::prxBadHdr, "a line feed without carriage return");
  if (end + 1 == all.size()) return needsMore();
  if (all[end + 1] != '\n')
    return failedParse<ProxyParse>(OpeningFailure::prxBadHdr, "a carriage return without line feed");

  ProxyParse parse;
  parse.header.version = 1;
  parse.header.family = protocol->family;
  // What follows UNKNOWN is not for us to read (D17).
  if (protocol->family != ProxyFamily::unspec) {
    const size_t fieldsAt = proxySignatureV1.size() + wordEnd + 1;
    if (fieldsAt > end) return failedParse<ProxyParse>(OpeningFailure::prxBadHdr, "the addresses are missing");
    const std::string_view wrong = readAddresses(parse.header, all.substr(fieldsAt, end - fieldsAt));
    if (!wrong.empty()) return failedParse<ProxyParse>(OpeningFailure::prxBadHdr, wrong);
  }
  parse.status = ParseStatus::done;
  parse.consumed = end + 2;
  parse.header.raw.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(parse.consumed));
  return parse;
}

}  // namespace sluice

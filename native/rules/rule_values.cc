#include "rules/rule_values.h"

#include <algorithm>

#include "rules/network.h"

namespace sluice {

namespace {

constexpr uint8_t sslTlv = 0x20, firstSslSubtype = 0x21, lastSslSubtype = 0x2f;
constexpr size_t sslFixedBytes = 5;  // client flags and verify result stand before the TLVs within

std::string_view textOf(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

bool has(const std::vector<std::string>& sorted, std::string_view text) {
  return std::binary_search(sorted.begin(), sorted.end(), text, std::less<>());
}

// What the facts say in text or bytes; nothing for addresses and ports.
std::optional<std::string_view> bytesOf(const FactSpec& fact, const RuleFacts& facts,
                                        const ConnectionMarks* marks) {
  const auto some = [](std::string_view text) { return text.empty() ? std::nullopt : std::optional(text); };
  switch (fact.fact) {
    case RuleFact::serverName: return some(facts.serverName);
    case RuleFact::alpn: return some(facts.alpn);
    case RuleFact::commonName: return some(facts.certificate.commonName);
    case RuleFact::fingerprint: return some(textOf(facts.certificate.fingerprint));
    case RuleFact::tlv: return findTlv(facts.tlvs, fact.number);
    case RuleFact::constant: return fact.text;
    case RuleFact::variable: {
      const std::string* value = marks ? marks->variable(fact.text) : nullptr;
      return value ? std::optional<std::string_view>(*value) : std::nullopt;
    }
    default: return std::nullopt;
  }
}

std::string hex(std::string_view bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += digits[static_cast<uint8_t>(c) >> 4];
    text += digits[static_cast<uint8_t>(c) & 15];
  }
  return text;
}

}  // namespace

std::optional<std::string_view> findTlv(std::span<const uint8_t> tlvs, uint8_t type) {
  if (type >= firstSslSubtype && type <= lastSslSubtype) {
    const auto ssl = findTlv(tlvs, sslTlv);
    if (!ssl || ssl->size() < sslFixedBytes) return std::nullopt;
    tlvs = {reinterpret_cast<const uint8_t*>(ssl->data()) + sslFixedBytes, ssl->size() - sslFixedBytes};
  }
  while (tlvs.size() >= 3) {
    const size_t length = static_cast<size_t>(tlvs[1] << 8 | tlvs[2]);
    if (length > tlvs.size() - 3) break;
    if (tlvs[0] == type) return textOf(tlvs.subspan(3, length));
    tlvs = tlvs.subspan(3 + length);
  }
  return std::nullopt;
}

const SocketAddress* addressOf(RuleFact fact, const RuleFacts& facts, const ConnectionMarks* marks) {
  switch (fact) {
    case RuleFact::source: return marks && marks->source ? &*marks->source : facts.source();
    case RuleFact::destination: return marks && marks->destination ? &*marks->destination : facts.destination();
    case RuleFact::peer: return facts.peer;
    case RuleFact::local: return facts.local;
    default: return nullptr;
  }
}

bool keyOf(const FactSpec& fact, const RuleFacts& facts, const ConnectionMarks* marks, const TableKeyShape& shape,
           TableKey& key) {
  if (const SocketAddress* address = addressOf(fact.fact, facts, marks)) return shape.ofAddress(*address, key);
  if (fact.fact == RuleFact::localPort) return facts.local && shape.ofNumber(facts.local->port(), key);
  const auto bytes = bytesOf(fact, facts, marks);
  if (!bytes) return false;
  if (fact.fact == RuleFact::fingerprint && shape.type == TableKeyType::string)
    return shape.ofText(hex(*bytes), key);
  if (fact.fact == RuleFact::serverName) return shape.ofText(lower(*bytes), key);
  return shape.ofText(*bytes, key);
}

std::string textOf(const FactSpec& fact, const RuleFacts& facts, const ConnectionMarks* marks) {
  if (const SocketAddress* address = addressOf(fact.fact, facts, marks)) {
    const auto ip = IpBits::of(*address);
    return ip ? ip->text() : address->host();
  }
  if (fact.fact == RuleFact::localPort) return facts.local ? std::to_string(facts.local->port()) : "";
  const auto bytes = bytesOf(fact, facts, marks).value_or("");
  return fact.fact == RuleFact::fingerprint ? hex(bytes) : std::string(bytes);
}

NamePatterns::NamePatterns(const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    if (pattern.starts_with("*.")) {
      oneLabel_.push_back(lower(pattern.substr(1)));
    } else {
      (pattern.starts_with('.') ? suffixes_ : exact_).push_back(lower(pattern));
    }
  }
  std::sort(exact_.begin(), exact_.end());
  std::sort(oneLabel_.begin(), oneLabel_.end());
}

bool NamePatterns::match(std::string_view given) const {
  if (given.empty()) return false;
  const std::string name = lower(given.ends_with('.') ? given.substr(0, given.size() - 1) : given);
  if (has(exact_, name)) return true;
  const size_t dot = name.find('.');
  // The label that "*" stands for is not empty.
  if (dot != std::string::npos && dot > 0 && has(oneLabel_, std::string_view(name).substr(dot))) return true;
  return std::any_of(suffixes_.begin(), suffixes_.end(), [&name](const std::string& suffix) {
    return name.size() > suffix.size() && name.ends_with(suffix);
  });
}

}  // namespace sluice

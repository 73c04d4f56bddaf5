#include "handshake/netscaler_header.h"

#include "support/bytes.h"
#include "support/test.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr uint32_t magic = 0x1234abcd;

// 192.0.2.1:56324 > 198.51.100.5:443, without checksums.
const Bytes ip4 = hex("4500003c 00010000 40060000 c0000201 c6336405");
const Bytes tcp = hex("dc0401bb 00000001 00000002 50100000 00000000");
const Bytes ip6 = hex("60000000 00140640 20010db8000000000000000000000001 20010db8000000000000000000000002");

Bytes legacy(const Bytes& headers) {
  return hex("1234abcd 000000") + Bytes{static_cast<uint8_t>(headers.size())} + headers;
}

Bytes standard(const Bytes& headers) {
  return hex("1234abcd 000000") + Bytes{static_cast<uint8_t>(headers.size() + 12)} + hex("0001 00") +
         Bytes{static_cast<uint8_t>(headers.size())} + headers;
}

std::string parse(const Bytes& bytes) {
  const Exact exact(bytes);
  const NetscalerParse parse = parseNetscalerHeader(exact.span(), magic);
  CHECK_EQ(parse.consumed != 0, parse.status == ParseStatus::done);
  if (parse.status == ParseStatus::needsMore) return "needsMore";
  if (parse.status == ParseStatus::failed) {
    return std::string(openingReason(parse.failure)) + ": " + std::string(parse.text);
  }
  return parse.source.host() + ' ' + std::to_string(parse.source.port()) + " > " + parse.destination.host() + ' ' +
         std::to_string(parse.destination.port()) + " consumed " + std::to_string(parse.consumed);
}

const std::string told4 = "192.0.2.1 56324 > 198.51.100.5 443 consumed ";
const std::string told6 = "2001:db8::1 56324 > 2001:db8::2 443 consumed ";

struct Sample {
  Bytes bytes;
  std::string told;
};

std::vector<Sample> samples() {
  const Bytes longIp = hex("46000040 00010000 40060000 c0000201 c6336405 01010101");
  const Bytes longTcp = hex("dc0401bb 00000001 00000002 60100000 00000000 01010101");
  return {{legacy(ip4 + tcp), told4 + "48"},        {standard(ip4 + tcp), told4 + "52"},
          {legacy(ip6 + tcp), told6 + "68"},        {standard(ip6 + tcp), told6 + "72"},
          {legacy(longIp + longTcp), told4 + "56"}, {standard(longIp + longTcp), told4 + "60"}};
}

}  // namespace

TEST("both forms say the client's address, and leave what follows alone") {
  for (const Sample& sample : samples()) {
    CHECK_EQ(parse(sample.bytes), sample.told);
    CHECK_EQ(parse(sample.bytes + bytes("GET / HTTP/1.1")), sample.told);
  }
}

TEST("a client-IP header cut at any byte needs more") {
  for (const Sample& sample : samples()) {
    for (size_t cut = 0; cut < sample.bytes.size(); cut++) {
      CHECK_EQ(parse(Bytes(sample.bytes.begin(), sample.bytes.begin() + static_cast<std::ptrdiff_t>(cut))),
               "needsMore");
    }
  }
}

TEST("another magic number is refused at its first wrong byte") {
  for (size_t at = 0; at < 4; at++) {
    Bytes wrong = legacy(ip4 + tcp);
    wrong[at] ^= 0x80;
    CHECK_EQ(parse(wrong), "CIP_BAD_MAGIC: another magic number");
    CHECK_EQ(parse(Bytes(wrong.begin(), wrong.begin() + static_cast<std::ptrdiff_t>(at) + 1)),
             "CIP_BAD_MAGIC: another magic number");
  }
}

TEST("what is no TCP over IPv4 or IPv6 is refused") {
  const auto with = [](Bytes base, size_t at, uint8_t value) {
    base[at] = value;
    return base;
  };
  CHECK_EQ(parse(legacy(with(ip4, 9, 17) + tcp)), "CIP_BAD_PROTO: the IPv4 packet is not one of TCP");
  CHECK_EQ(parse(legacy(with(ip6, 6, 17) + tcp)), "CIP_BAD_PROTO: the IPv6 packet is not one of TCP");
  CHECK_EQ(parse(standard(with(ip4, 0, 0x55) + tcp)), "CIP_BAD_PROTO: neither IPv4 nor IPv6");
  CHECK_EQ(parse(legacy(with(ip4, 0, 0x15) + tcp)), "CIP_BAD_PROTO: neither IPv4 nor IPv6");
  CHECK_EQ(parse(with(standard(ip4 + tcp), 9, 2)), "CIP_BAD_PROTO: the type of the header is not 1");
}

TEST("lengths that do not fit are refused at once, however large") {
  const std::string told = "CIP_BAD_PROTO: the lengths of the IPv4 and TCP headers do not fit";
  const auto withLength = [](uint32_t length) {
    Bytes header = legacy(ip4 + tcp);
    for (int i = 0; i < 4; i++) header[4 + static_cast<size_t>(i)] = static_cast<uint8_t>(length >> (24 - 8 * i));
    return header;
  };
  CHECK_EQ(parse(withLength(0)), told);
  CHECK_EQ(parse(withLength(39)), told);
  CHECK_EQ(parse(withLength(40)), told4 + "48");
  CHECK_EQ(parse(withLength(80)), "needsMore");
  CHECK_EQ(parse(withLength(81)), told);
  CHECK_EQ(parse(withLength(0xffffffff)), told);
  Bytes shortIp = legacy(ip4 + tcp);
  shortIp[8] = 0x44;
  CHECK_EQ(parse(shortIp), told);
  Bytes longIp = legacy(ip4 + tcp);
  longIp[8] = 0x4f;
  CHECK_EQ(parse(longIp), told);
  CHECK_EQ(parse(legacy(ip6)), "CIP_BAD_PROTO: the lengths of the IPv6 and TCP headers do not fit");
}

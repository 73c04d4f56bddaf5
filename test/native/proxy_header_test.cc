#include "handshake/proxy_header.h"

#include <sys/un.h>

#include "handshake/crc32c.h"
#include "support/bytes.h"
#include "support/test.h"

using namespace sluice;
using namespace sluice::test;

namespace {

const std::string signature = "0d0a0d0a000d0a515549540a";

// What a header says, in one line.
std::string tell(const ProxyParse& parse) {
  if (parse.status == ParseStatus::needsMore) return "needsMore";
  if (parse.status == ParseStatus::failed) {
    return std::string(openingReason(parse.failure)) + ": " + std::string(parse.text);
  }
  const ProxyHeader& header = parse.header;
  std::string line = "v" + std::to_string(header.version) + (header.local ? " LOCAL" : " PROXY");
  line += " family " + std::to_string(static_cast<int>(header.family)) + " transport " +
          std::to_string(static_cast<int>(header.transport));
  if (header.source.family() != AF_UNSPEC) {
    line += ' ' + header.source.host() + ' ' + std::to_string(header.source.port());
  }
  if (header.destination.family() != AF_UNSPEC) {
    line += " > " + header.destination.host() + ' ' + std::to_string(header.destination.port());
  }
  if (header.hasAddresses) line += " valid";
  for (const ProxyTlv& tlv : header.tlvs) {
    line += " [" + std::to_string(tlv.type) + ' ' + text(header.value(tlv)) + ']';
  }
  return line + " consumed " + std::to_string(parse.consumed);
}

std::string parse(const Bytes& bytes, const ProxyLimits& limits = {}) {
  const Exact exact(bytes);
  const ProxyParse result = parseProxyHeader(exact.span(), limits);
  CHECK_EQ(result.consumed != 0, result.status == ParseStatus::done);
  CHECK_EQ(result.failure != OpeningFailure::none, result.status == ParseStatus::failed);
  CHECK_EQ(result.text.empty(), result.status != ParseStatus::failed);
  return tell(result);
}

std::string parseLine(std::string_view line) { return parse(bytes(line)); }

// Fixed part, length, and what follows it.
Bytes binary(uint8_t command, uint8_t family, const Bytes& rest, int lengthBytes = -1) {
  const size_t length = lengthBytes < 0 ? rest.size() : static_cast<size_t>(lengthBytes);
  return hex(signature) + Bytes{command, family, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)} +
         rest;
}

Bytes tlv(uint8_t type, const Bytes& value) {
  return Bytes{type, static_cast<uint8_t>(value.size() >> 8), static_cast<uint8_t>(value.size())} + value;
}

const Bytes addresses4 = hex("c0000201 c6336405 dc04 01bb");
const Bytes addresses6 = hex("20010db8000000000000000000000001 20010db8000000000000000000000002 dc04 01bb");
const std::string told4 = " 192.0.2.1 56324 > 198.51.100.5 443";

struct Vector {
  const char* name;
  Bytes bytes;
  std::string told;
};

std::vector<Vector> vectors() {
  const std::string ssl = std::string("\7\0\0\0\0\x21\0\7TLSv1.3\x22\0\7client1", 25);
  return {
      {"TCP4", hex(signature + "2111000c c0000201 c6336405 dc04 01bb"),
       "v2 PROXY family 1 transport 1" + told4 + " valid consumed 28"},
      {"TCP4, CRC32c, authority",
       hex(signature + "21110021 c0000201 c6336405 dc04 01bb 030004e0e040a9 02000b6578616d706c652e636f6d"),
       "v2 PROXY family 1 transport 1" + told4 + " valid [3 \xe0\xe0\x40\xa9] [2 example.com] consumed 49"},
      {"LOCAL", hex(signature + "20000000"), "v2 LOCAL family 0 transport 0 consumed 16"},
      {"LOCAL, NOOP", hex(signature + "20000005 0400020000"),
       std::string("v2 LOCAL family 0 transport 0 [4 \0\0] consumed 21", 48)},
      {"TCP6, SSL",
       hex(signature + "21210040 20010db8000000000000000000000001 20010db8000000000000000000000002 dc04 01bb"
                       "200019 07 00000000 210007 544c5376312e33 220007 636c69656e7431"),
       "v2 PROXY family 2 transport 1 2001:db8::1 56324 > 2001:db8::2 443 valid [32 " + ssl + "] consumed 80"},
      {"TCP4, CRC32c, ALPN, SSL",
       hex(signature + "21110034 c0000201 c6336405 dc04 01bb 030004 1e679713 010002 6832"
                       "200019 07 00000000 210007 544c5376312e33 220007 636c69656e7431"),
       "v2 PROXY family 1 transport 1" + told4 + " valid [3 \x1e\x67\x97\x13] [1 h2] [32 " + ssl + "] consumed 68"},
      {"v1 TCP4", bytes("PROXY TCP4 192.0.2.1 198.51.100.5 56324 443\r\n"),
       "v1 PROXY family 1 transport 1" + told4 + " valid consumed 45"},
      {"v1 longest TCP4", bytes("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
       "v1 PROXY family 1 transport 1 255.255.255.255 65535 > 255.255.255.255 65535 valid consumed 56"},
      {"v1 TCP6", bytes("PROXY TCP6 2001:DB8::1 ::ffff:192.0.2.1 0 1\r\n"),
       "v1 PROXY family 2 transport 1 2001:db8::1 0 > ::ffff:192.0.2.1 1 valid consumed 45"},
      {"v1 longest TCP6",
       bytes("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
             "65535\r\n"),
       "v1 PROXY family 2 transport 1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 > "
       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 valid consumed 104"},
      {"v1 short UNKNOWN", bytes("PROXY UNKNOWN\r\n"), "v1 PROXY family 0 transport 0 consumed 15"},
      {"v1 UNKNOWN with more", bytes("PROXY UNKNOWN 192.0.2.1 rubbish \1\xff  1\r\n"),
       "v1 PROXY family 0 transport 0 consumed 39"},
      {"v1 longest UNKNOWN",
       bytes("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
             "65535\r\n"),
       "v1 PROXY family 0 transport 0 consumed 107"},
      {"LOCAL with junk", binary(0x20, 0x00, bytes("junk!")), "v2 LOCAL family 0 transport 0 consumed 21"},
      {"UNSPEC", binary(0x21, 0x00, bytes("junk!")), "v2 PROXY family 0 transport 0 consumed 21"},
      {"UDP over IPv4", binary(0x21, 0x12, addresses4), "v2 PROXY family 1 transport 2" + told4 + " consumed 28"},
      {"Unix",
       binary(0x21, 0x31, bytes("/run/a") + Bytes(102, 0) + bytes("/run/b") + Bytes(102, 0) + tlv(1, bytes("h2"))),
       "v2 PROXY family 3 transport 1 /run/a 0 > /run/b 0 [1 h2] consumed 237"},
  };
}

}  // namespace

TEST("the checksum is CRC-32C") {
  CHECK_EQ(crc32c(bytes("123456789")), 0xe3069283u);
  CHECK_EQ(crc32c(bytes("6789"), crc32c(bytes("12345"))), 0xe3069283u);
  CHECK_EQ(crc32c({}), 0u);
  CHECK_EQ(crc32c(Bytes(32, 0)), 0x8a9136aau);
  CHECK_EQ(crc32c(Bytes(32, 0xff)), 0x62a8ab43u);
}

TEST("headers say what the vectors say, and leave what follows alone") {
  for (const Vector& vector : vectors()) {
    setContext(vector.name);
    CHECK_EQ(parse(vector.bytes), vector.told);
    CHECK_EQ(parse(vector.bytes + bytes("PROXY TCP4 or anything else")), vector.told);
    CHECK_EQ(parse(vector.bytes + Bytes(5000, 0)), vector.told);
    const ProxyParse whole = parseProxyHeader(vector.bytes);
    CHECK(whole.header.raw == vector.bytes);
  }
  setContext("");
}

TEST("a header cut at any byte needs more, and then says the same") {
  for (const Vector& vector : vectors()) {
    setContext(vector.name);
    const Bytes followed = vector.bytes + hex("160301");
    for (size_t first = 0; first < vector.bytes.size(); first++) {
      CHECK_EQ(parse(Bytes(followed.begin(), followed.begin() + static_cast<std::ptrdiff_t>(first))), "needsMore");
    }
    // In two and three parts: each call gets all that has come by then, so only what each part ends with matters; the
    // last call sees the header whole, and maybe the next layer's first bytes.
    for (size_t first = 1; first < vector.bytes.size(); first++) {
      for (size_t second = first; second < followed.size(); second++) {
        Bytes come(followed.begin(), followed.begin() + static_cast<std::ptrdiff_t>(first));
        CHECK_EQ(parse(come), "needsMore");
        come.insert(come.end(), followed.begin() + static_cast<std::ptrdiff_t>(first),
                    followed.begin() + static_cast<std::ptrdiff_t>(second));
        CHECK_EQ(parse(come), second < vector.bytes.size() ? "needsMore" : vector.told);
        come.insert(come.end(), followed.begin() + static_cast<std::ptrdiff_t>(second), followed.end());
        CHECK_EQ(parse(come), vector.told);
      }
    }
  }
  setContext("");
}

TEST("malformed lines are refused, each for its reason") {
  const struct {
    const char* line;
    const char* told;
  } table[] = {
      {"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_NOT_HDR: neither of the signatures"},
      {"PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_NOT_HDR: neither of the signatures"},
      {"PROXY\r\n", "PRX_NOT_HDR: neither of the signatures"},
      {" PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_NOT_HDR: neither of the signatures"},
      {"GET / HTTP/1.1\r\n\r\n", "PRX_NOT_HDR: neither of the signatures"},
      {"\x16\x03\x01", "PRX_NOT_HDR: neither of the signatures"},
      {"PROXY \r\n", "PRX_BAD_PROTO: neither TCP4 nor TCP6 nor UNKNOWN"},
      {"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_PROTO: neither TCP4 nor TCP6 nor UNKNOWN"},
      {"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_PROTO: neither TCP4 nor TCP6 nor UNKNOWN"},
      {"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_PROTO: neither TCP4 nor TCP6 nor UNKNOWN"},
      {"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_PROTO: neither TCP4 nor TCP6 nor UNKNOWN"},
      {"PROXY TCP 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_PROTO: neither TCP4 nor TCP6 nor UNKNOWN"},
      {"PROXY TCP44 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_PROTO: neither TCP4 nor TCP6 nor UNKNOWN"},
      {"PROXY UNKNOWNX\r\n", "PRX_BAD_PROTO: neither TCP4 nor TCP6 nor UNKNOWN"},
      {"PROXY unknown\r\n", "PRX_BAD_PROTO: neither TCP4 nor TCP6 nor UNKNOWN"},
      {"PROXY TCP4\r\n", "PRX_BAD_HDR: the addresses are missing"},
      {"PROXY TCP4 \r\n", "PRX_BAD_HDR: four fields, with one space between them, are due"},
      {"PROXY TCP4 192.0.2.1\r\n", "PRX_BAD_HDR: four fields, with one space between them, are due"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "PRX_BAD_HDR: four fields, with one space between them, are due"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
       "PRX_BAD_HDR: four fields, with one space between them, are due"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "PRX_BAD_HDR: four fields, with one space between them, are due"},
      {"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: four fields, with one space between them, are due"},
      {"PROXY TCP4 192.0.2.1  192.0.2.2 1\r\n",
       "PRX_BAD_HDR: the source port is not a number of 0 to 65535 without leading zeros"},
      {"PROXY TCP4 192.0.2.1\t192.0.2.2 1 2 3\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 192.0.2.1.5 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 192.0.2. 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 256.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 0xc0.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 3221225985 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 192.0.2.1 example.com 1 2\r\n",
       "PRX_BAD_HDR: the destination is no address of the family named"},
      {"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 192.0.2.1 2001:db8::1 1 2\r\n",
       "PRX_BAD_HDR: the destination is no address of the family named"},
      {"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP6 2001:db8::1 192.0.2.2 1 2\r\n",
       "PRX_BAD_HDR: the destination is no address of the family named"},
      {"PROXY TCP6 fe80::1%lo 2001:db8::1 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP6 [2001:db8::1] 2001:db8::1 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP6 1::2::3 2001:db8::1 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP6 1:2:3:4:5:6:7 2001:db8::1 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP6 12345::1 2001:db8::1 1 2\r\n", "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP6 ::ffff:192.0.2.01 2001:db8::1 1 2\r\n",
       "PRX_BAD_HDR: the source is no address of the family named"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
       "PRX_BAD_HDR: the source port is not a number of 0 to 65535 without leading zeros"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 -2\r\n",
       "PRX_BAD_HDR: the destination port is not a number of 0 to 65535 without leading zeros"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
       "PRX_BAD_HDR: the source port is not a number of 0 to 65535 without leading zeros"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
       "PRX_BAD_HDR: the source port is not a number of 0 to 65535 without leading zeros"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 00 2\r\n",
       "PRX_BAD_HDR: the source port is not a number of 0 to 65535 without leading zeros"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 0x2\r\n",
       "PRX_BAD_HDR: the destination port is not a number of 0 to 65535 without leading zeros"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "PRX_BAD_HDR: a line feed without carriage return"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX", "PRX_BAD_HDR: a carriage return without line feed"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n", "PRX_BAD_HDR: a carriage return without line feed"},
      {"PROXY UNKNOWN\n", "PRX_BAD_HDR: a line feed without carriage return"},
      {"PROXY UNKNOWN a\rb\r\n", "PRX_BAD_HDR: a carriage return without line feed"},
      {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 065535\r\n", "PRX_BAD_HDR: the line is too long"},
  };
  static_assert(std::size(table) > 30);
  for (const auto& row : table) {
    setContext(row.line);
    CHECK_EQ(parseLine(row.line), row.told);
    // No part of it passes for a header, and once refused it stays so.
    const Bytes all = bytes(row.line);
    bool isRefused = false;
    for (size_t size = 0; size <= all.size(); size++) {
      const std::string told = parse(Bytes(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size)));
      CHECK_EQ(told, isRefused || told != "needsMore" ? row.told : "needsMore");
      isRefused = told != "needsMore";
    }
  }
  setContext("");
}

TEST("a NUL within a line hides nothing") {
  CHECK_EQ(parse(bytes(std::string_view("PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n", 37))),
           "PRX_BAD_HDR: the source is no address of the family named");
  CHECK_EQ(parse(bytes(std::string_view("PROXY TCP6 ::1\0x ::1 1 2\r\n", 26))),
           "PRX_BAD_HDR: the source is no address of the family named");
  CHECK_EQ(parse(bytes(std::string_view("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\0\r\n", 37))),
           "PRX_BAD_HDR: the destination port is not a number of 0 to 65535 without leading zeros");
}

TEST("a line is given up at the length that its protocol can have") {
  const auto endless = [](std::string_view start, size_t size) {
    Bytes line = bytes(start);
    line.resize(size, '1');
    return line;
  };
  const struct {
    const char* start;
    size_t most;
  } table[] = {{"PROXY TCP4 ", 56}, {"PROXY TCP6 ", 104}, {"PROXY UNKNOWN ", 107}};
  for (const auto& row : table) {
    setContext(row.start);
    CHECK_EQ(parse(endless(row.start, row.most - 1)), "needsMore");
    CHECK_EQ(parse(endless(row.start, row.most)), "PRX_BAD_HDR: the line is too long");
    Bytes last = endless(row.start, row.most - 1);
    last.back() = '\r';
    CHECK_EQ(parse(last), "needsMore");
    last.push_back('\r');
    CHECK_EQ(parse(last), "PRX_BAD_HDR: a carriage return without line feed");
    Bytes late = endless(row.start, row.most);
    late.back() = '\r';
    CHECK_EQ(parse(late + bytes("\n")), "PRX_BAD_HDR: the line is too long");
  }
  setContext("");
}

TEST("the fixed part of version 2 is checked bit by bit") {
  for (unsigned byte = 0; byte < 256; byte++) {
    setContext("byte 12 is " + std::to_string(byte));
    const std::string told = parse(binary(static_cast<uint8_t>(byte), 0x11, addresses4));
    if (byte >> 4 != 2) {
      CHECK_EQ(told, "PRX_BAD_HDR: the version is not 2");
    } else if ((byte & 15) > 1) {
      CHECK_EQ(told, "PRX_BAD_HDR: the command is neither LOCAL nor PROXY");
    } else {
      CHECK(told.starts_with(byte == 0x20 ? "v2 LOCAL" : "v2 PROXY"));
    }
  }
  for (unsigned byte = 0; byte < 256; byte++) {
    setContext("byte 13 is " + std::to_string(byte));
    const bool isKnown = byte >> 4 <= 3 && (byte & 15) <= 2;
    const std::string told = parse(binary(0x21, static_cast<uint8_t>(byte), Bytes(216, 0)));
    if (isKnown) {
      CHECK(told.ends_with("consumed 232"));
      const bool replaces = byte == 0x11 || byte == 0x21;
      CHECK_EQ(told.find(" valid") != std::string::npos, replaces);
    } else {
      CHECK_EQ(told, "PRX_BAD_PROTO: unknown family or transport");
    }
    // With LOCAL nobody looks at it.
    CHECK(parse(binary(0x20, static_cast<uint8_t>(byte), Bytes(216, 0))).starts_with("v2 LOCAL"));
  }
  setContext("");
  for (size_t at = 0; at < 12; at++) {
    Bytes wrong = binary(0x21, 0x11, addresses4);
    wrong[at] ^= 1;
    CHECK_EQ(parse(wrong), "PRX_NOT_HDR: neither of the signatures");
    CHECK_EQ(parse(Bytes(wrong.begin(), wrong.begin() + static_cast<std::ptrdiff_t>(at) + 1)),
             "PRX_NOT_HDR: neither of the signatures");
  }
}

TEST("a header too short for its addresses is refused, what is too much are TLVs") {
  const struct {
    uint8_t family;
    size_t due;
  } table[] = {{0x11, 12}, {0x12, 12}, {0x21, 36}, {0x22, 36}, {0x31, 216}, {0x32, 216}};
  for (const auto& row : table) {
    setContext("family " + std::to_string(row.family));
    for (size_t length = 0; length < row.due; length++) {
      CHECK_EQ(parse(binary(0x21, row.family, Bytes(length, 0))),
               "PRX_BAD_HDR: the header is too short for its addresses");
      // Its sixteen bytes tell, so nobody waits for the others.
      CHECK_EQ(parse(binary(0x21, row.family, {}, static_cast<int>(length))),
               "PRX_BAD_HDR: the header is too short for its addresses");
    }
    CHECK(parse(binary(0x21, row.family, Bytes(row.due, 0))).ends_with("consumed " + std::to_string(16 + row.due)));
    CHECK_EQ(parse(binary(0x21, row.family, Bytes(row.due + 1, 0))),
             "PRX_BAD_HDR: the TLVs do not fill the header");
  }
  setContext("");
}

TEST("TLVs fill the header to the byte") {
  const std::string slack = "PRX_BAD_HDR: the TLVs do not fill the header";
  const Bytes good = tlv(0xe0, bytes("abc"));
  CHECK(parse(binary(0x21, 0x11, addresses4 + good)).find("[224 abc]") != std::string::npos);
  for (size_t cut = 1; cut < good.size(); cut++) {
    const Bytes part(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(cut));
    CHECK_EQ(parse(binary(0x21, 0x11, addresses4 + part)), slack);
    CHECK_EQ(parse(binary(0x21, 0x11, addresses4 + good + part)), slack);
  }
  // Too long by one, and by as much as can be.
  CHECK_EQ(parse(binary(0x21, 0x11, addresses4 + hex("e00004616263"))), slack);
  CHECK_EQ(parse(binary(0x21, 0x11, addresses4 + hex("20ffff616263"))), slack);
  // One behind the header is payload.
  CHECK(parse(binary(0x21, 0x11, addresses4) + good).ends_with(" valid consumed 28"));
}

TEST("TLVs of the same type are all kept, the first one speaks") {
  const Bytes header = binary(0x21, 0x11,
                              addresses4 + tlv(2, bytes("first.example")) + tlv(0xea, {}) +
                                  tlv(2, bytes("second.example")) + tlv(0xff, bytes("x")));
  const ProxyParse parse = parseProxyHeader(header);
  REQUIRE(parse.status == ParseStatus::done);
  CHECK_EQ(parse.header.tlvs.size(), 4u);
  CHECK_EQ(parse.header.text(proxy_tlv::authority), "first.example");
  CHECK(parse.header.find(0xea).has_value() && parse.header.find(0xea)->empty());
  CHECK(!parse.header.find(proxy_tlv::alpn).has_value());
  CHECK_EQ(parse.header.text(proxy_tlv::alpn), "");
}

TEST("each type has its longest value") {
  const std::string tooLong = "PRX_BAD_HDR: a TLV is longer than its type allows";
  const struct {
    uint8_t type;
    size_t most;
  } table[] = {{proxy_tlv::authority, 255},
               {proxy_tlv::uniqueId, 128},
               {proxy_tlv::alpn, 1024},
               {proxy_tlv::netns, 1024},
               {0xe0, 1024},
               {0xff, 1024}};
  for (const auto& row : table) {
    setContext("type " + std::to_string(row.type));
    CHECK(parse(binary(0x21, 0x11, addresses4 + tlv(row.type, Bytes(row.most, 'x')))).starts_with("v2"));
    CHECK_EQ(parse(binary(0x21, 0x11, addresses4 + tlv(row.type, Bytes(row.most + 1, 'x')))), tooLong);
  }
  setContext("");
  for (const size_t length : {0u, 1u, 3u, 5u}) {
    CHECK_EQ(parse(binary(0x21, 0x11, addresses4 + tlv(proxy_tlv::crc32c, Bytes(length, 0)))), tooLong);
  }
  // Padding, and a TLV that may hold a certificate, are bounded by the header alone.
  CHECK(parse(binary(0x21, 0x11, addresses4 + tlv(proxy_tlv::noop, Bytes(3000, 'x')))).starts_with("v2"));
  CHECK(parse(binary(0x21, 0x11, addresses4 + tlv(proxy_tlv::ssl, Bytes(3000, 'x')))).starts_with("v2"));
  CHECK(
      parse(binary(0x21, 0x11, addresses4 + tlv(0xe0, Bytes(2000, 'x'))), {.maxTlvBytes = 2000}).starts_with("v2"));
}

TEST("a header longer than allowed is refused as soon as it says so") {
  const std::string tooLong = "PRX_BAD_HDR: the header is longer than allowed";
  CHECK_EQ(parse(binary(0x21, 0x11, {}, 4096 - 16)), "needsMore");
  CHECK_EQ(parse(binary(0x21, 0x11, {}, 4096 - 15)), tooLong);
  CHECK_EQ(parse(binary(0x20, 0x00, {}, 65'535)), tooLong);
  const ProxyLimits wide{.maxHeaderBytes = 65'551, .maxTlvBytes = 65'535};
  CHECK_EQ(parse(binary(0x20, 0x00, {}, 65'535), wide), "needsMore");
  CHECK(parse(binary(0x21, 0x11, addresses4 + tlv(0xe1, Bytes(65'520, 'x'))), wide).ends_with("consumed 65551"));
  CHECK_EQ(parse(bytes("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), {.maxHeaderBytes = 30}),
           "PRX_BAD_HDR: the line is too long");
}

TEST("a flipped bit anywhere in a header with checksum is noticed") {
  const Bytes good = vectors()[1].bytes;
  constexpr size_t familyToUnspec = 13 * 8 + 4, checksumsOwnType = 28;
  for (size_t bit = 0; bit < good.size() * 8; bit++) {
    // Then nobody knows that there is a checksum.
    if (bit == familyToUnspec || bit / 8 == checksumsOwnType) continue;
    Bytes bad = good;
    bad[bit / 8] = static_cast<uint8_t>(bad[bit / 8] ^ 1u << bit % 8);
    setContext("bit " + std::to_string(bit));
    const std::string told = parse(bad + bytes("followed by the session's own bytes"));
    CHECK(told.starts_with("PRX_") || told == "needsMore");
  }
  setContext("");
}

TEST("there is one checksum at most, and it holds for LOCAL too") {
  const Bytes crc = tlv(proxy_tlv::crc32c, Bytes(4, 0));
  CHECK_EQ(parse(binary(0x21, 0x11, addresses4 + crc + crc)), "PRX_BAD_HDR: more than one checksum");
  CHECK_EQ(parse(binary(0x21, 0x11, addresses4 + crc)), "PRX_BAD_HDR: the checksum is wrong");
  CHECK_EQ(parse(binary(0x20, 0x00, crc)), "PRX_BAD_HDR: the checksum is wrong");
  Bytes local = binary(0x20, 0x00, crc);
  const uint32_t sum = crc32c(local);
  for (int i = 0; i < 4; i++) local[19 + static_cast<size_t>(i)] = static_cast<uint8_t>(sum >> (24 - 8 * i));
  CHECK(parse(local).starts_with("v2 LOCAL"));
  // The copy that users see is as it came.
  const ProxyParse whole = parseProxyHeader(local);
  CHECK(whole.header.raw == local);
}

TEST("LOCAL keeps the socket's addresses, whatever it carries, and takes its length with it") {
  CHECK_EQ(parse(binary(0x20, 0x11, addresses4) + bytes("data")), "v2 LOCAL family 1 transport 1 consumed 28");
  CHECK_EQ(parse(binary(0x20, 0x11, addresses4 + tlv(5, bytes("id")))),
           "v2 LOCAL family 1 transport 1 [5 id] consumed 33");
  CHECK_EQ(parse(binary(0x20, 0x11, hex("0102")) + bytes("data")), "v2 LOCAL family 1 transport 1 consumed 18");
  CHECK_EQ(parse(binary(0x20, 0xff, hex("0102")) + bytes("data")), "v2 LOCAL family 0 transport 0 consumed 18");
  CHECK_EQ(parse(binary(0x20, 0x00, tlv(2, Bytes(300, 'x')))), "v2 LOCAL family 0 transport 0 consumed 319");
}

TEST("Unix paths may be padded, full, abstract or absent") {
  const auto unixHeader = [](const Bytes& source, const Bytes& destination) {
    Bytes rest(216, 0);
    std::copy(source.begin(), source.end(), rest.begin());
    std::copy(destination.begin(), destination.end(), rest.begin() + 108);
    return parseProxyHeader(binary(0x21, 0x31, rest)).header;
  };
  CHECK_EQ(unixHeader(bytes("/a"), bytes("/b")).source.host(), "/a");
  CHECK_EQ(unixHeader({}, bytes("/b")).source.family(), AF_UNSPEC);
  if (sizeof(sockaddr_un{}.sun_path) == 108) {
    CHECK_EQ(unixHeader(Bytes(108, 'x'), bytes("/b")).source.host(), std::string(108, 'x'));
  }
  CHECK_EQ(unixHeader(bytes(std::string_view("\0ab", 3)), {}).source.host(), std::string("\0ab", 3));
}

TEST("the nested TLV of TLS is decoded when asked for") {
  const Bytes nested = hex("05 00000012") + tlv(0x21, bytes("TLSv1.2")) + tlv(0x22, bytes("Jane")) +
                       tlv(0x23, bytes("ECDHE")) + tlv(0x24, bytes("SHA256")) + tlv(0x25, bytes("RSA2048")) +
                       tlv(0x26, bytes("X25519")) + tlv(0x27, bytes("rsa_pss")) + tlv(0x28, Bytes(1500, 0x30)) +
                       tlv(0x2f, bytes("?"));
  const ProxyParse parse = parseProxyHeader(binary(0x21, 0x11, addresses4 + tlv(0x20, nested)));
  REQUIRE(parse.status == ParseStatus::done);
  const auto ssl = decodeProxySsl(parse.header);
  REQUIRE(ssl.has_value());
  CHECK_EQ(ssl->client, 5u);
  CHECK_EQ(ssl->verify, 0x12u);
  CHECK_EQ(ssl->version, "TLSv1.2");
  CHECK_EQ(ssl->commonName, "Jane");
  CHECK_EQ(ssl->cipher, "ECDHE");
  CHECK_EQ(ssl->certificateSignature, "SHA256");
  CHECK_EQ(ssl->keyAlgorithm, "RSA2048");
  CHECK_EQ(ssl->group, "X25519");
  CHECK_EQ(ssl->signatureScheme, "rsa_pss");
  CHECK_EQ(ssl->certificate.size(), 1500u);
  CHECK(ssl->encrypted() && ssl->hasCertificate() && !ssl->certificateVerified());

  CHECK(!decodeProxySsl(parseProxyHeader(vectors()[0].bytes).header).has_value());
  for (size_t cut = 0; cut < nested.size(); cut++) {
    const Exact part(std::span<const uint8_t>(nested).first(cut));
    const auto decoded = decodeProxySsl(part.span());
    if (decoded) CHECK(cut >= 5 && decoded->client == 5);
  }
  CHECK(!decodeProxySsl(std::span(nested).first(4)).has_value());
  CHECK(decodeProxySsl(std::span(nested).first(5)).has_value());
  CHECK(!decodeProxySsl(std::span(nested).first(6)).has_value());
  CHECK(!decodeProxySsl(std::span(nested).first(nested.size() - 1)).has_value());
}

TEST("verified means a certificate, and one that was found good") {
  const auto decode = [](uint8_t client, uint8_t verify) {
    return decodeProxySsl(Bytes{client, 0, 0, 0, verify})->certificateVerified();
  };
  CHECK(!decode(1, 0));
  CHECK(decode(3, 0));
  CHECK(decode(5, 0));
  CHECK(!decode(7, 1));
  CHECK(!decode(0, 0));
}

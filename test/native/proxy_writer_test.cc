#include "handshake/proxy_writer.h"

#include "handshake/proxy_header.h"
#include "support/bytes.h"
#include "support/test.h"

using namespace sluice;
using namespace sluice::test;

namespace {

SocketAddress ip(std::string_view host, uint16_t port) { return *SocketAddress::ip(host, port); }

ProxyFacts facts4() { return {.source = ip("192.0.2.1", 56324), .destination = ip("198.51.100.5", 443)}; }
ProxyFacts facts6() { return {.source = ip("2001:db8::1", 56324), .destination = ip("2001:db8::2", 443)}; }

Bytes write(const ProxySendOptions& options, const ProxyFacts& facts) {
  auto written = writeProxyHeader(options, facts);
  CHECK(written);
  return written ? *written : Bytes();
}

std::string line(const ProxyFacts& facts, bool local = false) {
  return text(write({.version = 1, .local = local}, facts));
}

std::vector<uint8_t> types(const Bytes& header) {
  std::vector<uint8_t> found;
  const ProxyParse parsed = parseProxyHeader(header, {.maxHeaderBytes = 65'551, .maxTlvBytes = 65'535});
  CHECK(parsed.status == ParseStatus::done);
  for (const ProxyTlv& tlv : parsed.header.tlvs) found.push_back(tlv.type);
  return found;
}

const std::string signature = "0d0a0d0a000d0a515549540a";

}  // namespace

TEST("version 1 tells addresses of one family, and else nothing") {
  CHECK_EQ(line(facts4()), "PROXY TCP4 192.0.2.1 198.51.100.5 56324 443\r\n");
  CHECK_EQ(line(facts6()), "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n");
  CHECK_EQ(line({.source = ip("192.0.2.1", 1), .destination = ip("::1", 2)}), "PROXY UNKNOWN\r\n");
  CHECK_EQ(line({.source = *SocketAddress::unixPath("/a"), .destination = *SocketAddress::unixPath("/b")}),
           "PROXY UNKNOWN\r\n");
  CHECK_EQ(line({}), "PROXY UNKNOWN\r\n");
  CHECK_EQ(line(facts4(), true), "PROXY UNKNOWN\r\n");
  // A scope is ours alone, and no receiver would take it.
  CHECK_EQ(line({.source = ip("fe80::1%1", 1), .destination = ip("fe80::2%1", 2)}),
           "PROXY TCP6 fe80::1 fe80::2 1 2\r\n");
}

TEST("version 2 writes the vectors") {
  CHECK(write({}, facts4()) == hex(signature + "2111000c c0000201 c6336405 dc04 01bb"));
  CHECK(
      write({.crc32c = true, .authority = true}, [] {
        ProxyFacts facts = facts4();
        facts.authority = "example.com";
        return facts;
      }()) == hex(signature + "21110021 c0000201 c6336405 dc04 01bb 030004e0e040a9 02000b6578616d706c652e636f6d"));
  CHECK(write({}, {}) == hex(signature + "20000000"));
  ProxyFacts facts = facts6();
  facts.ssl = ProxyFacts::Ssl{.client = 7, .version = "TLSv1.3", .commonName = "client1"};
  CHECK(write({.sslCommonName = true}, facts) ==
        hex(signature + "21210040 20010db8000000000000000000000001 20010db8000000000000000000000002 dc04 01bb"
                        "200019 07 00000000 210007 544c5376312e33 220007 636c69656e7431"));
  facts = facts4();
  facts.alpn = "h2";
  facts.ssl = ProxyFacts::Ssl{.client = 7, .version = "TLSv1.3", .commonName = "client1"};
  CHECK(write({.crc32c = true, .alpn = true, .ssl = true, .sslCommonName = true}, facts) ==
        hex(signature + "21110034 c0000201 c6336405 dc04 01bb 030004 1e679713 010002 6832"
                        "200019 07 00000000 210007 544c5376312e33 220007 636c69656e7431"));
}

TEST("with one address of IPv6 both are") {
  const Bytes header = write({}, {.source = ip("192.0.2.1", 1), .destination = ip("::1", 2)});
  const ProxyParse parsed = parseProxyHeader(header);
  CHECK(parsed.header.family == ProxyFamily::inet6);
  CHECK_EQ(parsed.header.source.host(), "::ffff:192.0.2.1");
  CHECK_EQ(parsed.header.destination.host(), "::1");
}

TEST("own checks and Unix sockets speak for the proxy itself, TLVs and all") {
  ProxyFacts facts = facts4();
  facts.uniqueId = "id";
  CHECK(write({.local = true, .uniqueId = true}, facts) == hex(signature + "20000005 0500026964"));
  facts.source = *SocketAddress::unixPath("/a");
  CHECK(write({.uniqueId = true}, facts) == hex(signature + "20000005 0500026964"));
}

TEST("TLVs come in the order of HP-48, custom ones even without a value") {
  ProxySendOptions options;
  options.custom = {{0xe5, "five"}, {0xe1, ""}, {0xe5, "again"}};
  options.crc32c = options.alpn = options.authority = options.uniqueId = options.ssl = options.netns = true;
  ProxyFacts facts = facts4();
  facts.alpn = "h2";
  facts.authority = "example.com";
  facts.uniqueId = "id";
  facts.netns = "blue";
  facts.ssl = ProxyFacts::Ssl{.client = 1, .version = "TLSv1.3"};
  const std::vector<uint8_t> expected = {0xe5, 0xe1, 0xe5, 0x03, 0x01, 0x02, 0x05, 0x20, 0x30};
  CHECK(types(write(options, facts)) == expected);
  const ProxyHeader header = parseProxyHeader(write(options, facts)).header;
  CHECK(header.find(0xe1).has_value() && header.find(0xe1)->empty());
  CHECK_EQ(header.text(0xe5), "five");
}

TEST("what is not known is left out, what is not asked for too") {
  ProxySendOptions all;
  all.alpn = all.authority = all.uniqueId = all.netns = true;
  CHECK(types(write(all, facts4())).empty());
  ProxyFacts facts = facts4();
  facts.alpn = facts.authority = facts.uniqueId = facts.netns = "x";
  facts.ssl = ProxyFacts::Ssl{.client = 3, .version = "TLSv1.3", .commonName = "Jane"};
  CHECK(types(write({}, facts)).empty());
  CHECK(decodeProxySsl(parseProxyHeader(write({.ssl = true}, facts)).header)->commonName.empty());
  // A connection without TLS says just that.
  const auto ssl = decodeProxySsl(parseProxyHeader(write({.sslCipher = true}, facts4())).header);
  REQUIRE(ssl.has_value());
  CHECK(!ssl->encrypted() && ssl->version.empty());
}

TEST("what does not fit is an error, not a cut") {
  ProxyFacts facts = facts4();
  const std::string authority(256, 'a'), id(129, 'i');
  facts.authority = authority;
  facts.uniqueId = id;
  CHECK(writeProxyHeader({}, facts));
  CHECK(!writeProxyHeader({.authority = true}, facts));
  CHECK(!writeProxyHeader({.uniqueId = true}, facts));
  facts.authority = std::string_view(authority).substr(1);
  facts.uniqueId = std::string_view(id).substr(1);
  CHECK(writeProxyHeader({.authority = true, .uniqueId = true}, facts));
  // 12 of addresses, 3 of the TLV's head.
  CHECK(writeProxyHeader({.custom = {{0xe0, std::string(65'520, 'x')}}}, facts4()));
  CHECK(!writeProxyHeader({.custom = {{0xe0, std::string(65'521, 'x')}}}, facts4()));
  CHECK(!writeProxyHeader({.custom = {{0xe0, std::string(70'000, 'x')}}}, facts4()));
}

TEST("what is written reads back as it was, a thousand times over") {
  for (size_t seed = 0; seed < fuzzRuns(1000); seed++) {
    setContext("seed " + std::to_string(seed));
    SimRandom random(seed);
    const auto word = [&](size_t most) {
      std::string made(random.between(0, most), '\0');
      for (char& c : made) c = static_cast<char>(random.next());
      return made;
    };
    const auto coin = [&] { return random.chance(0.5); };
    const auto address = [&](bool v6) {
      const uint16_t port = static_cast<uint16_t>(random.next());
      if (!v6) {
        std::string host;
        for (int i = 0; i < 4; i++) host += (i ? "." : "") + std::to_string(random.between(0, 255));
        return ip(host, port);
      }
      char host[40];
      std::snprintf(host, sizeof host, "%x:%x::%x", static_cast<unsigned>(random.between(1, 65'535)),
                    static_cast<unsigned>(random.between(0, 65'535)),
                    static_cast<unsigned>(random.between(0, 65'535)));
      return ip(host, port);
    };
    const bool v6 = coin();
    const std::string alpn = word(20), authority = word(255), uniqueId = word(128), netns = word(30),
                      version = word(10), name = word(60), cipher = word(30), certificate = word(900);
    ProxySendOptions options;
    for (size_t i = random.between(0, 3); i > 0; i--) {
      options.custom.push_back({static_cast<uint8_t>(random.between(0xe0, 0xff)), word(300)});
    }
    options.crc32c = coin();
    options.alpn = coin();
    options.authority = coin();
    options.uniqueId = coin();
    options.netns = coin();
    options.ssl = coin();
    options.sslCommonName = coin();
    options.sslCipher = coin();
    options.sslCertificate = coin();
    ProxyFacts facts{.source = address(v6),
                     .destination = address(v6),
                     .alpn = alpn,
                     .authority = authority,
                     .uniqueId = uniqueId,
                     .netns = netns};
    facts.ssl = ProxyFacts::Ssl{.client = static_cast<uint8_t>(random.next()),
                                .verify = static_cast<uint32_t>(random.next()),
                                .version = version,
                                .commonName = name,
                                .cipher = cipher,
                                .certificate = bytesView(certificate)};
    const Bytes written = write(options, facts);
    const ProxyParse parsed = parseProxyHeader(written + bytes("rest"));
    REQUIRE(parsed.status == ParseStatus::done);
    CHECK_EQ(parsed.consumed, written.size());
    const ProxyHeader& header = parsed.header;
    CHECK(header.hasAddresses);
    CHECK_EQ(header.source.host(), facts.source.host());
    CHECK_EQ(header.source.port(), facts.source.port());
    CHECK_EQ(header.destination.host(), facts.destination.host());
    CHECK_EQ(header.destination.port(), facts.destination.port());
    CHECK_EQ(header.text(proxy_tlv::alpn), options.alpn ? alpn : "");
    CHECK_EQ(header.text(proxy_tlv::authority), options.authority ? authority : "");
    CHECK_EQ(header.text(proxy_tlv::uniqueId), options.uniqueId ? uniqueId : "");
    CHECK_EQ(header.text(proxy_tlv::netns), options.netns ? netns : "");
    CHECK_EQ(header.find(proxy_tlv::crc32c).has_value(), options.crc32c);
    for (size_t i = 0; i < options.custom.size(); i++) {
      CHECK_EQ(header.tlvs[i].type, options.custom[i].type);
      CHECK_EQ(text(header.value(header.tlvs[i])), options.custom[i].value);
    }
    const auto ssl = decodeProxySsl(header);
    CHECK_EQ(ssl.has_value(), options.wantsSsl());
    if (ssl) {
      CHECK_EQ(ssl->client, facts.ssl->client);
      CHECK_EQ(ssl->verify, facts.ssl->verify);
      CHECK_EQ(ssl->version, version);
      CHECK_EQ(ssl->commonName, options.sslCommonName ? name : "");
      CHECK_EQ(ssl->cipher, options.sslCipher ? cipher : "");
      CHECK_EQ(text(ssl->certificate), options.sslCertificate ? certificate : "");
    }
    const ProxyParse first = parseProxyHeader(write({.version = 1}, facts));
    CHECK_EQ(first.header.source.host(), facts.source.host());
    CHECK_EQ(first.header.destination.port(), facts.destination.port());
  }
  setContext("");
}

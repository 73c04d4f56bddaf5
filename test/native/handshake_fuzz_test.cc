// Every parser of opening bytes against what nobody should send. What a run once found goes into the corpus below, so
// that it stays found.
#include <dirent.h>
#include <cstdio>

#include <algorithm>

#include "handshake/netscaler_header.h"
#include "handshake/proxy_header.h"
#include "handshake/proxy_writer.h"
#include "handshake/socks_client.h"
#include "support/bytes.h"
#include "support/test.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr const char* corpusFolder = "test/native/corpus/";

// The files of a folder of test/native/corpus, by name.
std::vector<Bytes> corpus(const std::string& name) {
  const std::string folder = corpusFolder + name;
  std::vector<std::string> paths;
  DIR* listing = opendir(folder.c_str());
  CHECK(listing != nullptr);
  if (listing == nullptr) return {};
  while (const dirent* entry = readdir(listing)) {
    if (entry->d_name[0] != '.') paths.push_back(folder + '/' + entry->d_name);
  }
  closedir(listing);
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> samples;
  for (const std::string& path : paths) {
    Bytes content(70'000);
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) continue;
    content.resize(std::fread(content.data(), 1, content.size(), file));
    std::fclose(file);
    samples.push_back(content);
  }
  CHECK(samples.size() > 5);
  return samples;
}

// What must hold of any bytes, and what came of them.
ParseStatus checkProxy(const Bytes& input, const ProxyLimits& limits, SimRandom& random) {
  const Exact whole(input);
  const ProxyParse parse = parseProxyHeader(whole.span(), limits);
  CHECK_EQ(parse.failure != OpeningFailure::none, parse.status == ParseStatus::failed);
  if (parse.status == ParseStatus::needsMore) CHECK(input.size() < limits.maxHeaderBytes);
  if (parse.status == ParseStatus::done) {
    const ProxyHeader& header = parse.header;
    CHECK(parse.consumed <= input.size() && parse.consumed <= limits.maxHeaderBytes);
    CHECK(header.raw == Bytes(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(parse.consumed)));
    for (const ProxyTlv& tlv : header.tlvs) CHECK(header.value(tlv).data() != nullptr);
    if (header.hasAddresses) CHECK(!header.local && header.source.family() == header.destination.family());
    if (const auto ssl = decodeProxySsl(header)) CHECK(ssl->certificate.size() < input.size());
    (void)header.source.host();
    // The next layer's bytes change nothing, and none of the header can be missing.
    const ProxyParse followed = parseProxyHeader(input + bytes("\r\nPROXY "), limits);
    CHECK(followed.status == ParseStatus::done && followed.consumed == parse.consumed);
    const Exact cut(whole.span().first(random.between(0, parse.consumed - 1)));
    CHECK(parseProxyHeader(cut.span(), limits).status == ParseStatus::needsMore);
  }
  if (parse.status == ParseStatus::failed) {
    // More bytes do not make it good.
    CHECK(parseProxyHeader(input + bytes("more\r\n"), limits).status == ParseStatus::failed);
  }
  return parse.status;
}

ParseStatus checkNetscaler(const Bytes& input) {
  const Exact whole(input);
  const NetscalerParse parse = parseNetscalerHeader(whole.span(), 0x1234abcd);
  CHECK_EQ(parse.failure != OpeningFailure::none, parse.status == ParseStatus::failed);
  if (parse.status == ParseStatus::needsMore) CHECK(input.size() < netscalerMaxBytes);
  if (parse.status == ParseStatus::done) {
    CHECK(parse.consumed <= input.size() && parse.consumed <= netscalerMaxBytes);
    CHECK_EQ(parse.source.family(), parse.destination.family());
  }
  return parse.status;
}

// Feeds a server's bytes in random pieces, as whoever drives the machine does.
ParseStatus checkSocks(const Bytes& input, SocksRequest request, SimRandom& random) {
  auto made = SocksClient::create(request);
  CHECK(made);
  SocksClient& client = *made;
  Bytes held;
  size_t come = 0;
  ParseStatus status = ParseStatus::needsMore;
  while (come < input.size() && status == ParseStatus::needsMore) {
    const size_t size = random.between(1, input.size() - come);
    held.insert(held.end(), input.begin() + static_cast<std::ptrdiff_t>(come),
                input.begin() + static_cast<std::ptrdiff_t>(come + size));
    come += size;
    client.sent(random.between(0, client.output().size()));
    const Exact exact(held);
    const SocksClient::Step step = client.receive(exact.span());
    CHECK(step.consumed <= held.size());
    held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(step.consumed));
    status = step.status;
    // Nothing can make it hold more than its longest answer: a name of 255 bytes.
    if (status == ParseStatus::needsMore) CHECK(held.size() < 262);
    CHECK_EQ(step.failure != OpeningFailure::none, status == ParseStatus::failed);
    CHECK(client.output().size() < 1100);
  }
  CHECK_EQ(client.state() == SocksClient::State::done, status == ParseStatus::done);
  CHECK_EQ(client.state() == SocksClient::State::failed, status == ParseStatus::failed);
  return status;
}

struct Tally {
  size_t done = 0, failed = 0, needsMore = 0;
  void add(ParseStatus status) {
    (status == ParseStatus::done ? done : status == ParseStatus::failed ? failed : needsMore) += 1;
  }
};

}  // namespace

TEST("whatever becomes of a PROXY header on its way, it is read in order or refused") {
  const std::vector<Bytes> samples = corpus("proxy");
  const std::vector<Bytes> tokens = {bytes("\r\n"),         bytes("PROXY "),
                                     bytes("TCP4 "),        bytes("TCP6 "),
                                     bytes("UNKNOWN"),      bytes("65535"),
                                     bytes("::"),           hex("0d0a0d0a000d0a515549540a"),
                                     hex("03000400000000"), hex("200005 07 00000000"),
                                     hex("040000")};
  const size_t count = fuzzRuns(60'000);
  Tally tally;
  for (size_t seed = 0; seed < count; seed++) {
    setContext("seed " + std::to_string(seed));
    SimRandom random(seed);
    Bytes input = samples[random.between(0, samples.size() - 1)];
    if (!random.chance(0.02)) maul(input, random, tokens);
    const ProxyLimits limits =
        random.chance(0.9) ? ProxyLimits{} : ProxyLimits{.maxHeaderBytes = 300, .maxTlvBytes = 20};
    tally.add(checkProxy(input, limits, random));
  }
  setContext("");
  CHECK(tally.done > count / 50);
  CHECK(tally.failed > count / 10);
  CHECK(tally.needsMore > count / 50);
}

TEST("the kept corpus is read as it always was") {
  SimRandom random(1);
  size_t done = 0;
  for (const Bytes& sample : corpus("proxy")) done += checkProxy(sample, {}, random) == ParseStatus::done ? 1 : 0;
  CHECK(done >= 15);
  done = 0;
  for (const Bytes& sample : corpus("netscaler")) done += checkNetscaler(sample) == ParseStatus::done ? 1 : 0;
  CHECK_EQ(done, 4u);
}

TEST("what a reader accepts, a writer repeats in a form that reads the same") {
  const std::vector<Bytes> samples = corpus("proxy");
  size_t repeated = 0;
  for (size_t seed = 0; seed < fuzzRuns(20'000); seed++) {
    setContext("seed " + std::to_string(seed));
    SimRandom random(seed);
    Bytes input = samples[random.between(0, samples.size() - 1)];
    if (random.chance(0.7)) maul(input, random);
    const ProxyParse parse = parseProxyHeader(input);
    if (parse.status != ParseStatus::done || !parse.header.hasAddresses) continue;
    ProxySendOptions options;
    for (const ProxyTlv& tlv : parse.header.tlvs) {
      if (tlv.type == proxy_tlv::crc32c) continue;
      options.custom.push_back({tlv.type, text(parse.header.value(tlv))});
    }
    options.crc32c = true;
    const auto written = writeProxyHeader(options, {parse.header.source, parse.header.destination});
    REQUIRE(written);
    const ProxyParse again = parseProxyHeader(*written);
    if (again.status != ParseStatus::done) {
      // Seven bytes of checksum more than before may be too much.
      CHECK(input.size() > 4000);
      continue;
    }
    repeated += 1;
    CHECK_EQ(again.header.source.host(), parse.header.source.host());
    CHECK_EQ(again.header.destination.port(), parse.header.destination.port());
    CHECK_EQ(again.header.tlvs.size(), options.custom.size() + 1);
  }
  setContext("");
  CHECK(repeated > 100);
}

TEST("a NetScaler's header that was changed is read in order or refused") {
  const std::vector<Bytes> samples = corpus("netscaler");
  const size_t count = fuzzRuns(40'000);
  Tally tally;
  for (size_t seed = 0; seed < count; seed++) {
    setContext("seed " + std::to_string(seed));
    SimRandom random(seed);
    Bytes input = samples[random.between(0, samples.size() - 1)];
    maul(input, random);
    tally.add(checkNetscaler(input));
  }
  setContext("");
  CHECK(tally.done > count / 50);
  CHECK(tally.failed > count / 10);
  CHECK(tally.needsMore > count / 100);
}

TEST("a SOCKS server may answer anything") {
  const std::vector<Bytes> samples = corpus("socks");
  const SocksRequest requests[] = {{.version = SocksVersion::v4, .host = "192.0.2.1", .port = 443, .user = "me"},
                                   {.version = SocksVersion::v4a, .host = "a.example", .port = 443},
                                   {.host = "a.example", .port = 443},
                                   {.host = "::1", .port = 443, .user = "me", .password = "pass"}};
  const size_t count = fuzzRuns(40'000);
  Tally tally;
  for (size_t seed = 0; seed < count; seed++) {
    setContext("seed " + std::to_string(seed));
    SimRandom random(seed);
    Bytes input = samples[random.between(0, samples.size() - 1)];
    if (random.chance(0.8)) maul(input, random, {hex("0500"), hex("0502"), hex("0100"), hex("005a")});
    tally.add(checkSocks(input, requests[random.between(0, 3)], random));
  }
  setContext("");
  CHECK(tally.done > count / 50);
  CHECK(tally.failed > count / 10);
  CHECK(tally.needsMore > count / 50);
}

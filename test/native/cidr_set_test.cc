#include "rules/cidr_set.h"

#include <map>
#include <random>
#include <thread>

#include "support/test.h"

using namespace sluice;

namespace {

CidrSet setOf(const std::vector<std::string>& networks) {
  std::vector<CidrSet::Entry> entries;
  std::vector<std::string> values;
  for (const std::string& text : networks) {
    IpNetwork network;
    CHECK_EQ(parseNetwork(text, network), NetworkTextError::none);
    entries.push_back({network, static_cast<uint32_t>(values.size())});
    values.push_back(text);
  }
  return CidrSet(std::move(entries), std::move(values));
}

/// The network that was found, as it was written; "" for none.
std::string find(const CidrSet& set, std::string_view address) {
  const auto bits = parseIp(address);
  CHECK(bits);
  const CidrSet::Entry* entry = bits ? set.find(*bits) : nullptr;
  return entry ? std::string(set.value(*entry)) : "";
}

IpBits randomAddress(std::mt19937_64& random) {
  // Few different bytes, so that networks lie within each other.
  const auto byte = [&random] { return random() % 4 ? random() % 3 : random() % 256; };
  uint64_t words[2] = {};
  for (uint64_t& word : words)
    for (int i = 0; i < 8; ++i) word = word << 8 | byte();
  if (random() % 2) return {words[0] >> 32 << 32, 0, true};
  return {words[0] | 1ull << 61, words[1], false};
}

}  // namespace

TEST("the longest network that an address lies in is found") {
  const CidrSet set = setOf({"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "192.168.0.0/16"});
  CHECK_EQ(find(set, "10.9.9.9"), "10.0.0.0/8");
  CHECK_EQ(find(set, "10.1.9.9"), "10.1.0.0/16");
  CHECK_EQ(find(set, "10.1.2.9"), "10.1.2.0/24");
  CHECK_EQ(find(set, "10.1.2.3"), "10.1.2.3/32");
  CHECK_EQ(find(set, "192.168.255.255"), "192.168.0.0/16");
  CHECK_EQ(find(set, "11.0.0.0"), "");
  CHECK_EQ(find(set, "9.255.255.255"), "");
  CHECK_EQ(find(set, "192.169.0.0"), "");
}

TEST("networks of every length begin and end where they should") {
  for (int bits = 1; bits <= 32; ++bits) {
    const IpBits base = parseIp("170.85.170.85")->prefix(bits);
    const CidrSet set({{{base, static_cast<uint8_t>(bits)}, 0}}, {"it"});
    const uint64_t size = uint64_t{1} << (64 - bits), first = base.high;
    CHECK(set.find(base));
    CHECK(set.find(IpBits{first + size - (1ull << 32), 0, true}));
    CHECK(!set.find(IpBits{first - (1ull << 32), 0, true}));
    CHECK(!set.find(IpBits{first + size, 0, true}));
  }
}

TEST("IPv6 networks of every length contain their addresses and no neighbour") {
  const IpBits pattern = *parseIp("5555:aaaa:5555:aaaa:5555:aaaa:5555:aaaa");
  for (int bits = 1; bits <= 128; ++bits) {
    const IpBits base = pattern.prefix(bits);
    const CidrSet set({{{base, static_cast<uint8_t>(bits)}, 0}}, {"it"});
    CHECK(set.find(base));
    CHECK(set.find(pattern));
    IpBits neighbour = base;
    (bits <= 64 ? neighbour.high : neighbour.low) ^= uint64_t{1} << ((128 - bits) % 64);
    CHECK(!set.find(neighbour));
  }
}

TEST("an IPv4-mapped address is its IPv4 address, in networks and in look-ups") {
  const CidrSet set = setOf({"10.0.0.0/8", "::ffff:192.168.0.0/112", "::/0"});
  CHECK_EQ(find(set, "::ffff:10.1.2.3"), "10.0.0.0/8");
  CHECK_EQ(find(set, "192.168.3.4"), "::ffff:192.168.0.0/112");
  // IPv6's own networks hold none of IPv4, however they are written.
  CHECK_EQ(find(set, "::ffff:172.16.0.1"), "");
  CHECK_EQ(find(set, "172.16.0.1"), "");
  CHECK_EQ(find(set, "::1"), "::/0");
  const auto mapped = SocketAddress::ip("::ffff:10.0.0.1", 1);
  CHECK(set.find(*mapped) != nullptr);
}

TEST("an address that is no IP address lies in no network") {
  const CidrSet set = setOf({"0.0.0.0/0", "::/0"});
  CHECK(set.find(*SocketAddress::unixPath("/tmp/x")) == nullptr);
  CHECK(set.find(SocketAddress()) == nullptr);
  CHECK(set.find(*SocketAddress::ip("1.2.3.4", 5)) != nullptr);
}

TEST("an empty set finds nothing") {
  const CidrSet set;
  CHECK_EQ(find(set, "0.0.0.0"), "");
  CHECK_EQ(find(set, "255.255.255.255"), "");
  CHECK_EQ(find(set, "::"), "");
}

TEST("of two entries for one network the later one counts") {
  const IpNetwork network{*parseIp("10.0.0.0"), 8};
  const CidrSet set({{network, 0}, {network, 1}, {network, 2}}, {"a", "b", "c"});
  CHECK_EQ(find(set, "10.0.0.1"), "c");
  CHECK_EQ(set.entries().size(), 1u);
}

TEST("it finds what a search through all networks finds, for random ones") {
  std::mt19937_64 random(42);
  for (int round = 0; round < 60; ++round) {
    std::vector<CidrSet::Entry> entries;
    std::vector<std::string> values;
    const size_t count = random() % (round % 3 ? 50 : 2000);
    for (size_t i = 0; i < count; ++i) {
      const IpBits address = randomAddress(random);
      const int bits = static_cast<int>(random() % static_cast<uint64_t>(address.width() + 1));
      entries.push_back({{address.prefix(bits), static_cast<uint8_t>(bits)}, static_cast<uint32_t>(i)});
      values.push_back(std::to_string(i));
    }
    const CidrSet set(entries, values);
    for (int step = 0; step < 500; ++step) {
      const IpBits address = step % 2 && count ? entries[random() % count].network.address : randomAddress(random);
      const CidrSet::Entry* best = nullptr;
      for (const auto& entry : entries)
        if (entry.network.contains(address) && (!best || entry.network.bits >= best->network.bits)) best = &entry;
      const CidrSet::Entry* found = set.find(address);
      CHECK_EQ(found != nullptr, best != nullptr);
      if (found && best) CHECK_EQ(found->value, best->value);
    }
  }
}

TEST("a hundred thousand random networks, which have little in common, take some twelve megabytes") {
  std::mt19937_64 random(1);
  std::vector<CidrSet::Entry> entries;
  for (int i = 0; i < 100'000; ++i) {
    const IpBits address{random() >> 32 << 32, 0, true};
    const auto bits = static_cast<uint8_t>(16 + random() % 17);
    entries.push_back({{address.prefix(bits), bits}, 0});
  }
  const CidrSet set(entries, {"x"});
  CHECK(set.entries().size() > 90'000);
  CHECK(set.bytes() < 13'000'000);
  for (int i = 0; i < 1000; ++i) CHECK(set.find(entries[random() % entries.size()].network.address));
}

TEST("networks are read in their usual forms, and written in their shortest") {
  const std::pair<std::string_view, std::string_view> rows[] = {
      {"10.0.0.0/8", "10.0.0.0/8"},
      {"0.0.0.0/0", "0.0.0.0/0"},
      {"1.2.3.4", "1.2.3.4/32"},
      {"1.2.3.4/32", "1.2.3.4/32"},
      {"2001:db8::/32", "2001:db8::/32"},
      {"2001:0DB8:0:0::/32", "2001:db8::/32"},
      {"::1", "::1/128"},
      {"::/0", "::/0"},
      {"::ffff:10.0.0.0/104", "10.0.0.0/8"},
      {"::ffff:0.0.0.0/96", "0.0.0.0/0"},
      {"::ffff:1.2.3.4", "1.2.3.4/32"},
  };
  for (const auto& [text, shown] : rows) {
    IpNetwork network;
    CHECK_EQ(parseNetwork(text, network), NetworkTextError::none);
    CHECK_EQ(network.text(), shown);
  }
}

TEST("what is no network is refused, and which part of it is wrong") {
  using enum NetworkTextError;
  const std::pair<std::string_view, NetworkTextError> rows[] = {
      {"", address},
      {"/8", address},
      {"10.0.0/8", address},
      {" 10.0.0.0/8", address},
      {"10.0.0.0 /8", address},
      {"010.0.0.0/8", address},
      {"localhost", address},
      {"fe80::1%lo", address},
      {"[::1]/128", address},
      {std::string_view("10.0.0.0\0/8", 11), address},
      {"1:2:3:4:5:6:7:8:9/8", address},
      {"1111:1111:1111:1111:1111:1111:111.111.111.1111111111111/8", address},
      {"10.0.0.0/", bits},
      {"10.0.0.0/33", bits},
      {"10.0.0.0/-1", bits},
      {"10.0.0.0/08", bits},
      {"10.0.0.0/8 ", bits},
      {"10.0.0.0/8/8", bits},
      {"10.0.0.0/4294967304", bits},
      {"10.0.0.0/255.0.0.0", bits},
      {"::/129", bits},
      {"::ffff:0.0.0.0/95", bits},
      {"10.0.0.1/8", hostBits},
      {"2001:db8::1/32", hostBits},
  };
  for (const auto& [text, error] : rows) {
    IpNetwork network;
    CHECK_EQ(parseNetwork(text, network), error);
  }
  IpNetwork meant;
  (void)parseNetwork("10.1.2.3/8", meant);
  CHECK_EQ(meant.text(), "10.0.0.0/8");
}

TEST("whatever a network's text is, it is refused or comes back by its own text") {
  std::mt19937_64 random(3);
  const std::string_view seeds[] = {"10.0.0.0/8", "2001:db8::/32", "::ffff:10.0.0.0/104", "255.255.255.255/32",
                                    "::1"};
  constexpr std::string_view letters = "0123456789abcdefABCDEF:./%-+ xg\0";
  int taken = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::string text(seeds[random() % std::size(seeds)]);
    for (uint64_t changes = random() % 4; changes > 0; --changes) {
      const size_t at = random() % (text.size() + 1);
      const char letter = letters[random() % letters.size()];
      if (random() % 3 == 0 && at < text.size()) {
        text.erase(at, 1);
      } else if (random() % 2 && at < text.size()) {
        text[at] = letter;
      } else {
        text.insert(at, 1, letter);
      }
    }
    IpNetwork network, again;
    if (parseNetwork(text, network) != NetworkTextError::none) continue;
    ++taken;
    CHECK_EQ(parseNetwork(network.text(), again), NetworkTextError::none);
    CHECK(network == again);
    CHECK(network.contains(network.address));
  }
  CHECK(taken > 10'000);
}

TEST("any number of threads look into one set") {
  const CidrSet set = setOf({"10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"});
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&set, &wrong] {
      for (int step = 0; step < 20'000; ++step) {
        const IpBits address = *parseIp(step % 2 ? "10.1.2.3" : "10.2.2.3");
        const CidrSet::Entry* entry = set.find(address);
        if (!entry || entry->network.bits != (step % 2 ? 16 : 8)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

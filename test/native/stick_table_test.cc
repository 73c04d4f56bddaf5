#include "rules/stick_table.h"

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "support/tables.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr TimeMs start = 100'000;

TableKeyShape shapeOf(TableKeyType type) {
  TableKeyShape shape;
  shape.type = type;
  return shape;
}

/// The stored form of a key, shown again; "" where there is none.
std::string keyText(const TableKeyShape& shape, std::string_view address) {
  TableKey stored;
  if (!shape.ofAddress(*SocketAddress::ip(address, 1), stored)) return "";
  CHECK(shape.accepts(stored.view()));
  return shape.text(stored.view());
}

std::vector<std::string> keys(const StickTable& table, TimeMs now, size_t atLeast = 1000) {
  std::vector<std::string> all;
  for (uint64_t cursor = 0; cursor != StickTable::noMore;)
    for (const auto& row : table.rows(cursor, atLeast, now)) all.push_back(row.key);
  std::sort(all.begin(), all.end());
  return all;
}

/// A table as its page describes it: everything in one list by age.
class Model {
 public:
  Model(uint32_t size, uint64_t expireMs, bool noPurge) : size_(size), expireMs_(expireMs), noPurge_(noPurge) {}

  struct Entry {
    std::string key;
    uint32_t connCount = 0, references = 0, gpc = 0;
    TimeMs touchedMs = 0;
  };

  Entry* find(const std::string& key, TimeMs now) {
    forget(now);
    for (Entry& entry : entries_)
      if (entry.key == key) return &entry;
    return nullptr;
  }
  bool track(const std::string& key, TimeMs now) {
    Entry entry{key, 0, 0, 0, now};
    if (Entry* known = find(key, now)) {
      entry = *known;
      entries_.erase(entries_.begin() + (known - &entries_[0]));
    } else if (entries_.size() == size_) {
      if (noPurge_) return false;
      const auto oldest =
          std::find_if(entries_.begin(), entries_.end(), [](const Entry& each) { return each.references == 0; });
      if (oldest == entries_.end()) return false;
      entries_.erase(oldest);
    }
    entry.touchedMs = now;
    ++entry.connCount;
    ++entry.references;
    entries_.push_back(entry);
    return true;
  }
  void release(const std::string& key, TimeMs now) {
    --find(key, now)->references;
    forget(now);
  }
  std::vector<Entry> entries(TimeMs now) {
    forget(now);
    return entries_;
  }
  void remove(const std::string& key, TimeMs now) {
    Entry* entry = find(key, now);
    if (!entry) return;
    if (entry->references > 0) {
      entry->connCount = entry->gpc = 0;
    } else {
      entries_.erase(entries_.begin() + (entry - &entries_[0]));
    }
  }

 private:
  void forget(TimeMs now) {
    std::erase_if(entries_, [&](const Entry& entry) {
      return expireMs_ != 0 && entry.references == 0 && now - entry.touchedMs >= expireMs_;
    });
  }

  uint32_t size_;
  uint64_t expireMs_;
  bool noPurge_;
  std::vector<Entry> entries_;  // the oldest first
};

}  // namespace

TEST("ten connections make conn_cur 10, and none once they are closed, while conn_cnt stays (HP-58)") {
  const auto table = StickTable::create(everything(10));
  {
    std::vector<TrackedEntry> tracked;
    for (int i = 0; i < 10; ++i) tracked.push_back(table->track(key("a"), start));
    CHECK_EQ(table->read(key("a"), connCurrent, start).value(), 10u);
    CHECK_EQ(tracked[3].read(connCurrent, start), 10u);
    CHECK_EQ(tracked[3].key(), "a");
  }
  CHECK_EQ(table->read(key("a"), connCurrent, start).value(), 0u);
  CHECK_EQ(table->read(key("a"), connCount, start).value(), 10u);
  CHECK_EQ(table->read(key("a"), connRate, start).value(), 10u);
}

TEST("of two places and three sources the one that was tracked first goes (HP-57)") {
  const auto table = StickTable::create(everything(2));
  (void)table->track(key("a"), start);
  (void)table->track(key("b"), start);
  (void)table->track(key("a"), start);
  (void)table->track(key("c"), start);
  CHECK(keys(*table, start) == std::vector<std::string>({"a", "c"}));
  CHECK_EQ(table->stats(start).purged, 1u);
}

TEST("entries that connections are counted in are never purged") {
  const auto table = StickTable::create(everything(2, 1000));
  auto a = table->track(key("a"), start);
  (void)table->track(key("b"), start);
  auto c = table->track(key("c"), start + 1);
  CHECK(keys(*table, start + 1) == std::vector<std::string>({"a", "c"}));
  // Now all are in use, and time does not help.
  CHECK(!table->track(key("d"), start + 1));
  CHECK(!table->track(key("d"), start + 100'000));
  CHECK_EQ(table->stats(start).untracked, 2u);
  CHECK_EQ(table->stats(start).referenced, 2u);
  a = TrackedEntry();
  CHECK(table->track(key("d"), start + 100'000));
  CHECK(keys(*table, start + 100'000) == std::vector<std::string>({"c", "d"}));
}

TEST("with noPurge a new key is not tracked while the table is full, until another expires") {
  TableConfig config = everything(2, 1000);
  config.noPurge = true;
  const auto table = StickTable::create(config);
  (void)table->track(key("a"), start);
  (void)table->track(key("b"), start + 500);
  CHECK(!table->track(key("c"), start + 999));
  CHECK(table->track(key("a"), start + 999));
  CHECK(!table->track(key("c"), start + 1000));
  CHECK(table->track(key("c"), start + 1500));
  CHECK(keys(*table, start + 1500) == std::vector<std::string>({"a", "c"}));
}

TEST("an entry expires after it was last tracked; reading, counting and stats do not refresh it") {
  const auto table = StickTable::create(everything(10, 1000));
  (void)table->track(key("a"), start);
  (void)table->track(key("a"), start + 600);
  CHECK(table->read(key("a"), connCount, start + 1500));
  CHECK(table->add(key("a"), gpc0, 1, start + 1500));
  CHECK(table->row(key("a"), start + 1599));
  CHECK_EQ(table->row(key("a"), start + 1500)->expiresInMs.value(), 100u);
  CHECK_EQ(table->row(key("a"), start + 1500)->idleMs, 900u);
  CHECK(!table->read(key("a"), connCount, start + 1600));
  CHECK(!table->add(key("a"), gpc0, 1, start + 1600));
  CHECK(keys(*table, start + 1600).empty());
  CHECK_EQ(table->stats(start + 1600).entries, 0u);
  CHECK_EQ(table->stats(start + 1600).expired, 1u);
}

TEST("an entry that comes back after it has expired begins anew") {
  const auto table = StickTable::create(everything(10, 1000));
  (void)table->track(key("a"), start);
  (void)table->track(key("a"), start + 1000);
  CHECK_EQ(table->read(key("a"), connCount, start + 1000).value(), 1u);
  CHECK_EQ(table->stats(start + 1000).entries, 1u);
}

TEST("an entry in use outlives its time, and goes with its last connection") {
  const auto table = StickTable::create(everything(10, 1000));
  auto a = table->track(key("a"), start);
  CHECK_EQ(table->read(key("a"), connCurrent, start + 5000).value(), 1u);
  (void)table->track(key("b"), start + 5000);
  a = TrackedEntry();
  CHECK(!table->read(key("a"), connCount, start + 5000));
  CHECK_EQ(table->stats(start + 5000).entries, 1u);
}

TEST("counts are of 32 bits and wrap; bytes are of 64") {
  const auto table = StickTable::create(everything(10));
  auto a = table->track(key("a"), start);
  for (const TableColumn column : {sessCount, glitchCount, gpc0, gpc1}) {
    a.add(column, UINT32_MAX, start);
    CHECK_EQ(a.read(column, start), UINT32_MAX);
    a.add(column, 2, start);
    CHECK_EQ(a.read(column, start), 1u);
  }
  a.add(bytesIn, UINT32_MAX, start);
  a.add(bytesIn, 2, start);
  CHECK_EQ(a.read(bytesIn, start), uint64_t{1} << 32 | 1);
}

TEST("each column counts by itself, rates over their period, and what a table does not hold is 0") {
  const auto table = StickTable::create(everything(10));
  auto a = table->track(key("a"), start);
  a.add(bytesInRate, 500, start);
  a.add(gpcRate0, 4, start + 100);
  CHECK_EQ(a.read(bytesInRate, start + 999), 500u);
  CHECK_EQ(a.read(bytesInRate, start + 1500), 250u);
  CHECK_EQ(a.read(gpcRate0, start + 500), 4u);
  CHECK_EQ(a.read(bytesOutRate, start + 500), 0u);
  a.set(gpt0, 77, start);
  CHECK_EQ(a.read(gpt0, start), 77u);
  CHECK_EQ(a.read({TableData::gpt, 2}, start), 0u);
  CHECK_EQ(a.read({TableData::gpt, 3}, start), 0u);
  a.add(connCurrent, 5, start);
  CHECK_EQ(a.read(connCurrent, start), 1u);
  TableConfig config = everything(1);
  config.layout = {};
  const auto bare = StickTable::create(config);
  auto b = bare->track(key("b"), start);
  CHECK(b);
  CHECK_EQ(b.read(connCount, start), 0u);
  CHECK_EQ(b.read(connCurrent, start), 0u);
}

TEST("set makes an entry and leaves conn_cur alone; remove forgets what is counted, but not who is connected") {
  const auto table = StickTable::create(everything(2));
  const StickTable::Change changes[] = {
      {gpc0, 7}, {connCurrent, 9}, {gpt0, 3}, {connRate, 12}, {bytesIn, 1ull << 40}};
  CHECK(table->set(key("a"), changes, start));
  CHECK_EQ(table->read(key("a"), gpc0, start).value(), 7u);
  CHECK_EQ(table->read(key("a"), connCurrent, start).value(), 0u);
  CHECK_EQ(table->read(key("a"), connRate, start + 500).value(), 12u);
  CHECK_EQ(table->read(key("a"), connRate, start + 1500).value(), 6u);
  CHECK_EQ(table->read(key("a"), bytesIn, start).value(), 1ull << 40);
  auto a = table->track(key("a"), start);
  CHECK(table->remove(key("a"), start));
  CHECK_EQ(a.read(gpc0, start), 0u);
  CHECK_EQ(a.read(connCount, start), 0u);
  CHECK_EQ(a.read(connCurrent, start), 1u);
  a = TrackedEntry();
  CHECK(table->remove(key("a"), start));
  CHECK(!table->remove(key("a"), start));
  (void)table->track(key("b"), start);
  auto c = table->track(key("c"), start);
  CHECK_EQ(table->clear(start), 2u);
  CHECK(keys(*table, start) == std::vector<std::string>({"c"}));
}

TEST("addresses become keys as the type has it") {
  const TableKeyShape ip = shapeOf(TableKeyType::ip);
  CHECK_EQ(keyText(ip, "10.0.0.1"), "10.0.0.1");
  CHECK_EQ(keyText(ip, "::ffff:10.0.0.1"), "10.0.0.1");
  CHECK_EQ(keyText(ip, "2001:db8::1"), "2001:db8::1");
  CHECK_EQ(keyText(shapeOf(TableKeyType::ipv4), "10.0.0.1"), "10.0.0.1");
  CHECK_EQ(keyText(shapeOf(TableKeyType::ipv4), "2001:db8::1"), "");
  CHECK_EQ(keyText(shapeOf(TableKeyType::ipv6), "10.0.0.1"), "::ffff:10.0.0.1");
  TableKeyShape prefix = shapeOf(TableKeyType::prefix);
  prefix.ipv4Bits = 24;
  prefix.ipv6Bits = 56;
  CHECK_EQ(keyText(prefix, "10.1.2.3"), "10.1.2.0/24");
  CHECK_EQ(keyText(prefix, "2001:db8:1:2ff::3"), "2001:db8:1:200::/56");
  CHECK_EQ(keyText(shapeOf(TableKeyType::integer), "10.0.0.1"), "");
  CHECK_EQ(keyText(shapeOf(TableKeyType::string), "::ffff:10.0.0.1"), "10.0.0.1");
  TableKeyShape binary = shapeOf(TableKeyType::binary);
  binary.length = 6;
  CHECK_EQ(keyText(binary, "1.2.3.4"), std::string("\1\2\3\4\0\0", 6));
  TableKey key;
  CHECK(!ip.ofAddress(*SocketAddress::unixPath("/x"), key));
  CHECK(shapeOf(TableKeyType::string).ofAddress(*SocketAddress::unixPath("/x"), key));
  CHECK_EQ(key.view(), "/x");
}

TEST("text becomes a key: cut for strings, padded or cut for binary ones, a number or an address for others") {
  TableKey key;
  TableKeyShape string = shapeOf(TableKeyType::string);
  string.length = 4;
  CHECK(string.ofText("abcdef", key));
  CHECK_EQ(key.view(), "abcd");
  CHECK(!string.ofText("", key));
  TableKeyShape binary = shapeOf(TableKeyType::binary);
  binary.length = 4;
  CHECK(binary.ofText("ab", key));
  CHECK_EQ(key.view(), std::string_view("ab\0\0", 4));
  CHECK(binary.ofText("abcdef", key));
  CHECK_EQ(key.view(), "abcd");
  const TableKeyShape integer = shapeOf(TableKeyType::integer);
  CHECK(integer.ofText("4294967295", key));
  CHECK_EQ(integer.text(key.view()), "4294967295");
  for (const std::string_view bad : {"", "-1", "4294967296", "1x", " 1"}) CHECK(!integer.ofText(bad, key));
  const TableKeyShape ip = shapeOf(TableKeyType::ip);
  CHECK(ip.ofText("2001:DB8::1", key));
  CHECK_EQ(ip.text(key.view()), "2001:db8::1");
  for (const std::string_view bad : {"", "10.0.0.0/8", "localhost"}) CHECK(!ip.ofText(bad, key));
  TableKeyShape prefix = shapeOf(TableKeyType::prefix);
  prefix.ipv4Bits = 24;
  CHECK(prefix.ofText("10.1.2.0/24", key));
  CHECK(prefix.ofText("10.1.2.9", key));
  CHECK_EQ(prefix.text(key.view()), "10.1.2.0/24");
  for (const std::string_view bad : {"10.1.2.0/25", "10.1.2.1/24", "10.1.2.0/"}) CHECK(!prefix.ofText(bad, key));
}

TEST("a table behaves as its model does: random tracking, releasing, expiring, purging and removing") {
  std::mt19937_64 random(11);
  for (int round = 0; round < 200; ++round) {
    const auto size = static_cast<uint32_t>(1 + random() % 12);
    const uint64_t expireMs = round % 3 == 0 ? 0 : 1 + random() % 300;
    TableConfig config = everything(size, expireMs);
    config.noPurge = round % 4 == 0;
    const auto table = StickTable::create(config);
    Model model(size, expireMs, config.noPurge);
    std::deque<std::pair<std::string, TrackedEntry>> held;
    TimeMs now = start;
    for (int step = 0; step < 300; ++step) {
      now += random() % 20;
      const std::string name(1, static_cast<char>('a' + random() % 16));
      switch (random() % 6) {
        case 0:
        case 1: {
          TrackedEntry entry = table->track(key(name), now);
          CHECK_EQ(static_cast<bool>(entry), model.track(name, now));
          if (entry && random() % 2) {
            held.emplace_back(name, std::move(entry));
          } else if (entry) {
            entry = TrackedEntry();
            model.release(name, now);
          }
          break;
        }
        case 2:
          if (held.empty()) break;
          // The table learns the time from whoever tells it.
          (void)table->stats(now);
          (void)table->add(key(name), gpc1, 0, now);
          (void)held.front().second.read(connCount, now);
          model.release(held.front().first, now);
          held.pop_front();
          break;
        case 3: {
          Model::Entry* entry = model.find(name, now);
          CHECK_EQ(table->add(key(name), gpc0, 3, now), entry != nullptr);
          if (entry) entry->gpc += 3;
          break;
        }
        case 4: {
          const Model::Entry* entry = model.find(name, now);
          const auto count = table->read(key(name), connCount, now);
          CHECK_EQ(count.has_value(), entry != nullptr);
          if (count && entry) CHECK_EQ(*count, entry->connCount);
          if (entry) CHECK_EQ(table->read(key(name), connCurrent, now).value_or(99), entry->references);
          if (entry) CHECK_EQ(table->read(key(name), gpc0, now).value_or(99), entry->gpc);
          break;
        }
        default:
          if (random() % 8) break;
          CHECK_EQ(table->remove(key(name), now), model.find(name, now) != nullptr);
          model.remove(name, now);
      }
      std::vector<std::string> expected;
      for (const auto& entry : model.entries(now)) expected.push_back(entry.key);
      std::sort(expected.begin(), expected.end());
      CHECK(keys(*table, now) == expected);
      CHECK_EQ(table->stats(now).entries, expected.size());
    }
  }
}

TEST("many entries are seen once each, in slices, while others come and go and the table grows") {
  const auto table = StickTable::create(everything(200'000));
  for (int i = 0; i < 5000; ++i) (void)table->track(key("stays" + std::to_string(i)), start);
  std::map<std::string, int> seen;
  uint64_t cursor = 0;
  for (int slice = 0; cursor != StickTable::noMore; ++slice) {
    const auto rows = table->rows(cursor, 100, start);
    CHECK(rows.size() < 400);
    for (const auto& row : rows) ++seen[row.key];
    for (int i = 0; i < 500; ++i) {
      const std::string name = "new" + std::to_string(slice * 500 + i);
      (void)table->track(key(name), start);
      if (i % 2) (void)table->remove(key(name), start);
    }
  }
  for (int i = 0; i < 5000; ++i) CHECK_EQ(seen["stays" + std::to_string(i)], 1);
  for (const auto& [name, count] : seen) CHECK_EQ(count, 1);
}

TEST("a large table keeps to its size, and purges in parts of 1/256, the oldest over all its shards") {
  constexpr uint32_t size = 4096;
  const auto table = StickTable::create(everything(size));
  for (uint32_t i = 0; i < size; ++i) (void)table->track(key(std::to_string(i)), start + i);
  CHECK_EQ(table->stats(start + size).entries, size);
  CHECK(table->track(key("one more"), start + size));
  CHECK_EQ(table->stats(start + size).entries, size + 1 - size / 256);
  CHECK_EQ(table->stats(start + size).purged, size / 256);
  for (uint32_t i = 0; i < size; ++i)
    CHECK_EQ(table->read(key(std::to_string(i)), connCount, start + size).has_value(), i >= size / 256);
}

TEST("entries in use at the old end cost their search once, and are purged in their turn when they are free") {
  const auto table = StickTable::create(everything(4));
  auto a = table->track(key("a"), start);
  auto b = table->track(key("b"), start + 1);
  (void)table->track(key("c"), start + 2);
  (void)table->track(key("d"), start + 3);
  (void)table->track(key("e"), start + 4);
  CHECK(keys(*table, start + 4) == std::vector<std::string>({"a", "b", "d", "e"}));
  b = TrackedEntry();
  a = TrackedEntry();
  (void)table->track(key("f"), start + 5);
  (void)table->track(key("g"), start + 6);
  CHECK(keys(*table, start + 6) == std::vector<std::string>({"d", "e", "f", "g"}));
}

TEST("threads track, count, read and forget at once, and nothing is lost") {
  constexpr int threads = 4, rounds = 20'000;
  // Small enough to purge, and large enough to have shards.
  const auto table = StickTable::create(everything(1024, 5));
  const auto steady = StickTable::create(everything(4096));
  std::atomic<uint64_t> tracked = 0;
  std::vector<std::thread> running;
  for (int thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      std::vector<TrackedEntry> held(64);
      for (int i = 0; i < rounds; ++i) {
        const TimeMs now = start + static_cast<TimeMs>(i / 10);
        TrackedEntry& place = held[random() % held.size()];
        place = table->track(key(std::to_string(random() % 3000)), now);
        if (place) ++tracked;
        place.add(gpc0, 1, now);
        (void)place.read(connRate, now);
        auto common = steady->track(key(std::to_string(i % 7)), now);
        common.add(gpc0, 2, now);
        if (i % 1000 == 0) (void)table->stats(now);
        uint64_t cursor = random() % UINT32_MAX;
        if (i % 500 == 0) (void)table->rows(cursor, 10, now);
        if (i % 5000 == 0) (void)table->clear(now);
        if (i % 700 == 0) (void)table->snapshot(now, 0);
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  const TimeMs now = start + rounds / 10;
  uint64_t total = 0, gpc = 0;
  for (int i = 0; i < 7; ++i) {
    total += steady->read(key(std::to_string(i)), connCount, now).value_or(0);
    gpc += steady->read(key(std::to_string(i)), gpc0, now).value_or(0);
    CHECK_EQ(steady->read(key(std::to_string(i)), connCurrent, now).value_or(9), 0u);
  }
  CHECK_EQ(total, static_cast<uint64_t>(threads) * rounds);
  CHECK_EQ(gpc, 2 * static_cast<uint64_t>(threads) * rounds);
  CHECK_EQ(table->stats(now).referenced, 0u);
  CHECK_EQ(table->stats(now).tracked, tracked.load());
  CHECK_EQ(table->stats(now + 5).entries, 0u);
}

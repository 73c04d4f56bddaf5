// Tables as bytes: snapshots, and what several tables tell each other.
#include <algorithm>
#include <map>
#include <random>

#include "support/tables.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr TimeMs start = 100'000;
constexpr uint64_t wall = 1'800'000'000'000;

/// Bytes with a checksum that fits, whatever they are.
std::vector<uint8_t> sealed(std::vector<uint8_t> body) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : body) hash = (hash ^ byte) * 0x100000001b3;
  for (int i = 0; i < 8; ++i, hash >>= 8) body.push_back(static_cast<uint8_t>(hash));
  return body;
}

std::vector<uint8_t> bodyOf(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end() - 8}; }

/// All rows by key; what idles, as text.
std::map<std::string, std::vector<uint64_t>> rowsOf(const StickTable& table, TimeMs now) {
  std::map<std::string, std::vector<uint64_t>> all;
  for (uint64_t cursor = 0; cursor != StickTable::noMore;)
    for (const auto& row : table.rows(cursor, 100, now)) all[row.key] = row.values;
  return all;
}

std::shared_ptr<StickTable> filled() {
  auto table = StickTable::create(everything(100, 10'000));
  auto a = table->track(key("a"), start);
  const StickTable::Change changes[] = {{gpc0, 7}, {gpt0, 3}, {bytesIn, 1ull << 40}, {gpcRate0, 1000}};
  CHECK(table->set(key("b"), changes, start + 100));
  a.add(bytesInRate, 500, start + 100);
  return table;
}

}  // namespace

TEST("a snapshot brings everything back but connections, aged by the time it lay about") {
  const auto table = filled();
  auto open = table->track(key("a"), start + 200);
  const auto bytes = table->snapshot(start + 500, wall);
  const auto other = StickTable::create(everything(100, 10'000));
  // Another process, whose clock began anew, a second later.
  const auto taken = other->restore(bytes, 50, wall + 1000);
  REQUIRE(taken);
  CHECK_EQ(*taken, 2u);
  CHECK_EQ(other->read(key("a"), connCount, 50).value(), 2u);
  CHECK_EQ(other->read(key("a"), connCurrent, 50).value(), 0u);
  CHECK_EQ(other->read(key("b"), gpc0, 50).value(), 7u);
  CHECK_EQ(other->read(key("b"), gpt0, 50).value(), 3u);
  CHECK_EQ(other->read(key("b"), bytesIn, 50).value(), 1ull << 40);
  // 1.4 s after its period began.
  CHECK_EQ(other->read(key("b"), gpcRate0, 50).value(), 600u);
  CHECK_EQ(other->row(key("a"), 50)->idleMs, 1300u);
  CHECK_EQ(other->row(key("b"), 50)->idleMs, 1400u);
  CHECK_EQ(other->row(key("b"), 50)->expiresInMs.value(), 8600u);
}

TEST("what has expired by the time of restoring is left out, and so is what had when saving") {
  const auto table = filled();
  const auto takenAfter = [&table](uint64_t awayMs) {
    return *StickTable::create(everything(9, 10'000))
                ->restore(table->snapshot(start + 100, wall), start, wall + awayMs);
  };
  CHECK_EQ(takenAfter(9899), 2u);
  CHECK_EQ(takenAfter(9900), 1u);
  CHECK_EQ(takenAfter(10'000), 0u);
  CHECK_EQ(*StickTable::create(everything(9))->restore(table->snapshot(start + 10'050, wall), start, wall), 1u);
  // A clock that was set back is no reason to lose anything.
  CHECK_EQ(
      *StickTable::create(everything(9, 10'000))->restore(table->snapshot(start, wall), start, wall - 1'000'000),
      2u);
}

TEST("entries that are there already stay as they are") {
  const auto bytes = filled()->snapshot(start + 200, wall);
  const auto other = StickTable::create(everything(100, 10'000));
  CHECK(other->set(key("b"), std::vector<StickTable::Change>{{gpc0, 100}}, start));
  CHECK_EQ(*other->restore(bytes, start, wall), 1u);
  CHECK_EQ(other->read(key("b"), gpc0, start).value(), 100u);
}

TEST("a smaller table takes the newest, and goes on purging the oldest") {
  const auto table = StickTable::create(everything(100));
  for (int i = 0; i < 50; ++i) (void)table->track(key(std::to_string(i)), start + static_cast<TimeMs>(i));
  const auto other = StickTable::create(everything(3));
  CHECK_EQ(*other->restore(table->snapshot(start + 100, wall), start, wall), 3u);
  const auto has = [&other](const char* name) { return other->read(key(name), connCount, start).has_value(); };
  CHECK(has("47") && has("48") && has("49"));
  (void)other->track(key("new"), start);
  CHECK(!has("47") && has("48") && has("49"));
}

TEST("a table that holds other columns takes those that both hold, with the same period") {
  const auto bytes = filled()->snapshot(start + 200, wall);
  TableConfig config = everything(100);
  config.layout = {};
  config.layout.store(TableData::gpc, 1, 0);
  config.layout.store(TableData::gpcRate, 3, 5000);
  config.layout.store(TableData::bytesInCount, 1, 0);
  const auto other = StickTable::create(config);
  CHECK_EQ(*other->restore(bytes, start, wall), 2u);
  CHECK_EQ(other->read(key("b"), gpc0, start).value(), 7u);
  CHECK_EQ(other->read(key("b"), bytesIn, start).value(), 1ull << 40);
  CHECK_EQ(other->read(key("b"), gpcRate0, start).value(), 0u);
}

TEST("another kind of key, a later version and every damage are told apart, and change nothing") {
  const auto bytes = filled()->snapshot(start + 200, wall);
  const auto other = StickTable::create(everything(100));
  const auto codeOf = [&other](const std::vector<uint8_t>& bytes) {
    const auto result = other->restore(bytes, start, wall);
    return result ? ErrorCode::none : result.error().code;
  };
  for (size_t cut = 0; cut < bytes.size(); ++cut)
    CHECK_EQ(codeOf({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(cut)}), ErrorCode::invalidArgument);
  for (size_t at = 0; at < bytes.size(); ++at) {
    auto damaged = bytes;
    damaged[at] ^= static_cast<uint8_t>(1 << at % 8);
    CHECK_EQ(codeOf(damaged), ErrorCode::invalidArgument);
  }
  auto later = bodyOf(bytes);
  later[4] = 2;
  CHECK_EQ(codeOf(sealed(later)), ErrorCode::notSupported);
  TableConfig config = everything(100);
  config.key.type = TableKeyType::ip;
  const auto keyed = StickTable::create(config)->restore(bytes, start, wall);
  CHECK(!keyed && keyed.error().code == ErrorCode::notSupported);
  // Changes are no snapshot.
  const auto changes = StickTable::create(everything(100))->applyChanges(bytes, 0, start);
  CHECK(!changes && changes.error().code == ErrorCode::invalidArgument);
  CHECK_EQ(other->stats(start).entries, 0u);
}

TEST("whatever bytes there are, they are refused or taken, and never more than the table holds") {
  std::mt19937_64 random(5);
  const auto snapshot = bodyOf(filled()->snapshot(start + 200, wall));
  const auto teller = StickTable::create(everything(100));
  teller->startExchange();
  for (int i = 0; i < 5; ++i) (void)teller->track(key(std::to_string(i)), start);
  (void)teller->remove(key("1"), start);
  const auto changes = bodyOf(teller->takeChanges(10'000));
  int taken = 0;
  for (int i = 0; i < 40'000; ++i) {
    auto body = i % 2 ? snapshot : changes;
    for (uint64_t edits = 1 + random() % 3; edits > 0 && !body.empty(); --edits) {
      const size_t at = random() % body.size();
      switch (random() % 4) {
        case 0: body[at] = static_cast<uint8_t>(random()); break;
        case 1: body[at] ^= static_cast<uint8_t>(1 << random() % 8); break;
        case 2: body.erase(body.begin() + static_cast<ptrdiff_t>(at)); break;
        default: body.insert(body.begin() + static_cast<ptrdiff_t>(at), random() % 2 ? 0xff : 0x80);
      }
    }
    const auto table = StickTable::create(everything(3, 100'000));
    const auto bytes = sealed(body);
    taken += static_cast<bool>(i % 2 ? table->restore(bytes, start, wall) : table->applyChanges(bytes, 10, start));
    CHECK(table->stats(start).entries <= 3);
  }
  CHECK(taken > 1000);
}

TEST("two tables that tell each other come to the same counts") {
  const auto a = StickTable::create(everything(100, 10'000)), b = StickTable::create(everything(100, 10'000));
  a->startExchange();
  b->startExchange();
  auto onA = a->track(key("x"), start);
  auto onB = b->track(key("x"), start);
  onA.add(gpc0, 5, start);
  onB.add(gpc0, 6, start);
  onB.set(gpt0, 9, start);
  onA.add(bytesIn, 1000, start);
  const auto fromA = a->takeChanges(10'000), fromB = b->takeChanges(10'000);
  CHECK_EQ(*a->applyChanges(fromB, 20, start + 20), 1u);
  CHECK_EQ(*b->applyChanges(fromA, 20, start + 20), 1u);
  auto rowsA = rowsOf(*a, start + 20), rowsB = rowsOf(*b, start + 20);
  CHECK(rowsA == rowsB);
  CHECK_EQ(a->read(key("x"), connCount, start).value(), 2u);
  CHECK_EQ(a->read(key("x"), connRate, start + 20).value(), 2u);
  CHECK_EQ(a->read(key("x"), gpc0, start).value(), 11u);
  CHECK_EQ(a->read(key("x"), gpt0, start).value(), 9u);
  // Who is connected here is nobody else's.
  CHECK_EQ(a->read(key("x"), connCurrent, start).value(), 1u);
  CHECK_EQ(b->read(key("x"), connCurrent, start).value(), 1u);
  // What was told is not told again, and what was heard is not passed on.
  CHECK(a->takeChanges(10'000).empty());
  CHECK(b->takeChanges(10'000).empty());
}

TEST("tables that tell each other random things at random times come to the same in the end") {
  std::mt19937_64 random(9);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::shared_ptr<StickTable>> tables;
    for (int i = 0; i < 3; ++i) tables.push_back(StickTable::create(everything(1000)));
    for (const auto& table : tables) table->startExchange();
    const auto tell = [&](size_t from) {
      const auto bytes = tables[from]->takeChanges(random() % 200);
      if (bytes.empty()) return false;
      for (size_t i = 0; i < tables.size(); ++i)
        if (i != from) CHECK(tables[i]->applyChanges(bytes, 0, start));
      return true;
    };
    std::map<std::string, uint32_t> gpc;
    for (int step = 0; step < 300; ++step) {
      const size_t which = random() % tables.size();
      const std::string name(1, static_cast<char>('a' + random() % 8));
      const auto amount = static_cast<uint32_t>(random() % 100);
      auto entry = tables[which]->track(key(name), start);
      entry.add(gpc0, amount, start);
      gpc[name] += amount;
      if (random() % 5 == 0) (void)tell(random() % tables.size());
    }
    for (size_t i = 0; i < tables.size(); ++i)
      while (tell(i)) continue;
    for (const auto& [name, count] : gpc)
      for (const auto& table : tables) CHECK_EQ(table->read(key(name), gpc0, start).value_or(0), count);
    CHECK(rowsOf(*tables[0], start) == rowsOf(*tables[1], start));
    CHECK(rowsOf(*tables[0], start) == rowsOf(*tables[2], start));
  }
}

TEST("removals and settings are told; a count that was set lower stays at 0 where less was known") {
  const auto a = StickTable::create(everything(100)), b = StickTable::create(everything(100));
  a->startExchange();
  (void)a->track(key("x"), start);
  (void)a->track(key("y"), start);
  CHECK(a->set(key("x"), std::vector<StickTable::Change>{{gpc0, 50}}, start));
  CHECK(b->applyChanges(a->takeChanges(10'000), 0, start));
  CHECK_EQ(b->read(key("x"), gpc0, start).value(), 50u);
  CHECK(b->set(key("x"), std::vector<StickTable::Change>{{gpc0, 10}}, start));
  CHECK(a->set(key("x"), std::vector<StickTable::Change>{{gpc0, 1}}, start));
  CHECK(a->remove(key("y"), start));
  CHECK(b->applyChanges(a->takeChanges(10'000), 0, start));
  CHECK_EQ(b->read(key("x"), gpc0, start).value(), 0u);
  CHECK(!b->read(key("y"), connCount, start));
  (void)a->track(key("z"), start);
  CHECK_EQ(a->clear(start), 2u);
  (void)a->track(key("new"), start);
  CHECK(b->applyChanges(a->takeChanges(10'000), 0, start));
  CHECK(rowsOf(*a, start) == rowsOf(*b, start));
  CHECK_EQ(b->stats(start).entries, 1u);
}

TEST("what is heard late counts for the time when it happened") {
  const auto a = StickTable::create(everything(100, 10'000)), b = StickTable::create(everything(100, 10'000));
  a->startExchange();
  (void)a->track(key("x"), start);
  const auto bytes = a->takeChanges(10'000);
  CHECK(b->applyChanges(bytes, 700, start + 700));
  CHECK_EQ(b->row(key("x"), start + 700)->idleMs, 700u);
  CHECK(b->applyChanges(bytes, 20'000, start + 700));
  CHECK_EQ(b->read(key("x"), connCount, start + 700).value(), 1u);
  // Hearing of the past does not make an entry younger or older.
  (void)b->track(key("x"), start + 800);
  CHECK(b->applyChanges(bytes, 5000, start + 900));
  CHECK_EQ(b->row(key("x"), start + 900)->idleMs, 100u);
}

TEST("while nobody can be told, what is remembered stays in proportion to the table") {
  const auto a = StickTable::create(everything(10));
  a->startExchange();
  for (int i = 0; i < 100'000; ++i) (void)a->track(key(std::to_string(i)), start);
  size_t bytes = 0, rounds = 0;
  for (auto taken = a->takeChanges(10'000); !taken.empty(); taken = a->takeChanges(10'000), ++rounds) {
    CHECK(taken.size() < 11'000);
    bytes += taken.size();
  }
  CHECK(bytes < 100'000);
  CHECK(rounds > 1);
}

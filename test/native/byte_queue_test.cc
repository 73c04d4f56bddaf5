#include "buffer/byte_queue.h"

#include <string>

#include "engine/sim_random.h"
#include "support/test.h"
#include "support/world.h"

using namespace sluice;

namespace {

using Owner = ByteQueue::Owner;

const uint8_t* bytesOf(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

void append(ByteQueue& queue, std::string_view text) {
  queue.append(bytesOf(text), static_cast<uint32_t>(text.size()));
}

/// What the first pieces say, at most `max` of them and so many bytes.
std::string peeked(const ByteQueue& queue, int max = 64, size_t maxBytes = SIZE_MAX) {
  iovec pieces[64];
  const int count = queue.peek(pieces, max, maxBytes);
  CHECK(count <= max);
  std::string text;
  for (int i = 0; i < count; ++i) text.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
  return text;
}

struct Released {
  std::vector<std::pair<Owner, uint32_t>> pieces;
  auto note() {
    return [this](Owner owner, uint32_t id) { pieces.emplace_back(owner, id); };
  }
};

}  // namespace

TEST("bytes come out in the order in which they went in, copies and borrowed ones mixed") {
  ByteQueue queue;
  append(queue, "one ");
  queue.appendBorrowed(bytesOf("two "), 4, Owner::reference, 2);
  append(queue, "three ");
  queue.appendBorrowed(bytesOf("four"), 4, Owner::engine, 4);
  CHECK_EQ(queue.sizeBytes(), 18u);
  CHECK_EQ(peeked(queue), "one two three four");
}

TEST("small copies share a block, and stay where they are") {
  ByteQueue queue;
  for (int i = 0; i < 100; ++i) append(queue, "1234");
  iovec pieces[64];
  CHECK_EQ(queue.peek(pieces, 64, SIZE_MAX), 1);
  CHECK_EQ(pieces[0].iov_len, 400u);
  const void* first = pieces[0].iov_base;
  append(queue, std::string(1000, 'x'));
  CHECK_EQ(queue.peek(pieces, 64, SIZE_MAX), 2);
  CHECK(pieces[0].iov_base == first);
}

TEST("a borrowed piece is released when its last byte is drained, and not before") {
  ByteQueue queue;
  Released released;
  queue.appendBorrowed(bytesOf("abcdef"), 6, Owner::reference, 1);
  queue.appendBorrowed(bytesOf("ghi"), 3, Owner::engine, 2);
  queue.drain(5, released.note());
  CHECK(released.pieces.empty());
  CHECK_EQ(peeked(queue), "fghi");
  queue.drain(1, released.note());
  CHECK_EQ(released.pieces.size(), 1u);
  queue.drain(3, released.note());
  CHECK(released.pieces == (std::vector<std::pair<Owner, uint32_t>>{{Owner::reference, 1}, {Owner::engine, 2}}));
  CHECK(queue.empty());
}

TEST("clear releases what is borrowed, each piece once, and the queue is as new") {
  ByteQueue queue;
  Released released;
  for (uint32_t i = 0; i < 5; ++i) queue.appendBorrowed(bytesOf("xy"), 2, Owner::reference, i);
  append(queue, "copy");
  queue.drain(3, released.note());
  queue.clear(released.note());
  CHECK_EQ(released.pieces.size(), 5u);
  CHECK(queue.empty());
  append(queue, "again");
  CHECK_EQ(peeked(queue), "again");
}

TEST("peek gives no more pieces and no more bytes than asked for") {
  ByteQueue queue;
  for (uint32_t i = 0; i < 10; ++i) queue.appendBorrowed(bytesOf("ab"), 2, Owner::reference, i);
  CHECK_EQ(peeked(queue, 3), "ababab");
  CHECK_EQ(peeked(queue, 64, 5), "ababa");
  CHECK_EQ(peeked(queue, 64, 0), "");
}

// Goal: no way of filling and draining mixes bytes up. Method: seeded steps against a plain string.
TEST("whatever the steps, the queue holds what a string would") {
  const std::string lent = test::pattern(10'000);
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SimRandom random(seed);
    ByteQueue queue;
    Released released;
    std::string model;
    size_t borrowed = 0;
    for (int step = 0; step < 60; ++step) {
      const size_t length = static_cast<size_t>(random.between(1, random.between(1, 1200)));
      const std::string_view part = std::string_view(lent).substr(random.between(0, 8000), length);
      switch (random.between(0, 3)) {
        case 0:
          queue.appendBorrowed(bytesOf(part), static_cast<uint32_t>(length), Owner::reference, 0);
          ++borrowed;
          model += part;
          break;
        case 1:
        case 2:
          append(queue, part);
          model += part;
          break;
        default: {
          const size_t count = random.between(0, model.size());
          queue.drain(count, released.note());
          model.erase(0, count);
        }
      }
      CHECK_EQ(queue.sizeBytes(), model.size());
      CHECK_EQ(queue.empty(), model.empty());
      CHECK(model.starts_with(peeked(queue)));
    }
    queue.clear(released.note());
    CHECK_EQ(released.pieces.size(), borrowed);
  }
}

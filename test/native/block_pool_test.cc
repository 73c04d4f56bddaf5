// Large blocks of memory that are used again.
#include "buffer/block_pool.h"

#include "support/test.h"

using namespace sluice;

TEST("a block that was given back is the next of its size") {
  BlockPool pool(1 << 20);
  uint8_t* first = pool.take(200'000);
  REQUIRE(first != nullptr);
  first[0] = first[199'999] = 7;
  pool.giveBack(first, 200'000);
  CHECK(pool.freeBytes() >= 200'000);
  uint8_t* other = pool.take(400'000);
  CHECK(other != first);
  CHECK(pool.take(200'000) == first);
  CHECK_EQ(pool.freeBytes(), 0u);
  pool.giveBack(first, 200'000);
  pool.giveBack(other, 400'000);
}

TEST("sizes that are nearly the same share their blocks, at the cost of an eighth at most") {
  CHECK_EQ(BlockPool::roundedSize(1'000'000), BlockPool::roundedSize(1 << 20));
  for (size_t size = 131'072; size < (64u << 20); size += size / 7 + 1) {
    const size_t rounded = BlockPool::roundedSize(size);
    CHECK(rounded >= size);
    CHECK(rounded <= size + size / 8 + 4096);
    CHECK_EQ(BlockPool::roundedSize(rounded), rounded);
  }
}

TEST("no more than the bound is kept, and the oldest goes first") {
  BlockPool pool(3 << 20);
  uint8_t* blocks[4];
  for (auto& block : blocks) block = pool.take(1 << 20);
  for (auto& block : blocks) pool.giveBack(block, 1 << 20);
  CHECK_EQ(pool.freeBytes(), size_t{3} << 20);
  for (int i = 3; i > 0; i--) CHECK(pool.take(1 << 20) == blocks[i]);
  for (int i = 3; i > 0; i--) pool.giveBack(blocks[i], 1 << 20);
  uint8_t* huge = pool.take(8 << 20);
  pool.giveBack(huge, 8 << 20);
  CHECK(pool.freeBytes() <= (3u << 20));
}

/// The bytes that travel: cheap to make, cheap to compare, different at every offset and on every connection.
#pragma once

#include <stdint.h>
#include <string.h>

// Prime, so that no power-of-two buffer, chunk or message size ever lines up with it: a server that repeats,
// drops or swaps a buffer shows different bytes. Small, so that comparing stays in the first-level cache.
enum { patternPeriod = 4093, patternLongestRun = 1 << 20 };

static uint8_t patternTable[patternPeriod + patternLongestRun];

static inline void patternPrepare(void) {
  uint64_t x = 0x9E3779B97F4A7C15u;
  for (size_t i = 0; i < patternPeriod; i++) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    patternTable[i] = (uint8_t)(x >> 32);
  }
  for (size_t i = patternPeriod; i < sizeof patternTable; i++) patternTable[i] = patternTable[i - patternPeriod];
}

/// Where the pattern of a connection begins.
static inline uint32_t patternStart(uint32_t connection) {
  return (uint32_t)((connection * 2654435761u) % patternPeriod);
}

/// The bytes of a stream from `offset` on; up to patternLongestRun of them lie side by side.
static inline const uint8_t* patternAt(uint32_t start, uint64_t offset) {
  return patternTable + (start + offset) % patternPeriod;
}

/// How many of `size` bytes are as they should be, counted from the first: `size` when all are.
static inline size_t patternMatch(uint32_t start, uint64_t offset, const uint8_t* bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    size_t run = size - done < patternPeriod ? size - done : patternPeriod;
    const uint8_t* expected = patternAt(start, offset + done);
    if (memcmp(bytes + done, expected, run) != 0) {
      while (bytes[done] == *expected) done++, expected++;
      return done;
    }
    done += run;
  }
  return size;
}

/// The character generator's text (RFC 864): lines of 72 of the 95 printable characters, each beginning one further.
#pragma once

#include <stdint.h>
#include <string.h>

enum {
  chargenLine = 74,                  // 72 characters, CR, LF
  chargenPeriod = 95 * chargenLine,  // after this many bytes it begins again
  chargenChunk = 9 * chargenPeriod,  // what every competitor hands to one write: 63 270 bytes
};

static uint8_t chargenText[2 * chargenChunk];

static inline void chargenPrepare(void) {
  for (size_t i = 0; i < sizeof chargenText; i++) {
    size_t line = i / chargenLine, column = i % chargenLine;
    chargenText[i] = column == 72 ? '\r' : column == 73 ? '\n' : (uint8_t)(' ' + (line + column) % 95);
  }
}

/// As patternMatch(), for a stream of this text.
static inline size_t chargenMatch(uint64_t offset, const uint8_t* bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    size_t run = size - done < chargenChunk ? size - done : chargenChunk;
    const uint8_t* expected = chargenText + (offset + done) % chargenPeriod;
    if (memcmp(bytes + done, expected, run) != 0) {
      while (bytes[done] == *expected) done++, expected++;
      return done;
    }
    done += run;
  }
  return size;
}

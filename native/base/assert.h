#pragma once

/// States what must hold whatever the outside world does; a failure is our own mistake. It stays on in release
/// builds: a process that stops is better than one that writes to the wrong connection.
#define SLUICE_ASSERT(condition)                                 \
  do {                                                           \
    if (!(condition)) [[unlikely]]                               \
      ::sluice::assertionFailed(#condition, __FILE__, __LINE__); \
  } while (false)

namespace sluice {
[[noreturn]] void assertionFailed(const char* condition, const char* file, int line);
}

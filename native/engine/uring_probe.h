#pragma once

#ifdef __linux__

#include <string>

#include "engine/uring_engine.h"

namespace sluice {

/// What this kernel, for this process, can do of io_uring.
struct UringProbe {
  bool available = false;
  std::string reason;    // exactly why not; "" when available
  Error error{};         // the same as a value
  UringExtras extras{};  // when available
};

/// Finds out by using it: a ring, a no-op that completes, and a receive into a provided buffer.
UringProbe probeUringKernel();

}  // namespace sluice

#endif

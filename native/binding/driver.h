#pragma once

#include <functional>

#include "binding/batch_caller.h"
#include "net/network.h"

namespace sluice {

/// Moves a loop: inline on Node's event loop, or on an I/O thread. Delivers its events to JavaScript, and JavaScript's
/// operations to it.
///
/// Threads: Node's thread of the environment makes all calls.
class Driver {
 public:
  virtual ~Driver() = default;
  /// Hands over what JavaScript has staged outside a turn.
  virtual void flush() = 0;
  /// Runs `task` on the loop's thread and waits for it.
  virtual void call(const std::function<void(Network&, Loop&)>& task) = 0;
  /// Whether the event loop stays alive for this driver. Initially not.
  virtual void reference(bool alive) = 0;
  /// Stops, and closes every handle; `done` runs when the driver may be deleted. No event is delivered any more.
  virtual void close(std::function<void()> done) = 0;
};

}  // namespace sluice

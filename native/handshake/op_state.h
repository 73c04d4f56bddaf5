#pragma once

#include <cstdint>

#include "base/assert.h"

namespace sluice {

/// How far an operation has come, in two bits (HP-06). There is no room for an error: errors are kept apart.
///
///   00 unwanted ─▶ 10 wanted ─▶ 11 started ─▶ 01 done
///
/// The low bit says that there are resources to free, or were; the high bit that there is something left to do.
enum class OpState : uint8_t { unwanted = 0b00, wanted = 0b10, started = 0b11, done = 0b01 };

/// One operation's state, and its one writer.
class Operation {
 public:
  OpState state() const { return state_; }
  bool wantedOrDone() const { return static_cast<uint8_t>(state_) != 0; }
  bool atLeastStarted() const { return (static_cast<uint8_t>(state_) & 0b01) != 0; }
  bool notYetComplete() const { return (static_cast<uint8_t>(state_) & 0b10) != 0; }

  /// The only line that writes the state.
  void moveTo(OpState next) {
    SLUICE_ASSERT(mayMove(state_, next));
    state_ = next;
  }

  static constexpr bool mayMove(OpState from, OpState to) {
    switch (to) {
      case OpState::unwanted: return false;
      case OpState::wanted: return from == OpState::unwanted;
      case OpState::started: return from == OpState::wanted;
      case OpState::done: return from == OpState::started;
    }
    return false;
  }

 private:
  OpState state_ = OpState::unwanted;
};

}  // namespace sluice

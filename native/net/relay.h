#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/assert.h"
#include "base/timer_wheel.h"
#include "engine/engine.h"

namespace sluice {

/// How far one direction of a relay is.
///
///   waiting ─ JavaScript has passed on what it had ─▶ flowing ◀─▶ held
///      │                                                 │          │
///      └────────────── the sender's end ────────────────▶ ending ◀──┘ ─ FIN is out ─▶ ended
///   any but ended ─ the receiver takes no more, or the sender has failed ─▶ broken
enum class FlowState : uint8_t {
  waiting,
  flowing,
  held,  // the receiver's queue is over its mark, and the sender rests
  ending,
  ended,
  broken,
};

/// One direction of a relay.
struct RelayFlow {
  uint64_t bytes = 0;  // handed to the receiver
  uint32_t highWaterBytes = 0;
  FlowState state = FlowState::waiting;
  bool splicing = false;    // the engine passes it on by itself
  uint8_t streak = 0;       // large receives in a row; while splicing, small ones
  uint8_t spliceAfter = 2;  // as many large ones; more after each time that it did not do

  bool ends() const { return state == FlowState::ending || state == FlowState::ended; }

  /// The only line that writes `state`.
  void moveTo(FlowState next) {
    SLUICE_ASSERT(mayMove(state, next));
    state = next;
  }

  static constexpr bool mayMove(FlowState from, FlowState to) {
    using enum FlowState;
    switch (to) {
      case waiting: return false;
      case flowing: return from == waiting || from == held;
      case held: return from == waiting || from == flowing;
      case ending: return from == waiting || from == flowing || from == held;
      case ended: return from == ending;
      case broken: return from != ended && from != broken;
    }
    return false;
  }
};
static_assert(!RelayFlow::mayMove(FlowState::ended, FlowState::broken), "what has ended cannot fail");

/// What bounds a relay. Times are milliseconds, 0 for no bound.
struct RelayBounds {
  std::array<uint32_t, 2> highWaterBytes{}, lowWaterBytes{};  // of what waits, by receiver
  uint32_t tunnelTimeoutMs = 0;  // of silence both ways, once both directions have carried something (HP-103)
  uint32_t finTimeoutMs = 0;     // the same once one direction has ended; comes before the other (HP-104)
};

/// Numbers of a relay, for stats().
struct RelayNumbers {
  std::array<uint64_t, 2> bytes{};  // by sender
};

/// Two connections of one loop, joined: what one receives is sent to the other. Belongs to the Network; both connections
/// point to it until they are closed.
struct Relay {
  struct End {
    Slot slot = noSlot;
    bool gone = false;  // closed; the slot may be somebody else's
  };

  Relay(uint32_t number, Slot first, Slot second, const RelayBounds& limits)
      : id(number), bounds(limits), ends{End{first}, End{second}} {
    for (size_t side = 0; side < 2; side++) flows[side].highWaterBytes = limits.highWaterBytes[1 - side];
  }

  size_t sideOf(Slot slot) const { return ends[0].slot == slot ? 0 : 1; }
  /// What `slot` sends, and what it is sent.
  RelayFlow& from(Slot slot) { return flows[sideOf(slot)]; }
  RelayFlow& into(Slot slot) { return flows[1 - sideOf(slot)]; }
  End& otherEnd(Slot slot) { return ends[1 - sideOf(slot)]; }

  /// A tunnel once both directions have carried something.
  bool isTunnel() const { return flows[0].bytes != 0 && flows[1].bytes != 0; }
  bool isHalfClosed() const { return flows[0].ends() != flows[1].ends(); }

  const uint32_t id;
  const RelayBounds bounds;
  std::array<End, 2> ends;
  std::array<RelayFlow, 2> flows;  // flows[0] from the first to the second
  Timer timer;
  TimeMs sinceMs = 0;        // its bound counts from then on, or from later progress
  bool timeoutTold = false;  // once, and JavaScript ends it
};

}  // namespace sluice

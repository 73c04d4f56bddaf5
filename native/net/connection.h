#pragma once

#include <cstdint>
#include <memory>

#include "base/assert.h"
#include "base/timer_wheel.h"
#include "buffer/byte_queue.h"
#include "engine/engine.h"
#include "loop/records.h"
#include "net/connection_limit.h"
#include "net/opening.h"
#include "net/relay.h"
#include "net/tls_layer.h"

namespace sluice {

/// While a layer waits for something else than bytes (a step for its answer, a session for its thread), so much may
/// pile up before reading stops.
inline constexpr size_t maxHeldBytes = 64 * 1024;

/// A connection's life. The directions have their own state (ReadSide, WriteSide) while it is open.
///
///   unused ─ connect ─▶ connecting ─ proven ─▶ open ─ close() ─▶ draining
///   unused ─ accept ────────────────────────▶ open                  │ peer's end, or time is up
///   connecting, open, draining ─ both directions over, destroy, failure ─▶ closing
///   closing ─ the engine let go ─▶ closed ─ JavaScript let go ─▶ unused
enum class ConnectionState : uint8_t { unused, connecting, open, draining, closing, closed };

enum class ReadSide : uint8_t { open, ended, failed };
enum class WriteSide : uint8_t {
  open,
  ending,  // everything queued, then FIN
  ended,   // FIN is out
  failed,
};

/// The times that bound a connection, allocated only when one is set (HP-100…104). 0 means no bound.
struct ConnectionTimers {
  Timer timer;
  uint32_t readTimeoutMs = 0, writeTimeoutMs = 0, halfClosedTimeoutMs = 0;
  TimeMs lastReadMs = 0, lastWriteMs = 0, halfClosedSinceMs = 0;
  TimeMs stateDeadlineMs = 0;  // connecting: connect timeout; draining, breaking: end of patience
  TimeMs breakOffStepMs = 0;   // breaking: when to look again whether the peer has everything
  uint64_t breakOffMark = 0;   // breaking: what the peer had confirmed then
  bool readTold = false, writeTold = false, halfClosedTold = false;  // told once until there is progress
};

/// One connection's state. Small, because most are idle: whatever a quiet connection can do without is behind a pointer.
struct Connection {
  std::unique_ptr<ByteQueue> queue;  // taken from JavaScript, not yet by the kernel; null when empty
  std::unique_ptr<ConnectionTimers> timers;
  std::unique_ptr<TlsLayer> tls;  // the topmost layer; null for plain connections
  Relay* relay = nullptr;         // the network's; of those that `layered` tells of
  std::unique_ptr<ConnectionLimit> limit;
  std::unique_ptr<Opening> opening;  // while its steps run, and while what they found out is of interest
  uint64_t bytesRead = 0, bytesWritten = 0;
  Error error{};             // why it ends; told with `closed`
  uint32_t tag = 0;          // generation << 8
  uint32_t listenerKey = 0;  // 0: not accepted
  uint32_t lowWaterBytes = 0;
  int32_t firstStaged = -1, lastStaged = -1;  // pieces written in the batch being applied
  ConnectionState state = ConnectionState::unused;
  ReadSide readSide = ReadSide::open;
  WriteSide writeSide = WriteSide::open;
  uint16_t pauses = 0;       // a set of PauseReason
  bool sending : 1 = false;  // the engine will complete a send
  bool wantDrain : 1 = false;
  bool dirty : 1 = false;     // in the list of those with staged pieces
  bool local : 1 = false;     // an end of a pair, not a socket of the engine's
  bool gated : 1 = false;     // holds a place in its listener's gates
  bool securing : 1 = false;  // a handshake is under way: its bytes are wanted even while nobody reads
  bool layered : 1 = false;   // what comes is not for JavaScript as it is: TLS, an opening or a relay
  bool hidden : 1 = false;    // JavaScript has not been told of it
  bool scripted : 1 = false;  // but for its steps
  bool breaking : 1 = false;  // RST follows when the peer has everything

  bool reading() const {
    if (state != ConnectionState::open || readSide != ReadSide::open) return false;
    return pauses == 0 || (securing && (pauses & (pausedByRate | pausedByGroup)) == 0);
  }
  /// The same, but for a rate limit or a relay whose receiver is full: what these hold back is still wanted.
  bool willRead() const {
    constexpr uint16_t forNow = pausedByRate | pausedByGroup | pausedByRelay;
    return state == ConnectionState::open && readSide == ReadSide::open && !breaking &&
           (securing || (pauses & ~forNow) == 0);
  }
  bool sendHeld() const { return limit && limit->sendHolds != 0; }
  bool live() const { return state == ConnectionState::open || state == ConnectionState::draining; }

  /// The only line that writes `state`.
  void moveTo(ConnectionState next) {
    SLUICE_ASSERT(mayMove(state, next));
    state = next;
  }

  static constexpr bool mayMove(ConnectionState from, ConnectionState to) {
    using enum ConnectionState;
    switch (to) {
      case unused: return from == closed;
      case connecting: return from == unused;
      case open: return from == unused || from == connecting;
      case draining: return from == open;
      case closing: return from == connecting || from == open || from == draining;
      case closed: return from == closing;
    }
    return false;
  }
};
static_assert(!Connection::mayMove(ConnectionState::closing, ConnectionState::open), "closing is final");

}  // namespace sluice

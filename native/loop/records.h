#pragma once

#include <cstdint>

namespace sluice {

// The two kinds of records that cross the border to JavaScript, four 32-bit words each. src/native/records.ts holds the
// same numbers; a test compares them. `head` is type | tag, where the tag is the socket's generation in the upper 24
// bits, so that neither side takes a former connection's record for its successor's.

/// Native to JavaScript.
enum class EventType : uint8_t {
  opened = 1,       // id: slot, a: listener key
  data,             // id: slot, a: offset in the slab, b: length
  end,              // id: slot
  drain,            // id: slot
  released,         // id: reference slot; the bytes written by reference are no longer needed
  closed,           // id: slot, a: error code | syscall index << 8, b: errno; always the last of its connection
  connected,        // id: slot
  timeout,          // id: slot, a: TimeoutKind
  listenerFailed,   // id: listener key, a and b as in `closed`; accepting pauses and goes on by itself
  finished,         // id: slot; everything written, and FIN, is in the kernel's hands
  timer,            // id: timer key
  secured,          // id: slot; the handshake of startTls() is done
  securing,         // id: slot; data before this came as plaintext, data after it is decrypted
  handshakeFailed,  // id: listener key, a: number of the failure (TlsFailures); nobody was told of the connection
  fileFailed,       // id: slot, a: errno; a part of a file was not sent, nor anything after it, and FIN follows

  // Of openings; the connection need not be known otherwise.
  stepBegins = 24,  // id: slot, a: listener key, 0 for connect(), b: number of a step of JavaScript's
  stepBytes,        // id: slot, a: offset in the slab, b: length; for that step, which answers with stepAnswer
  openingFailed,  // id: slot, a: number (OpeningFailures) | OpeningFailure << 24, or 0, b: listener key; no `opened`
  ruleLogged,     // id: listener key, a: number (RuleLogs); the connection's own fate is told by others
  relaying =
      40,        // id: slot; data before this is JavaScript's to pass on, what comes after it goes to the other one
  relayCount,    // id: relay, tag: side << 8, a: low, b: high half of its bytes; before the second `closed`
  relayTimeout,  // id: relay, a: 1 if half-closed
};

/// JavaScript to native.
enum class OpType : uint8_t {
  writeSlab = 1,   // a: offset in the slab, b: length; bytes of the batch being handled
  writeOut,        // a: offset in the out-slab, b: length
  writeReference,  // a: reference slot, b: length
  end,             // FIN after everything written
  close,           // end, then read and drop until the peer's end; a: bound in ms
  destroy,         // now; unsent bytes are dropped
  reset,           // now, with RST
  pause,           // a: reasons to add
  resume,          // a: reasons to remove
  forget,          // JavaScript has handled `closed`: the slot may be used again
  armTimer,        // id: timer key, a: ms from now
  cancelTimer,     // id: timer key
  tellDrain,       // report `drain` once what is queued has fallen to the low-water mark, or has already
  writeFile = 20,  // a: reference slot, of descriptor and position as a pair of doubles, b: length

  stepAnswer = 24,  // a: ScriptAnswer::Kind, b: bytes consumed
  relayGo =
      40,  // JavaScript has passed on what it had of a connection that is relayed; a: low, b: high half of its bytes
  breakOff,  // RST, when the peer has everything that was written
};
/// On a write: report `drain` once what is queued has fallen to the low-water mark.
inline constexpr int32_t wantDrainFlag = 0x80;
inline constexpr int32_t opTypeMask = 0x7f;

struct EventRecord {
  int32_t head, id, a, b;
};
struct OpRecord {
  int32_t head, id, a, b;
};

/// Words of the control array that both sides share.
enum ControlWord : int {
  controlOpCount = 0,         // ops staged by JavaScript
  controlOutBytes = 1,        // bytes used of the out-slab
  controlInTurn = 2,          // 1 while native will apply staged ops by itself
  controlReferenceCount = 3,  // writeReference ops among the staged ones
  controlWords = 16,
};

enum class TimeoutKind : uint8_t { read = 1, write, halfClosed };

/// Why a connection does not read; any reason suffices (LE-40).
enum PauseReason : uint16_t {
  pausedByUser = 1,
  pausedByStream = 2,
  pausedByQueue = 4,
  pausedWithoutReader = 8,
  pausedByFilter = 16,
  // JavaScript knows nothing of these:
  pausedByRate = 32,     // its own bucket is empty
  pausedByGroup = 64,    // the group has nothing for it
  pausedForGroup = 128,  // nobody has said yet which group it belongs to
  pausedByLayer = 256,   // what came is still to be decrypted
  pausedByRelay = 512,   // whom it is relayed to has enough for now
};

}  // namespace sluice

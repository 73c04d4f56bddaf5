#pragma once

#include <memory>
#include <vector>

#include "buffer/byte_queue.h"
#include "engine/engine.h"
#include "loop/loop.h"

namespace sluice {

/// How the two ends of a pair behave.
struct PairOptions {
  uint32_t bufferBytes = 64 * 1024;  // on the way, per direction
  /// destroy() of one end is an end for the other, and its writes fail. Otherwise it is not told (D10): what it writes is
  /// dropped.
  bool endOnDestroy = false;
};

/// Sockets that are connected to each other in memory (LE-60…66). They have slots among the engine's, and keep its
/// contract: completions come from collect() alone, so two ends that answer each other never recurse (LE-66).
class PairSockets {
 public:
  PairSockets(Loop& loop, ReceiveLimiter& limiter, LoopClient& client)
      : loop_(loop), limiter_(limiter), client_(client) {}

  struct Ends {
    Slot first, second;
  };
  /// Errors: connectionLimit.
  Result<Ends> open(const PairOptions& options);

  void receive(Slot slot, bool on);
  void limitReceive(Slot slot, bool on) { at(slot).limited = on; }
  SendResult send(Slot slot, const iovec* pieces, int count);
  Result<void> shutdownSend(Slot slot);
  void close(Slot slot, CloseMode mode);
  void release(Slot slot);

  /// Sent by this end and not read by the other one yet.
  size_t unreadBytes(Slot slot) { return at(slot).peer == noSlot ? 0 : at(at(slot).peer).arrived.sizeBytes(); }

  /// Tells the client what has happened, as far as the frame has room.
  void collect();
  bool work() const { return !ready_.empty(); }

 private:
  struct End {
    ByteQueue arrived;
    Slot peer = noSlot;  // noSlot: gone
    PairOptions options{};
    Error failure{};
    bool wanted = false, limited = false, listed = false;
    bool sendWaits = false;  // for room at the peer
    bool sentEnd = false;    // our direction is over
    bool ended = false;      // the peer's is
    bool endTold = false, closing = false;
  };

  End& at(Slot slot) { return *ends_[slot]; }
  void list(Slot slot);
  void serve(Slot slot);
  bool deliver(Slot slot, End& end);

  Loop& loop_;
  ReceiveLimiter& limiter_;
  LoopClient& client_;
  std::vector<std::unique_ptr<End>> ends_;  // by slot
  std::vector<Slot> ready_, serving_;
};

}  // namespace sluice

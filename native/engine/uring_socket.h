#pragma once

#ifdef __linux__

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/engine.h"

namespace sluice {

/// Received bytes that wait for their turn, or for receive(true): oldest first.
struct SetAside {
  struct Piece {
    uint32_t offset = 0;  // in the slab, holding a reference, unless `copy` is there
    uint32_t length = 0;
    uint32_t delivered = 0;             // of `length`; copies only
    std::unique_ptr<uint8_t[]> copy{};  // owned
  };
  std::deque<Piece> pieces;
  uint32_t slabBytes = 0;
  bool ended = false;  // nothing follows the pieces but the end, or a failure
};

/// One connection as UringEngine knows it. At most one receive, one send and one connect are under way.
struct UringSocket {
  int fd = -1;                // owned
  uint32_t turn = 0;          // the poll that turnBytes counts for
  uint32_t turnBytes = 0;     // delivered in it
  uint32_t askedBytes = 0;    // of the latest send
  uint32_t askedReceive = 0;  // of the receive under way: at most so much at once
  uint32_t pausedTurn = 0;    // the poll after which receive(false) came last
  bool wanted = false;        // receive(true)
  bool receiving = false;     // a multishot receive is under way
  bool cancelling = false;    // and is to end
  bool receivedAll = false;   // its end or failure was found; never armed again
  bool sending = false;
  bool cutShort = false;  // a send was, and the kernel kept the reason to itself
  bool connecting = false;
  bool closing = false;
  CloseMode closeMode = CloseMode::normal;
  bool unreadLost = false;  // received bytes were dropped at close: the peer is to see a reset, as if unread
  bool yielding = false;    // cancelled because it had its turn's share
  bool pausing = false;     // in the engine's list of those to cancel if they stay paused
  bool starved = false;     // in the engine's list of those without a buffer
  bool toDeliver = false;   // in the engine's list of those with something set aside
  bool isUnix = false;
  bool limited = false;             // the limiter says how much it may receive
  int failure = 0;                  // errno that ended it for sending: a later end of data is then no clean end
  std::unique_ptr<SetAside> aside;  // only while there is something
  std::unique_ptr<SocketAddress> connectTo;  // only while connecting: the kernel reads it

  bool busy() const { return receiving || sending || connecting; }
};

/// One listener as UringEngine knows it.
struct UringListener {
  int fd = -1;              // owned
  uint32_t budget = 0;      // accepts still allowed
  uint32_t turn = 0;        // the poll that turnCount counts for
  uint32_t turnCount = 0;   // delivered in it
  uint32_t accepting = 0;   // accept operations under way
  bool shared = false;      // with other engines
  bool multishot = false;   // the one under way is multishot
  bool cancelling = false;  // those under way are to end
  bool failed = false;      // acceptFailed was told; nothing until the next setAcceptBudget()
  bool closing = false;
  bool retiring = false;   // closed, and what was accepted before is still to be delivered
  bool toDeliver = false;  // in the engine's list of those with something waiting
  bool isUnix = false;
  std::deque<int> waiting;  // owned: accepted and not yet delivered
  Error error{};            // to be told after them
};

}  // namespace sluice

#endif

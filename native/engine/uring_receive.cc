#include "engine/uring_engine.h"

#ifdef __linux__

#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>

#include "engine/kernel_socket.h"

namespace sluice {

// The receiving side of UringEngine.
//
//   receive(on) ─▶ multishot under way ─▶ pieces in the slab ─▶ received
//                        │                      └─ more than a turn's share ─▶ set aside in the slab ─▶ later polls
//   limited ─▶ asks for as much as is usual ─▶ what is allowed of it ─▶ received; the rest waits as if stopped
//   receive(off) ─▶ cancelled ─▶ what still comes ─▶ copied aside, so that no buffer waits for a reader who stopped

namespace {
// Of a socket whose limit leaves it less: what comes beyond waits in memory of its own.
constexpr uint32_t minLimitedReceive = 512;
}  // namespace

void UringEngine::receive(Slot slot, bool on) {
  UringSocket& socket = sockets_[slot];
  if (socket.closing || socket.wanted == on) return;
  socket.wanted = on;
  if (!on) {
    copyAside(slot);
    pauseSoon(slot);
  } else if (socket.aside) {
    listAside(slot);
  } else {
    armReceive(slot);
  }
}

void UringEngine::armReceive(Slot slot) {
  UringSocket& socket = sockets_[slot];
  if (!socket.wanted || socket.connecting || socket.receiving || socket.receivedAll || socket.closing ||
      socket.starved || socket.aside) {
    return;
  }
  socket.receiving = true;
  socket.yielding = false;
  ++counters_.receives;
  uring::SubmissionEntry& entry = queue(Operation::receive, slot, uring::opcode::receive, socket.fd);
  entry.flags = uring::entryFlag::selectBuffer;
  entry.bufferGroup = UringBuffers::group;
  socket.askedReceive = options_.receiveChunkBytes;
  if (socket.limited) {
    const uint32_t usual = limiter_->usualReceive(slot);
    if (usual < options_.receiveTurnBytes) {
      entry.length = socket.askedReceive = std::clamp(usual, minLimitedReceive, options_.receiveChunkBytes);
      return;
    }
  }
  entry.ioprio = uring::operation::receiveMultishot;
  if (extras_.receiveLimit) {
    entry.length = options_.receiveChunkBytes;
    entry.optionLength = options_.receiveTurnBytes;
  }
}

void UringEngine::cancelReceive(Slot slot) {
  UringSocket& socket = sockets_[slot];
  if (!socket.receiving || socket.cancelling) return;
  socket.cancelling = true;
  queueCancel(tag(Operation::receive, slot), false);
}

// A writer that pauses its reader until it has room mostly has it when the sends of this turn have left. So the kernel
// is told of a pause only when it has outlived them, or when data comes meanwhile.
void UringEngine::pauseSoon(Slot slot) {
  UringSocket& socket = sockets_[slot];
  socket.pausedTurn = turn_;
  if (!socket.receiving || socket.cancelling || socket.pausing) return;
  socket.pausing = true;
  pausing_.push_back(slot);
}

void UringEngine::cancelPaused() {
  if (pausing_.empty()) return;
  std::vector<Slot> listed;
  listed.swap(pausing_);
  for (const Slot slot : listed) {
    if (!sockets_.contains(slot) || !sockets_[slot].pausing) continue;
    UringSocket& socket = sockets_[slot];
    if (!socket.wanted && turn_ - socket.pausedTurn < 2) {
      pausing_.push_back(slot);
      continue;
    }
    socket.pausing = false;
    if (!socket.wanted) cancelReceive(slot);
  }
}

// An empty buffer ring fails every multishot receive at once, data or not (SV-24). Those wait here, and go on
// as buffers come back: at first as many as could each receive a turn's share, then twice as many in each turn until
// the buffers are short again. All at once would mostly fail anew.
void UringEngine::armStarved() {
  starved_.insert(starved_.end(), served_.begin(), served_.end());
  served_.clear();
  if (starved_.empty()) return;
  if (starvedTurn_ != turn_) {
    starvedTurn_ = turn_;
    const uint64_t room = uint64_t{buffers_.available()} * buffers_.bufferBytes();
    const bool shortAgain = exhaustedBefore_ != counters_.buffersExhausted;
    exhaustedBefore_ = counters_.buffersExhausted;
    starvedShare_ = shortAgain ? static_cast<uint32_t>(room / options_.receiveTurnBytes) + 1
                               : std::min(2 * starvedShare_, maxSlots);
    starvedQuota_ = starvedShare_;
  }
  starvedQuota_ = std::min(starvedQuota_, buffers_.available());
  for (; starvedQuota_ > 0 && !starved_.empty(); --starvedQuota_) {
    const Slot slot = starved_.front();
    starved_.pop_front();
    if (!sockets_.contains(slot) || !sockets_[slot].starved) continue;
    sockets_[slot].starved = false;
    ++counters_.multishotRearmed;
    armReceive(slot);
  }
}

void UringEngine::handleReceived(Slot slot, const uring::CompletionEntry& completion, Output& out) {
  UringSocket& socket = sockets_[slot];
  const bool last = !(completion.flags & uring::completionFlag::more);
  if (last) socket.receiving = socket.cancelling = false;
  if (completion.result > 0) {
    handlePiece(slot, buffers_.take(completion), out);
  } else if (completion.flags & uring::completionFlag::buffer) {
    buffers_.takeEmpty(completion);
  }
  if (!last) return;
  if (socket.closing) return closeIfIdle(slot);
  if (completion.result <= 0) return finishReceiving(slot, completion.result, out);
  waitBehindStarved(slot);
}

// It had its turn; whoever found no buffer meanwhile comes first.
void UringEngine::waitBehindStarved(Slot slot) {
  sockets_[slot].starved = true;
  served_.push_back(slot);
}

void UringEngine::handlePiece(Slot slot, UringBuffers::Piece piece, Output& out) {
  UringSocket& socket = sockets_[slot];
  if (socket.closing) {
    socket.unreadLost = true;
    return buffers_.giveBack(piece.offset);
  }
  const uint32_t left = socket.wanted && !socket.aside ? allowed(slot, shareLeft(socket)) : 0;
  // Where the kernel cannot end a receive after a turn's share, it is told to.
  if (!extras_.receiveLimit && left <= piece.length && socket.receiving) {
    socket.yielding = true;
    cancelReceive(slot);
  }
  const uint32_t share = std::min(left, options_.receiveChunkBytes);
  if (share >= piece.length) {
    if (socket.limited) limiter_->received(slot, piece.length, piece.length >= socket.askedReceive);
    return deliver(slot, piece, out);
  }
  if (share > 0) {
    if (socket.limited) limiter_->received(slot, share, true);
    buffers_.addReference(piece.offset);
    deliver(slot, {piece.offset, share}, out);
    piece = {piece.offset + share, piece.length - share};
  }
  setAside(slot, piece);
}

namespace {

// Our own FIN is not out, so the state says whether the peer's was, or a reset.
bool isDead(const UringSocket& socket) {
  if (socket.isUnix) return false;
  auto info = kernel_socket::tcpInfo(socket.fd);
  return info && info->state == TCP_CLOSE;
}

}  // namespace

// The end of one multishot receive that brought nothing: of the data, of the buffers, or only of the operation.
void UringEngine::finishReceiving(Slot slot, int result, Output& out) {
  UringSocket& socket = sockets_[slot];
  switch (-result) {
    case ENOBUFS:
      ++counters_.buffersExhausted;
      ++counters_.receivesWithoutData;
      socket.starved = true;
      starved_.push_back(slot);
      return;
    case EAGAIN:  // somebody made the descriptor non-blocking, which turns waiting off in io_uring
      (void)setBlocking(socket.fd);
      [[fallthrough]];
    case EINTR:
    case ECANCELED:
      ++counters_.receivesWithoutData;
      if (!socket.yielding) return armReceive(slot);
      socket.yielding = false;
      return waitBehindStarved(slot);
    default: break;
  }
  socket.receivedAll = true;
  if (result < 0) socket.failure = -result;
  if (socket.wanted && !socket.aside) return tellEnd(slot, out);
  if (!socket.aside) socket.aside = std::make_unique<SetAside>();
  socket.aside->ended = true;
  if (socket.wanted) listAside(slot);
}

// An end is only believed when nothing worse is known by the time it is told (HP-26).
void UringEngine::tellEnd(Slot slot, Output& out) {
  UringSocket& socket = sockets_[slot];
  int error = socket.failure;
  if (error == 0) error = kernel_socket::takeError(socket.fd);
  // A send that had moved something when the reset came took the error with it, and told only how much had moved.
  if (error == 0 && (socket.sending || socket.cutShort) && isDead(socket)) error = ECONNRESET;
  if (error == 0) return out.add({.kind = Completion::Kind::ended, .socket = slot});
  socket.failure = error == EPIPE ? ECONNRESET : error;  // how Linux spells a reset after FIN
  out.add({.kind = Completion::Kind::receiveFailed, .socket = slot, .error = systemError(socket.failure, "recv")});
}

uint32_t UringEngine::shareLeft(UringSocket& socket) const {
  if (socket.turn != turn_) {
    socket.turn = turn_;
    socket.turnBytes = 0;
  }
  return options_.receiveTurnBytes - std::min(options_.receiveTurnBytes, socket.turnBytes);
}

// What is under way comes without being asked for. So the limiter is asked when it is there, and what it does not allow
// is kept as for a reader who stopped.
uint32_t UringEngine::allowed(Slot slot, uint32_t share) {
  UringSocket& socket = sockets_[slot];
  if (!socket.limited || share == 0) return share;
  const uint32_t allowed = limiter_->mayReceive(slot);
  if (allowed == 0) socket.wanted = false;
  return std::min(share, allowed);
}

void UringEngine::deliver(Slot slot, UringBuffers::Piece piece, Output& out) {
  sockets_[slot].turnBytes += piece.length;
  if (out.count > 0 && !sockets_[slot].limited) {
    // What one message brought in several receives lies side by side, and is handed on as one.
    Completion& previous = out.to[out.count - 1];
    if (previous.kind == Completion::Kind::received && previous.socket == slot &&
        previous.offset + previous.length == piece.offset &&
        previous.length + piece.length <= options_.receiveChunkBytes &&
        buffers_.sameBuffer(previous.offset, piece.offset)) {
      previous.length += piece.length;
      return buffers_.giveBack(piece.offset);
    }
  }
  out.add({.kind = Completion::Kind::received, .socket = slot, .offset = piece.offset, .length = piece.length});
}

void UringEngine::setAside(Slot slot, UringBuffers::Piece piece) {
  UringSocket& socket = sockets_[slot];
  if (!socket.aside) socket.aside = std::make_unique<SetAside>();
  socket.aside->pieces.push_back({.offset = piece.offset, .length = piece.length});
  socket.aside->slabBytes += piece.length;
  if (!socket.wanted) {
    cancelReceive(slot);
    return copyAside(slot);
  }
  listAside(slot);
}

// Nobody knows when a stopped reader goes on, so its bytes leave the slab.
void UringEngine::copyAside(Slot slot) {
  UringSocket& socket = sockets_[slot];
  if (!socket.aside || socket.aside->slabBytes == 0) return;
  for (SetAside::Piece& piece : socket.aside->pieces) {
    if (piece.copy) continue;
    piece.copy.reset(new uint8_t[piece.length]);
    std::memcpy(piece.copy.get(), buffers_.at(piece.offset), piece.length);
    buffers_.giveBack(piece.offset);
  }
  socket.aside->slabBytes = 0;
}

void UringEngine::dropAside(Slot slot) {
  UringSocket& socket = sockets_[slot];
  if (!socket.aside) return;
  for (const SetAside::Piece& piece : socket.aside->pieces) {
    socket.unreadLost = true;
    if (!piece.copy) buffers_.giveBack(piece.offset);
  }
  socket.aside.reset();
}

void UringEngine::listAside(Slot slot) {
  if (sockets_[slot].toDeliver) return;
  sockets_[slot].toDeliver = true;
  aside_.push_back(slot);
}

bool UringEngine::deliverable(Slot slot) const {
  if (!sockets_.contains(slot)) return false;
  const UringSocket& socket = sockets_[slot];
  if (!socket.aside || !socket.wanted) return false;
  return socket.aside->pieces.empty() || !socket.aside->pieces.front().copy || buffers_.canBorrow();
}

void UringEngine::deliverAside(Output& out) {
  if (aside_.empty()) return;
  std::vector<Slot> listed;
  listed.swap(aside_);
  for (size_t i = 0; i < listed.size(); ++i) {
    if (out.full()) {
      // Those it did not reach are first in the next turn.
      aside_.insert(aside_.begin(), listed.begin() + static_cast<ptrdiff_t>(i), listed.end());
      return;
    }
    const Slot slot = listed[i];
    if (!sockets_.contains(slot) || !sockets_[slot].toDeliver) continue;
    sockets_[slot].toDeliver = false;
    if (!sockets_[slot].wanted || !sockets_[slot].aside) continue;
    deliverAsideOf(slot, out);
    if (sockets_[slot].aside) listAside(slot);
  }
}

void UringEngine::deliverAsideOf(Slot slot, Output& out) {
  UringSocket& socket = sockets_[slot];
  SetAside& aside = *socket.aside;
  while (!aside.pieces.empty()) {
    SetAside::Piece& piece = aside.pieces.front();
    uint32_t length = std::min({piece.length, shareLeft(socket), options_.receiveChunkBytes});
    if (length == 0 || out.full()) return;
    length = allowed(slot, length);
    if (length == 0) return copyAside(slot);
    uint32_t offset = piece.offset;
    if (piece.copy) {
      if (!buffers_.borrow(&offset)) return;
      length = std::min(length, buffers_.bufferBytes());
      std::memcpy(buffers_.at(offset), piece.copy.get() + piece.delivered, length);
      piece.delivered += length;
    } else {
      if (length < piece.length) buffers_.addReference(offset);
      piece.offset += length;
      aside.slabBytes -= length;
    }
    piece.length -= length;
    if (piece.length == 0) aside.pieces.pop_front();
    if (socket.limited) limiter_->received(slot, length, true);
    deliver(slot, {offset, length}, out);
  }
  if (aside.ended) {
    if (out.full()) return;
    tellEnd(slot, out);
  }
  socket.aside.reset();
  armReceive(slot);
}

}  // namespace sluice

#endif

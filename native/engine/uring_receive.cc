#include "engine/uring_engine.h"

#ifdef __linux__

#include <algorithm>
#include <cstring>

#include "engine/kernel_socket.h"

namespace sluice {

// The receiving side of UringEngine.
//
//   receive(on) ─▶ multishot under way ─▶ pieces in the slab ─▶ received
//                        │                      └─ more than a turn's share ─▶ set aside in the slab ─▶ later polls
//   receive(off) ─▶ cancelled ─▶ what still comes ─▶ copied aside, so that no buffer waits for a reader who stopped

void UringEngine::receive(Slot slot, bool on) {
  UringSocket& socket = sockets_[slot];
  if (socket.closing || socket.wanted == on) return;
  socket.wanted = on;
  if (!on) {
    cancelReceive(slot);
    copyAside(slot);
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
  ++counters_.receives;
  uring::SubmissionEntry& entry = queue(Operation::receive, slot, uring::opcode::receive, socket.fd);
  entry.flags = uring::entryFlag::selectBuffer;
  entry.ioprio = uring::operation::receiveMultishot;
  entry.bufferGroup = UringBuffers::group;
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

// An empty buffer ring fails every multishot receive at once, data or not (SV-24). Those wait here, and go on a few at
// a time as buffers come back.
void UringEngine::armStarved() {
  starved_.insert(starved_.end(), served_.begin(), served_.end());
  served_.clear();
  for (uint32_t room = buffers_.available(); room > 0 && !starved_.empty(); --room) {
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
  // It had its turn; whoever found no buffer meanwhile comes first.
  socket.starved = true;
  served_.push_back(slot);
}

void UringEngine::handlePiece(Slot slot, UringBuffers::Piece piece, Output& out) {
  UringSocket& socket = sockets_[slot];
  if (socket.closing) {
    socket.unreadLost = true;
    return buffers_.giveBack(piece.offset);
  }
  const uint32_t share = socket.wanted && !socket.aside ? shareLeft(socket) : 0;
  if (share >= piece.length) return deliver(slot, piece, out);
  if (share > 0) {
    buffers_.addReference(piece.offset);
    deliver(slot, {piece.offset, share}, out);
    piece = {piece.offset + share, piece.length - share};
  }
  setAside(slot, piece);
}

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
    case ECANCELED: ++counters_.receivesWithoutData; return armReceive(slot);
    default: break;
  }
  socket.receivedAll = true;
  Completion completion{.kind = Completion::Kind::ended, .socket = slot};
  // An end is only believed when nothing worse is known (HP-26).
  int error = result < 0 ? -result : socket.failure;
  if (error == 0) error = kernel_socket::takeError(socket.fd);
  if (error == EPIPE) error = ECONNRESET;  // how Linux spells a reset after FIN
  if (error != 0) {
    socket.failure = error;
    completion.kind = Completion::Kind::receiveFailed;
    completion.error = systemError(error, "recv");
  }
  if (socket.wanted && !socket.aside) return out.add(completion);
  if (!socket.aside) socket.aside = std::make_unique<SetAside>();
  socket.aside->final = completion.error ? SetAside::Final::failed : SetAside::Final::ended;
  socket.aside->error = completion.error;
  if (socket.wanted) listAside(slot);
}

uint32_t UringEngine::shareLeft(UringSocket& socket) const {
  if (socket.turn != turn_) {
    socket.turn = turn_;
    socket.turnBytes = 0;
  }
  return options_.receiveTurnBytes - std::min(options_.receiveTurnBytes, socket.turnBytes);
}

void UringEngine::deliver(Slot slot, UringBuffers::Piece piece, Output& out) {
  sockets_[slot].turnBytes += piece.length;
  if (out.count > 0) {
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
  if (!socket.wanted) return copyAside(slot);
  listAside(slot);
  // Where the kernel cannot limit a receive itself, it is stopped before it has eaten the buffers of all others.
  if (!extras_.receiveLimit && socket.aside->slabBytes > 2 * options_.receiveTurnBytes) cancelReceive(slot);
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
  for (const Slot slot : listed) {
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
    uint32_t length = std::min(piece.length, shareLeft(socket));
    if (length == 0 || out.full()) return;
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
    deliver(slot, {offset, length}, out);
  }
  if (aside.final != SetAside::Final::none) {
    if (out.full()) return;
    const bool failed = aside.final == SetAside::Final::failed;
    out.add({.kind = failed ? Completion::Kind::receiveFailed : Completion::Kind::ended,
             .socket = slot,
             .error = aside.error});
  }
  socket.aside.reset();
  armReceive(slot);
}

}  // namespace sluice

#endif

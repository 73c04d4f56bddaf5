#include "net/pair_sockets.h"

#include <algorithm>
#include <cstring>

namespace sluice {

namespace {
// One end may have so much in a turn before others get theirs, as with engines.
constexpr uint32_t turnBytes = 64 * 1024;
void nothing(ByteQueue::Owner, uint32_t) {}
}  // namespace

Result<PairSockets::Ends> PairSockets::open(const PairOptions& options) {
  Ends slots{};
  for (Slot* slot : {&slots.first, &slots.second}) {
    *slot = loop_.engine().reserve();
    if (*slot == noSlot) {
      if (slot == &slots.second) loop_.engine().unreserve(slots.first);
      return Error{ErrorCode::connectionLimit, 0, ""};
    }
    if (*slot >= ends_.size()) ends_.resize(*slot + 1);
    ends_[*slot] = std::make_unique<End>();
    ends_[*slot]->options = options;
  }
  at(slots.first).peer = slots.second;
  at(slots.second).peer = slots.first;
  return slots;
}

void PairSockets::list(Slot slot) {
  if (at(slot).listed) return;
  at(slot).listed = true;
  ready_.push_back(slot);
}

void PairSockets::receive(Slot slot, bool on) {
  End& end = at(slot);
  if (end.wanted == on || end.closing) return;
  end.wanted = on;
  if (on) list(slot);
}

SendResult PairSockets::send(Slot slot, const iovec* pieces, int count) {
  End& end = at(slot);
  size_t asked = 0;
  for (int i = 0; i < count; i++) asked += pieces[i].iov_len;
  if (end.peer == noSlot) {
    if (end.failure) return {0, false, {ErrorCode::brokenPipe, 0, ""}};
    return {asked, false, {}};  // nobody is there to miss it (LE-63)
  }
  End& peer = at(end.peer);
  const size_t held = peer.arrived.sizeBytes();
  size_t room = held >= end.options.bufferBytes ? 0 : end.options.bufferBytes - held;
  SendResult result;
  for (int i = 0; i < count && room > 0; i++) {
    const size_t length = std::min(room, pieces[i].iov_len);
    peer.arrived.append(static_cast<const uint8_t*>(pieces[i].iov_base), static_cast<uint32_t>(length));
    result.taken += length;
    room -= length;
  }
  if (result.taken > 0 && peer.wanted) list(end.peer);
  if (result.taken == 0 && asked > 0) end.sendWaits = result.waiting = true;
  return result;
}

Result<void> PairSockets::shutdownSend(Slot slot) {
  End& end = at(slot);
  end.sentEnd = true;
  if (end.peer == noSlot) {
    // Nobody will answer with an end of its own.
    end.ended = true;
    if (end.wanted) list(slot);
    return {};
  }
  at(end.peer).ended = true;
  if (at(end.peer).wanted) list(end.peer);
  return {};
}

void PairSockets::close(Slot slot, CloseMode mode) {
  End& end = at(slot);
  if (end.closing) return;
  end.closing = true;
  list(slot);
  if (end.peer == noSlot) return;
  End& peer = at(end.peer);
  const Slot peerSlot = end.peer;
  end.peer = peer.peer = noSlot;
  if (mode == CloseMode::reset) {
    peer.failure = {ErrorCode::connectionReset, 0, ""};
    peer.arrived.clear(nothing);
  } else if (mode == CloseMode::normal && end.options.endOnDestroy && !end.sentEnd) {
    peer.failure = {ErrorCode::connectionReset, 0, ""};
  } else if (peer.sentEnd) {
    peer.ended = true;
  }
  // What the peer had no room for goes nowhere now.
  if (peer.wanted || peer.sendWaits) list(peerSlot);
}

void PairSockets::release(Slot slot) {
  ends_[slot].reset();
  loop_.engine().unreserve(slot);
}

void PairSockets::collect() {
  if (loop_.frame() == nullptr) return;
  serving_.swap(ready_);
  for (size_t i = 0; i < serving_.size(); i++) {
    const Slot slot = serving_[i];
    if (slot >= ends_.size() || !ends_[slot] || !ends_[slot]->listed) continue;
    // A completion causes at most two events.
    if (loop_.frame()->room() < 4) {
      ready_.push_back(slot);
      continue;
    }
    at(slot).listed = false;
    serve(slot);
  }
  serving_.clear();
}

void PairSockets::serve(Slot slot) {
  using Kind = Completion::Kind;
  End& end = at(slot);
  if (end.closing) return client_.onCompletion({.kind = Kind::closed, .socket = slot});
  const bool peerHasRoom = end.peer == noSlot || at(end.peer).arrived.sizeBytes() < end.options.bufferBytes;
  if (end.sendWaits && peerHasRoom) {
    end.sendWaits = false;
    list(slot);  // its own data comes in the next round
    return client_.onCompletion({.kind = Kind::sent, .socket = slot});
  }
  if (!end.wanted || deliver(slot, end) || !end.arrived.empty()) return;
  if (end.endTold || end.closing || !(end.ended || end.failure)) return;
  end.endTold = true;
  if (end.failure) client_.onCompletion({.kind = Kind::receiveFailed, .socket = slot, .error = end.failure});
  else client_.onCompletion({.kind = Kind::ended, .socket = slot});
}

// Whether something was delivered; then whatever follows is told in the next round.
bool PairSockets::deliver(Slot slot, End& end) {
  if (end.arrived.empty()) return false;
  const std::span<uint8_t> room = loop_.plainRoom();
  const size_t held = end.arrived.sizeBytes();
  size_t length = std::min<size_t>({room.size(), held, turnBytes});
  if (length < std::min<size_t>(held, 1024)) {
    list(slot);  // in the next frame
    return true;
  }
  if (end.limited) {
    const uint32_t allowed = limiter_.mayReceive(slot);
    if (allowed == 0) {
      end.wanted = false;
      return true;
    }
    length = std::min<size_t>(length, allowed);
  }
  iovec pieces[Engine::maxSendPieces];
  size_t copied = 0;
  while (copied < length) {
    const int count = end.arrived.peek(pieces, Engine::maxSendPieces, length - copied);
    size_t now = 0;
    for (int i = 0; i < count; i++) {
      std::memcpy(room.data() + copied + now, pieces[i].iov_base, pieces[i].iov_len);
      now += pieces[i].iov_len;
    }
    end.arrived.drain(now, nothing);
    copied += now;
  }
  if (end.limited) limiter_.received(slot, static_cast<uint32_t>(length), !end.arrived.empty());
  const uint32_t offset = loop_.takePlain(static_cast<uint32_t>(length));
  if (end.peer != noSlot && at(end.peer).sendWaits) list(end.peer);
  if (!end.arrived.empty() || end.ended || end.failure) list(slot);
  client_.onCompletion({.kind = Completion::Kind::received,
                        .socket = slot,
                        .offset = offset,
                        .length = static_cast<uint32_t>(length)});
  return true;
}

}  // namespace sluice

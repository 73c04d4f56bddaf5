// The part of Network that sends: staging the writes of one batch, handing them over, and what stays behind.
#include <algorithm>

#include "net/network.h"

namespace sluice {

namespace {
// An engine that defers completes a send when all of it has left. Without this bound neither the low-water mark nor the
// write timeout would see the progress of a large one.
constexpr size_t deferredSendBytes = 256 * 1024;
}  // namespace

void Network::apply(std::span<const OpRecord> ops, const uint8_t* out, std::span<const uint8_t* const> references) {
  size_t nextReference = 0;
  const uint8_t* slab = loop_.memory().slab.data();
  for (const OpRecord& op : ops) {
    const auto type = static_cast<OpType>(op.head & opTypeMask);
    const auto slot = static_cast<Slot>(op.id);
    Connection* connection = find(slot, static_cast<uint32_t>(op.head) & ~0xffu);
    switch (type) {
      case OpType::writeSlab:
        if (connection != nullptr) stage(slot, *connection, op, type, slab + op.a);
        break;
      case OpType::writeOut:
        if (connection != nullptr) stage(slot, *connection, op, type, out + op.a);
        break;
      case OpType::writeReference: {
        const uint8_t* data = references[nextReference++];
        if (connection != nullptr) stage(slot, *connection, op, type, data);
        else loop_.emit(EventType::released, 0, static_cast<uint32_t>(op.a));
        break;
      }
      case OpType::writeFile: {
        const uint8_t* where = references[nextReference++];
        if (connection != nullptr) writeFile(slot, *connection, op, where);
        else loop_.emit(EventType::released, 0, static_cast<uint32_t>(op.a));
        break;
      }
      case OpType::end:
        if (connection == nullptr) break;
        flushStaged(slot, *connection);
        endWriting(slot, *connection);
        break;
      case OpType::close:
        if (connection == nullptr) break;
        flushStaged(slot, *connection);
        beginDraining(slot, *connection, static_cast<uint32_t>(op.a));
        break;
      case OpType::destroy:
        if (connection != nullptr) destroy(slot, *connection);
        break;
      case OpType::reset:
        if (connection != nullptr) beginClosing(slot, *connection, CloseMode::reset, {});
        break;
      case OpType::pause:
        if (connection != nullptr) setPauses(slot, *connection, static_cast<uint16_t>(connection->pauses | op.a));
        break;
      case OpType::resume:
        if (connection != nullptr) setPauses(slot, *connection, static_cast<uint16_t>(connection->pauses & ~op.a));
        break;
      case OpType::forget:
        if (connection != nullptr && connection->state == ConnectionState::closed) {
          connection->moveTo(ConnectionState::unused);
          connection->opening.reset();
          releaseSlot(slot);
        }
        break;
      case OpType::armTimer: {
        auto& timer = scriptTimers_[static_cast<uint32_t>(op.id)];
        if (!timer)
          timer = std::make_unique<Timer>(static_cast<uint64_t>(TimerKind::script) << 32 |
                                          static_cast<uint32_t>(op.id));
        loop_.arm(*timer, engine_.nowMs() + static_cast<uint32_t>(op.a));
        break;
      }
      case OpType::cancelTimer: scriptTimers_.erase(static_cast<uint32_t>(op.id)); break;
      case OpType::stepAnswer:
        if (connection == nullptr) break;
        flushStaged(slot, *connection);
        onStepAnswer(slot, *connection, op);
        break;
      case OpType::relayGo:
        if (connection == nullptr) break;
        beginFlow(slot, *connection,
                  static_cast<uint64_t>(static_cast<uint32_t>(op.b)) << 32 | static_cast<uint32_t>(op.a));
        break;
      case OpType::breakOff:
        if (connection == nullptr) break;
        flushStaged(slot, *connection);
        breakOff(slot, *connection, {ErrorCode::relayFailed});
        break;
      case OpType::tellDrain:
        if (connection == nullptr) break;
        connection->wantDrain = true;
        flushStaged(slot, *connection);
        break;
    }
  }
  for (const Slot slot : dirty_) {
    Connection& connection = at(slot);
    connection.dirty = false;
    if (connection.firstStaged >= 0) flushStaged(slot, connection);
  }
  dirty_.clear();
  staged_.clear();
}

// What was written in this batch gets one try, as a last word often precedes destroy(); only a queue is dropped.
void Network::destroy(Slot slot, Connection& connection) {
  const bool closes = connection.state == ConnectionState::closing || connection.state == ConnectionState::closed;
  if (closes) return;
  if (connection.firstStaged >= 0) flushStaged(slot, connection);
  beginClosing(slot, connection, CloseMode::normal, {});
  connection.error = {};  // nobody wants to know how that try failed
}

void Network::stage(Slot slot, Connection& connection, const OpRecord& op, OpType type, const uint8_t* data) {
  const bool writable =
      connection.writeSide == WriteSide::open &&
      (connection.state == ConnectionState::open || connection.state == ConnectionState::connecting);
  if (!writable) {
    if (type == OpType::writeReference) loop_.emit(EventType::released, 0, static_cast<uint32_t>(op.a));
    countTaken(slot, connection, static_cast<uint32_t>(op.b));
    return;
  }
  if ((op.head & wantDrainFlag) != 0) connection.wantDrain = true;
  const auto index = static_cast<int32_t>(staged_.size());
  staged_.push_back({data, static_cast<uint32_t>(op.b), static_cast<uint32_t>(op.a), -1, type});
  if (connection.firstStaged < 0) connection.firstStaged = index;
  else staged_[static_cast<size_t>(connection.lastStaged)].next = index;
  connection.lastStaged = index;
  if (!connection.dirty) {
    connection.dirty = true;
    dirty_.push_back(slot);
  }
}

void Network::flushStaged(Slot slot, Connection& connection) {
  if (connection.tls) return encryptStaged(slot, connection);
  // Straight from where the bytes lie, unless something is ahead of them or the engine would need them for longer.
  while (connection.firstStaged >= 0 && !connection.queue && !connection.sending && !defers_ &&
         connection.state == ConnectionState::open) {
    iovec pieces[Engine::maxSendPieces];
    int count = 0;
    size_t total = 0;
    int32_t index = connection.firstStaged;
    for (; index >= 0 && count < Engine::maxSendPieces; index = staged_[static_cast<size_t>(index)].next) {
      const Staged& piece = staged_[static_cast<size_t>(index)];
      pieces[count++] = {const_cast<uint8_t*>(piece.data), piece.length};
      total += piece.length;
    }
    if (connection.limit && maySend(connection, total) < total) break;  // sendQueued() sends what may be sent
    const SendResult result = send(slot, pieces, count);
    if (connection.limit) noteSend(connection, result, total);
    countTaken(slot, connection, result.taken);
    if (result.error) return onSendFailed(slot, connection, result.error);
    if (result.taken == total) {
      for (int32_t sent = connection.firstStaged; sent != index; sent = staged_[static_cast<size_t>(sent)].next) {
        const Staged& piece = staged_[static_cast<size_t>(sent)];
        if (piece.source == OpType::writeReference) loop_.emit(EventType::released, 0, piece.id);
      }
      connection.firstStaged = index;
      continue;
    }
    queueStaged(connection, queueOf(connection), result.taken);
    connection.sending = result.waiting;
    break;
  }
  if (connection.firstStaged >= 0) queueStaged(connection, queueOf(connection), 0);
  if (connection.queue && !connection.sending) sendQueued(slot, connection);
  else if (!connection.queue) afterSending(slot, connection);
}

// Moves staged pieces into the queue, but for the first `skip` bytes, which are gone.
void Network::queueStaged(Connection& connection, ByteQueue& queue, size_t skip) {
  const bool wasEmpty = queue.empty();
  for (int32_t index = connection.firstStaged; index >= 0;) {
    const Staged& piece = staged_[static_cast<size_t>(index)];
    index = piece.next;
    const auto gone = static_cast<uint32_t>(std::min<size_t>(skip, piece.length));
    skip -= gone;
    if (gone == piece.length) {
      if (piece.source == OpType::writeReference) loop_.emit(EventType::released, 0, piece.id);
      continue;
    }
    const uint8_t* data = piece.data + gone;
    const uint32_t length = piece.length - gone;
    if (piece.source == OpType::writeReference) {
      queue.appendBorrowed(data, length, ByteQueue::Owner::reference, piece.id);
    } else if (piece.source == OpType::writeSlab && lends_ && piece.id < loop_.memory().slab.size() &&
               engine_.keep(piece.id)) {
      queue.appendBorrowed(data, length, ByteQueue::Owner::engine, piece.id);
    } else {
      queue.append(data, length);
    }
  }
  connection.firstStaged = connection.lastStaged = -1;
  if (wasEmpty && connection.timers) {
    connection.timers->lastWriteMs = loop_.nowMs();
    connection.timers->writeTold = false;
  }
}

void Network::sendQueued(Slot slot, Connection& connection) {
  if (!connection.live()) return;
  bool cut = false;  // by a limit
  while (connection.queue && !connection.sending) {
    if (cut && (connection.limit->member || connection.limit->bounds.writeBytes != 0)) {
      sendLater(slot, connection);  // the others have their turn
      break;
    }
    size_t most = defers_ ? deferredSendBytes : SIZE_MAX;
    if (connection.limit) {
      const size_t wanted = std::min(most, connection.queue->sizeBytes());
      most = maySend(connection, wanted);
      cut = most < wanted;
    }
    if (most == 0) break;  // resumeSending() goes on
    SendResult result;
    if (!sendFront(slot, connection, most, result)) return;
    if (result.taken > 0) drainQueue(slot, connection, result.taken);
    if (result.error) return onSendFailed(slot, connection, result.error);
    connection.sending = result.waiting;
    if (connection.tls && !connection.queue && !connection.sending) encryptQueued(slot, connection);
    if (!connection.live()) return;
  }
  if (connection.timers && connection.queue) armTimers(slot, connection);
  afterSending(slot, connection);
}

// Hands over what is first in the queue, `most` bytes at most. False when that was a file that failed.
bool Network::sendFront(Slot slot, Connection& connection, size_t most, SendResult& result) {
  size_t asked = 0;
  ByteQueue::FilePart part;
  if (connection.queue->frontFile(part)) {
    asked = std::min<size_t>(part.length, most);
    part.length = static_cast<uint32_t>(asked);
    if (!sendFile(slot, connection, part, result)) return false;
  } else {
    iovec pieces[Engine::maxSendPieces];
    const int count = connection.queue->peek(pieces, Engine::maxSendPieces, most);
    result = send(slot, pieces, count);
    asked = sizeOf(pieces, count);
  }
  if (connection.limit) noteSend(connection, result, asked);
  return true;
}

void Network::onSent(Slot slot, Connection& connection, uint32_t length) {
  connection.sending = false;
  if (connection.limit) settleSend(connection, length);
  if (length > 0) drainQueue(slot, connection, length);
  if (!connection.live()) return;
  if (connection.tls && !connection.queue) encryptQueued(slot, connection);
  if (connection.queue) sendQueued(slot, connection);
  else afterSending(slot, connection);
}

// So many bytes of the queue have left.
void Network::drainQueue(Slot slot, Connection& connection, size_t bytes) {
  if (!connection.tls) countTaken(slot, connection, bytes);
  if (connection.queue) {
    connection.queue->drain(bytes, [this](ByteQueue::Owner owner, uint32_t id) { releasePiece(owner, id); });
    if (connection.queue->empty()) spareQueues_.push_back(std::move(connection.queue));
  }
  if (!connection.tls) return;
  if (connection.timers) {
    // Progress, also while what has left is less than the records take more than their plaintext.
    connection.timers->lastWriteMs = loop_.nowMs();
    connection.timers->writeTold = false;
  }
  countEncrypted(slot, connection);
}

// Tells of room, and lets a pending end go out once nothing is before it.
void Network::afterSending(Slot slot, Connection& connection) {
  if (connection.limit) releaseSend(connection);
  const size_t left = unsentBytes(connection);
  if (connection.wantDrain && left <= connection.lowWaterBytes) {
    connection.wantDrain = false;
    if (connection.layered && isOpening(connection)) return waitForSent(slot, connection, left);
    const bool relays = connection.relay != nullptr || connection.breaking;
    if (!relays || !onRelayDrained(slot, connection)) emit(EventType::drain, slot, connection);
    if (relays && !connection.live()) return;
  }
  if (left == 0 && connection.writeSide == WriteSide::ending && !connection.sending && connection.live()) {
    if (connection.tls && !sayGoodbye(slot, connection)) return;
    connection.writeSide = WriteSide::ended;
    const auto shut = shutdownSend(slot);
    // ENOTCONN: the peer's reset was first; the read side will tell.
    if (!shut && shut.error().code != ErrorCode::system && connection.readSide != ReadSide::open) {
      return beginClosing(slot, connection, CloseMode::normal, shut.error());
    }
    emit(EventType::finished, slot, connection);
    if (connection.relay) onRelayFinished(slot, connection);
    noteHalfClosed(slot, connection);
    closeIfOver(slot, connection);
  }
}

void Network::endWriting(Slot slot, Connection& connection) {
  if (connection.writeSide != WriteSide::open) return;
  if (!connection.live() && connection.state != ConnectionState::connecting) return;
  connection.writeSide = WriteSide::ending;
  if (connection.state != ConnectionState::connecting) afterSending(slot, connection);
}

// What the peer sent before it went away is still delivered; only then the failure is told (HP-12).
void Network::onSendFailed(Slot slot, Connection& connection, const Error& error) {
  connection.sending = false;
  if (connection.limit) settleSend(connection, 0);
  if (connection.layered && onLayerFailed(slot, connection, true)) return;
  connection.writeSide = WriteSide::failed;
  if (!connection.error) connection.error = error;
  dropStaged(connection);
  dropQueue(connection);
  const bool peerWentAway = error.code == ErrorCode::brokenPipe || error.code == ErrorCode::connectionReset;
  const bool receives = connection.willRead() ||
                        (connection.state == ConnectionState::draining && connection.readSide == ReadSide::open);
  if (!peerWentAway || !receives) return beginClosing(slot, connection, CloseMode::normal, error);
  if (connection.relay) onRelaySendFailed(slot, connection);
}

void Network::setLowWater(Slot slot, Connection& connection, uint32_t bytes) {
  connection.lowWaterBytes = bytes;
  if (connection.live()) afterSending(slot, connection);
}

void Network::countTaken(Slot slot, Connection& connection, size_t bytes) {
  connection.bytesWritten += bytes;
  int32_t* taken = &loop_.memory().taken[slot];
  const auto value = static_cast<int32_t>(static_cast<uint32_t>(*taken) + static_cast<uint32_t>(bytes));
  __atomic_store_n(taken, value, __ATOMIC_RELAXED);  // JavaScript reads it from another thread
  if (connection.timers) {
    connection.timers->lastWriteMs = loop_.nowMs();
    connection.timers->writeTold = false;  // sendQueued() arms the timer again while something is left
  }
}

ByteQueue& Network::queueOf(Connection& connection) {
  if (!connection.queue) {
    if (spareQueues_.empty()) {
      connection.queue = std::make_unique<ByteQueue>();
    } else {
      connection.queue = std::move(spareQueues_.back());
      spareQueues_.pop_back();
    }
  }
  return *connection.queue;
}

void Network::releasePiece(ByteQueue::Owner owner, uint32_t id) {
  if (owner == ByteQueue::Owner::engine) engine_.giveBack(id);
  else if (owner == ByteQueue::Owner::wire) wireBlocks_.giveBack(id);
  else loop_.emit(EventType::released, 0, id);
}

void Network::dropQueue(Connection& connection) {
  if (connection.tls) {
    connection.tls->plain.clear([this](ByteQueue::Owner owner, uint32_t id) { releasePiece(owner, id); });
  }
  if (!connection.queue) return;
  connection.queue->clear([this](ByteQueue::Owner owner, uint32_t id) { releasePiece(owner, id); });
  connection.queue.reset();
}

void Network::dropStaged(Connection& connection) {
  for (int32_t index = connection.firstStaged; index >= 0; index = staged_[static_cast<size_t>(index)].next) {
    const Staged& piece = staged_[static_cast<size_t>(index)];
    if (piece.source == OpType::writeReference) loop_.emit(EventType::released, 0, piece.id);
  }
  connection.firstStaged = connection.lastStaged = -1;
}

}  // namespace sluice

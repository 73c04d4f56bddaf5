// The part of Network that sends through layers of TLS.
//
//   staged writes ─▶ topmost session ─▶ … ─▶ lowest session ─▶ scratch ─▶ engine
//           └─ what the wire has no room for ─▶ TlsLayer::plain    └─ what it does not take ─▶ the connection's queue
#include <algorithm>
#include <cstring>

#include "net/network.h"

namespace sluice {

namespace {
// So much ciphertext may wait in a connection's queue before its plaintext waits instead; and so much is made before it is
// sent, so that it is still in the processor's cache.
constexpr size_t maxWireBytes = 128 * 1024;
constexpr size_t scratchBytes = 128 * 1024;
constexpr size_t minBlockedBytes = 8 * 1024;
constexpr size_t maxPieceBytes = 64 * 1024;
// Writes smaller than this share a record.
constexpr size_t gatherBytes = 4096;
constexpr size_t maxGatheredBytes = 16 * 1024;
}  // namespace

size_t Network::WireOut::take(std::span<const uint8_t> bytes) {
  Connection& to = *connection;
  if (network_.defers_ || to.queue || to.sending || to.limit) {
    if (to.queue && to.queue->sizeBytes() >= maxWireBytes) return 0;
    ByteQueue& queue = network_.queueOf(to);
    const auto size = static_cast<uint32_t>(bytes.size());
    if (size < minBlockedBytes || size > WireBlocks::blockBytes) {
      queue.append(bytes.data(), size);
    } else {
      const uint32_t block = network_.wireBlocks_.take();
      std::memcpy(network_.wireBlocks_.at(block), bytes.data(), size);
      queue.appendBorrowed(network_.wireBlocks_.at(block), size, ByteQueue::Owner::wire, block);
    }
    return size;
  }
  if (scratch.size() >= scratchBytes) return 0;
  if (direct && scratch.empty()) {
    sent = true;
    if (failure) return bytes.size();
    const iovec piece{const_cast<uint8_t*>(bytes.data()), bytes.size()};
    const SendResult result = network_.send(slot, &piece, 1);
    failure = result.error;
    to.sending = result.waiting;
    if (!failure && result.taken < bytes.size()) {
      const auto rest = bytes.subspan(result.taken);
      network_.queueOf(to).append(rest.data(), static_cast<uint32_t>(rest.size()));
    }
    return bytes.size();
  }
  scratch.insert(scratch.end(), bytes.begin(), bytes.end());
  return bytes.size();
}

// What sessions have sent goes to the engine. False when the connection is no more for that.
bool Network::sendWire(Slot slot, Connection& connection) {
  std::vector<uint8_t>& scratch = wireOut_.scratch;
  if (!scratch.empty()) {
    if (connection.writeSide == WriteSide::failed || connection.writeSide == WriteSide::ended ||
        !connection.live()) {
      scratch.clear();
      return false;
    }
    const iovec piece{scratch.data(), scratch.size()};
    const SendResult result = send(slot, &piece, 1);
    if (!result.error && result.taken < scratch.size()) {
      queueOf(connection)
          .append(scratch.data() + result.taken, static_cast<uint32_t>(scratch.size() - result.taken));
    }
    scratch.clear();
    if (result.error) {
      onSendFailed(slot, connection, result.error);
      return false;
    }
    connection.sending = result.waiting;
    countEncrypted(slot, connection);
  }
  // Not sendQueued(), which would come back to here.
  while (connection.queue && !connection.sending) {
    size_t most = maxWireBytes;
    if (connection.limit) most = maySend(connection, std::min(most, connection.queue->sizeBytes()));
    if (most == 0) return true;  // resumeSending() goes on
    SendResult result;
    if (!sendFront(slot, connection, most, result)) return false;
    if (result.taken > 0) drainQueue(slot, connection, result.taken);
    if (result.error) {
      onSendFailed(slot, connection, result.error);
      return false;
    }
    connection.sending = result.waiting;
  }
  if (connection.timers && connection.queue) armTimers(slot, connection);
  return connection.live();
}

// After a record that may have gone to the engine at once. False when the connection is no more for that.
bool Network::noteDirect(Slot slot, Connection& connection) {
  wireOut_.direct = false;
  if (!wireOut_.sent) return true;
  wireOut_.sent = false;
  const Error failure = wireOut_.failure;
  wireOut_.failure = {};
  if (failure) {
    onSendFailed(slot, connection, failure);
    return false;
  }
  countEncrypted(slot, connection);
  return true;
}

// Encrypts as far as the wire has room. False when it has none, or the session has failed. `last`: the caller has nothing
// more to send behind it.
bool Network::encrypt(Slot slot, Connection& connection, std::span<const uint8_t> bytes, size_t& taken, bool last) {
  taken = 0;
  TlsSession& session = connection.tls->session();
  while (taken < bytes.size() || session.wantsOutput()) {
    size_t now = 0;
    const auto piece = bytes.subspan(taken, std::min(bytes.size() - taken, maxPieceBytes));
    // Several records leave together.
    wireOut_.direct = last && bytes.size() <= session.recordBytes();
    wireOut_.slot = slot;
    const TlsStatus status = session.wantsOutput() ? session.flush() : session.write(piece, now);
    taken += now;
    connection.tls->unsentBytes += now;
    if (!noteDirect(slot, connection)) return false;
    if (status == TlsStatus::failed) {
      failSecure(slot, connection, session.takeError());
      return false;
    }
    const bool direct = !defers_ && !connection.queue && !connection.sending && !connection.limit;
    if (status == TlsStatus::ok && (!direct || wireOut_.scratch.size() < scratchBytes / 2)) continue;
    if (!direct || !sendWire(slot, connection)) return false;
    if (status == TlsStatus::wantInput) return false;
  }
  return true;
}

void Network::encryptStaged(Slot slot, Connection& connection) {
  TlsLayer& layer = *connection.tls;
  size_t done = 0;  // of the staged bytes
  if (layer.phase() == TlsLayer::Phase::open && layer.plain.empty() && connection.live()) {
    enterLayers(connection);
    gathered_.clear();
    bool room = true;
    for (int32_t index = connection.firstStaged; index >= 0 && room;) {
      const Staged& piece = staged_[static_cast<size_t>(index)];
      index = piece.next;
      std::span<const uint8_t> bytes(piece.data, piece.length);
      if (bytes.size() < gatherBytes && (index >= 0 || !gathered_.empty())) {
        gathered_.insert(gathered_.end(), bytes.begin(), bytes.end());
        if (index >= 0 && gathered_.size() + gatherBytes <= maxGatheredBytes) continue;
        bytes = {};
      }
      size_t taken = 0;
      if (!gathered_.empty()) {
        room = encrypt(slot, connection, gathered_, taken, bytes.empty() && index < 0);
        done += taken;
        gathered_.clear();
      }
      if (room && !bytes.empty()) {
        room = encrypt(slot, connection, bytes, taken, index < 0);
        done += taken;
      }
    }
    if (!connection.live()) return;
  }
  if (connection.firstStaged >= 0) queueStaged(connection, layer.plain, done);
  if (layer.phase() != TlsLayer::Phase::open) return;
  encryptQueued(slot, connection);
  if (connection.live()) afterSending(slot, connection);
}

// Goes on while the wire takes what is made: nobody would tell of room that was never missing.
void Network::encryptQueued(Slot slot, Connection& connection) {
  enterLayers(connection);
  for (;;) {
    const bool made = encryptOnce(slot, connection);
    if (!connection.live()) return;
    // With a full queue there was no room to make anything; the kernel may take all of it at once.
    const bool hadQueue = connection.queue != nullptr;
    if (!sendWire(slot, connection) || connection.queue || connection.sending) return;
    if (!made && !hadQueue) return;
  }
}

// From the lowest layer up, as a layer's plaintext comes before what those above it send. Whether anything was made, and
// something is left.
bool Network::encryptOnce(Slot slot, Connection& connection) {
  const TlsSession& lowest = connection.tls->lowest().session();
  const uint64_t before = lowest.wireBytesWritten();
  for (TlsLayer* layer = &connection.tls->lowest(); layer != nullptr; layer = layer->above()) {
    if (layer->phase() == TlsLayer::Phase::handshaking) {
      if (layer->session().wantsOutput()) queueHandshake(slot, connection);
      return false;
    }
    if (layer->phase() != TlsLayer::Phase::open) return false;
    while (!layer->plain.empty() || layer->session().wantsOutput()) {
      iovec piece{nullptr, 0};
      if (!layer->plain.empty()) layer->plain.peek(&piece, 1, maxPieceBytes);
      const std::span<const uint8_t> bytes(static_cast<const uint8_t*>(piece.iov_base), piece.iov_len);
      const bool blocked = layer->session().wantsOutput();
      size_t taken = 0;
      bool room;
      if (layer == connection.tls.get()) room = encrypt(slot, connection, bytes, taken);
      else if (blocked) room = layer->session().flush() == TlsStatus::ok;
      else room = layer->session().write(bytes, taken) == TlsStatus::ok;
      if (taken > 0) {
        layer->plain.drain(taken, [this](ByteQueue::Owner owner, uint32_t id) { releasePiece(owner, id); });
      }
      if (!connection.live()) return false;
      if (!room) return lowest.wireBytesWritten() != before;
    }
  }
  return false;
}

// The close_notify of each layer, from the top. True when all of it has left.
bool Network::sayGoodbye(Slot slot, Connection& connection) {
  if (connection.tls->phase() == TlsLayer::Phase::over) return !connection.queue;
  if (connection.tls->phase() != TlsLayer::Phase::open) return false;  // first the handshake
  enterLayers(connection);
  for (TlsLayer* layer = connection.tls.get(); layer != nullptr; layer = layer->below()) {
    if (layer->session().saidGoodbye()) continue;
    if (layer->session().shutdown() == TlsStatus::wantOutput) break;
  }
  if (!sendWire(slot, connection)) return false;
  const bool left = !connection.queue && !connection.sending;
  return left && connection.tls->lowest().session().saidGoodbye() && connection.writeSide == WriteSide::ending;
}

// JavaScript counts what it wrote. Ciphertext that waits is at least as long as its plaintext, so what is counted as gone
// has gone.
void Network::countEncrypted(Slot slot, Connection& connection) {
  size_t waiting = (connection.queue ? connection.queue->sizeBytes() : 0) + wireOut_.scratch.size();
  for (TlsLayer* layer = connection.tls->below(); layer != nullptr; layer = layer->below()) {
    waiting += layer->plain.sizeBytes();
  }
  size_t& unsent = connection.tls->unsentBytes;
  const size_t left = std::min(unsent, waiting);
  if (left == unsent) return;
  const size_t gone = unsent - left;
  unsent = left;
  countTaken(slot, connection, gone);
}

size_t Network::unsentBytes(const Connection& connection) {
  const size_t queued = connection.queue ? connection.queue->sizeBytes() : 0;
  return connection.tls ? connection.tls->plain.sizeBytes() + connection.tls->unsentBytes : queued;
}

}  // namespace sluice

// The part of Network that relays: what one connection receives goes to another one, and JavaScript hears only of ends.
//
//   engine ─▶ slab ──────────────────────────▶ the other's socket, or its queue
//   engine ─▶ slab ─▶ session ─▶ relayRoom_ ─▶ session ─▶ …
#include <algorithm>

#include "net/network.h"

namespace sluice {

namespace {
// An id that names no place in the slab: such bytes are copied where they have to stay.
constexpr uint32_t notInSlab = UINT32_MAX;
constexpr size_t relayRoomBytes = 64 * 1024;
// Whoever takes nothing for so long is reset although something is left for it, as with close().
constexpr TimeMs breakOffPatienceMs = 5000;
constexpr TimeMs breakOffStepMs = 2, breakOffMaxStepMs = 128;
constexpr uint16_t relayPause = pausedByRelay;
}  // namespace

// ---- Beginning

Result<uint32_t> Network::relay(Slot first, Slot second, const RelayBounds& bounds) {
  for (const Slot slot : {first, second}) {
    const Connection& connection = at(slot);
    const bool joinable = connection.state == ConnectionState::open && connection.readSide != ReadSide::failed &&
                          connection.writeSide == WriteSide::open && !connection.securing && !connection.relay &&
                          (!connection.tls || connection.tls->phase() == TlsLayer::Phase::open) &&
                          (!connection.opening || connection.opening->stage() == Opening::Stage::over);
    if (!joinable) return Error{ErrorCode::closed, 0, ""};
  }
  const uint32_t id = nextRelay_++;
  Relay& relay = *(relays_[id] = std::make_unique<Relay>(id, first, second, bounds));
  relay.timer.tag = static_cast<uint64_t>(TimerKind::relay) << 32 | id;
  for (size_t side = 0; side < 2; side++) {
    const Slot slot = relay.ends[side].slot;
    Connection& connection = at(slot);
    connection.relay = &relay;
    connection.layered = true;
    connection.lowWaterBytes = bounds.lowWaterBytes[side];
    // They note progress; see armRelay().
    if (bounds.tunnelTimeoutMs != 0 || bounds.finTimeoutMs != 0) timersOf(slot, connection);
    // What came before this is JavaScript's to pass on. It knows by this event that it has all of it, and says so.
    setPauses(slot, connection, connection.pauses | relayPause);
    emit(EventType::relaying, slot, connection);
  }
  return id;
}

// JavaScript has passed on everything that came before, so many bytes.
void Network::beginFlow(Slot slot, Connection& connection, uint64_t passedBytes) {
  if (!connection.relay) return;
  Relay& relay = *connection.relay;
  RelayFlow& flow = relay.from(slot);
  flow.bytes += passedBytes;
  if (flow.state != FlowState::waiting || connection.state != ConnectionState::open) return;
  const Slot other = relay.otherEnd(slot).slot;
  if (at(other).firstStaged >= 0) flushStaged(other, at(other));
  if (flow.state != FlowState::waiting || connection.state != ConnectionState::open) return;
  if (passedBytes != 0 && relay.bounds.tunnelTimeoutMs != 0) beginTunnel(relay);
  if (connection.readSide == ReadSide::ended) return endFlow(slot, connection);
  if (!holdIfFull(relay, slot, connection)) {
    flow.moveTo(FlowState::flowing);
    setPauses(slot, connection, static_cast<uint16_t>(connection.pauses & ~relayPause));
  }
}

bool Network::relayNumbers(uint32_t id, RelayNumbers& numbers) const {
  const auto found = relays_.find(id);
  if (found == relays_.end()) return false;
  for (size_t side = 0; side < 2; side++) numbers.bytes[side] = found->second->flows[side].bytes;
  return true;
}

// ---- Bytes

// Rests the sender when its receiver has as much waiting as it may.
bool Network::holdIfFull(Relay& relay, Slot from, Connection& connection) {
  RelayFlow& flow = relay.from(from);
  const Relay::End& end = relay.otherEnd(from);
  if (end.gone) return false;
  Connection& to = at(end.slot);
  if (unsentBytes(to) < flow.highWaterBytes) return false;
  flow.moveTo(FlowState::held);
  to.wantDrain = true;
  setPauses(from, connection, connection.pauses | relayPause);
  return true;
}

// What came goes to the other one at once; `id` is its offset in the slab, where received bytes may stay.
void Network::passOn(Slot slot, Connection& connection, const uint8_t* data, uint32_t length, uint32_t id) {
  noteRead(slot, connection, length);
  Relay& relay = *connection.relay;
  RelayFlow& flow = relay.from(slot);
  const Relay::End& end = relay.otherEnd(slot);
  if (flow.state != FlowState::flowing && flow.state != FlowState::held) return;  // nobody can take it
  const bool first = flow.bytes == 0;
  flow.bytes += length;
  if (first && relay.bounds.tunnelTimeoutMs != 0) beginTunnel(relay);
  Connection& to = at(end.slot);
  SLUICE_ASSERT(to.firstStaged < 0);
  const size_t stagedBefore = staged_.size();
  to.firstStaged = to.lastStaged = static_cast<int32_t>(stagedBefore);
  staged_.push_back({data, length, id, -1, OpType::writeSlab});
  flushStaged(end.slot, to);
  staged_.resize(stagedBefore);
  if (flow.state == FlowState::flowing) holdIfFull(relay, slot, connection);
}

void Network::onRelayed(Slot slot, Connection& connection, const Completion& completion) {
  if (connection.state != ConnectionState::open) return;  // draining: read and dropped (HP-21)
  passOn(slot, connection, loop_.memory().slab.data() + completion.offset, completion.length,
         completion.offset < loop_.memory().slab.size() ? completion.offset : notInSlab);
}

// Where a session decrypts what is passed on; used again at once, as nothing stays there.
std::span<uint8_t> Network::relayRoom() {
  if (relayRoom_.empty()) relayRoom_.resize(relayRoomBytes);
  return std::span(relayRoom_).subspan(relayRoomUsed_);
}

// What was decrypted goes on. False when the connection it came from has ended over it.
bool Network::passOnPlain(Slot slot, Connection& connection) {
  if (relayRoomUsed_ == 0) return true;
  const auto length = static_cast<uint32_t>(std::exchange(relayRoomUsed_, 0));
  // Sessions share what they write to: first whatever reading has caused to be sent.
  if (!wireOut_.scratch.empty() && !sendWire(slot, connection)) return false;
  if (!connection.live() || !connection.relay) return false;
  passOn(slot, connection, relayRoom_.data(), length, notInSlab);
  if (!connection.live()) return false;
  enterLayers(connection);
  return true;
}

// There is room again at a receiver. True when that is nobody else's business.
bool Network::onRelayDrained(Slot slot, Connection& connection) {
  if (connection.breaking) {
    stepBreakOff(slot, connection);
    return true;
  }
  if (!connection.relay) return false;
  Relay& relay = *connection.relay;
  RelayFlow& flow = relay.into(slot);
  if (flow.state == FlowState::waiting) return false;
  const Relay::End& from = relay.otherEnd(slot);
  if (flow.state == FlowState::held && !from.gone) {
    flow.moveTo(FlowState::flowing);
    Connection& sender = at(from.slot);
    setPauses(from.slot, sender, static_cast<uint16_t>(sender.pauses & ~relayPause));
  }
  return true;
}

// ---- Ends

// The sender has ended: so does the receiver's own direction, behind what is queued. The other one goes on.
void Network::endFlow(Slot slot, Connection& connection) {
  Relay& relay = *connection.relay;
  RelayFlow& flow = relay.from(slot);
  const bool flows =
      flow.state == FlowState::waiting || flow.state == FlowState::flowing || flow.state == FlowState::held;
  if (!flows || connection.state != ConnectionState::open) return;
  flow.moveTo(FlowState::ending);
  const Slot to = relay.otherEnd(slot).slot;
  if (relay.bounds.finTimeoutMs != 0) {
    relay.sinceMs = loop_.nowMs();
    armRelay(relay);
  }
  endWriting(to, at(to));
}

// FIN is out.
void Network::onRelayFinished(Slot slot, Connection& connection) {
  RelayFlow& flow = connection.relay->into(slot);
  if (flow.state == FlowState::ending) flow.moveTo(FlowState::ended);
}

// A receiver takes no more. Its sender rests: what the receiver sent before it went away is delivered first (HP-12).
void Network::onRelaySendFailed(Slot slot, Connection& connection) {
  Relay& relay = *connection.relay;
  RelayFlow& flow = relay.into(slot);
  if (flow.state == FlowState::ended || flow.state == FlowState::broken) return;
  flow.moveTo(FlowState::broken);
  const Relay::End& from = relay.otherEnd(slot);
  if (!from.gone) setPauses(from.slot, at(from.slot), at(from.slot).pauses | relayPause);
}

// A connection of a relay is about to close. In good order that is no affair of the other's, which still sends what it
// has; otherwise the other one is cut off behind what was received for it.
void Network::leaveRelay(Slot slot, Connection& connection, bool inOrder) {
  Relay& relay = *connection.relay;
  for (RelayFlow* flow : {&relay.from(slot), &relay.into(slot)}) {
    const bool over = flow->state == FlowState::ended || flow->state == FlowState::broken;
    if (!over && !(inOrder && flow->state == FlowState::ending)) flow->moveTo(FlowState::broken);
  }
  const Relay::End& other = relay.otherEnd(slot);
  if (!inOrder && !other.gone) breakOff(other.slot, at(other.slot), {ErrorCode::relayFailed});
}

void Network::onRelayEndClosed(Slot slot, Connection& connection) {
  Relay& relay = *connection.relay;
  connection.relay = nullptr;
  relay.ends[relay.sideOf(slot)].gone = true;
  if (!relay.otherEnd(slot).gone) return;
  for (uint32_t side = 0; side < 2; side++) {
    const uint64_t bytes = relay.flows[side].bytes;
    loop_.emit(EventType::relayCount, side << 8, relay.id, static_cast<int32_t>(static_cast<uint32_t>(bytes)),
               static_cast<int32_t>(static_cast<uint32_t>(bytes >> 32)));
  }
  loop_.cancel(relay.timer);
  relays_.erase(relay.id);
}

// ---- Breaking off

// RST, but only when the peer has all that was written for it: a reset takes back what is still under way.
void Network::breakOff(Slot slot, Connection& connection, const Error& error) {
  if (connection.state == ConnectionState::connecting) {
    return beginClosing(slot, connection, CloseMode::reset, error);
  }
  if (connection.state != ConnectionState::open || connection.breaking) return;
  connection.breaking = true;
  connection.error = error;
  connection.lowWaterBytes = 0;
  setPauses(slot, connection, connection.pauses | relayPause);
  ConnectionTimers& timers = timersOf(slot, connection);
  timers.readTimeoutMs = timers.writeTimeoutMs = timers.halfClosedTimeoutMs = 0;
  timers.lastWriteMs = loop_.nowMs();
  timers.breakOffStepMs = breakOffStepMs;
  stepBreakOff(slot, connection);
}

void Network::stepBreakOff(Slot slot, Connection& connection) {
  if (connection.state != ConnectionState::open) return;
  ConnectionTimers& timers = *connection.timers;
  const TimeMs now = loop_.nowMs();
  const bool queued = unsentBytes(connection) > 0;
  const bool waits = queued || connection.sending || isUndelivered(slot, connection);
  const TimeMs patienceEndsMs = timers.lastWriteMs + breakOffPatienceMs;
  if (!waits || now >= patienceEndsMs) {
    return beginClosing(slot, connection, CloseMode::reset, connection.error);
  }
  if (queued) {
    connection.wantDrain = true;
    timers.stateDeadlineMs = patienceEndsMs;
  } else {
    // Nobody tells when the peer has confirmed; mostly it does within a round trip.
    timers.stateDeadlineMs = std::min(now + timers.breakOffStepMs, patienceEndsMs);
    timers.breakOffStepMs = std::min(timers.breakOffStepMs * 2, breakOffMaxStepMs);
  }
  loop_.arm(timers.timer, timers.stateDeadlineMs);
}

// Whether the system has something that the peer has not confirmed. Where nobody can tell, it has not.
// Progress is noted.
bool Network::isUndelivered(Slot slot, Connection& connection) {
  uint64_t mark = 0;
  bool left = false;
  if (connection.local) {
    mark = pairs_.unreadBytes(slot);
    left = mark != 0;
  } else if (auto info = engine_.tcpInfo(slot)) {
    left = info->notSentBytes != 0 || info->unackedSegments != 0;
    mark = info->bytesAcked + (uint64_t{info->unackedSegments} << 40);
  }
  if (mark != connection.timers->breakOffMark) connection.timers->lastWriteMs = loop_.nowMs();
  connection.timers->breakOffMark = mark;
  return left;
}

// ---- Time

// Both directions have carried something: from now on the tunnel's bound takes the place of those of each side (HP-103).
void Network::beginTunnel(Relay& relay) {
  if (!relay.isTunnel()) return;
  for (const Relay::End& end : relay.ends) {
    if (end.gone) continue;
    Connection& connection = at(end.slot);
    ConnectionTimers& timers = timersOf(end.slot, connection);
    timers.readTimeoutMs = timers.writeTimeoutMs = 0;
    armTimers(end.slot, connection);
  }
  relay.sinceMs = loop_.nowMs();
  armRelay(relay);
}

// As with connections, progress only notes its time, and the timer looks at that when it fires.
void Network::armRelay(Relay& relay) {
  const bool halfClosed = relay.isHalfClosed() && relay.bounds.finTimeoutMs != 0;
  const uint32_t boundMs = halfClosed ? relay.bounds.finTimeoutMs : relay.bounds.tunnelTimeoutMs;
  if (boundMs == 0 || relay.timeoutTold || (!halfClosed && !relay.isTunnel())) return loop_.cancel(relay.timer);
  TimeMs lastMs = relay.sinceMs;
  for (const Relay::End& end : relay.ends) {
    if (end.gone || !at(end.slot).timers) continue;
    lastMs = std::max({lastMs, at(end.slot).timers->lastReadMs, at(end.slot).timers->lastWriteMs});
  }
  const TimeMs atMs = lastMs + boundMs;
  if (atMs > loop_.nowMs()) return loop_.arm(relay.timer, atMs);
  relay.timeoutTold = true;
  loop_.emit(EventType::relayTimeout, 0, relay.id, static_cast<int32_t>(halfClosed));
}

void Network::onRelayTimer(uint32_t id) {
  const auto found = relays_.find(id);
  if (found != relays_.end()) armRelay(*found->second);
}

}  // namespace sluice

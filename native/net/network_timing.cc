// The part of Network that keeps time: connect, idle, half-closed and draining bounds, and JavaScript's timers.
#include <algorithm>

#include "net/network.h"

namespace sluice {

ConnectionTimers& Network::timersOf(Slot slot, Connection& connection) {
  if (!connection.timers) {
    connection.timers = std::make_unique<ConnectionTimers>();
    connection.timers->timer.tag = static_cast<uint64_t>(TimerKind::connection) << 32 | slot;
    connection.timers->lastReadMs = connection.timers->lastWriteMs = loop_.nowMs();
  }
  return *connection.timers;
}

void Network::setTimeouts(Slot slot, Connection& connection, uint32_t readMs, uint32_t writeMs,
                          uint32_t halfClosedMs) {
  ConnectionTimers& timers = timersOf(slot, connection);
  timers.readTimeoutMs = readMs;
  timers.writeTimeoutMs = writeMs;
  timers.halfClosedTimeoutMs = halfClosedMs;
  timers.lastReadMs = timers.lastWriteMs = engine_.nowMs();
  timers.readTold = timers.writeTold = timers.halfClosedTold = false;
  noteHalfClosed(slot, connection);
  armTimers(slot, connection);
}

namespace {

struct Bound {
  TimeMs atMs;
  TimeoutKind kind;
};

// The bounds that count now: none while the direction rests through our own doing (LE-49).
template <class Visit>
void eachBound(const Connection& connection, const ConnectionTimers& timers, Visit visit) {
  // Nobody knows it yet; another bound is on that.
  if (connection.hidden || (connection.opening && connection.opening->runsSteps())) return;
  if (timers.readTimeoutMs != 0 && !timers.readTold && connection.reading()) {
    visit(Bound{timers.lastReadMs + timers.readTimeoutMs, TimeoutKind::read});
  }
  if (timers.writeTimeoutMs != 0 && !timers.writeTold && connection.live() && connection.queue &&
      !connection.sendHeld()) {
    visit(Bound{timers.lastWriteMs + timers.writeTimeoutMs, TimeoutKind::write});
  }
  if (timers.halfClosedTimeoutMs != 0 && !timers.halfClosedTold && timers.halfClosedSinceMs != 0) {
    visit(Bound{timers.halfClosedSinceMs + timers.halfClosedTimeoutMs, TimeoutKind::halfClosed});
  }
}

}  // namespace

// The session begins: its bounds count from now, and if there are none nothing is kept for them.
void Network::settleTimers(Slot slot, Connection& connection) {
  ConnectionTimers& timers = *connection.timers;
  timers.stateDeadlineMs = 0;
  timers.lastReadMs = timers.lastWriteMs = loop_.nowMs();
  timers.readTold = timers.writeTold = false;
  if ((timers.readTimeoutMs | timers.writeTimeoutMs | timers.halfClosedTimeoutMs) != 0) armTimers(slot, connection);
  else connection.timers.reset();
}

// Progress only notes its time; the timer looks at that note when it fires and sleeps on. So a busy connection costs
// no timer operations.
void Network::armTimers(Slot slot, Connection& connection) {
  (void)slot;
  ConnectionTimers& timers = *connection.timers;
  TimeMs next = timers.stateDeadlineMs != 0 ? timers.stateDeadlineMs : Deadline::never().atMs;
  eachBound(connection, timers, [&next](const Bound& bound) { next = std::min(next, bound.atMs); });
  if (next == Deadline::never().atMs) loop_.cancel(timers.timer);
  else if (!timers.timer.armed() || timers.timer.atMs > next) loop_.arm(timers.timer, next);
}

void Network::onConnectionTimer(Slot slot, Connection& connection) {
  ConnectionTimers& timers = *connection.timers;
  const TimeMs now = loop_.nowMs();
  if (timers.stateDeadlineMs != 0 && timers.stateDeadlineMs <= now) {
    if (connection.state == ConnectionState::open && isOpening(connection))
      return onOpeningTimeout(slot, connection);
    if (connection.breaking) return stepBreakOff(slot, connection);
    if (connection.tls && connection.state == ConnectionState::open) {
      return failSecure(slot, connection,
                        {.failure = TlsFailure::timeout, .stage = TlsStage::handshake, .reason = "SSL_TIMEOUT"});
    }
    const bool connecting = connection.state == ConnectionState::connecting;
    const Error error = connecting ? Error{ErrorCode::connectTimeout} : connection.error;
    return beginClosing(slot, connection, CloseMode::normal, error);
  }
  eachBound(connection, timers, [&](const Bound& bound) {
    if (bound.atMs > now) return;
    if (bound.kind == TimeoutKind::read) timers.readTold = true;
    if (bound.kind == TimeoutKind::write) timers.writeTold = true;
    if (bound.kind == TimeoutKind::halfClosed) timers.halfClosedTold = true;
    emit(EventType::timeout, slot, connection, static_cast<int32_t>(bound.kind));
  });
  armTimers(slot, connection);
}

void Network::noteHalfClosed(Slot slot, Connection& connection) {
  if (!connection.timers) return;
  const bool readOver = connection.readSide != ReadSide::open, writeOver = connection.writeSide == WriteSide::ended;
  if (readOver == writeOver || connection.timers->halfClosedSinceMs != 0) return;
  connection.timers->halfClosedSinceMs = std::max<TimeMs>(1, loop_.nowMs());
  armTimers(slot, connection);
}

void Network::onTimer(Timer& timer) {
  const auto kind = static_cast<TimerKind>(timer.tag >> 32);
  const auto id = static_cast<uint32_t>(timer.tag);
  switch (kind) {
    case TimerKind::connection: {
      Connection& connection = at(id);
      if (connection.timers) onConnectionTimer(id, connection);
      break;
    }
    case TimerKind::listener:
      for (auto& listener : listeners_) {
        if (listener->key == id) refill(*listener);
      }
      break;
    case TimerKind::handshakes:
      for (auto& listener : listeners_) {
        if (listener->key == id) serveWaitingHandshakes(*listener);
      }
      break;
    case TimerKind::opening: resumeOpening(id, at(id)); break;
    case TimerKind::openingDeadline: onOpeningTimeout(id, at(id)); break;
    case TimerKind::limit: reviewOwnLimit(id, at(id)); break;
    case TimerKind::group: onGroupTimer(static_cast<GroupWait&>(timer)); break;
    case TimerKind::relay: onRelayTimer(id); break;
    case TimerKind::script:
      loop_.emit(EventType::timer, 0, id);
      scriptTimers_.erase(id);
      break;
  }
}

}  // namespace sluice
